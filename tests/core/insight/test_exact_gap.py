"""The gap between a run's decoder and the exact one, held against brute force."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mmgrec.insight.exact_gap import recall_of_exact
from mmgrec.interfaces import Context, exclusion_of
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.registry import load
from mmgrec.runs.experiment import Experiment
from mmgrec.testing import tiny_data


@pytest.fixture(scope="module")
def recommender() -> MMGRec:
    graph = {"dim": 8, "epochs": 2, "regularization": [0.01], "rank": 8, "num_negatives": 20}
    made = Experiment.of(
        {
            "quantizer": {"name": "rq-kmeans", "codebook_size": 6, "graph": graph},
            "network": {"dim": 8, "num_heads": 2, "head_dim": 4, "feedforward_dim": 8},
            "training": {"epochs": 1, "batch_size": 64},
        }
    )
    model = made.models[0].recommender
    assert isinstance(model, MMGRec)
    return model


def with_decoder(fitted: FittedMMGRec, **settings: int) -> FittedMMGRec:
    decoder = load("decoder", "trie-beam")(**settings)
    return dataclasses.replace(fitted, method=dataclasses.replace(fitted.method, decoder=decoder))


def test_the_gap_closes_as_the_beam_widens(recommender: MMGRec) -> None:
    data = tiny_data()
    fitted = recommender.fit(data, Context())
    users = torch.arange(data.num_users)
    gaps = [
        recall_of_exact(with_decoder(fitted, num_beams=beams), data, users=users, mask="train", top_k=3)
        for beams in (3, 12, data.num_items)
    ]
    assert gaps[2] == 1.0
    assert gaps[0] <= gaps[1] <= 1.0
    assert gaps[0] > 0.2


def test_a_model_comes_back_from_its_state(recommender: MMGRec) -> None:
    data = tiny_data()
    fitted = recommender.fit(data, Context())
    again = recommender.restore(fitted.state())
    users = torch.arange(10)
    exclusion = exclusion_of(data.train, users)
    here = fitted.recommend(users, top_k=5, exclusion=exclusion)
    there = again.recommend(users, top_k=5, exclusion=exclusion)
    assert torch.equal(here.item, there.item)
    assert torch.equal(here.score, there.score)
