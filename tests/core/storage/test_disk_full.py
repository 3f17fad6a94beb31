"""A full disk, refused by the system itself: the state before stays whole, the sentence says where and how much is
needed, and the same command then ends in the same bits.

The runs are children of a helper that has imported everything: a trial costs a run of a second, and no import.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HELPER = '''
import gc, hashlib, io, json, os, resource, sys, traceback
from pathlib import Path

import plotly, polars, scipy.sparse, scipy.stats, torch, torch_geometric.nn
import torch._dynamo  # which torch's optimizers import late

import mmgrec.storage.atomic as atomic
import mmgrec.runs.execution, mmgrec.runs.page, mmgrec.runs.stored, mmgrec.serving.files
from mmgrec.storage import load_folder
from mmgrec.errors import RunError
from mmgrec_cli.app import main

ARGUMENTS = [
    "run", "--quantizer=rqvae", "--baselines=popularity", "--set=data.num_users=60", "--set=data.num_items=40",
    "--set=data.mean_interactions=8", "--set=quantizer.codebook_size=6", "--set=quantizer.representations=features",
    "--set=quantizer.autoencoder.epochs=2", "--set=quantizer.autoencoder.hidden_dim=8",
    "--set=quantizer.autoencoder.latent_dim=4", "--set=network.dim=8", "--set=network.history_length=8",
    "--set=network.num_heads=2", "--set=network.head_dim=4", "--set=network.feedforward_dim=8",
    "--set=training.epochs=3", "--set=training.batch_size=32", "--set=training.validate_every=1",
    "--set=training.checkpoint_seconds=0", "--set=decoder.num_beams=10",
]
gc.collect()
gc.freeze()  # no child looks through what it has not made
root = Path(sys.argv[1])
write_flushed = atomic.write_flushed


def run(out, before=lambda: None):
    """The command in a child: its exit code, and what it said on stderr."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        code = 99
        try:
            os.close(read)
            os.dup2(write, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            before()
            main([*ARGUMENTS, "--out", str(out)])
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as file:
        told = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told


def outcome(out):
    results = json.loads((out / "results.json").read_text())
    for row in results["results"]:
        row.pop("seconds")
    names = ("weights/mmgrec.safetensors", "rec_ids.parquet", "per_user.parquet")
    return [results, *(hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names)]


def state(out):
    """Leftovers, and folders of checkpoints that are not whole."""
    left = [entry.name for entry in out.rglob(".*") if entry.name.endswith(".tmp")]
    for manifest in (out / "checkpoints").rglob("manifest.json"):
        try:
            load_folder(manifest.parent)
        except RunError as error:
            left.append(str(error))
    return left


def limited(number):
    """From within the given write on, no file may grow beyond the half of what is written there."""
    def before():
        left = [number]
        def write(path, content):
            left[0] -= 1
            if not left[0]:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, hard))
            write_flushed(path, content)
        atomic.write_flushed = write
    return before


def counted(path):
    def before():
        def write(goal, content):
            with open(path, "a") as file:
                file.write(f"{goal.name}\\n")
            write_flushed(goal, content)
        atomic.write_flushed = write
    return before
'''

FILES = (
    HELPER
    + """
code, told = run(root / "whole", counted(root / "writes"))
assert code == 0, told
whole, writes = outcome(root / "whole"), (root / "writes").read_text().split()
wanted = int(sys.argv[2])
chosen = sorted({1 + step * (len(writes) - 1) // (wanted - 1) for step in range(wanted)})
trials = []
for number in chosen:
    out = root / f"limited{number}"
    code, told = run(out, limited(number))
    left = state(out)
    again, more = run(out)
    same = again == 0 and outcome(out) == whole
    trials.append({"file": writes[number - 1], "code": code, "told": told, "left": left, "again": more, "same": same})
print(json.dumps(trials))
"""
)

DEVICE = (
    HELPER
    + """
def mount(*words):
    return os.spawnvp(os.P_WAIT, "mount", ["mount", *words])

code, told = run(root / "whole")
assert code == 0, told
whole, trials = outcome(root / "whole"), []
for kilobytes in json.loads(sys.argv[2]):
    device = root / f"device{kilobytes}"
    device.mkdir()
    if mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(device)):
        print("null")
        sys.exit()
    try:
        out = device / "run"
        code, told = run(out)
        left = state(out)
        mount("-o", "remount,size=64m", str(device))
        again, more = run(out)
        same = again == 0 and outcome(out) == whole
    finally:
        os.spawnvp(os.P_WAIT, "umount", ["umount", str(device)])
    trials.append({"file": kilobytes, "code": code, "told": told, "left": left, "again": more, "same": same})
print(json.dumps(trials))
"""
)

Told = Callable[[str, object], None]
CHILD = {**os.environ, "OMP_NUM_THREADS": "1"}


def tried(helper: str, folder: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", helper, str(folder), *arguments], capture_output=True, text=True, check=False, env=CHILD
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def error_of(told: str) -> str:
    return next((line for line in told.splitlines() if line.startswith("error:")), told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the helper forks")
def test_no_room_for_a_file_at_any_stage(trials: Any, tmp_path: Path, told: Told) -> None:
    wanted = trials.of("disk-full")
    refusals = tried(FILES, tmp_path, str(wanted))
    for trial in refusals:
        assert trial["code"] == 2, trial
        assert "cannot write" in error_of(trial["told"]), trial
        assert "bytes (File too large)" in error_of(trial["told"]), trial
        assert "Traceback" not in trial["told"]
        assert trial["left"] == [], trial
        assert trial["same"], trial
    assert len({trial["file"] for trial in refusals}) >= 4  # checkpoints, results and manifests among them
    told("disk, no room for the first file", error_of(refusals[0]["told"]))
    told("disk, no room for the last file", error_of(refusals[-1]["told"]))
    trials.held("disk-full", len(refusals))


@pytest.mark.skipif(not hasattr(os, "fork") or os.geteuid() != 0, reason="only root may mount a device")
def test_a_device_that_is_too_small(trials: Any, tmp_path: Path) -> None:
    sizes = [100, 40, 220][: trials.of("device-full")]
    refusals = tried(DEVICE, tmp_path, json.dumps(sizes))
    if refusals is None:
        pytest.skip("mounting a tmpfs is not allowed here")
    for trial in refusals:
        assert trial["code"] == 2, trial
        assert "bytes (No space left on device)" in error_of(trial["told"]), trial
        assert trial["left"] == [], trial
        assert trial["same"], trial
    trials.held("device-full", len(refusals))
