"""``mmgrec study`` from outside: the built-in studies small, resuming, mistakes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_server import Server

from mmgrec.studies import STUDIES, Study, run_study

Command = Callable[..., "CompletedProcess[str]"]

TINY = """
seeds = 2
[data]
num_users = 80
num_items = 40
mean_interactions = 10
[quantizer]
codebook_size = 8
graph = { dim = 8, epochs = 2, losses = ["bpr"], regularization = [1e-2], item_graph_scale = [0.0] }
autoencoder = { epochs = 2, warmup_epochs = 1 }
[network]
dim = 16
[training]
epochs = 1
batch_size = 64
[decoder]
num_beams = 5
[baselines]
epochs = 2
[models.mmgrec]
[models.lightgcn]
regularization = [1e-2]
[models.popularity]
[tune.lightgcn]
dim = [[4], [8]]
"""


@pytest.fixture(scope="session")
def study(server: Server) -> Command:
    """Run ``mmgrec study ...`` in a folder."""

    def run(*argv: str, cwd: Path) -> CompletedProcess[str]:
        return server.run(["study", *argv], cwd=cwd)

    return run


@pytest.fixture(scope="module")
def done(study: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompletedProcess[str]]:
    """A finished study with a grid. Look, do not touch."""
    home = tmp_path_factory.mktemp("study")
    (home / "tiny.toml").write_text(TINY)
    return home, study("tiny.toml", "--out", "out", "--json", cwd=home)


def test_a_study_ends_in_tables(done: tuple[Path, CompletedProcess[str]]) -> None:
    home, process = done
    assert process.returncode == 0, process.stderr
    payload = json.loads(process.stdout)
    assert payload == json.loads((home / "out" / "study.json").read_text())
    assert [row["model"] for row in payload["data"][0]["models"]] == ["mmgrec", "lightgcn", "popularity"]
    assert [row["seeds"] for row in payload["data"][0]["models"]] == [[0, 1]] * 3
    assert {file.name for file in (home / "out" / "tables").iterdir()} == {
        "synthetic.md", "synthetic.tex", "synthetic.csv",
    }  # fmt: skip
    assert payload["failed"] == {}


def test_tuning_tries_every_point_and_takes_the_best_by_validation(
    done: tuple[Path, CompletedProcess[str]],
) -> None:
    home, process = done
    row = json.loads(process.stdout)["data"][0]["models"][1]
    trials = row["tuned"]["trials"]
    assert [trial["settings"] for trial in trials] == [{"dim": [4]}, {"dim": [8]}]
    best = max(trials, key=lambda trial: trial["score"])
    assert row["tuned"]["chosen"] == best["settings"]
    assert row["settings"]["dim"] == best["settings"]["dim"]
    cells = [json.loads(file.read_text()) for file in (home / "out" / "cells").glob("*-lightgcn-*/cell.json")]
    assert sorted((cell["seed"], cell["model"]["dim"]) for cell in cells) == [
        (seed, row["settings"]["dim"]) for seed in (0, 1)
    ]
    (trial,) = [file for file in (home / "out" / "cells").glob("*-lightgcn-s0-*") if not (file / "cell.json").exists()]
    assert {file.name for file in trial.iterdir()} == {"run.toml", "log.jsonl", "valid.json", "per_user_valid.parquet"}
    assert (home / "out" / "tune" / "synthetic-lightgcn.journal").is_file()


def test_the_same_command_makes_nothing_again_and_plan_says_so(
    study: Command, done: tuple[Path, CompletedProcess[str]], tmp_path: Path
) -> None:
    home, _ = done
    shutil.copytree(home, tmp_path / "home")
    before = {file: file.read_bytes() for file in (tmp_path / "home" / "out" / "cells").rglob("*") if file.is_file()}
    again = study("tiny.toml", "--out", "out", "--json", "--seeds", "1", cwd=tmp_path / "home")
    assert again.returncode == 0, again.stderr
    assert "5 cells, 5 of them done" in again.stderr
    assert "fitting" not in again.stderr
    assert {file: file.read_bytes() for file in before} == before
    assert len(list((tmp_path / "home" / "out" / "cells").rglob("*.json"))) == len(
        [file for file in before if file.suffix == ".json"]
    )
    plan = study("tiny.toml", "--out", "out", "--plan", "--json", "--seeds", "3", cwd=tmp_path / "home")
    rows = json.loads(plan.stdout)
    assert [row["cell"] for row in rows if not row["done"]] == [
        f"synthetic, {label}, seed 2" for label in ("mmgrec", "lightgcn", "popularity")
    ]


def test_a_killed_study_goes_on_and_ends_in_the_same_figures(
    study: Command, done: tuple[Path, CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    call = [sys.executable, "-c", "from mmgrec_cli.app import main; main()", "study", "tiny.toml", "--out", "out"]
    process = subprocess.Popen(
        call, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "mmgrec, seed 0" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 143
    assert "the same command resumes" in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "out" / "lock").exists()
    assert not list((tmp_path / "out" / "cells").glob("*/lock")), "the worker ended in order"
    payload = json.loads((tmp_path / "out" / "study.json").read_text())
    trials = payload["data"][0]["models"][1]["tuned"]["trials"]
    assert all(trial["score"] > 0 for trial in trials), "what is finished, the trials, is told"
    again = study("tiny.toml", "--out", "out", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "2 of them done" in again.stderr
    resumed, whole = (json.loads(text)["data"][0] for text in (again.stdout, done[1].stdout))
    assert [row["test"] for row in resumed["models"]] == [row["test"] for row in whole["models"]]
    assert resumed["tests"] == whole["tests"]


SHRUNK = [
    "data.num_users=60", "data.num_items=40", "data.mean_interactions=10", "quantizer.codebook_size=8",
    "quantizer.graph={dim = 8, epochs = 1, losses = ['bpr'], regularization = [1e-2]}",
    "quantizer.autoencoder={epochs = 1, warmup_epochs = 1}", "network.dim=8", "training.epochs=1",
    "decoder.num_beams=5", "baselines.epochs=1", "baselines.dim=[4]", "baselines.regularization=[1e-2]",
]  # fmt: skip


def test_overall_with_two_seeds(study: Command, tmp_path: Path) -> None:
    sets = [word for setting in SHRUNK for word in ("--set", setting)]
    process = study("overall", "--seeds", "2", "--grid-size", "1", "--out", "out", "--json", *sets, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    payload = json.loads(process.stdout)
    rows = {row["model"]: row for row in payload["data"][0]["models"]}
    assert {"mmgrec", "mf", "lightgcn", "popularity", "itemknn", "ease"} <= set(rows)
    assert len(rows) + len(payload["absent"]) == len(STUDIES["overall"]["models"])
    assert all(row["seeds"] == [0, 1] for row in rows.values())
    assert all(row["defects"] == 0 for row in rows.values())
    assert {test["against"] for test in payload["data"][0]["tests"]["recall@10"]} == set(rows) - {"mmgrec"}


def test_cells_are_made_on_the_device_that_was_named(tmp_path: Path) -> None:
    popularity = Study.of("mine", {"models": {"popularity": {}}, "seeds": 1})
    run_study(popularity, tmp_path / "here")
    run_study(
        popularity, tmp_path / "there", device="meta"
    )  # popularity has no tensor there; it only tells where it was made
    devices = [
        json.loads(next((tmp_path / name / "cells").glob("*/cell.json")).read_text())["device"]
        for name in ("here", "there")
    ]
    assert devices == ["cpu", "meta"]


def test_a_failing_model_is_recorded_and_the_rest_goes_on(study: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        "seeds = 1\n[data]\nnum_users = 60\nnum_items = 40\n[models.popularity]\n[models.ease]\nmax_items = 3\n"
    )
    process = study("mine.toml", "--json", cwd=tmp_path)
    assert process.returncode == 1
    assert "max_items is 3" in process.stderr
    payload = json.loads(process.stdout)
    assert list(payload["failed"]) == ["synthetic, ease, seed 0"]
    assert [row["seeds"] for row in payload["data"][0]["models"]] == [[0], []]
    assert "ease, seed 0 failed: EASE would need" in (tmp_path / "studies/mine/tables/synthetic.md").read_text()
    again = study("mine.toml", "--plan", cwd=tmp_path)
    assert "failed" in again.stdout
    other = study("positions", "--out", "studies/mine", cwd=tmp_path)
    assert other.returncode == 2
    assert "the folder holds the study 'mine', not 'positions'" in other.stderr


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["overal"], "there is no study 'overal'; did you mean 'overall'?"),
        ([], "the name of a study is needed"),
        (["overall", "--seeds", "0"], "seeds: at least one is needed"),
        (["overall", "--models", "lightgnc"], "--models: there is no model 'lightgnc'; did you mean 'lightgcn'"),
        (["overall", "--data", "nowhere"], "data.nowhere: there is no folder 'nowhere'"),
        (["gone.toml"], "gone.toml: there is no such file"),
        (["positions", "--set", "network.dmi=3"], "network.dmi: no model of this study has such a setting"),
        (["positions", "--out", "."], "the folder holds other things (thesis.txt)"),
    ],
)
def test_mistakes_are_sentences(
    argv: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmgrec_cli.app import main

    (tmp_path / "thesis.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["study", *argv])
    assert ended.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_the_list_of_studies_is_instant_and_complete(study: Command, tmp_path: Path) -> None:
    process = study("--list", "--json", cwd=tmp_path)
    names = {row["study"] for row in json.loads(process.stdout)}
    assert {"overall", "representations", "assignment", "positions", "ablations", "ablations-paper", "layers-heads",
            "catalogue-size", "published-code", "ladder"} <= names  # fmt: skip
