"""An experiment is made of layers, tells all that is wrong at once, and comes back from its own values."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmgrec import __version__
from mmgrec.errors import RunError, SettingsError
from mmgrec.interfaces import Silent
from mmgrec.runs.execution import circumstances
from mmgrec.runs.experiment import Experiment
from mmgrec.runs.folder import RunFolder, identity
from mmgrec.runs.log import LogTee
from mmgrec.settings.comparison import differences

pytestmark = pytest.mark.messages

Told = Callable[[str, object], None]


def problems(config: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Experiment.of(config, **more)
    return list(caught.value.problems)


# --------------------------------------------------------------------------- the value


def test_nothing_given_is_the_default_method_on_synthetic_data() -> None:
    experiment = Experiment.of({})
    assert experiment.data_name == "synthetic"
    assert [model.label for model in experiment.rows] == ["mmgrec"]
    assert experiment.models[0].parts == {
        "quantizer": "graph-rqvae",
        "collisions": "popularity",
        "position": "relation-aware",
        "memory": "local-ridge",
        "decoder": "trie-beam",
    }


def test_a_path_alone_means_a_folder(tmp_path: Path) -> None:
    assert Experiment.of({"data": {"path": str(tmp_path)}}).data_name == "folder"


def test_values_bring_the_experiment_back() -> None:
    experiment = Experiment.of(
        {
            "seed": 3,
            "top_k": [5],
            "quantizer": {"name": "rq-kmeans", "codebook_size": 16},
            "network": {"dim": 8},
            "compare": ["paper"],
            "baselines": {"wide": {"name": "itemknn", "neighbours": 50}, "popularity": {}},
        }
    )
    again = Experiment.of(experiment.values())
    assert again.models == experiment.models
    assert again.baselines == experiment.baselines
    assert again.options == experiment.options
    assert again.values() == experiment.values()


def test_a_compared_preset_keeps_its_own_settings_and_the_runs_parts() -> None:
    experiment = Experiment.of({"quantizer": {"name": "rqvae", "codebook_size": 16}, "compare": ["paper"]})
    own, paper = (dataclasses.asdict(model.recommender) for model in experiment.models)
    assert experiment.models[1].parts["quantizer"] == "rqvae"
    assert (own["quantizer"]["codebook_size"], paper["quantizer"]["codebook_size"]) == (16, 128)
    assert (own["network"]["head"], paper["network"]["head"]) == ("tree", "tokens")


def test_what_is_laid_over_counts_for_every_preset() -> None:
    experiment = Experiment.of({"compare": ["paper"]}, over={"training": {"epochs": 1}})
    assert [model.values()["training"]["epochs"] for model in experiment.models] == [1, 1]


def test_a_presets_settings_apply_where_the_plugin_has_such_fields() -> None:
    experiment = Experiment.of({"preset": "paper", "quantizer": {"name": "hk-means"}})
    assert experiment.models[0].values()["quantizer"]["codebook_size"] == 128


def test_two_settings_of_one_baseline_stand_side_by_side() -> None:
    experiment = Experiment.of({"baselines": {"itemknn": {}, "itemknn-50": {"name": "itemknn", "neighbours": 50}}})
    assert [row.label for row in experiment.baselines] == ["itemknn", "itemknn-50"]
    assert experiment.baselines[0].recommender != experiment.baselines[1].recommender


def test_everything_wrong_is_told_at_once() -> None:
    sentences = problems(
        {
            "sed": 1,
            "seed": -1,
            "preset": "papers",
            "metrics": ["recal"],
            "quantizer": {"name": "rq-means"},
            "network": {"dim": "wide"},
            "baselines": ["mmgrec", "eas"],
            "data": 3,
        },
        problems=["known before"],
    )
    assert sentences[0] == "known before"
    for part in ("sed:", "seed:", "'papers'", "'recal'", "'rq-means'", "network.dim:", "mmgrec is the run's", "'eas'"):
        assert [sentence for sentence in sentences if part in sentence], part
    assert "data: a table is needed, got 3" in sentences


# --------------------------------------------------------------------------- the folder


def test_identity_depends_on_settings_and_data_but_not_on_where_they_lie() -> None:
    values = {"seed": 0, "data": {"name": "folder", "path": "a/b"}}
    moved = {"seed": 0, "data": {"name": "folder", "path": "c"}}
    assert identity(values, "f") == identity(moved, "f")
    assert identity(values, "f") != identity(values, "g")
    assert identity(values, "f") != identity({**values, "seed": 1}, "f")


def test_differences_name_the_keys() -> None:
    there = {"a": {"x": 1, "y": 2}, "b": 1}
    here = {"a": {"x": 1, "y": 3}, "c": 1}
    assert differences(there, here) == [
        "a.y is 2 there and 3 here",
        "b is 1 there and absent here",
        "c is absent there and 1 here",
    ]


def test_a_folder_is_refused_for_other_data(tmp_path: Path, told: Told) -> None:
    folder = RunFolder(path=tmp_path / "run")
    with folder.claimed({"seed": 0, "fingerprint": "one"}):
        pass
    with pytest.raises(RunError) as error:
        folder.claimed({"seed": 0, "fingerprint": "two"}).__enter__()
    assert error.value.code == "storage.made-otherwise"
    assert "fingerprint is one there and two here" in str(error.value)
    told("resume, other data", error.value)


def test_another_attempt_under_other_circumstances_is_told_with_the_keys(tmp_path: Path, told: Told) -> None:
    begun = {"threads": 1, "device": "cpu", "python": "3.11.7", "versions": {"torch": "2.10.0", "mmgrec-hash": "0.1"}}
    now = {**begun, "threads": 2, "versions": {"torch": "2.11.0", "mmgrec-hash": "0.2"}}
    folder = RunFolder(path=tmp_path / "run")
    with folder.claimed({"seed": 0, "fingerprint": "f"}):
        assert folder.changed_since(begun) == ""
        assert folder.changed_since(begun) == ""
        told("resume, other circumstances", folder.changed_since(now))
        assert folder.changed_since(begun) == ""  # the first attempt's are kept


def test_the_circumstances_of_a_run_are_threads_device_and_versions() -> None:
    facts = circumstances(Experiment.of({}), torch.device("meta"))
    assert (facts["threads"], facts["device"]) == (torch.get_num_threads(), "meta")
    assert facts["python"] == platform.python_version()
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["versions"]["mmgrec"] == __version__


def test_a_folder_in_use_is_refused_and_free_afterwards(tmp_path: Path) -> None:
    folder = RunFolder(path=tmp_path / "run")
    with (
        folder.claimed({"seed": 0, "fingerprint": "f"}),
        pytest.raises(RunError) as error,
        folder.claimed({"fingerprint": "f"}),
    ):
        pass
    assert error.value.code == "storage.locked"
    assert f"process {os.getpid()} since" in str(error.value)
    with folder.claimed({"seed": 0, "fingerprint": "f"}):
        pass
    assert not (folder.path / "lock").exists()


@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_finished_folder_is_checked_file_by_file(tmp_path: Path, harm: str) -> None:
    folder = RunFolder(path=tmp_path / "run")
    with folder.claimed({"seed": 0, "fingerprint": "f"}):
        folder.write("weights/x.bin", b"abc")
        folder.checkpoints.mkdir()
        folder.finish()
    folder.checked()
    assert not folder.checkpoints.exists()
    file = folder.path / "weights" / "x.bin"
    file.write_bytes(b"abd") if harm == "damaged" else file.unlink()
    with pytest.raises(RunError) as error:
        folder.checked()
    assert error.value.code == f"storage.{harm}-file"
    assert "x.bin" in str(error.value)


def test_an_unfinished_folder_says_so(tmp_path: Path) -> None:
    folder = RunFolder(path=tmp_path / "run")
    with folder.claimed({"seed": 0, "fingerprint": "f"}):
        pass
    with pytest.raises(RunError) as refused:
        folder.checked()
    assert refused.value.code == "runs.unfinished"


def test_the_log_hides_where_it_lies(tmp_path: Path) -> None:
    log = LogTee(tmp_path / "log.jsonl", Silent(), hide=tmp_path)
    log.warn(f"{tmp_path}/checkpoints/1 is damaged")
    log.update("stage", 3, {"loss": float(torch.tensor(0.5))})
    log.close()
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (first["event"], first["text"]) == ("warn", "checkpoints/1 is damaged")
    assert (second["stage"], second["done"], second["loss"]) == ("stage", 3, 0.5)


def test_half_a_line_left_by_a_kill_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"event": "note"}\n{"event": "upd')
    log = LogTee(tmp_path / "log.jsonl", Silent(), hide=tmp_path)
    log.note("again")
    log.close()
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events == ["note", "note"]


def test_settings_of_the_runs_memory_are_not_those_of_a_preset_without_one() -> None:
    over = {"memory": {"l2": [7.0]}, "training": {"epochs": 3}}
    run, other = Experiment.of({"compare": ["paper"]}, over=over).models
    assert run.values()["memory"]["l2"] == [7.0]
    assert other.values()["memory"] == {"name": "none"}
    assert other.values()["training"]["epochs"] == 3
    named = {**over, "memory": {"name": "local-ridge", "l2": [7.0]}}
    assert Experiment.of({"compare": ["paper"]}, over=named).models[1].values()["memory"]["l2"] == [7.0]
