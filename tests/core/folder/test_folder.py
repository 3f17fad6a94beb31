"""The canonical folder: what is read, how it is split, and that saving and loading agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars
import pytest
import torch

from mmgrec.data.splits import random_split
from mmgrec.errors import DataError
from mmgrec.folder.load import load_folder
from mmgrec.folder.write import save_folder
from mmgrec.interfaces import Context
from mmgrec.registry import Registry
from mmgrec.settings import build, describe
from mmgrec.synthetic import planted

pytestmark = pytest.mark.messages

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a folder of 4 users and 6 items; keywords replace or, with None, drop columns and files."""

    def _write(**changes: object) -> Path:
        user = np.repeat(np.arange(4, dtype=np.int32), 4)
        item = np.array([0, 1, 2, 3, 1, 2, 3, 4, 0, 2, 3, 4, 0, 1, 2, 5], dtype=np.int32)
        rows: dict[str, object] = {"user": user, "item": item, "timestamp": np.tile(np.arange(4), 4)}
        rows["split"] = ["train", "valid", "train", "test"] * 4
        items: dict[str, object] = {"item": np.arange(6, dtype=np.int32), "source_id": list("abcdef")}
        items["title"] = [f"Title {letter}" for letter in "abcdef"]
        for name, value in changes.items():
            table = rows if name in ("user", "item", "timestamp", "split") else items
            table[name] = value
        folder = tmp_path / "set"
        (folder / "features").mkdir(parents=True)
        (folder / "graphs").mkdir()
        polars.DataFrame({k: v for k, v in rows.items() if v is not None}).write_parquet(
            folder / "interactions.parquet"
        )
        polars.DataFrame({k: v for k, v in items.items() if v is not None}).write_parquet(folder / "items.parquet")
        np.save(folder / "features" / "visual.npy", np.arange(12, dtype=np.float16).reshape(6, 2))
        np.save(folder / "features" / "category.npy", np.eye(6, dtype=np.float32))
        np.save(
            folder / "graphs" / "visual_knn10.npy",
            np.array([[0, 5], [1, 0], [2, 3], [3, 2], [4, 1], [5, 0]], dtype=np.int32),
        )
        return folder

    return _write


def test_given_split_is_used_as_it_is(write: Write) -> None:
    data = load_folder(write())
    assert data.train.padded(torch.tensor([0])).tolist() == [[0, 2]]
    assert data.valid.padded(torch.tensor([0])).tolist() == [[1]]
    assert data.test.padded(torch.tensor([0])).tolist() == [[3]]
    assert not data.ordered


def test_float16_features_become_float32(write: Write) -> None:
    visual = load_folder(write()).features["visual"]
    assert visual.dtype == torch.float32
    assert visual[5].tolist() == [10.0, 11.0]


def test_side_information_is_no_modality_unless_named(write: Write) -> None:
    folder = write()
    assert set(load_folder(folder).features) == {"visual"}
    assert set(load_folder(folder, modalities=["category"]).features) == {"category"}


def test_no_modalities_at_all_can_be_asked_for(write: Write) -> None:
    assert not load_folder(write(), modalities=[]).features


def test_unknown_modality_suggests_a_name(write: Write) -> None:
    with pytest.raises(DataError) as error:
        load_folder(write(), modalities=["vizual"])
    assert error.value.code == "folder.no-such-modality"
    assert "'vizual'" in error.value.what
    assert "'visual'" in error.value.remedy


def test_graphs_and_titles_are_read(write: Write) -> None:
    data = load_folder(write())
    assert data.graphs["visual_knn10"].tolist()[2] == [2, 3]
    assert data.graphs["visual_knn10"].dtype == torch.int64
    assert data.item_titles is not None
    assert data.item_titles[1] == "Title b"


def test_items_are_named_by_source_id(write: Write) -> None:
    assert load_folder(write()).item_id(4) == "e"


def test_repeated_source_ids_give_way_to_row_numbers_with_a_note(write: Write) -> None:
    heard: list[str] = []
    data = load_folder(write(source_id=list("abcdaa")), note=heard.append)
    assert data.item_id(4) == "4"
    assert "source_id" in heard[0]


def test_auto_draws_a_random_split_where_none_is_given(write: Write) -> None:
    folder = write(split=None)
    data = load_folder(folder, split_seed=5)
    rows = polars.read_parquet(folder / "interactions.parquet")
    test = random_split(rows["user"].to_numpy(), seed=5) == 2
    assert data.test.item.tolist() == rows["item"].to_numpy()[test].tolist()


def test_leave_one_out_follows_time(write: Write) -> None:
    data = load_folder(write(), split="leave-one-out")
    assert data.test.item.tolist() == [3, 4, 4, 5]
    assert data.valid.item.tolist() == [2, 3, 3, 2]
    assert data.ordered


@pytest.mark.parametrize("rule", ["leave-one-out", "temporal"])
def test_splits_by_time_need_timestamps(write: Write, rule: str) -> None:
    with pytest.raises(DataError) as error:
        load_folder(write(timestamp=None), split=rule)  # type: ignore[arg-type]
    assert error.value.code == "folder.no-timestamps"
    assert repr(rule) in str(error.value)


def test_a_given_split_must_exist(write: Write) -> None:
    with pytest.raises(DataError) as error:
        load_folder(write(split=None), split="given")
    assert error.value.code == "folder.no-split"


def test_k_core_renumbers_and_keeps_names(write: Write) -> None:
    data = load_folder(write(), k_core_of=2)  # item 5 has one user
    assert (data.num_users, data.num_items) == (4, 5)
    assert data.item_ids == list("abcde")
    assert data.user_ids == ["0", "1", "2", "3"]
    assert data.features["visual"].shape == (5, 2)


def test_k_core_names_users_by_their_old_numbers(write: Write) -> None:
    user = np.repeat(np.array([0, 1, 2, 3], dtype=np.int32), 4)
    item = np.array([5, 4, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3], dtype=np.int32)
    data = load_folder(write(user=user, item=item, source_id=None, split=["train"] * 16), k_core_of=3)
    assert data.user_ids == ["0", "1", "2", "3"][1:]
    assert data.item_ids == ["0", "1", "2", "3"]


def test_k_core_points_a_lost_neighbour_at_the_item_itself(write: Write) -> None:
    assert load_folder(write(), k_core_of=2).graphs["visual_knn10"].tolist()[0] == [0, 0]


def test_an_empty_k_core_is_refused(write: Write) -> None:
    with pytest.raises(DataError) as error:
        load_folder(write(), k_core_of=9)
    assert error.value.code == "folder.empty-k-core"
    assert "9-core" in str(error.value)


def test_errors_come_before_everything_else(write: Write) -> None:
    folder = write()
    np.save(folder / "features" / "category.npy", np.full((6, 2), np.nan, dtype=np.float32))
    with pytest.raises(DataError) as error:
        load_folder(folder, modalities=["nonsense"])
    assert error.value.code == "folder.not-finite"
    assert error.value.where == "features/category.npy"
    assert "row 0 holds nan" in error.value.what


def test_saved_data_load_the_same(tmp_path: Path) -> None:
    data = planted(num_users=30, num_items=40, mean_interactions=8)
    save_folder(data, tmp_path / "set")
    again = load_folder(tmp_path / "set")
    assert again.fingerprint == data.fingerprint
    assert (again.num_users, again.num_items) == (30, 40)


def test_names_survive_saving(write: Write, tmp_path: Path) -> None:
    data = load_folder(write(), k_core_of=2)
    save_folder(data, tmp_path / "copy")
    again = load_folder(tmp_path / "copy")
    assert (again.item_ids, again.user_ids, again.item_titles) == (data.item_ids, data.user_ids, data.item_titles)
    assert torch.equal(again.graphs["visual_knn10"], data.graphs["visual_knn10"])


def test_saving_never_overwrites(write: Write) -> None:
    folder = write()
    with pytest.raises(DataError) as error:
        save_folder(load_folder(folder), folder)
    assert error.value.code == "folder.not-empty"


def bagged(folder: Path, *, words: list[str] | None = None) -> Path:
    """Words of items 0, 2 and 5, out of order."""
    (folder / "bags").mkdir()
    polars.DataFrame({"item": [5, 0, 2, 0], "word": [1, 2, 0, 0], "weight": [1.0, 2.0, 0.5, 1.0]}).write_parquet(
        folder / "bags" / "words.parquet"
    )
    if words is not None:
        polars.DataFrame({"word": words}).write_parquet(folder / "bags" / "words.words.parquet")
    return folder


def test_bags_are_read(write: Write) -> None:
    bag = load_folder(bagged(write())).bags["words"]
    assert bag.offsets.tolist() == [0, 2, 2, 3, 3, 3, 4]
    assert bag.word.tolist() == [0, 2, 0, 1]
    assert bag.weight.tolist() == [1.0, 2.0, 0.5, 1.0]
    assert bag.num_words == 3


def test_the_list_of_words_may_hold_words_that_no_item_has(write: Write) -> None:
    assert load_folder(bagged(write(), words=["a", "b", "c", "unused"])).bags["words"].num_words == 4


def test_bags_are_modalities_to_choose_from(write: Write) -> None:
    data = load_folder(bagged(write()), modalities=["words"])
    assert data.modalities == ("words",)


def test_k_core_thins_bags(write: Write) -> None:
    bag = load_folder(bagged(write()), k_core_of=2).bags["words"]  # item 5 has one user
    assert (bag.num_items, bag.word.tolist()) == (5, [0, 2, 0])


def test_bags_survive_saving(write: Write, tmp_path: Path) -> None:
    data = load_folder(bagged(write(), words=["a", "b", "c", "unused"]))
    save_folder(data, tmp_path / "copy")
    assert load_folder(tmp_path / "copy").fingerprint == data.fingerprint


def test_the_order_in_time_survives_saving(write: Write, tmp_path: Path) -> None:
    data = load_folder(write())
    save_folder(data, tmp_path / "copy")
    again = load_folder(tmp_path / "copy")
    assert data.train.time is not None
    assert again.fingerprint == data.fingerprint


def test_a_failed_save_leaves_nothing_behind(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_folder(write())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError) as error:
        save_folder(data, tmp_path / "copy")
    assert error.value.code == "folder.cannot-write"
    assert "No space left" in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_split_without_training_rows_is_refused(write: Write) -> None:
    folder = write(user=np.arange(16, dtype=np.int32), item=np.zeros(16, dtype=np.int32), split=None)
    with pytest.raises(DataError) as error:
        load_folder(folder)
    assert error.value.code == "folder.nothing-to-train-on"


def test_a_source_gives_itself_as_the_settings_of_the_split(write: Write) -> None:
    """The settings in their order: what a run writes down, and what `mmgrec config show` prints."""
    registry = Registry.discover(environ={})
    folder, csv = (registry.load("dataset", name) for name in ("folder", "csv"))
    shared = ["split", "split_seed", "k_core", "modalities"]
    assert [field.name for field in fields(folder)] == ["path", *shared]
    assert [field.name for field in fields(csv)][:6] == ["path", "min_rating", *shared]
    assert {row.name: row.comment for row in describe(folder)}["k_core"].startswith("drop users and items")
    source = build(folder, {"path": str(write()), "split": "leave-one-out", "k_core": 2, "modalities": ["category"]})
    data = source.load(Context())
    assert (
        data.fingerprint
        == load_folder(source.path, split="leave-one-out", k_core_of=2, modalities=["category"]).fingerprint
    )
    assert data.ordered
    assert data.num_items == 5
    assert [*data.features] == ["category"]
