"""Checks: every kind of wrong data is found, named by file and row, and never executed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import polars
import pytest

from mmgrec.folder.check import CheckReport, check_folder
from mmgrec.folder.write import save_folder
from mmgrec.synthetic import planted

pytestmark = pytest.mark.messages

ROWS: dict[str, list[object]] = {
    "user": [0, 0, 0, 1, 1, 1],
    "item": [0, 1, 2, 0, 1, 3],
    "timestamp": [0, 1, 2, 0, 1, 2],
    "split": ["train", "valid", "test", "train", "train", "test"],
}
ITEMS: dict[str, list[object]] = {"item": [0, 1, 2, 3], "source_id": ["a", "b", "c", "d"]}
Check = Callable[..., CheckReport]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "features").mkdir()
    (tmp_path / "graphs").mkdir()
    return tmp_path


@pytest.fixture
def check(folder: Path) -> Check:
    """Checks the small folder with columns replaced, or dropped where None; and arrays added."""

    def _check(
        *,
        rows: Mapping[str, object] = MappingProxyType({}),
        items: Mapping[str, object] = MappingProxyType({}),
        **arrays: np.ndarray,
    ) -> CheckReport:
        for name, base, changes in (("interactions", ROWS, rows), ("items", ITEMS, items)):
            table = {key: value for key, value in {**base, **changes}.items() if value is not None}
            polars.DataFrame(table).write_parquet(folder / f"{name}.parquet")
        for name, array in arrays.items():
            place = "graphs" if name.endswith("knn") else "features"
            np.save(folder / place / f"{name}.npy", array)
        return check_folder(folder)

    return _check


def the_error(report: CheckReport) -> str:
    assert len(report.errors) == 1, report.findings
    return str(report.errors[0])


def test_sound_data_have_no_errors(check: Check) -> None:
    assert check(visual=np.ones((4, 2), dtype=np.float32)).ok


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    assert "is not a folder" in the_error(check_folder(tmp_path / "nowhere"))


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    assert [error.file for error in check_folder(tmp_path).errors] == ["interactions.parquet", "items.parquet"]


def test_a_file_that_is_not_parquet(check: Check, folder: Path) -> None:
    check()
    (folder / "items.parquet").write_bytes(b"no parquet at all")
    assert "items.parquet: cannot be read as Parquet" in the_error(check_folder(folder))


def test_missing_column(check: Check) -> None:
    assert the_error(check(rows={"item": None})).startswith("interactions.parquet: column 'item' is missing")


def test_column_of_the_wrong_type(check: Check) -> None:
    error = the_error(check(rows={"user": ["a", "b", "c", "d", "e", "f"]}))
    assert "column 'user' is String, not whole numbers" in error


def test_fractional_items(check: Check) -> None:
    assert "column 'item' is Float64" in the_error(check(rows={"item": [0.0, 1.0, 2.0, 0.5, 1.0, 3.0]}))


@pytest.mark.parametrize("name", ["user", "item", "timestamp", "split"])
def test_null_names_the_row(check: Check, name: str) -> None:
    values = list(ROWS[name])
    values[4] = None
    assert f"row 4: '{name}' is null (1 such row)" in the_error(check(rows={name: values}))


def test_null_title(check: Check) -> None:
    assert "items.parquet: row 2: 'title' is null" in the_error(check(items={"title": ["a", "b", None, "d"]}))


def test_no_rows_at_all(check: Check) -> None:
    empty = {name: polars.Series([], dtype=polars.Int32) for name in ("user", "item", "timestamp")}
    assert "has no rows" in the_error(check(rows={**empty, "split": polars.Series([], dtype=polars.String)}))


def test_item_out_of_range_names_row_and_item(check: Check) -> None:
    error = the_error(check(rows={"item": [0, 1, 2, 0, 90, 3]}))
    assert "row 4 names item 90, but there are 4 items (1 such row); drop the rows" in error


def test_the_first_number_after_the_last_item_is_out_of_range(check: Check) -> None:
    assert "row 5 names item 4" in the_error(check(rows={"item": [0, 1, 2, 0, 1, 4]}))


def test_negative_user(check: Check) -> None:
    assert "row 3 names user -1" in the_error(check(rows={"user": [0, 0, 0, -1, 1, 1]}))


def test_absurd_user_number(check: Check) -> None:
    assert "row 5 names user 2000000000" in the_error(check(rows={"user": [0, 0, 0, 1, 1, 2_000_000_000]}))


def test_duplicate_pair_names_the_second_row(check: Check) -> None:
    error = the_error(check(rows={"item": [0, 1, 0, 0, 1, 3]}))
    assert "row 2 repeats user 0, item 0 (1 such row, 1 of them in another part of the split: a leak)" in error


def test_overlapping_parts_are_duplicates(check: Check) -> None:
    rows = {"user": [0, 0, 1], "item": [1, 1, 0], "timestamp": [0, 1, 0], "split": ["train", "test", "train"]}
    assert "would leak" in the_error(check(rows=rows))


def test_unknown_part(check: Check) -> None:
    error = the_error(check(rows={"split": ["train", "train", "test", "train", "dev", "dev"]}))
    assert "row 4: split is 'dev' (2 such rows); a split is train, valid or test" in error


def test_split_without_training_rows(check: Check) -> None:
    assert "no training rows" in the_error(check(rows={"split": ["test"] * 6}))


def test_items_must_be_numbered_in_order(check: Check) -> None:
    assert "row 1 is item 2, not 1" in the_error(check(items={"item": [0, 2, 1, 3]}))


def test_feature_rows_must_match_items(check: Check) -> None:
    error = the_error(check(visual=np.ones((5, 2), dtype=np.float32)))
    assert "features/visual.npy: has 5 rows for 4 items" in error


def test_feature_must_be_a_table(check: Check) -> None:
    assert "has the shape [4], which is no table" in the_error(check(visual=np.ones(4, dtype=np.float32)))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf")])
def test_features_must_be_finite(check: Check, value: float, word: str) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[3, 1] = value
    assert f"row 3 holds {word} (1 such row)" in the_error(check(visual=visual))


def test_features_must_be_float16_or_float32(check: Check) -> None:
    assert "holds float64" in the_error(check(visual=np.ones((4, 2))))


def test_graph_out_of_range(check: Check) -> None:
    graph = np.array([[0, 1], [1, 2], [2, 4], [3, 0]], dtype=np.int32)
    assert "graphs/visual_knn.npy: row 2 names an item outside 0 … 3" in the_error(check(visual_knn=graph))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_object_arrays_are_refused_without_unpickling(
    check: Check, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    error = the_error(check(visual=np.array([[Bomb()]] * 4, dtype=object)))
    assert "features/visual.npy" in error
    assert not (folder / "exploded").exists()


def test_bare_pickles_are_refused_without_unpickling(
    check: Check, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "features" / "visual.npy").write_bytes(pickle.dumps(Bomb()))
    assert "is no plain numeric array" in the_error(check())
    assert not (folder / "exploded").exists()


def test_truncated_arrays_are_refused(check: Check, folder: Path) -> None:
    check(visual=np.ones((4, 2), dtype=np.float32))
    file = folder / "features" / "visual.npy"
    file.write_bytes(file.read_bytes()[:-8])
    assert "features/visual.npy" in the_error(check_folder(folder))


def test_several_errors_are_told_at_once(check: Check) -> None:
    report = check(rows={"item": [0, 1, 2, 0, 90, 3]}, visual=np.full((4, 2), np.nan, dtype=np.float32))
    assert [error.file for error in report.errors] == ["interactions.parquet", "features/visual.npy"]


def test_users_without_training_are_a_warning(check: Check) -> None:
    report = check(rows={"split": ["train", "train", "train", "test", "test", "test"]})
    assert report.ok
    assert any("1 user without training interactions, the first is user 1" in str(w) for w in report.warnings)


def test_items_without_training_are_counted(check: Check) -> None:
    report = check()
    assert any("2 items without training interactions, the first is item 2" in str(w) for w in report.warnings)
    assert report.facts["split"]["items_without_training"] == 2


def test_an_empty_part_is_a_warning(check: Check) -> None:
    report = check(rows={"split": ["train", "train", "test", "train", "train", "test"]})
    assert any("the valid part is empty" in str(warning) for warning in report.warnings)


def test_unused_items_are_a_warning(check: Check) -> None:
    report = check(rows={"item": [0, 1, 2, 0, 1, 2]})
    assert any("1 item without any interaction, the first is item 3" in str(warning) for warning in report.warnings)


def test_missing_modality_is_counted(check: Check) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[[1, 3]] = 0
    report = check(visual=visual)
    assert report.facts["features"]["visual"]["missing"] == 2
    assert any("2 items of 4 without it" in str(w) and "the first is item 1" in str(w) for w in report.warnings)


def test_equal_times_are_a_warning(check: Check) -> None:
    report = check(rows={"timestamp": [0, 1, 1, 0, 1, 2]})
    assert any("row 2: user 0 has several rows of one time" in str(warning) for warning in report.warnings)


def test_facts_of_known_data(check: Check) -> None:
    facts = check(visual=np.ones((4, 2), dtype=np.float16)).facts
    assert (facts["users"], facts["items"], facts["interactions"]) == (2, 4, 6)
    assert facts["interactions_per_item"] == {"min": 1, "median": 1.5, "mean": 1.5, "max": 2}
    assert facts["features"]["visual"]["shape"] == [4, 2]
    assert facts["features"]["visual"]["dtype"] == "float16"
    assert facts["popularity_gini"] == pytest.approx(1 / 6, abs=1e-3)  # by hand, for 1 1 2 2


def test_the_report_is_json(check: Check) -> None:
    import json

    assert json.loads(json.dumps(check(visual=np.ones((4, 2), dtype=np.float32)).as_dict()))["ok"] is True


def test_generated_data_are_sound(tmp_path: Path) -> None:
    save_folder(planted(num_users=40, num_items=50), tmp_path / "set")
    assert check_folder(tmp_path / "set").ok


# --------------------------------------------------------------------------- bags


def write_bag(folder: Path, words: list[str] | None = None, **columns: list[object]) -> None:
    (folder / "bags").mkdir(exist_ok=True)
    table = {"item": [0, 1], "word": [0, 1], **columns}
    polars.DataFrame({key: value for key, value in table.items() if value is not None}).write_parquet(
        folder / "bags" / "tags.parquet"
    )
    if words is not None:
        polars.DataFrame({"word": words}).write_parquet(folder / "bags" / "tags.words.parquet")


def test_bags_are_counted(check: Check, folder: Path) -> None:
    write_bag(folder, item=[0, 1, 1, 1], word=[2, 0, 1, 1])
    report = check()
    assert report.ok
    assert report.facts["bags"]["tags"] == {
        "words": 3,
        "rows": 4,
        "words_per_item": 1.0,
        "missing": 2,
        "first_missing": 2,
        "repeated": 1,
    }


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"item": [0, 4]}, "bags/tags.parquet: row 1 names item 4, but there are 4 items"),
        ({"word": [0, 2]}, "row 1 names word 2, but there are 2 words"),
        ({"word": [-1, 1]}, "row 0 names word -1"),
        ({"weight": [1.0, 0.0]}, "row 1 has the weight 0.0"),
        ({"weight": [float("nan"), 1.0]}, "row 0 has the weight nan"),
        ({"word": ["x", "y"]}, "column 'word' is String"),
        ({"word": None}, "column 'word' is missing"),
    ],
)
def test_wrong_bags(check: Check, folder: Path, columns: dict[str, list[object]], told: str) -> None:
    write_bag(folder, words=["x", "y"], **columns)
    assert told in the_error(check())


def test_a_bag_and_a_feature_need_two_names(check: Check, folder: Path) -> None:
    write_bag(folder)
    assert "features/tags.npy has the same name" in the_error(check(tags=np.ones((4, 2), dtype=np.float32)))


# --------------------------------------------------------------------------- the doctor


def told(report: CheckReport) -> str:
    assert report.ok, report.findings
    return "\n".join(map(str, report.warnings))


def test_no_features_at_all_is_a_warning(check: Check) -> None:
    assert "there are no features at all" in told(check())


def test_items_without_any_modality_are_counted(check: Check, folder: Path) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[1:] = 0
    write_bag(folder, item=[1, 1])
    report = check(visual=visual)
    assert report.facts["items_without_any_modality"] == 2
    assert "2 items of 4 without any modality" in told(report)


def test_a_feature_that_never_changes(check: Check) -> None:
    assert "every item has the same row" in told(check(visual=np.ones((4, 2), dtype=np.float32)))


def test_a_pickle_beside_the_features_is_refused_with_the_way_to_convert_it(check: Check, folder: Path) -> None:
    (folder / "features" / "visual.pt").write_bytes(pickle.dumps(Bomb()))
    error = the_error(check())
    assert "features/visual.pt: is a pickle, which is never loaded" in error
    assert "numpy.save(" in error


def test_other_files_beside_the_features_are_named(check: Check, folder: Path) -> None:
    (folder / "features" / "visual.safetensors").write_bytes(b"")
    assert "features/visual.safetensors: is not read" in told(check())


def test_timestamps_of_two_units(check: Check) -> None:
    seconds = 1_600_000_000
    report = check(rows={"timestamp": [seconds, seconds + 1, seconds + 2, seconds * 1000, seconds, seconds + 9]})
    assert "timestamps mix units (5 rows in seconds, 1 row in milliseconds); row 3 has 1600000000000" in told(report)


def test_positions_are_no_mixture(check: Check) -> None:
    assert "mix units" not in told(check())


def test_held_out_rows_older_than_training_rows(check: Check) -> None:
    rows = {"user": [0] * 3 + [1] * 3 + [2] * 3, "item": [0, 1, 2] * 3, "timestamp": [0, 1, 2, 2, 1, 0, 0, 1, 2]}
    report = check(rows={**rows, "split": ["train", "valid", "test"] * 3})
    assert "row 4 is held out but older than a training row of user 1 (2 such rows, 1 user)" in told(report)


def test_a_split_that_ignores_time_is_told_as_such(check: Check) -> None:
    report = check(rows={"split": ["test", "valid", "train", "test", "train", "train"]})
    assert "the given split does not follow time: 100% of the users" in told(report)


def test_popularity_skew(check: Check) -> None:
    user = np.concatenate([np.arange(300), np.arange(100) % 3])
    item = np.concatenate([np.zeros(300, dtype=int), np.arange(1, 101)])
    report = check(rows={"user": user, "item": item, "timestamp": None, "split": None}, items=catalogue(101))
    assert report.facts["share_of_most_popular_hundredth"] == 0.75
    assert "the most popular hundredth of the items has 75% of the interactions" in told(report)


def test_too_few_items_of_each_user_would_not_train(check: Check) -> None:
    report = check(rows={"user": [0, 0, 1, 1, 2, 2], "timestamp": None, "split": None})
    assert "no user has more than 2 items" in the_error(report)


def test_one_item_would_not_train(check: Check) -> None:
    rows = {"user": [0, 1], "item": [0, 0], "timestamp": [0, 0], "split": ["train", "test"]}
    assert "there is only one item" in the_error(check(rows=rows, items={"item": [0], "source_id": ["a"]}))


@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_in_another_order_are_noticed(tmp_path: Path, shuffled: bool) -> None:
    data = planted(num_users=200, num_items=100)
    save_folder(data, tmp_path / "set")
    if shuffled:
        table = data.features["text"].numpy()
        np.save(tmp_path / "set" / "features" / "text.npy", np.random.default_rng(1).permutation(table))
    odd = [one.file for one in check_folder(tmp_path / "set").warnings if "no more alike" in one.what]
    assert odd == (["features/text.npy"] if shuffled else [])


def catalogue(count: int) -> dict[str, object]:
    return {"item": list(range(count)), "source_id": [f"i{number}" for number in range(count)]}
