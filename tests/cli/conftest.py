"""A run of the command line that many tests look at, and the example plugin as installed for them."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from command_server import Server

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "mmgrec-hash"

SMALL = (
    "--quantizer=hash",
    "--set=data.num_users=120",
    "--set=data.num_items=60",
    "--set=data.mean_interactions=10",
    "--set=quantizer.codebook_size=8",
    "--set=quantizer.dim=16",
    "--set=network.dim=16",
    "--set=training.epochs=2",
    "--set=training.batch_size=64",
    "--set=decoder.num_beams=10",
)

#: What of this machine and its user a run folder must not hold; each value stands for one secret.
CANARIES = {
    "USER": "canary-user", "LOGNAME": "canary-user", "HOSTNAME": "canary-host", "MMGREC_SECRET": "canary-secret",
    "PYTHONUSERBASE": "/home/canary-base",
}  # fmt: skip

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def plugin_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, built and installed into a folder of its own."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "mmgrec-hash")
    home = tmp_path_factory.mktemp("site")
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *install, "--target", str(home), str(source)], check=True, capture_output=True)
    return home


def environment(home: Path | None = None, **more: str) -> dict[str, str]:
    """The environment of a child process, the plugin's home on its path."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    return env if home is None else {**env, "PYTHONPATH": str(home)}


@pytest.fixture
def mmgrec(plugin_home: Path, server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Command:
    """Run ``mmgrec ...`` in an empty folder; what it says of mistakes is held against the messages written down."""
    count = itertools.count(1)

    def run(*argv: str, cwd: Path = tmp_path, **env: str) -> subprocess.CompletedProcess[str]:
        done = server.run(argv, cwd=cwd, **{"PYTHONPATH": str(plugin_home), **env})
        if done.returncode == 2:
            error = "\n".join(line for line in done.stderr.splitlines() if line.startswith(("error:", "  ")))
            title = f"{request.path.stem}, {request.node.name}, {next(count)}".replace("test_", "").replace("_", " ")
            request.getfixturevalue("told")(title, error)
        return done

    return run


def command(argv: Sequence[str], *, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", "from mmgrec_cli.app import main; main()", *argv]
    return subprocess.run(call, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Options of a job of a few seconds."""
    return SMALL


@pytest.fixture(scope="session")
def finished(plugin_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a second preset and two baselines. Look, do not touch."""
    home = tmp_path_factory.mktemp("finished")
    argv = [
        "run",
        *SMALL,
        "--preset",
        "recipe",
        "--preset",
        "paper",
        "--baselines",
        "popularity,itemknn",
        "--out",
        "run",
    ]
    env = environment(plugin_home, **CANARIES)
    done = command(argv, cwd=home, env=env)
    assert done.returncode == 0, done.stderr
    return home / "run"
