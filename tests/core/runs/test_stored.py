"""A stored run from Python: results, Rec-IDs by the data's own ids, fitted models; and what cannot be opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import mmgrec
from mmgrec.errors import RunError
from mmgrec.interfaces import exclusion_of
from mmgrec.runs.layout import RESULTS
from mmgrec.runs.results import RunResults
from mmgrec.storage import json_bytes

STORED = Path(__file__).parents[2] / "before" / "run"


def test_a_run_is_opened_by_its_folder_or_the_file_in_it() -> None:
    for path in (STORED, str(STORED), STORED / "run.toml"):
        assert mmgrec.open(path).labels == ["mmgrec", "popularity", "itemknn"]


def test_it_gives_results_as_values() -> None:
    results = mmgrec.open(STORED).results
    result = results.find("popularity", "test")
    assert result is not None
    assert result.metrics["recall@10"] == pytest.approx(
        next(
            row["metrics"]["recall@10"]
            for row in json.loads((STORED / RESULTS).read_text())["results"]
            if (row["model"], row["split"]) == ("popularity", "test")
        )
    )
    assert results.find("popularity", "valid") is not None
    assert results.find("somebody", "test") is None


def test_what_is_read_is_written_again_to_the_same_bytes() -> None:
    assert json_bytes(RunResults.read(STORED / RESULTS).to_json()) == (STORED / RESULTS).read_bytes()


def test_it_gives_rec_ids_by_the_datas_own_ids() -> None:
    run = mmgrec.open(STORED)
    data, fitted = run.data(), run.fitted()
    assert list(run.rec_ids) == [data.item_id(item) for item in range(data.num_items)]
    assert list(run.rec_ids.values()) == [tuple(row) for row in fitted.rec_ids.token.tolist()]
    assert len(set(run.rec_ids.values())) == data.num_items


def test_it_gives_models_that_recommend() -> None:
    run = mmgrec.open(STORED)
    users = torch.arange(3)
    lists = run.fitted().recommend(users, top_k=4, exclusion=exclusion_of(run.data().train, users))
    assert lists.item.shape == (3, 4)


def test_results_of_a_newer_version_are_refused_in_words(tmp_path: Path) -> None:
    content = json.loads((STORED / RESULTS).read_text())
    (tmp_path / RESULTS).write_text(json.dumps({**content, "schema": 2}))
    with pytest.raises(RunError) as error:
        RunResults.read(tmp_path / RESULTS)
    assert error.value.code == "storage.newer-schema"
    assert "schema 2" in str(error.value)


@pytest.mark.parametrize("lost", ["data", "decoding", "results"])
def test_results_that_lack_something_are_refused_with_its_name(tmp_path: Path, lost: str) -> None:
    content = json.loads((STORED / RESULTS).read_text())
    del content[lost]
    (tmp_path / RESULTS).write_text(json.dumps(content))
    with pytest.raises(RunError) as error:
        RunResults.read(tmp_path / RESULTS)
    assert error.value.code == "storage.not-as-written"
    assert lost in str(error.value)


def test_what_is_no_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as error:
        mmgrec.open(tmp_path)
    assert error.value.code == "runs.no-run"
    shutil.copytree(STORED, tmp_path / "run")
    (tmp_path / "run" / RESULTS).write_text("{}")
    with pytest.raises(RunError) as error:
        mmgrec.open(tmp_path / "run")
    assert error.value.code == "storage.damaged-file"
