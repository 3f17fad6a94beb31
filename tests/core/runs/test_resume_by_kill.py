"""Fits that are killed with SIGKILL, for real, and started again until they are done: the same bits come out.

The fits run in children of a helper process that has imported everything and computed nothing: a kill costs no import.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command_server import Process, Server

HELPER = '''
import gc, hashlib, json, os, random, signal, stat, sys, time, traceback
from pathlib import Path

import scipy.sparse
import torch
import torch_geometric.nn
from safetensors.torch import save

import mmgrec.storage.atomic as atomic
from mmgrec.generator import GeneratorTraining
from mmgrec.interfaces import Context, Silent, exclusion_of
from mmgrec.generator.layers import NetworkSettings
from mmgrec.recommender import MMGRec
from mmgrec.synthetic import planted
from mmgrec.training import TrainingSettings
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.relation_aware import RelationAware
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings
from mmgrec_plugins.representations.graph_encoder import GraphEncoder
from mmgrec_plugins.quantizers.graph_rqvae import GraphRQVAE

schedule, root, wanted = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
alternating = schedule == "alternating"


TrainingSettings.__init__.__kwdefaults__["checkpoint_seconds"] = 0.0  # after each epoch, not each half minute


class Tells(Silent):
    """Notes down which epochs were done; the notes outlive the process."""

    def __init__(self, path):
        self.handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(self.handle, b"attempt 0\\n")

    def update(self, stage, done, facts):
        os.write(self.handle, f"{stage} {done}\\n".encode())


def fit(folder):
    reporter = Silent() if folder is None else Tells(folder.with_suffix(".epochs"))
    model = MMGRec(
        quantizer=GraphRQVAE(
            codebook_size=6,
            schedule=schedule,
            graph=GraphEncoder(
                dim=8, epochs=6, losses=("bpr",) if alternating else ("bpr", "softmax"), regularization=(1e-2,),
                item_graph_scale=(1.0,), num_negatives=20, batch_size=400,
            ),
            autoencoder=AutoencoderSettings(hidden_dim=8, latent_dim=4, epochs=4, warmup_epochs=2, steps_per_epoch=2),
        ),
        collisions=ByPopularity(),
        position=RelationAware(),
        decoder=TrieBeam(num_beams=10),
        network=NetworkSettings(dim=8, num_heads=2, head_dim=4, feedforward_dim=8, history_length=8),
        training=GeneratorTraining(epochs=8, batch_size=32, validate_every=2, warmup_steps=2, checkpoint_seconds=0),
    )
    data = planted(num_users=60, num_items=40, mean_interactions=10, seed=3)
    fitted = model.fit(data, Context(seed=1, checkpoints=folder, reporter=reporter))
    users = torch.arange(data.num_users)
    lists = fitted.recommend(users, top_k=10, exclusion=exclusion_of(data.train, users))
    parts = {"state": fitted.state(), "rec_ids": {"token": fitted.rec_ids.token}}
    parts["lists"] = {"item": lists.item, "score": lists.score}
    return {name: hashlib.sha256(save(part)).hexdigest() for name, part in parts.items()}


def child(folder, out, write_to_die_at):
    """Fit in a child; it kills itself within the given write to the disk, if any."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if write_to_die_at:
            left, flush = [write_to_die_at], os.fsync
            def flush_or_die(handle):
                left[0] -= 1
                if not left[0]:
                    if stat.S_ISREG(os.fstat(handle).st_mode):
                        os.ftruncate(handle, os.fstat(handle).st_size // 2)  # a part of the file was written
                    os.kill(os.getpid(), signal.SIGKILL)
                flush(handle)
            atomic.os.fsync = flush_or_die
        out.write_text(json.dumps(fit(folder)))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def killed(pid):
    _, status = os.waitpid(pid, 0)
    sys.stderr.flush()
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)


torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports what it needs late: once, not in each child
gc.collect()
gc.freeze()  # no child looks through what it has not made
chance = random.Random(11)
out = root / "whole.json"
started = time.monotonic()
assert not killed(child(None, out, 0))
seconds = time.monotonic() - started
fits = {"whole": json.loads(out.read_text()), "moments": [], "writes": []}


def moment(home, out):
    """Killed from outside, whatever it is doing."""
    pid = child(home, out, 0)
    time.sleep(chance.uniform(0.1, 0.6) * seconds)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    return killed(pid)


def write(home, out):
    return killed(child(home, out, chance.randint(10, 60)))


for name, attempt in (("moments", moment), ("writes", write)):
    kills = 0
    while True:  # one fit after the other, each killed and started again until it is done
        home = root / f"{name}{len(fits[name])}"
        out = home.with_suffix(".json")
        while kills < wanted and attempt(home, out):
            kills += 1
        if kills == wanted and not out.exists():
            killed(child(home, out, 0))
        left = [path.name for path in home.rglob(".*.tmp")]
        epochs = home.with_suffix(".epochs").read_text()
        fits[name].append({"left": left, "epochs": epochs, "out": json.loads(out.read_text())})
        if kills == wanted:
            break
print(json.dumps(fits))
'''

CHILD = {**os.environ, "OMP_NUM_THREADS": "1"}


SCHEDULES = ("two-stage", "alternating")


def most_repeated(epochs: str) -> int:
    """Epochs that were done twice after a kill, at most: all stages and attempts of one fit."""
    done: dict[str, int] = {}
    worst, fresh = 0, set[str]()
    for stage, number in (line.split() for line in epochs.splitlines()):
        if stage == "attempt":
            fresh = set(done)  # the stages that must go on where they were
        elif stage in fresh:
            worst = max(worst, done[stage] - int(number) + 1)
            fresh.discard(stage)
        done[stage] = int(number)
    return worst


def test_repetitions_are_counted() -> None:
    assert most_repeated("attempt 0\na 1\na 2\nattempt 0\na 3\nb 1\n") == 0
    assert most_repeated("attempt 0\na 1\na 2\nattempt 0\na 2\na 3\n") == 1
    assert most_repeated("attempt 0\na 1\na 2\na 3\nattempt 0\na 1\n") == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the helper forks")
def test_killed_at_random_moments_and_within_writes_it_ends_in_the_same_bits(trials: Any, tmp_path: Path) -> None:
    kills = trials.of("killed-in-training") // (2 * len(SCHEDULES))
    for schedule in SCHEDULES:
        (tmp_path / schedule).mkdir()
        call = [sys.executable, "-c", HELPER, schedule, str(tmp_path / schedule), str(kills)]
        done = subprocess.run(call, capture_output=True, text=True, check=False, env=CHILD)
        assert done.returncode == 0, done.stderr
        fits = json.loads(done.stdout)
        for fit in fits["moments"] + fits["writes"]:
            assert fit["out"] == fits["whole"]
            assert fit["left"] == []
            assert most_repeated(fit["epochs"]) <= 1  # a checkpoint is kept after each epoch
    trials.held("killed-in-training", 2 * len(SCHEDULES) * kills)


COMMAND = (
    "run",
    "--set=data.num_users=90",
    "--set=data.num_items=50",
    "--set=data.mean_interactions=10",
    "--set=quantizer.codebook_size=8",
    "--set=quantizer.graph.dim=8",
    '--set=quantizer.graph.losses=["bpr"]',
    "--set=quantizer.graph.epochs=3",
    "--set=quantizer.graph.regularization=[0.01]",
    "--set=quantizer.graph.item_graph_scale=[1.0]",
    "--set=quantizer.autoencoder.epochs=3",
    "--set=quantizer.autoencoder.warmup_epochs=2",
    "--set=network.dim=16",
    "--set=network.history_length=8",
    "--set=training.epochs=12",
    "--set=training.batch_size=32",
    "--set=training.validate_every=1",
    "--set=training.checkpoint_seconds=0",
    "--set=decoder.num_beams=10",
    "--seed=4",
)


def finished(process: Process) -> str:
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return errors


def epochs_done(out: Path) -> int:
    """Of the generator, as the run's log tells."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return max((int(row.get("done", 0)) for row in rows if row.get("stage") == "generator"), default=0)


def outcome(out: Path) -> dict[str, Any]:
    results = json.loads((out / "results.json").read_text())
    for row in results["results"]:
        row.pop("seconds")
    files = ("rec_ids.parquet", "per_user.parquet", "weights/mmgrec.safetensors")
    return {"results": results, **{name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in files}}


def test_a_run_of_the_command_line_killed_and_started_again_gives_the_same_results(
    trials: Any, server: Server, tmp_path: Path
) -> None:
    def start(out: Path) -> Process:
        return server.start([*COMMAND, "--out", str(out)], cwd=tmp_path)

    wanted, chance = trials.of("killed-on-the-command-line"), random.Random(5)
    whole = start(tmp_path / "whole")
    for number in range(wanted):
        out = tmp_path / f"broken{number}"
        broken, moment = start(out), chance.randint(1, 9)
        deadline = time.monotonic() + 600
        while broken.poll() is None and epochs_done(out) < moment and time.monotonic() < deadline:
            time.sleep(0.005)
        broken.send_signal(signal.SIGKILL)
        broken.communicate()
        assert broken.returncode == -signal.SIGKILL
        assert "continuing after epoch" in finished(start(out))
    finished(whole)
    for number in range(wanted):
        assert outcome(tmp_path / f"broken{number}") == outcome(tmp_path / "whole")
    trials.held("killed-on-the-command-line", wanted)
