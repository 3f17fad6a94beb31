"""Help and the list of plugins answer at once, and torch stays out of it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

CODE = """
import sys
from mmgrec_cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
heavy = {"torch", "numpy", "polars"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else code)
"""


def call(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *argv], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("argv", [["--help"], ["plugins"], ["plugins", "--json"], ["run", "--help"], ["--version"]])
def test_answers_without_torch(argv: list[str]) -> None:
    done = call(*argv)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("argv", [["--help"], ["plugins"]])
def test_answers_in_under_a_second(argv: list[str]) -> None:
    """Of processor time: the wall clock would measure whoever else uses the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call(*argv)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < 1.0


def test_plugins_json_has_the_promised_keys() -> None:
    rows = json.loads(call("plugins", "--json").stdout)
    assert len(rows) >= 25
    assert all(list(row) == ["kind", "name", "summary", "distribution", "version", "status"] for row in rows)


COMMANDS = ["run", "plugins", "ids", "recommend", "explain", "evaluate", "compare", "data check", "config show"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_an_example(name: str) -> None:
    shown = call(*name.split(), "--help").stdout
    assert "--json" in shown
    assert f"Example: mmgrec {name}" in " ".join(shown.split())


def test_help_lists_every_command() -> None:
    shown = call("--help").stdout
    assert [name for name in COMMANDS if f"  {name.split()[0]} " not in shown] == []


def test_run_has_every_promised_option() -> None:
    shown = set(call("run", "--help").stdout.split())
    options = "quantizer collisions position decoder data preset set config seed out baselines mask threads device json"
    assert [name for name in options.split() if f"--{name}" not in shown] == []
