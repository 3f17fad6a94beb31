"""Checks: every kind of wrong data is found, named by file and row, and never executed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import polars
import pytest

from mmgrec.checks import CheckReport, check_folder
from mmgrec.folder import save_folder
from mmgrec.synthetic import planted

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
    assert f"row 4: '{name}' is null (1 such rows)" in the_error(check(rows={name: values}))


def test_null_title(check: Check) -> None:
    assert "items.parquet: row 2: 'title' is null" in the_error(check(items={"title": ["a", "b", None, "d"]}))


def test_no_rows_at_all(check: Check) -> None:
    empty = {name: polars.Series([], dtype=polars.Int32) for name in ("user", "item", "timestamp")}
    assert "has no rows" in the_error(check(rows={**empty, "split": polars.Series([], dtype=polars.String)}))


def test_item_out_of_range_names_row_and_item(check: Check) -> None:
    error = the_error(check(rows={"item": [0, 1, 2, 0, 90, 3]}))
    assert "row 4 names item 90, but there are 4 items (1 such rows); drop the rows" in error


def test_the_first_number_after_the_last_item_is_out_of_range(check: Check) -> None:
    assert "row 5 names item 4" in the_error(check(rows={"item": [0, 1, 2, 0, 1, 4]}))


def test_negative_user(check: Check) -> None:
    assert "row 3 names user -1" in the_error(check(rows={"user": [0, 0, 0, -1, 1, 1]}))


def test_absurd_user_number(check: Check) -> None:
    assert "row 5 names user 2000000000" in the_error(check(rows={"user": [0, 0, 0, 1, 1, 2_000_000_000]}))


def test_duplicate_pair_names_the_second_row(check: Check) -> None:
    error = the_error(check(rows={"item": [0, 1, 0, 0, 1, 3]}))
    assert "row 2 repeats user 0, item 0 (1 such rows)" in error


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
    assert "has shape (4,)" in the_error(check(visual=np.ones(4, dtype=np.float32)))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf")])
def test_features_must_be_finite(check: Check, value: float, word: str) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[3, 1] = value
    assert f"row 3 holds {word} (1 such rows)" in the_error(check(visual=visual))


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
    assert any("1 users have no training interaction, the first is user 1" in str(w) for w in report.warnings)


def test_items_without_training_are_counted(check: Check) -> None:
    report = check()
    assert any("2 items have no training interaction, the first is item 2" in str(w) for w in report.warnings)
    assert report.facts["split"]["items_without_training"] == 2


def test_an_empty_part_is_a_warning(check: Check) -> None:
    report = check(rows={"split": ["train", "train", "test", "train", "train", "test"]})
    assert any("the valid part is empty" in str(warning) for warning in report.warnings)


def test_unused_items_are_a_warning(check: Check) -> None:
    report = check(rows={"item": [0, 1, 2, 0, 1, 2]})
    assert any("1 items have no interaction, the first is item 3" in str(warning) for warning in report.warnings)


def test_missing_modality_is_counted(check: Check) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[[1, 3]] = 0
    report = check(visual=visual)
    assert report.facts["features"]["visual"]["missing"] == 2
    assert any("2 of 4 rows are zero" in str(w) and "item 1" in str(w) for w in report.warnings)


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
