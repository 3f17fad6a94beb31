"""The example package as its users have it: built, installed, listed, run, held to the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Command = Callable[..., "CompletedProcess[str]"]
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mmgrec-hash"


def test_it_is_listed_with_its_distribution(mmgrec: Command) -> None:
    rows = json.loads(mmgrec("plugins", "--json").stdout)
    assert {
        "kind": "quantizer",
        "name": "hash",
        "summary": "tokens from a hash, no training",
        "distribution": "mmgrec-hash",
        "version": "0.1.0",
        "status": "ok",
    } in rows


def test_it_runs_through_the_command_line(finished: Path) -> None:
    facts = json.loads((finished / "run.json").read_text())
    assert facts["plugins"]["mmgrec/quantizer"] == "hash of mmgrec-hash 0.1.0"


def test_it_can_be_blocked(mmgrec: Command) -> None:
    done = mmgrec("run", "--quantizer", "hash", MMGREC_DISABLE_PLUGINS="mmgrec-hash")
    assert done.returncode == 2
    assert "hash of mmgrec-hash 0.1.0 is not available: blocked" in done.stderr


def test_its_own_tests_pass(plugin_home: Path) -> None:
    options = ["-p", "no:cacheprovider", "-c", str(EXAMPLE / "pyproject.toml"), str(EXAMPLE / "tests")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env={"PYTHONPATH": str(plugin_home), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_it_is_a_quantizer_in_under_sixty_lines() -> None:
    assert len((EXAMPLE / "src" / "mmgrec_hash" / "quantizer.py").read_text().splitlines()) < 60


def test_a_broken_stranger_leaves_the_others_working(mmgrec: Command, plugin_home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad_plugin.py").write_text("import sys\nsys.exit('no licence')\n")
    info = tmp_path / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mmgrec]\nbad = bad_plugin\n")
    done = mmgrec("plugins", "--json", PYTHONPATH=f"{tmp_path}:{plugin_home}")
    rows = {row["name"]: row["status"] for row in json.loads(done.stdout)}
    assert rows["bad"] == "broken: SystemExit: no licence"
    assert rows["hash"] == "ok"
