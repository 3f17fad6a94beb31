"""Command lines drawn at random: exit code 0 or 2, a sentence, never a traceback.

What would compute for long is a stub at the core's door; all that reads, checks and refuses is real.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgrec.folder import save_folder
from mmgrec.runs import RunOutcome
from mmgrec.runs.results import RunResults
from mmgrec.studies import StudyResults
from mmgrec.testing import tiny_data
from mmgrec_cli.app import main

TINY = (
    "run",
    "--quantizer=rqvae",
    "--set=quantizer.codebook_size=6",
    "--set=quantizer.representations=features",
    "--set=quantizer.autoencoder.epochs=1",
    "--set=network.dim=8",
    "--set=network.history_length=8",
    "--set=training.epochs=1",
    "--set=decoder.num_beams=10",
    "--data=tiny",
    "--out=finished",
)
#: What words mean something here: folders and files of every kind, numbers, names, nonsense.
FILES = ["tiny", "finished", "users.txt", "settings.toml", "settings.yaml", "pickle.npy", "ratings.csv", "empty", ".",
         "absent", "/", "", "finished/results.json", "a b", "[bold]", "ü", "-", "--"]  # fmt: skip
NUMBERS = ["0", "1", "-1", "2.5", "1e-3", "nan", "inf", "99999999999999999999", "0x10", "ten"]
NAMES = ["rqvae", "hk-means", "popularity", "popularity,itemknn", "mmgrec", "recipe", "paper", "trie-beam", "none",
         "test", "valid", "train", "all", "train+valid", "recall@10", "ndcg@3", "csv", "overall",
         "cuda:77", ",", "="]  # fmt: skip
SETS = ["network.dim=8", "network.dim=0", "network.dim=x", "quantizer.codebook_size=[[", "training.epochs=none",
        "a.b=c", "data.num_users=3", "baselines.x=1", "compare.paper=3", "x", "=", "seed=3",
        "data.path=absent"]  # fmt: skip
COMMANDS = {
    ("run",): ["--quantizer", "--collisions", "--position", "--decoder", "--data", "--baselines", "--preset", "--set",
               "--config", "--seed", "--mask", "--out", "--threads", "--device", "--json"],
    ("config", "show"): ["--quantizer", "--data", "--baselines", "--preset", "--set", "--config", "--toml", "--json"],
    ("plugins",): ["--json"],
    ("data", "check"): ["--json"],
    ("data", "import"): ["--out", "--format", "--user-column", "--min-rating", "--features", "--bag", "--items",
                       "--json"],
    ("ids",): ["--json"],
    ("recommend",): ["--users", "--out", "-k", "--allow", "--exclude", "--shard-size", "--model", "--data", "--device",
                     "--json"],
    ("explain",): ["--user", "--item", "-k", "--exclude", "--model", "--data", "--device", "--json"],
    ("evaluate",): ["--split", "--mask", "-k", "--model", "--data", "--device", "--json"],
    ("compare",): ["--metric", "--split", "--json"],
    ("report",): ["--json"],
    ("study",): ["--data", "--seeds", "--jobs", "--out", "--models", "--against", "--set", "--mask", "--list",
                 "--plan", "--device"],
}  # fmt: skip
FLAGS = {"--json", "--toml", "--list", "--plan", "--help", "--version"}
KINDS = {"--set": SETS, "--seed": NUMBERS, "--threads": NUMBERS, "-k": NUMBERS, "--shard-size": NUMBERS,
         "--min-rating": NUMBERS, "--seeds": NUMBERS, "--jobs": NUMBERS, "--data": FILES, "--config": FILES,
         "--out": FILES, "--users": FILES, "--allow": FILES, "--items": FILES}  # fmt: skip
ANYTHING = st.sampled_from([*FILES, *NUMBERS, *NAMES]) | st.text(max_size=12).filter(lambda text: text < "\ud800")


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from(sorted(COMMANDS)))
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from([*COMMANDS[command], "--help", "--nonsense"]), max_size=5)):
        words.append(option)
        if option not in FLAGS and draw(st.integers(0, 9)):
            fitting = st.sampled_from(KINDS.get(option, NAMES))
            words.append(draw(st.one_of(fitting, fitting, ANYTHING)))
    places = draw(st.lists(st.sampled_from(FILES) | ANYTHING, max_size=2))
    return [*command, *places, *words]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    save_folder(tiny_data(), folder / "tiny")
    (folder / "users.txt").write_text("1\n2\n")
    (folder / "settings.toml").write_text("seed = 3\n[network]\ndim = 8\n")
    (folder / "settings.yaml").write_text("seed: 3\n")
    (folder / "pickle.npy").write_bytes(b"\x80\x04.")
    (folder / "ratings.csv").write_text("user,item,rating\na,b,3\na,c,4\nb,b,1\n")
    (folder / "empty").mkdir()
    with contextlib.chdir(folder):
        assert outcome(list(TINY))[0] == 0
    return folder


def outcome(argv: list[str]) -> tuple[object, str]:
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(argv)
        except SystemExit as end:
            code = end.code
    return code, out.getvalue() + err.getvalue()


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Nothing is fitted: a run answers with a finished one's results, a study with an empty one."""
    results = RunResults.read(home / "finished" / "results.json")
    nothing = StudyResults(
        study="none", title="", seeds=(0,), mask="train", metrics=(), definitions={}, against="", versions={},
        written="", data=(),
    )  # fmt: skip

    def run(*_: object, **__: object) -> RunOutcome:
        return RunOutcome(folder=home / "finished", results=results, stored=True)

    def run_study(*_: object, **__: object) -> StudyResults:
        return nothing

    monkeypatch.setattr("mmgrec.runs.execution.execute", run)
    monkeypatch.setattr("mmgrec.studies.runner.run_study", run_study)
    monkeypatch.setattr("mmgrec_cli.options.use_threads", lambda count: None)


def test_drawn_command_lines(trials: Any, home: Path, tmp_path: Path, stubs: None) -> None:
    copy = Path(shutil.copytree(home, tmp_path / "home"))
    codes: list[object] = []
    wanted = trials.of("command-lines")

    @settings(
        max_examples=wanted,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines())
    def hold(argv: list[str]) -> None:
        code, said = outcome(argv)
        codes.append(code)
        assert code in (0, 2), f"mmgrec {argv}: {code}\n{said}"
        assert "Traceback" not in said, argv
        assert not set(said) & set("\x1b\x07\x9b"), argv
        assert said.strip(), argv

    before = sorted(home.rglob("*"))
    with contextlib.chdir(copy):
        hold()
    assert sorted(home.rglob("*")) == before
    assert len(codes) >= wanted
    assert min(codes.count(0), codes.count(2)) > wanted // 20  # both kinds were drawn
    trials.held("command-lines", wanted)


def test_no_output_file_is_left_where_a_command_failed(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(shutil.copytree(home, tmp_path / "home"))
    before = sorted(os.listdir())
    assert outcome(["recommend", "finished", "--users", "absent", "--out", "o.parquet"])[0] == 2
    assert outcome(["recommend", "finished", "--users", "users.txt", "--out", "absent/o.parquet"])[0] == 2
    assert outcome(["data", "import", "pickle.npy", "--out", "made"])[0] == 2
    assert sorted(os.listdir()) == before


def test_surrogates_in_an_argument_are_told(home: Path) -> None:
    """What the system hands over for bytes that are no UTF-8."""
    name = os.fsdecode(b"caf\xe9")
    code, said = outcome(["ids", name])
    assert code == 2, said
    assert sys.getfilesystemencoding() == "utf-8"


@pytest.mark.parametrize(
    "argv",
    [
        ["recommend", "finished", "--users", "users.txt", "--out", "o.parquet", "-k", "99999999999999999999"],
        ["recommend", "finished", "--users", "users.txt", "--out", "o.parquet", "-k", "1000000"],
        ["recommend", "finished", "--users", "users.txt", "--out", "many", "--shard-size", "99999999999999999999"],
        ["evaluate", "finished", "-k", "99999999999999999999"],
        ["evaluate", "finished", "-k", "0"],
        ["compare", "finished", "finished"],
        ["data", "import", "ratings.csv", "--out", "made", "--min-rating", "nan"],
        ["study", "overall", "--seeds", "99999999999999999999", "--plan"],
        ["study", "overall", "--seeds", "-1", "--plan"],
    ],
)
def test_extreme_numbers(argv: list[str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(home, tmp_path / "home"))
    code, said = outcome(argv)
    assert code in (0, 2), said
