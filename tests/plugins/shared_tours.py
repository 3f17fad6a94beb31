"""What the tests of recommenders of ordered data share: planted tours, small recommenders, each fitted once."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, cast

import torch

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import Defects, evaluate
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec.synthetic import tours
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings
from mmgrec_plugins.recommenders.sequential.sasrec import SASRec
from mmgrec_plugins.recommenders.sequential.sequences import SequenceTraining
from mmgrec_plugins.recommenders.sequential.tiger import TIGER, TIGERTraining

DATA = tours(num_users=300, num_items=30)
HOW: dict[str, Any] = {
    "epochs": 20,
    "learning_rate": 1e-2,
    "schedule": "cosine",
    "batch_size": 50,
    "validate_every": 20,
    "validation_users": 100,
}
TRAINING = SequenceTraining(**HOW)
SASREC = SASRec(dim=32, num_layers=1, head_dim=16, feedforward_dim=32, dropout=0.0, history_length=4, training=TRAINING)
TIGERS = TIGER(
    num_levels=2,
    codebook_size=8,
    dim=32,
    num_heads=2,
    head_dim=16,
    feedforward_dim=32,
    dropout=0.0,
    history_length=4,
    autoencoder=AutoencoderSettings(hidden_dim=16, latent_dim=8, epochs=10, warmup_epochs=5, steps_per_epoch=2),
    training=TIGERTraining(**HOW, warmup_steps=10),
)
KINDS: dict[str, Recommender] = {"sasrec": SASREC, "tiger": TIGERS}


@cache
def fitted(name: str) -> FittedRecommender:
    return KINDS[name].fit(DATA, Context(seed=1))


def quick(name: str, **settings: object) -> Recommender:
    recommender = KINDS[name]
    training = dataclasses.replace(recommender.training, epochs=3)  # type: ignore[attr-defined]
    return cast(Recommender, dataclasses.replace(recommender, training=training, **settings))  # type: ignore[type-var]


def recall(model: FittedRecommender, data: Dataset, top_k: int = 1) -> float:
    report = evaluate(model, data, top_k=(top_k,))
    assert report.defects == Defects()
    return report.metrics[f"recall@{top_k}"]


def walk(items: list[int]) -> Interactions:
    """One user, who has these items in this order."""
    item = torch.tensor(items)
    return Interactions.of(
        torch.zeros_like(item), item, num_users=DATA.num_users, num_items=DATA.num_items, time=torch.arange(len(items))
    )
