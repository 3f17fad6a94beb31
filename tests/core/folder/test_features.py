"""Features from texts and pictures: known neighbours, the same bytes again, no network, one sentence for mistakes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import polars
import pytest
import torch

from mmgrec.errors import UserError
from mmgrec.folder.check import check_folder
from mmgrec.folder.features import add_features, tfidf_svd
from mmgrec.folder.write import save_folder
from mmgrec.synthetic import planted

pytestmark = pytest.mark.messages

TEXTS = ["green tea from Uji", "black tea from Assam", "tea pot", "guitar strings", "guitar case", "", "steel strings"]


def with_items(folder: Path, **columns: list[Any]) -> Path:
    """A data folder whose first items have these texts."""
    save_folder(planted(num_users=30, num_items=40), folder)
    items = polars.read_parquet(folder / "items.parquet")
    filled = {name: [*values, *[""] * (40 - len(values))] for name, values in columns.items()}
    items.with_columns(**{name: polars.Series(values) for name, values in filled.items()}).write_parquet(
        folder / "items.parquet"
    )
    return folder


def cosine(table: np.ndarray, left: int, right: int) -> float:
    return float(table[left] @ table[right])


def test_texts_with_common_words_are_near() -> None:
    pytest.importorskip("sklearn")
    table = tfidf_svd(TEXTS, dim=4)
    assert cosine(table, 0, 1) > 0.5 > abs(cosine(table, 0, 3))
    assert cosine(table, 3, 6) > 0.3 > abs(cosine(table, 2, 6))
    assert np.linalg.norm(table, axis=1).tolist() == pytest.approx([1, 1, 1, 1, 1, 0, 1], abs=1e-5)


def test_the_file_is_the_same_each_time_and_sound(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    folder = with_items(tmp_path / "set", title=TEXTS, text=["hot"])
    heard: list[str] = []
    first, second = (
        add_features(folder, columns=["title", "text"], dim=3, name=name, note=heard.append).read_bytes()
        for name in ("one", "two")
    )
    assert first == second
    assert heard[0] == "modality one: 6 of 40 items have it, 3 columns"
    report = check_folder(folder)
    assert report.ok
    assert report.facts["features"]["one"]["missing"] == 34


@pytest.mark.parametrize(
    ("wanted", "code", "values"),
    [
        ({"columns": ["titel"]}, "folder.missing-column", ("'titel'", "'title'")),
        ({"columns": ["title"], "dim": 7}, "folder.too-many-columns", ("6 columns", "not 7", "--dim to 6")),
        ({"columns": ["empty"]}, "folder.nothing-described", ("items.parquet",)),
        ({"columns": ["title"], "name": "text"}, "folder.repeated-name", ("text.npy", "--name")),
        ({"columns": ["title"], "name": "../x"}, "folder.wrong-modality-name", ("'../x'",)),
        ({"columns": ["title"], "method": "image"}, "folder.model-required", ("image", "--model")),
        ({"columns": ["title"], "method": "image", "model": Path("absent")}, "folder.missing-model", ("absent",)),
    ],
    ids=["column", "dim", "no words", "name taken", "name", "no model", "absent model"],
)
def test_mistakes(tmp_path: Path, wanted: Mapping[str, Any], code: str, values: tuple[str, ...]) -> None:
    pytest.importorskip("sklearn")
    folder = with_items(tmp_path / "set", title=TEXTS, empty=[])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        add_features(folder, **{"dim": 3, "name": "mine", **wanted})
    assert error.value.code == code
    assert [value for value in values if value not in str(error.value)] == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        add_features(tmp_path / "absent")
    assert error.value.code == "folder.not-a-folder"


@pytest.mark.parametrize(
    ("method", "library", "extra"),
    [
        ("tfidf-svd", "sklearn.decomposition", "features"),
        ("sentence-transformers", "sentence_transformers", "text"),
        ("image", "transformers", "image"),
    ],
)
def test_absent_libraries_are_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    folder = with_items(tmp_path / "set", title=TEXTS)
    with pytest.raises(UserError) as error:
        add_features(folder, method=method, columns=["title"], name="mine", model=tmp_path)
    assert error.value.code == "folder.missing-library"
    assert f"pip install 'mmgrec[{extra}]'" in str(error.value)


# --------------------------------------------------------------------------- encoders, played by small classes


def put(monkeypatch: pytest.MonkeyPatch, name: str, **members: object) -> None:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)


class Encoder:
    """A sentence encoder: length and number of words."""

    made: dict[str, Any]

    def __init__(self, path: str, **settings: Any) -> None:
        if not (Path(path) / "model.safetensors").exists():
            raise OSError("no model.safetensors\nsecond line")
        Encoder.made = settings

    def encode(self, texts: list[str], **settings: Any) -> np.ndarray:
        return np.array([[len(text), len(text.split())] for text in texts])


def test_sentences_by_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, "sentence_transformers", SentenceTransformer=Encoder)
    folder = with_items(tmp_path / "set", title=TEXTS)
    model = tmp_path / "model"
    model.mkdir()
    with pytest.raises(UserError) as error:
        add_features(folder, method="sentence-transformers", columns=["title"], name="mine", model=model)
    assert error.value.code == "folder.unreadable-model"
    assert "(no model.safetensors)" in str(error.value)
    (model / "model.safetensors").touch()
    table = np.load(add_features(folder, method="sentence-transformers", columns=["title"], name="mine", model=model))
    assert table[:2].tolist() == [[len(TEXTS[0]), 4], [len(TEXTS[1]), 4]]
    assert table[5].tolist() == [0, 0]
    assert Encoder.made["local_files_only"] is True
    assert Encoder.made["model_kwargs"] == {"use_safetensors": True}


class Picture:
    """A picture: its file holds one number."""

    DecompressionBombError = type("DecompressionBombError", (Exception,), {})

    def __init__(self, value: float) -> None:
        self.value = value

    @classmethod
    def open(cls, file: Path) -> Picture:
        return cls(float(file.read_text()))

    def convert(self, mode: str) -> Picture:
        return self

    def __enter__(self) -> Picture:
        return self

    def __exit__(self, *_: object) -> None: ...


class Processor:
    @classmethod
    def from_pretrained(cls, path: str, **settings: Any) -> Processor:
        assert settings == {"local_files_only": True}
        return cls()

    def __call__(self, images: list[Picture], return_tensors: str) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.tensor([[picture.value] for picture in images])}


class Network:
    @classmethod
    def from_pretrained(cls, path: str, **settings: Any) -> Network:
        assert settings == {"local_files_only": True, "use_safetensors": True}
        return cls()

    def eval(self) -> Network:
        return self

    def __call__(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        places = torch.stack([pixel_values, 3 * pixel_values], dim=1)
        return SimpleNamespace(pooler_output=None, last_hidden_state=places)


class Clip(Network):
    def get_image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return torch.cat([pixel_values, -pixel_values], dim=1)


@pytest.mark.parametrize(("network", "row"), [(Network, [4.0]), (Clip, [2.0, -2.0])])
def test_pictures_by_a_model_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: type, row: list[float]
) -> None:
    put(monkeypatch, "PIL", Image=Picture)
    put(monkeypatch, "transformers", AutoImageProcessor=Processor, AutoModel=network)
    folder = with_items(tmp_path / "set", image_path=["a.png", "", "absent.png", "broken.png"])
    (folder / "a.png").write_text("2")
    (folder / "broken.png").write_text("no number")
    heard: list[str] = []
    add_features(folder, method="image", name="mine", model=tmp_path, note=heard.append)
    table = np.load(folder / "features" / "mine.npy")
    assert table[0].tolist() == row
    assert not table[1:].any()
    assert heard[0] == "2 pictures cannot be read and count as missing, 'absent.png' is the first"


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname"])
def test_pictures_do_not_leave_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    put(monkeypatch, "PIL", Image=Picture)
    put(monkeypatch, "transformers", AutoImageProcessor=Processor, AutoModel=Network)
    folder = with_items(tmp_path / "set", image_path=[path])
    with pytest.raises(UserError) as error:
        add_features(folder, method="image", name="mine", model=tmp_path)
    assert error.value.code == "folder.outside"
    assert repr(path) in str(error.value)
