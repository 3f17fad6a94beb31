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
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load
from typer.testing import CliRunner

from mmgrec.settings.values import flat
from mmgrec.testing import same
from mmgrec_cli.app import app, main

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


def assert_holds(new: Any, old: Any) -> None:
    """All that was told then is told now, and nothing else; how many numbers are stored has grown."""
    if isinstance(old, dict):
        assert old.keys() <= new.keys()
        for key, value in ((key, value) for key, value in old.items() if key != "parameters"):
            assert_holds(new[key], value)
    elif isinstance(old, list):
        assert len(new) == len(old)
        for mine, its in zip(new, old, strict=True):
            assert_holds(mine, its)
    else:
        assert new == old


def assert_the_same_weights(new: Path, old: Path) -> None:
    """Every tensor of then, bit by bit, but those of the ranking after the search; beside them, what is new."""
    mine, its = (load(file.read_bytes()) for file in (new, old))
    its = {name: value for name, value in its.items() if not name.startswith("rescoring.")}
    assert its.keys() <= mine.keys()
    assert all(same(mine[name], its[name]) for name in its)
    assert {name.partition(".")[0] for name in mine.keys() - its.keys()} <= {"fold", "representations"}


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
    assert_the_same_weights(home / "again" / "weights" / "mmgrec.safetensors", home / "run/weights/mmgrec.safetensors")
    new, old = (json.loads((home / folder / "insight.json").read_text()) for folder in ("again", "run"))
    assert_holds(new, old)
    settings, of_then = (dict(flat(tomllib.loads((home / one / "run.toml").read_text()))) for one in ("again", "run"))
    assert settings["memory.name"] == "none"
    for name, value in of_then.items():
        if not name.startswith("rescoring."):
            assert settings[name] in (value, [value]), name  # there may be several now where there was one


@pytest.mark.parametrize("rescoring", ["weight = [0.0, 0.5]", "item_weight = [8.0]"])
def test_what_cannot_be_said_any_more_is_refused(
    home: Path, rescoring: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (home / "run" / "run.toml").read_text(encoding="utf-8")
    head, _, tail = text.partition("[rescoring]")
    (home / "hybrid.toml").write_text(
        f"{head}[rescoring]\n{rescoring}\n\n[baselines]{tail.partition('[baselines]')[2]}"
    )
    with pytest.raises(SystemExit) as end:
        main(["run", "--config", "hybrid.toml", "--out", "new"])
    assert end.value.code == 2
    assert "rescoring: there is no ranking after the search any more; set memory.name=ease instead" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not (home / "new").exists()


@pytest.mark.parametrize("name", ["run", "study"])
def test_the_page_is_written_from_the_facts_of_then(home: Path, name: str) -> None:
    answer("report", name, "--json")
    page = (home / name / "report.html").read_text(encoding="utf-8")
    assert "itemknn" in page
    if name == "run":
        answer("ids", "run", "--json")  # its manifest knows the new page


def test_a_study_of_then_is_gone_on_with(home: Path) -> None:
    """What has the settings of then is not made again; our own model has new ones, and comes to the same figures."""
    text = (home / "study.toml").read_text(encoding="utf-8")
    (home / "study.toml").write_text(text.replace("[models.mgr]\n", '[models.mgr]\nmemory = { name = "none" }\n'))
    rows = answer("study", "study.toml", "--out", "study", "--plan", "--json")
    for row, old in zip(rows, then("plan.json"), strict=True):
        assert row["cell"] == old["cell"]
        assert (row == old) is ("mgr" not in old["cell"])
    before = {path: path.read_bytes() for path in (home / "study" / "cells").rglob("*") if path.is_file()}
    told = answer("study", "study.toml", "--out", "study", "--json")
    old = then("study.json")
    for one in (told, old):
        for model in one["data"][0]["models"]:
            if model["model"] == "mgr":
                for key in ("settings", "cells", "parameters", "peak_memory_mib"):
                    del model[key]
    assert lasting(told) == lasting(old)
    assert all(path.read_bytes() == content for path, content in before.items())
    folders = (home / "study" / "cells" / plan[0]["folder"] for plan in (rows, then("plan.json")))
    assert_the_same_weights(*(folder / "weights.safetensors" for folder in folders))  # of the first seed they are kept


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
