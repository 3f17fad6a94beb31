"""Importing: features, bags and texts find their items; what is unsound is refused, and then nothing is written."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import polars
import pytest
import torch
from safetensors.torch import save_file

from mmgrec.errors import UserError
from mmgrec.folder.check import check_folder
from mmgrec.folder.load import load_folder
from mmgrec.readers.importing import Extras, import_data, source_of
from mmgrec.readers.source import FileSource

pytestmark = pytest.mark.messages

LOG = "user,item,time\nann,tea,1\nann,cup,2\nann,pot,3\nbob,tea,1\nbob,jam,2\nbob,pot,3\n"
ITEMS = ["cup", "jam", "pot", "tea"]  # in their order


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    (tmp_path / "log.csv").write_text(LOG)
    return source_of(tmp_path / "log.csv", {})[2]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "home" / "shop"


def table(out: Path, name: str) -> list[list[float]]:
    rows: list[list[float]] = np.load(out / "features" / f"{name}.npy").tolist()
    return rows


def refused(source: FileSource, out: Path, extras_of: Extras | None, code: str, *values: str) -> None:
    """The import ends in an error of this kind, which names these values."""
    with pytest.raises(UserError) as error:
        import_data(source, out, extras_of=extras_of)
    assert error.value.code == code
    assert [value for value in values if value not in str(error.value)] == []


def test_features_keyed_by_item_find_their_items(source: FileSource, out: Path, tmp_path: Path) -> None:
    polars.DataFrame({"item_id": ["tea", "pot", "gone"], "a": [1, 2, 3], "b": [0.5, 0.25, 0]}).write_parquet(
        tmp_path / "f.parquet"
    )
    heard: list[str] = []
    import_data(source, out, extras_of=Extras(features={"visual": tmp_path / "f.parquet"}), note=heard.append)
    assert table(out, "visual") == [[0, 0], [0, 0], [2, 0.25], [1, 0.5]]
    assert "modality visual: 2 of 4 items have it; 1 rows belong to no item of the data and are left out" in heard
    assert check_folder(out).ok


@pytest.mark.parametrize("kind", [polars.List(polars.Float32), polars.Array(polars.Float32, 2)])
def test_features_may_be_lists(source: FileSource, out: Path, tmp_path: Path, kind: polars.DataType) -> None:
    frame = polars.DataFrame({"sku": ["cup"], "vector": polars.Series([[1.0, 2.0]], dtype=kind)})
    frame.write_parquet(tmp_path / "f.parquet")
    import_data(source, out, extras_of=Extras(features={"v": tmp_path / "f.parquet"}))
    assert table(out, "v")[0] == [1, 2]


def test_rows_without_ids_need_an_item_list(source: FileSource, out: Path, tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(3, 2) + 1
    np.save(tmp_path / "v.npy", rows)
    save_file({"text": torch.from_numpy(rows).bfloat16(), "other": torch.zeros(1)}, tmp_path / "t.safetensors")
    (tmp_path / "list.txt").write_text("tea\ncup\npot\n")
    features = {"visual": tmp_path / "v.npy", "text": tmp_path / "t.safetensors"}
    refused(source, out, Extras(features=features), "readers.item-list-required", "v.npy", "--item-list")
    import_data(source, out, extras_of=Extras(features=features, item_list=tmp_path / "list.txt"))
    assert table(out, "visual") == table(out, "text") == [[3, 4], [0, 0], [5, 6], [1, 2]]


def test_bags_are_made_of_words(source: FileSource, out: Path, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("item,word,weight\ntea,hot,2\ntea,hot,0.5\npot,big,1\ngone,x,1\ntea,a b,1\n")
    import_data(source, out, extras_of=Extras(bags={"words": tmp_path / "w.csv"}))
    assert polars.read_parquet(out / "bags" / "words.words.parquet")["word"].to_list() == ["a b", "big", "hot"]
    bag = load_folder(out).bags["words"]
    assert bag.offsets.tolist() == [0, 0, 0, 1, 3]
    assert bag.word.tolist() == [1, 0, 2]
    assert bag.weight.tolist() == [1, 1, 2.5]
    assert check_folder(out).facts["bags"]["words"]["words"] == 3


def test_texts_of_items(source: FileSource, out: Path, tmp_path: Path) -> None:
    (tmp_path / "meta.jsonl").write_text(
        '{"asin": "tea", "title": "Tea", "description": ["a", "b"]}\n{"asin": "jam"}\n'
    )
    import_data(source, out, extras_of=Extras(items=tmp_path / "meta.jsonl"))
    items = polars.read_parquet(out / "items.parquet")
    assert items["source_id"].to_list() == ITEMS
    assert items["title"].to_list() == ["", "", "", "Tea"]
    assert check_folder(out).ok


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["v.npy", "v.pt", "v.pkl", "v.bin", "object.npy"])
def test_pickles_are_refused_with_the_way_to_convert_them(
    source: FileSource, out: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name == "object.npy":
        np.save(tmp_path / name, np.array([Bomb()], dtype=object))
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    code = "readers.not-an-array" if name.endswith(".npy") else "readers.pickle"
    refused(source, out, Extras(features={"v": tmp_path / name}), code, name, "numpy.save(")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("columns", "code", "values"),
    [
        ({"item": ["tea", "tea"], "a": [1.0, 2.0]}, "readers.repeated-item", ("'tea'",)),
        ({"item": ["tea", "cup"], "a": [1.0, float("inf")]}, "readers.not-finite", ("'cup' (row 1) holds inf (1 ",)),
        ({"item": ["tea", "cup"], "a": [1.0, None]}, "readers.not-finite", ("nan",)),
        ({"item": ["tea", "cup"], "a": [[1.0], [1.0, 2.0]]}, "readers.ragged", ("'a'",)),
        ({"item": ["tea", "cup"]}, "readers.no-numbers", ()),
        ({"item": ["TEA", "CUP"], "a": [1.0, 2.0]}, "readers.no-common-items", ("'TEA'", "'cup'")),
        ({"name": ["tea"], "text": ["x"]}, "readers.unknown-column", ("item_id",)),
    ],
    ids=["two rows", "infinite", "gap", "lists of two lengths", "no numbers", "other ids", "no ids"],
)
def test_unsound_features(
    source: FileSource, out: Path, tmp_path: Path, columns: dict[str, object], code: str, values: tuple[str, ...]
) -> None:
    polars.DataFrame(columns).write_parquet(tmp_path / "f.parquet")
    refused(source, out, Extras(features={"v": tmp_path / "f.parquet"}), code, "f.parquet", *values)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "code", "value"),
    [
        ("item,word,weight\ntea,hot,0\n", "readers.wrong-value", "row 1 has the weight '0'"),
        ("item,word,weight\ntea,hot,x\n", "readers.wrong-value", "row 1 has the weight 'x'"),
        ("item,colour\ntea,red\n", "readers.unknown-column", "item, colour"),
        ("item,word\nTEA,hot\n", "readers.no-common-items", "'words'"),
    ],
    ids=["weight of zero", "weight in letters", "no words", "other ids"],
)
def test_unsound_bags(source: FileSource, out: Path, tmp_path: Path, text: str, code: str, value: str) -> None:
    (tmp_path / "w.csv").write_text(text)
    refused(source, out, Extras(bags={"words": tmp_path / "w.csv"}), code, value)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\x00", "x" * 101, ".."])
def test_names_of_modalities_stay_in_the_folder(source: FileSource, out: Path, tmp_path: Path, name: str) -> None:
    refused(source, out, Extras(features={name: tmp_path / "f.parquet"}), "readers.wrong-modality-name", repr(name))


def test_a_bag_and_a_feature_need_two_names(source: FileSource, out: Path, tmp_path: Path) -> None:
    refused(source, out, Extras(features={"x": tmp_path / "a"}, bags={"x": tmp_path / "b"}), "readers.repeated-name")


def test_nothing_is_written_over_or_left_half(
    source: FileSource, out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out.mkdir(parents=True)
    (out / "mine").touch()
    refused(source, out, None, "folder.not-empty", str(out))
    (out / "mine").unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(polars.DataFrame, "write_parquet", full)
        refused(source, out, None, "folder.cannot-write", "No space left")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "log.csv", "shop"]
    import_data(source, out)  # into an empty folder
    assert load_folder(out).num_items == 4
