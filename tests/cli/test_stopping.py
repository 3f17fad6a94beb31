"""Runs that are killed, stopped or started twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_server import Process, Server

Command = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def long(small: tuple[str, ...]) -> tuple[str, ...]:
    return (*small, "--set=training.epochs=8", "--set=training.checkpoint_seconds=0", "--baselines=popularity")


@contextmanager
def started(argv: tuple[str, ...], server: Server, home: Path, cwd: Path) -> Iterator[Process]:
    process = server.start(argv, cwd=cwd, PYTHONPATH=str(home))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_epoch(run: Path, epoch: int, process: Process) -> None:
    """Wait until the log tells that the generator has done so many epochs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        log = run / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("}")]
        if any(event.get("stage") == "generator" and event.get("done", 0) >= epoch for event in events):
            return
        time.sleep(0.01)
    raise AssertionError(f"the run never came to epoch {epoch}: {process.poll()}")


def test_a_killed_run_resumes_to_the_same_bits(
    mmgrec: Command, long: tuple[str, ...], server: Server, plugin_home: Path, tmp_path: Path
) -> None:
    whole = mmgrec("run", *long, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    for epoch in (2, 5):  # killed twice
        with started(("run", *long, "--out", "broken"), server, plugin_home, tmp_path) as process:
            until_epoch(tmp_path / "broken", epoch, process)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    resumed = mmgrec("run", *long, "--out", "broken")
    assert resumed.returncode == 0, resumed.stderr
    assert "continuing after epoch" in resumed.stderr
    for name in ("weights/mmgrec.safetensors", "rec_ids.parquet", "per_user.parquet"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes(), name
    metrics = [
        [row["metrics"] for row in json.loads((tmp_path / run / "results.json").read_text())["results"]]
        for run in ("whole", "broken")
    ]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_in_order(
    number: signal.Signals,
    code: int,
    mmgrec: Command,
    long: tuple[str, ...],
    server: Server,
    plugin_home: Path,
    tmp_path: Path,
    told: Callable[[str, object], None],
) -> None:
    with started(("run", *long, "--out", "run"), server, plugin_home, tmp_path) as process:
        until_epoch(tmp_path / "run", 2, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code
    assert "the same command resumes" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "lock").exists()
    assert "is not finished" in mmgrec("ids", "run").stderr
    told(f"stopped, {number.name}", next(line for line in err.splitlines() if line.startswith("stopped")))
    begun = tmp_path / "run" / "checkpoints" / "circumstances.json"
    facts = json.loads(begun.read_text())
    assert facts["versions"]["mmgrec-hash"] == "0.1.0"  # the plugin that the run uses
    begun.write_text(json.dumps({**facts, "threads": 64}))
    done = mmgrec("run", *long, "--out", "run")
    assert done.returncode == 0, done.stderr
    assert "continuing after epoch" in done.stderr
    warning = next(line for line in done.stderr.splitlines() if line.startswith("warning"))
    told("resume, on other threads", warning)


def test_a_second_process_is_refused_and_a_dead_one_forgotten(
    mmgrec: Command,
    long: tuple[str, ...],
    server: Server,
    plugin_home: Path,
    tmp_path: Path,
    told: Callable[[str, object], None],
) -> None:
    with started(("run", *long, "--out", "run"), server, plugin_home, tmp_path) as process:
        until_epoch(tmp_path / "run", 1, process)
        process.send_signal(signal.SIGSTOP)
        second = mmgrec("run", *long, "--out", "run")
        assert second.returncode == 2
        assert f"process {process.pid} since" in second.stderr
        told("lock, a second process", second.stderr)
        process.kill()
        process.wait()
    assert (tmp_path / "run" / "lock").exists()  # the dead process could not remove it
    assert mmgrec("run", *long, "--out", "run").returncode == 0
