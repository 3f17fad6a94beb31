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
from mmgrec.folder.contents import Finding
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
            kind = "graphs" if name.endswith("knn") else "features"
            np.save(folder / kind / f"{name}.npy", array)
        return check_folder(folder)

    return _check


def the_error(report: CheckReport, code: str) -> Finding:
    """The only error, which is of this kind."""
    (error,) = report.errors
    assert error.code == code
    return error


def the_warning(report: CheckReport, code: str) -> Finding:
    """The only warning of this kind, in a folder that can be used."""
    assert report.ok, report.findings
    (warning,) = (warning for warning in report.warnings if warning.code == code)
    return warning


def test_sound_data_have_no_errors(check: Check) -> None:
    assert check(visual=np.ones((4, 2), dtype=np.float32)).ok


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    assert the_error(check_folder(tmp_path / "nowhere"), "folder.not-a-folder").file == str(tmp_path / "nowhere")


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    errors = [(error.file, error.code) for error in check_folder(tmp_path).errors]
    assert errors == [("interactions.parquet", "folder.missing-file"), ("items.parquet", "folder.missing-file")]


def test_a_file_that_is_not_parquet(check: Check, folder: Path) -> None:
    check()
    (folder / "items.parquet").write_bytes(b"no parquet at all")
    assert the_error(check_folder(folder), "folder.not-parquet").file == "items.parquet"


def test_missing_column(check: Check) -> None:
    error = the_error(check(rows={"item": None}), "folder.missing-column")
    assert error.file == "interactions.parquet"
    assert "'item'" in error.what


def test_column_of_the_wrong_type(check: Check) -> None:
    error = the_error(check(rows={"user": ["a", "b", "c", "d", "e", "f"]}), "folder.wrong-type")
    assert "'user' is String" in error.what


def test_fractional_items(check: Check) -> None:
    error = the_error(check(rows={"item": [0.0, 1.0, 2.0, 0.5, 1.0, 3.0]}), "folder.wrong-type")
    assert "'item' is Float64" in error.what


@pytest.mark.parametrize("name", ["user", "item", "timestamp", "split"])
def test_null_names_the_row(check: Check, name: str) -> None:
    values = list(ROWS[name])
    values[4] = None
    error = the_error(check(rows={name: values}), "folder.missing-value")
    assert f"row 4: '{name}'" in error.what
    assert "(1 such row)" in error.what


def test_null_title(check: Check) -> None:
    error = the_error(check(items={"title": ["a", "b", None, "d"]}), "folder.missing-value")
    assert error.file == "items.parquet"
    assert "row 2: 'title'" in error.what


def test_no_rows_at_all(check: Check) -> None:
    empty = {name: polars.Series([], dtype=polars.Int32) for name in ("user", "item", "timestamp")}
    rows = {**empty, "split": polars.Series([], dtype=polars.String)}
    assert the_error(check(rows=rows), "folder.empty-file").file == "interactions.parquet"


def test_item_out_of_range_names_row_and_item(check: Check) -> None:
    error = the_error(check(rows={"item": [0, 1, 2, 0, 90, 3]}), "folder.unknown-item")
    for value in ("row 4", "item 90", "4 items", "(1 such row)"):
        assert value in error.what


def test_the_first_number_after_the_last_item_is_out_of_range(check: Check) -> None:
    assert "row 5 names item 4" in the_error(check(rows={"item": [0, 1, 2, 0, 1, 4]}), "folder.unknown-item").what


def test_negative_user(check: Check) -> None:
    error = the_error(check(rows={"user": [0, 0, 0, -1, 1, 1]}), "folder.wrong-user-number")
    assert "row 3 names user -1" in error.what


def test_absurd_user_number(check: Check) -> None:
    error = the_error(check(rows={"user": [0, 0, 0, 1, 1, 2_000_000_000]}), "folder.wrong-user-number")
    assert "row 5 names user 2000000000" in error.what


def test_duplicate_pair_names_the_second_row(check: Check) -> None:
    error = the_error(check(rows={"item": [0, 1, 0, 0, 1, 3]}), "folder.repeated-pair")
    assert "row 2 repeats user 0, item 0 (1 such row, 1 of them in another part of the split" in error.what


def test_overlapping_parts_are_duplicates(check: Check) -> None:
    rows = {"user": [0, 0, 1], "item": [1, 1, 0], "timestamp": [0, 1, 0], "split": ["train", "test", "train"]}
    assert "1 of them in another part" in the_error(check(rows=rows), "folder.repeated-pair").what


def test_unknown_part(check: Check) -> None:
    error = the_error(check(rows={"split": ["train", "train", "test", "train", "dev", "dev"]}), "folder.unknown-part")
    assert "row 4: split is 'dev' (2 such rows)" in error.what


def test_split_without_training_rows(check: Check) -> None:
    the_error(check(rows={"split": ["test"] * 6}), "folder.nothing-to-train-on")


def test_items_must_be_numbered_in_order(check: Check) -> None:
    error = the_error(check(items={"item": [0, 2, 1, 3]}), "folder.wrong-item-number")
    assert "row 1 is item 2, not 1" in error.what


def test_feature_rows_must_match_items(check: Check) -> None:
    error = the_error(check(visual=np.ones((5, 2), dtype=np.float32)), "folder.wrong-row-count")
    assert error.file == "features/visual.npy"
    assert "5 rows for 4 items" in error.what


def test_feature_must_be_a_table(check: Check) -> None:
    assert "[4]" in the_error(check(visual=np.ones(4, dtype=np.float32)), "folder.wrong-shape").what


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf")])
def test_features_must_be_finite(check: Check, value: float, word: str) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[3, 1] = value
    assert f"row 3 holds {word} (1 such row)" in the_error(check(visual=visual), "folder.not-finite").what


def test_features_must_be_float16_or_float32(check: Check) -> None:
    assert "float64" in the_error(check(visual=np.ones((4, 2))), "folder.wrong-type").what


def test_graph_out_of_range(check: Check) -> None:
    graph = np.array([[0, 1], [1, 2], [2, 4], [3, 0]], dtype=np.int32)
    error = the_error(check(visual_knn=graph), "folder.unknown-item")
    assert error.file == "graphs/visual_knn.npy"
    assert "row 2 names an item outside 0 … 3" in error.what


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("exploded"),))  # type: ignore[return-value]


def test_object_arrays_are_refused_without_unpickling(
    check: Check, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    error = the_error(check(visual=np.array([[Bomb()]] * 4, dtype=object)), "folder.not-an-array")
    assert error.file == "features/visual.npy"
    assert not (folder / "exploded").exists()


def test_bare_pickles_are_refused_without_unpickling(
    check: Check, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "features" / "visual.npy").write_bytes(pickle.dumps(Bomb()))
    assert the_error(check(), "folder.not-an-array").file == "features/visual.npy"
    assert not (folder / "exploded").exists()


def test_truncated_arrays_are_refused(check: Check, folder: Path) -> None:
    check(visual=np.ones((4, 2), dtype=np.float32))
    file = folder / "features" / "visual.npy"
    file.write_bytes(file.read_bytes()[:-8])
    assert the_error(check_folder(folder), "folder.not-an-array").file == "features/visual.npy"


def test_several_errors_are_told_at_once(check: Check) -> None:
    report = check(rows={"item": [0, 1, 2, 0, 90, 3]}, visual=np.full((4, 2), np.nan, dtype=np.float32))
    assert [(error.file, error.code) for error in report.errors] == [
        ("interactions.parquet", "folder.unknown-item"),
        ("features/visual.npy", "folder.not-finite"),
    ]


def test_users_without_training_are_a_warning(check: Check) -> None:
    report = check(rows={"split": ["train", "train", "train", "test", "test", "test"]})
    assert report.ok
    cold = [warning.what for warning in report.warnings if warning.code == "folder.cold"]
    assert any(what.startswith("1 user ") and what.endswith("the first is user 1") for what in cold)


def test_items_without_training_are_counted(check: Check) -> None:
    report = check()
    warning = the_warning(report, "folder.cold")
    assert warning.what.startswith("2 items ")
    assert warning.what.endswith("the first is item 2")
    assert report.facts["split"]["items_without_training"] == 2


def test_an_empty_part_is_a_warning(check: Check) -> None:
    report = check(rows={"split": ["train", "train", "test", "train", "train", "test"]})
    assert "valid" in the_warning(report, "folder.empty-part").what


def test_unused_items_are_a_warning(check: Check) -> None:
    report = check(rows={"item": [0, 1, 2, 0, 1, 2]})
    warning = the_warning(report, "folder.without-interactions")
    assert warning.what.startswith("1 item ")
    assert warning.what.endswith("the first is item 3")


def test_missing_modality_is_counted(check: Check) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[[1, 3]] = 0
    report = check(visual=visual)
    assert report.facts["features"]["visual"]["missing"] == 2
    warning = the_warning(report, "folder.missing-modality")
    assert warning.what.startswith("2 items of 4 ")
    assert warning.what.endswith("the first is item 1")


def test_equal_times_are_a_warning(check: Check) -> None:
    report = check(rows={"timestamp": [0, 1, 1, 0, 1, 2]})
    assert "row 2: user 0" in the_warning(report, "folder.equal-times").what


def test_facts_of_known_data(check: Check) -> None:
    facts = check(visual=np.ones((4, 2), dtype=np.float16)).facts
    assert (facts["users"], facts["items"], facts["interactions"]) == (2, 4, 6)
    assert facts["interactions_per_item"] == {"min": 1, "median": 1.5, "mean": 1.5, "max": 2}
    assert facts["features"]["visual"]["shape"] == [4, 2]
    assert facts["features"]["visual"]["dtype"] == "float16"
    assert facts["popularity_gini"] == pytest.approx(1 / 6, abs=1e-3)  # by hand, for 1 1 2 2


def test_the_report_is_json(check: Check) -> None:
    import json

    report = json.loads(json.dumps(check(visual=np.ones((4, 2), dtype=np.float32)).as_dict()))
    assert report["ok"] is True
    assert all(finding["code"].startswith("folder.") for finding in report["findings"])


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
    ("columns", "code", "values"),
    [
        ({"item": [0, 4]}, "folder.unknown-item", ("row 1", "item 4", "4 items")),
        ({"word": [0, 2]}, "folder.unknown-word", ("row 1", "word 2", "2 words")),
        ({"word": [-1, 1]}, "folder.unknown-word", ("row 0", "word -1")),
        ({"weight": [1.0, 0.0]}, "folder.wrong-weight", ("row 1", "0.0")),
        ({"weight": [float("nan"), 1.0]}, "folder.wrong-weight", ("row 0", "nan")),
        ({"word": ["x", "y"]}, "folder.wrong-type", ("'word'", "String")),
        ({"word": None}, "folder.missing-column", ("'word'",)),
    ],
    ids=["unknown item", "unknown word", "negative word", "no weight", "weight nan", "words as text", "no words"],
)
def test_wrong_bags(
    check: Check, folder: Path, columns: dict[str, list[object]], code: str, values: tuple[str, ...]
) -> None:
    write_bag(folder, words=["x", "y"], **columns)
    error = the_error(check(), code)
    assert error.file == "bags/tags.parquet"
    assert [value for value in values if value not in error.what] == []


def test_a_bag_and_a_feature_need_two_names(check: Check, folder: Path) -> None:
    write_bag(folder)
    error = the_error(check(tags=np.ones((4, 2), dtype=np.float32)), "folder.repeated-name")
    assert error.file == "bags/tags.parquet"
    assert "features/tags.npy" in error.what


# --------------------------------------------------------------------------- the doctor


def test_no_features_at_all_is_a_warning(check: Check) -> None:
    the_warning(check(), "folder.no-features")


def test_items_without_any_modality_are_counted(check: Check, folder: Path) -> None:
    visual = np.ones((4, 2), dtype=np.float32)
    visual[1:] = 0
    write_bag(folder, item=[1, 1])
    report = check(visual=visual)
    assert report.facts["items_without_any_modality"] == 2
    assert the_warning(report, "folder.items-without-modality").what.startswith("2 items of 4 ")


def test_a_feature_that_never_changes(check: Check) -> None:
    report = check(visual=np.ones((4, 2), dtype=np.float32))
    assert the_warning(report, "folder.constant-feature").file == "features/visual.npy"


def test_a_pickle_beside_the_features_is_refused_with_the_way_to_convert_it(check: Check, folder: Path) -> None:
    (folder / "features" / "visual.pt").write_bytes(pickle.dumps(Bomb()))
    error = the_error(check(), "folder.pickle")
    assert error.file == "features/visual.pt"
    assert "numpy.save(" in error.remedy


def test_other_files_beside_the_features_are_named(check: Check, folder: Path) -> None:
    (folder / "features" / "visual.safetensors").write_bytes(b"")
    assert the_warning(check(), "folder.unread-file").file == "features/visual.safetensors"


def test_timestamps_of_two_units(check: Check) -> None:
    seconds = 1_600_000_000
    report = check(rows={"timestamp": [seconds, seconds + 1, seconds + 2, seconds * 1000, seconds, seconds + 9]})
    warning = the_warning(report, "folder.mixed-time-units")
    assert "(5 rows in seconds, 1 row in milliseconds); row 3 has 1600000000000" in warning.what


def test_positions_are_no_mixture(check: Check) -> None:
    report = check()
    assert report.ok
    assert "folder.mixed-time-units" not in [warning.code for warning in report.warnings]


def test_held_out_rows_older_than_training_rows(check: Check) -> None:
    rows = {"user": [0] * 3 + [1] * 3 + [2] * 3, "item": [0, 1, 2] * 3, "timestamp": [0, 1, 2, 2, 1, 0, 0, 1, 2]}
    report = check(rows={**rows, "split": ["train", "valid", "test"] * 3})
    warning = the_warning(report, "folder.future-leaks")
    for value in ("row 4 ", "user 1 ", "(2 such rows, 1 user)"):
        assert value in warning.what


def test_a_split_that_ignores_time_is_told_as_such(check: Check) -> None:
    report = check(rows={"split": ["test", "valid", "train", "test", "train", "train"]})
    assert "100% of the users" in the_warning(report, "folder.split-ignores-time").what


def test_popularity_skew(check: Check) -> None:
    user = np.concatenate([np.arange(300), np.arange(100) % 3])
    item = np.concatenate([np.zeros(300, dtype=int), np.arange(1, 101)])
    report = check(rows={"user": user, "item": item, "timestamp": None, "split": None}, items=catalogue(101))
    assert report.facts["share_of_most_popular_hundredth"] == 0.75
    assert "75% of the interactions" in the_warning(report, "folder.skewed-popularity").what


def test_too_few_items_of_each_user_would_not_train(check: Check) -> None:
    report = check(rows={"user": [0, 0, 1, 1, 2, 2], "timestamp": None, "split": None})
    assert "2 items" in the_error(report, "folder.nothing-to-train-on").what


def test_one_item_would_not_train(check: Check) -> None:
    rows = {"user": [0, 1], "item": [0, 0], "timestamp": [0, 0], "split": ["train", "test"]}
    the_error(check(rows=rows, items={"item": [0], "source_id": ["a"]}), "folder.one-item")


@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_in_another_order_are_noticed(tmp_path: Path, shuffled: bool) -> None:
    data = planted(num_users=200, num_items=100)
    save_folder(data, tmp_path / "set")
    if shuffled:
        table = data.features["text"].numpy()
        np.save(tmp_path / "set" / "features" / "text.npy", np.random.default_rng(1).permutation(table))
    warnings = check_folder(tmp_path / "set").warnings
    odd = [warning.file for warning in warnings if warning.code == "folder.misaligned-feature"]
    assert odd == (["features/text.npy"] if shuffled else [])


def catalogue(count: int) -> dict[str, object]:
    return {"item": list(range(count)), "source_id": [f"i{number}" for number in range(count)]}
