"""One epoch of each stage of one trained model, in a process of its own; what it cost, as JSON on stdout.

``python bench/timing/model_epoch.py MODEL FOLDER``, where FOLDER is a data folder. The whole fit is gone through:
graphs are built, each stage is trained for one epoch and validated on some users. CPU seconds are those of the epochs
alone. Memory is the peak of the whole fit above what the process held before, with the data loaded and every library
warm.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmgrec.data import Dataset
from mmgrec.folder import load_folder
from mmgrec.generator import GeneratorTraining
from mmgrec.interfaces import Context, Quantization, Quantizer, Recommender, Representations
from mmgrec.recid import Codes
from mmgrec.recommender import MMGRec
from mmgrec.registry import load
from mmgrec.settings import build
from mmgrec.synthetic import tours
from mmgrec.training import loop as training
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.relation_aware import RelationAware
from mmgrec_plugins.quantizers.kmeans import residual_kmeans
from mmgrec_plugins.representations.graph_encoder import GraphEncoder

__all__ = ["MODELS", "fit_of"]

DIM = 64
FACTORS: dict[str, object] = {"dim": (DIM,), "epochs": 1, "regularization": (1e-2,), "validation_users": 2000}
SEQUENCES: dict[str, object] = {"dim": DIM, "training": {"epochs": 1, "validation_users": 256}}
#: One member of each grid, one epoch of each stage; all else are the defaults.
SETTINGS: dict[str, dict[str, object]] = {
    **dict.fromkeys(
        (
            "mf",
            "lightgcn",
            "graphsage",
            "ngcf",
            "gat",
            "vbpr",
            "mmgcn",
            "grcn",
            "lattice",
            "lightgt",
            "bm3",
            "freedom",
            "pgl",
        ),
        FACTORS,
    ),
    "invrl": FACTORS | {"rounds": 1, "moves": 1, "environment_epochs": 1, "gate_epochs": 1},
    "sasrec": SEQUENCES,
    "tiger": SEQUENCES | {"autoencoder": {"warmup_epochs": 1, "epochs": 1}},
}
ENCODER, GENERATOR = "graph encoder", "generator"
MODELS = (*SETTINGS, ENCODER, GENERATOR)


@dataclass(frozen=True, kw_only=True)
class DrawnVectors(Quantizer):
    """Random representations, quantized: the generator's epoch costs the same whatever they say."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        generator = context.generator("vectors")
        user, item = (torch.randn(count, DIM, generator=generator) / 2 for count in (data.num_users, data.num_items))
        token, books = residual_kmeans(item, 3, 128, generator, iterations=5)
        return Quantization(
            representations=Representations(user=user, item=item),
            codes=Codes(token=token, level_sizes=tuple(map(len, books))),
        )


def fit_of(model: str) -> Callable[[Dataset, Context], object]:
    """What fits it."""
    if model == ENCODER:
        return GraphEncoder(dim=DIM, epochs=1, regularization=(1e-2,), validation_users=2000).fit
    if model == GENERATOR:
        return MMGRec(
            quantizer=DrawnVectors(),
            collisions=ByPopularity(),
            position=RelationAware(),
            decoder=TrieBeam(),
            training=GeneratorTraining(epochs=1, validation_users=256),
        ).fit
    recommender: object = build(load("recommender", model), SETTINGS[model])
    assert isinstance(recommender, Recommender)
    return recommender.fit


def _megabytes(key: str) -> float:
    """A line of this process's status. Not `getrusage`: its peak begins with that of the process that started this."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{key}:"))


def _spent(fit: Callable[[Dataset, Context], object], data: Dataset) -> dict[str, float]:
    """CPU seconds of the epoch of each stage, in their order."""
    spent: dict[str, float] = {}
    epoch = training._epoch

    def timed(task: Any, optimizer: Any, settings: Any, number: int, context: Context) -> dict[str, float]:
        begun = time.process_time()
        row = epoch(task, optimizer, settings, number, context)
        spent["/".join(context.path)] = time.process_time() - begun
        return row

    training._epoch = timed  # type: ignore[assignment]
    try:
        fit(data, Context(seed=0))
    finally:
        training._epoch = epoch
    return spent


def main(model: str, folder: str) -> dict[str, object]:
    fit = fit_of(model)
    _spent(fit, tours(num_users=60, num_items=40))  # what is imported or made once is no cost of an epoch
    data = load_folder(folder)
    gc.collect()
    before = _megabytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    spent = _spent(fit, data)
    return {
        "cpu_s": spent,
        "before_mb": before,
        "peak_mb": _megabytes("VmHWM") - before,
        "interactions": len(data.train),
        "sizes": [data.num_users, data.num_items],
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
