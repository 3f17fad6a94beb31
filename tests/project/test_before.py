"""What the first version wrote and what was written for it still works.

``tests/before`` holds the folders of a small run and a small study on planted data and a package of plugins, all made
at commit 7ccde17, before the core had rooms, and what its commands answered then. Of the folders only the page was left
out, for its size.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmgrec_cli.app import app

BEFORE = Path(__file__).parents[1] / "before"
ANSWERS = BEFORE / "answers"
PASSING = ("seconds", "written", "versions", "run", "fit", "recommend", "page")  # of the moment, not of the result


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of what was made, in which the commands run."""
    for name in ("run", "study"):
        shutil.copytree(BEFORE / name, tmp_path / name)
    for name in ("users.txt", "study.toml"):
        shutil.copy(ANSWERS / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(*argv: str) -> Any:  # Any: JSON
    done = CliRunner().invoke(app, argv, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def then(name: str) -> Any:  # Any: JSON
    return json.loads((ANSWERS / name).read_text(encoding="utf-8"))


def lasting(value: Any) -> Any:  # Any: JSON
    """A payload without what another moment changes."""
    if isinstance(value, dict):
        return {key: lasting(one) for key, one in value.items() if key not in PASSING}
    return [lasting(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("file", "argv"),
    [
        ("ids.json", ("ids", "run")),
        ("compare.json", ("compare", "run")),
        ("evaluate.json", ("evaluate", "run", "-k", "5")),
    ],
)
def test_a_run_of_then_answers_as_it_did(home: Path, file: str, argv: tuple[str, ...]) -> None:
    assert lasting(answer(*argv, "--json")) == lasting(then(file))


def test_a_model_of_then_recommends_the_same_to_the_bit(home: Path) -> None:
    answer("recommend", "run", "--users", "users.txt", "-k", "5", "--out", "lists.jsonl", "--json")
    assert (home / "lists.jsonl").read_bytes() == (ANSWERS / "lists.jsonl").read_bytes()


def test_the_command_of_then_shows_the_stored_result(home: Path) -> None:
    assert answer("run", "--config", "run/run.toml", "--out", "run", "--json") == then("run.json")


def test_the_command_of_then_comes_to_the_same_result(home: Path) -> None:
    made = answer("run", "--config", "run/run.toml", "--out", "again", "--json")
    assert lasting(made) == lasting(then("run.json"))
    for name in ("weights/mmgrec.safetensors", "run.toml", "insight.json"):
        assert (home / "again" / name).read_bytes() == (home / "run" / name).read_bytes()


@pytest.mark.parametrize("name", ["run", "study"])
def test_the_page_is_written_from_the_facts_of_then(home: Path, name: str) -> None:
    answer("report", name, "--json")
    page = (home / name / "report.html").read_text(encoding="utf-8")
    assert "itemknn" in page
    if name == "run":
        answer("ids", "run", "--json")  # its manifest knows the new page


def test_a_study_of_then_has_nothing_left_to_do(home: Path) -> None:
    rows = answer("study", "study.toml", "--out", "study", "--plan", "--json")
    assert rows == then("plan.json")
    before = {path: path.read_bytes() for path in (home / "study" / "cells").rglob("*") if path.is_file()}
    told = answer("study", "study.toml", "--out", "study", "--json")
    assert lasting(told) == lasting(then("study.json"))
    assert {path: path.read_bytes() for path in (home / "study" / "cells").rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of then, installed into a folder of its own."""
    source = shutil.copytree(BEFORE / "mmgrec-several", tmp_path_factory.mktemp("source") / "mmgrec-several")
    site = tmp_path_factory.mktemp("site")
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *install, "--target", str(site), str(source)], check=True, capture_output=True)
    return site


def test_a_package_of_then_works(several: Path, tmp_path: Path) -> None:
    (tmp_path / "log.pairs").write_text(
        "".join(f"u{user}|i{(user * 3 + n) % 17}\n" for user in range(30) for n in range(8))
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(several), *filter(None, [os.environ.get("PYTHONPATH")])])

    def mmgrec(*argv: str) -> str:
        call = [sys.executable, "-c", "from mmgrec_cli.app import main; main()", *argv]
        done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = {row["name"]: row["status"] for row in json.loads(mmgrec("plugins", "--json"))}
    assert {rows[name] for name in ("parity", "mean-vector", "first-hit", "pairs")} == {"ok"}
    mmgrec("data", "import", "log.pairs", "--out", "shop")
    (tmp_path / "run.toml").write_text('metrics = ["recall", "first-hit"]\n[quantizer]\nname = "parity"\n')
    told = json.loads(
        mmgrec("run", "--config", "run.toml", "--data", "shop", "--baselines", "mean-vector", "--set=training.epochs=1",
               "--set=network.dim=16", "--set=decoder.num_beams=10", "--json")
    )  # fmt: skip
    assert {row["model"] for row in told["results"]} == {"mmgrec", "mean-vector"}
    assert all("first-hit@10" in row["metrics"] for row in told["results"])
