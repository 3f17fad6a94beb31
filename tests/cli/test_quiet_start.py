"""Importing the package, help and the list of plugins open no socket, start no process and write no file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = """
import json, os, sys
seen = []
QUIET = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.mkdir",
         "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.", "tempfile.")
def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+")
        if writes or (mode is None and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            seen.append(f"open {path} {mode} {flags}")
    elif event.startswith(QUIET):
        seen.append(f"{event} {arguments}")
sys.addaudithook(hook)
"""
REPORT = "\nsys.stderr.write(json.dumps(seen))\n"
DEEDS = {
    "import": "import mmgrec",
    "every name": "import mmgrec; [getattr(mmgrec, name) for name in mmgrec.__all__ if name != 'MMGRec']",
    "help": "from mmgrec_cli.app import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    "run --help": "from mmgrec_cli.app import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass",
    "plugins": "from mmgrec_cli.app import main\ntry: main(['plugins'])\nexcept SystemExit: pass",
    "config show": "from mmgrec_cli.app import main\ntry: main(['config', 'show'])\nexcept SystemExit: pass",
}
NOISE = {
    "a socket": "import socket; socket.socket().close()",
    "a process": "import subprocess; subprocess.run(['true'])",
    "a file": "open('x', 'w').close()",
    "a file by number": "os.close(os.open('y', os.O_CREAT | os.O_WRONLY))",
}
LIGHT = ("import", "help", "run --help", "plugins")  # the others import torch, which looks around on its own


def deeds(code: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", HOOK + code + REPORT],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )
    events: list[str] = json.loads(done.stderr)
    return events


@pytest.mark.parametrize("name", LIGHT)
def test_nothing_happens(name: str, tmp_path: Path) -> None:
    assert deeds(DEEDS[name], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(set(DEEDS) - set(LIGHT)))
def test_nothing_reaches_out_or_stays_behind(name: str, tmp_path: Path) -> None:
    """Of all that torch does as it is imported, nothing may use the network or leave a file here."""
    assert [
        event for event in deeds(DEEDS[name], tmp_path) if event.startswith(("socket.connect", "socket.bind"))
    ] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NOISE)
def test_what_must_not_happen_would_be_seen(name: str, tmp_path: Path) -> None:
    assert deeds(NOISE[name], tmp_path) != []
