"""Broken plugins, each installed as a distribution: contained, named with its version, and the rest works."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_server import Server

from mmgrec.folder import save_folder
from mmgrec.settings import toml_text
from mmgrec.testing import tiny_data

Told = Callable[[str, object], None]
PARTS = Path(__file__).parent / "broken" / "parts.py"
KINDS = {  # base class -> kind, hook
    "Quantizer": ("quantizer", "mmgrec_quantizers"),
    "CollisionResolver": ("collisions", "mmgrec_collision_resolvers"),
    "PositionalScheme": ("position", "mmgrec_positional_schemes"),
    "ItemMemory": ("memory", "mmgrec_item_memories"),
    "Decoder": ("decoder", "mmgrec_decoders"),
    "Recommender": ("recommender", "mmgrec_recommenders"),
    "DatasetSource": ("dataset", "mmgrec_datasets"),
    "Metric": ("metric", "mmgrec_metrics"),
}
HOOK = """
from mmgrec import hookimpl

@hookimpl
def {hook}(register):
    register("{name}", "{target}", summary="a test")
"""
AT_IMPORT = {
    "raises": "raise ValueError('no such model')",
    "exits": "import sys; sys.exit('no licence')",
    "recurses": "def deep(): return deep()\ndeep()",
    "is-no-python": "def (",
}
WAIT = 5.0  # seconds
HASH = "mmgrec_quantizers"
SOUND, CHANCE = "quantizer-that-is-sound", "quantizer-of-chance"


# --------------------------------------------------------------------------- making distributions


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower()


def distribution(home: Path, name: str, hooks: str, *, version: str = "1.0", requires: str = "mmgrec") -> None:
    """A distribution `acme-<name>` whose entry point is a module of its own."""
    module = f"acme_{name.replace('-', '_')}"
    (home / f"{module}.py").write_text(hooks)
    info = home / f"{module}-{version}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: {version}\nRequires-Dist: {requires}\n"
    (info / "METADATA").write_text(head)
    (info / "entry_points.txt").write_text(f"[mmgrec]\n{name} = {module}\n")


def offering(home: Path, name: str, part: str, *, hook: str = "mmgrec_quantizers", **more: str) -> None:
    """A distribution with one plugin, in a module that is imported when it is used."""
    module = f"acme_{name.replace('-', '_')}_part"
    (home / f"{module}.py").write_text(part)
    target = f"{module}:{more.pop('cls', 'Part')}"
    distribution(home, name, HOOK.format(hook=hook, name=more.pop("plugin", name), target=target), **more)


def parts() -> dict[str, tuple[str, str, str]]:
    """Name -> base class, class, module text: every class of broken/parts.py in a module of its own."""
    text = PARTS.read_text(encoding="utf-8")
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    broken = [node for node in classes if node.bases and ast.unparse(node.bases[0]) in KINDS]
    lines = text.splitlines()
    head = "\n".join(lines[: broken[0].decorator_list[0].lineno - 1])
    return {
        kebab(node.name): (
            ast.unparse(node.bases[0]),
            node.name,
            "\n".join([head, *lines[node.decorator_list[0].lineno - 1 : node.end_lineno]]),
        )
        for node in broken
    }


# --------------------------------------------------------------------------- commands in one process

CHILD = """
import contextlib, io, json, shutil, sys
from mmgrec_cli import progress
from mmgrec_cli.app import main

def stop(self, stage, done, facts):
    if stage == "generator":
        raise KeyboardInterrupt

update = progress.Watcher.update
for line in sys.argv[1:]:
    argv = json.loads(line)
    if argv[0] == "moved":
        shutil.move(*argv[1:])
        continue
    progress.Watcher.update = stop if argv[0] == "stopped" else update
    out, err = io.StringIO(), io.StringIO()
    code = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(argv[1:] if argv[0] == "stopped" else argv)
    except SystemExit as end:
        code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
Answer = tuple[int, str, str]  # exit code, stdout, stderr


Commands = Callable[..., list[Answer]]


@pytest.fixture
def commands(server: Server) -> Commands:
    """Several commands one after the other in one process.

    One that begins with "stopped" is stopped in training; ("moved", a, b) moves a file and has no answer.
    """

    def run(home: Path, *argvs: tuple[str, ...]) -> list[Answer]:
        done = server.run([json.dumps(argv) for argv in argvs], cwd=home.parent, program=CHILD, PYTHONPATH=str(home))
        assert done.returncode == 0, done.stderr
        return [(code, out, err) for code, out, err in map(json.loads, done.stdout.splitlines())]

    return run


SMALL: dict[str, Any] = {
    "oracle_users": 10,
    "metrics": ["recall"],
    "data": {"path": "tiny"},
    "quantizer": {"name": "quantizer-that-is-sound"},
    "memory": {"name": "none"},
    "network": {"dim": 8, "history_length": 8},
    "training": {"epochs": 1},
}


def job(home: Path, kind: str, name: str) -> tuple[str, ...]:
    """The command of a small run that uses one plugin."""
    if kind == "metric":
        given = {"metrics": ["recall", name]}
    elif kind == "recommender":
        given = {"baselines": [name]}
    else:
        given = {"data" if kind == "dataset" else kind: {"name": name}}
    (home.parent / f"{name}.toml").write_text(toml_text({**SMALL, **given}))
    return ("run", f"--config={name}.toml", f"--out=run-{name}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where distributions are installed; beside it lie data."""
    save_folder(tiny_data(), tmp_path / "tiny")
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def sound_one(home: Path) -> str:
    base, cls, text = parts()[SOUND]
    offering(home, SOUND, text, hook=KINDS[base][1], cls=cls)
    return SOUND


# --------------------------------------------------------------------------- at import


def test_a_plugin_that_is_broken_at_import_is_a_row_and_the_others_work(
    trials: Any, home: Path, told: Told, commands: Commands
) -> None:
    for name, hooks in AT_IMPORT.items():
        distribution(home, name, hooks)
    distribution(home, "waits", f"import time; time.sleep({WAIT})" + HOOK.format(hook=HASH, name="waits", target="a:B"))
    offering(home, "of-the-future", "", requires="mmgrec>=99")
    for number in ("one", "two"):
        offering(home, f"twin-{number}", "", plugin="twin", version="1.0" if number == "one" else "2.0")
    faults = [*AT_IMPORT, "waits", "of-the-future", "twin"]
    names = ("of-the-future", "twin", "raises")
    listed, shown, *refused, run = commands(
        home,
        ("plugins", "--json"),
        ("plugins",),
        *(("run", f"--quantizer={name}") for name in names),
        job(home, "quantizer", sound_one(home)),
    )
    rows = [row for row in json.loads(listed[1]) if row["distribution"].startswith("acme-")]
    for row in rows:
        assert row["version"] in ("1.0", "2.0")
        if row["status"] != "ok":
            told(f"plugin, listed, {row['kind']} {row['name']} of {row['distribution']}", row["status"])
    assert {row["name"] for row in rows if row["status"] == "ok"} == {SOUND, "waits"}
    assert all(f"acme-{name} 1.0" in shown[1] for name in (*AT_IMPORT, "of-the-future", "twin-one"))
    for name, (code, out, err) in zip(names, refused, strict=True):
        assert (code, out) == (2, "")
        told(f"plugin, asked for, {name}", err)
    assert run[0] == 0, run[2]
    trials.held("plugins-at-import", len(faults))


# --------------------------------------------------------------------------- at work

UNIMPORTABLE = {f"part-{name}": ("Quantizer", "Part", text) for name, text in AT_IMPORT.items()}
WARNED = {"decoder-of-nan", "decoder-of-chance", "decoder-of-what-was-seen", "recommender-of-nan",
          "recommender-of-chance"}  # fmt: skip


def test_a_part_that_breaks_its_contract_is_named(trials: Any, home: Path, told: Told, commands: Commands) -> None:
    known = {**parts(), **UNIMPORTABLE}
    jobs = {}
    for name, (base, cls, text) in known.items():
        kind, hook = KINDS[base]
        offering(home, name, text, hook=hook, cls=cls)
        jobs[name] = job(home, kind, name)
    chance = jobs.pop(CHANCE)
    answers = commands(home, *jobs.values(), ("stopped", *chance), chance)
    (stopped, *_), again = answers[-2:]
    assert stopped == 130
    for name, (code, _, err) in zip([*jobs, CHANCE], [*answers[:-2], again], strict=True):
        assert "Traceback" not in err
        assert code == (0 if name == SOUND or name in WARNED else 2), (name, code, err)
        if name != SOUND:
            sentence = [line for line in err.splitlines() if line.startswith(("error:", "warning:")) and name in line]
            assert f"of acme-{name} 1.0" in sentence[-1]
            told(f"plugin, used, {name}", sentence[-1])
    trials.held("plugins-at-work", len(known) - 1)


READER = """
from dataclasses import dataclass
from mmgrec.readers.source import FileSource

@dataclass(frozen=True, kw_only=True)
class Part(FileSource):
    @classmethod
    def recognises(cls, path):
        raise KeyError("what is this")

    def read(self):
        raise KeyError("no such column")
"""


def test_a_reader_that_raises_hinders_no_other(trials: Any, home: Path, told: Told, commands: Commands) -> None:
    offering(home, "reader", READER, hook="mmgrec_datasets")
    (home.parent / "log.csv").write_text("user,item\n1,a\n1,b\n1,c\n")
    guessed, asked = commands(
        home, ("data", "import", "log.csv", "--out=one"), ("data", "import", "log.csv", "--format=reader", "--out=two")
    )
    assert guessed[0] == 0, guessed[2]
    assert asked[:2] == (2, "")
    told("plugin, used, reader", asked[2].splitlines()[-1])
    assert not (home.parent / "two").exists()
    trials.held("readers", 2)


# --------------------------------------------------------------------------- gone


def test_a_plugin_that_has_gone_is_named_and_what_needs_it_not_works(
    trials: Any, home: Path, told: Told, commands: Commands
) -> None:
    trained = job(home, "quantizer", sound_one(home))
    (home.parent / "users.txt").write_text("3\n")
    info, away = next(home.glob("*.dist-info")), home.parent / "gone"
    run = f"run-{SOUND}"
    asked = {
        "evaluated": ("evaluate", run),
        "for recommendations": ("recommend", run, "--users=users.txt", "--out=top.jsonl"),
        "run again": trained,
    }
    useless = [("ids", run), ("report", run), ("plugins",)]
    answers = commands(
        home,
        *(trained, ("moved", str(info), str(away)), *asked.values(), *useless),
        *(("moved", str(away), str(info)), *asked.values()),
    )
    assert [code for code, *_ in answers] == [0, 2, 2, 2, 0, 0, 0, 0, 0, 0]
    for title, (_, out, err) in zip(asked, answers[1:], strict=False):
        assert out == ""
        told(f"plugin, gone, {title}", err)
    trials.held("plugins-gone", len(asked))


# --------------------------------------------------------------------------- in a study

IN_A_STUDY = ["quantizer-that-raises", "quantizer-that-exits", "quantizer-of-nothing", "recommender-of-nothing"]


def test_a_study_names_what_broke_and_goes_on(trials: Any, home: Path, told: Told, commands: Commands) -> None:
    models: dict[str, Any] = {"popularity": {}}
    for name in IN_A_STUDY:
        base, cls, text = parts()[name]
        kind, hook = KINDS[base]
        offering(home, name, text, hook=hook, cls=cls)
        models[name] = {"name": name} if kind == "recommender" else {kind: {"name": name}}
    config = {"seeds": 1, "models": models, "data": {"tiny": {"path": "tiny"}}}
    (home.parent / "study.toml").write_text(toml_text(config))
    ((code, out, err),) = commands(home, ("study", "study.toml", "--out=out", "--json"))
    assert code == 1, err
    rows = {row["model"]: row for row in json.loads(out)["data"][0]["models"]}
    assert rows.pop("popularity")["seeds"] == [0]
    for name, row in rows.items():
        (sentence,) = row["failed"].values()
        assert f"of acme-{name} 1.0" in sentence
        told(f"plugin, in a study, {name}", sentence)
    trials.held("plugins-in-a-study", len(IN_A_STUDY))
