"""MF and LightGCN learn, choose their settings by validation, and look at nothing that they must not see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from shared_baselines import (
    DATA,
    SHORT,
    SMALL,
    Heard,
    learns_far_more_than_popularity,
    looks_at_neither_features_nor_test_items,
    puts_the_missing_item_of_a_checkerboard_first,
)

from mmgrec.evaluation import evaluate
from mmgrec.interfaces import Context, Recommender, exclusion_of
from mmgrec_plugins.recommenders.graph.factors import FittedFactors
from mmgrec_plugins.recommenders.graph.lightgcn import LightGCN
from mmgrec_plugins.recommenders.graph.mf import MF

SETTINGS: dict[str, Any] = {**SMALL, "learning_rate": 2e-2}
BOTH = pytest.mark.parametrize(
    "recommender",
    [MF(**SETTINGS), LightGCN(**SETTINGS), LightGCN(**SETTINGS, losses=("softmax",))],
    ids=["mf", "lightgcn", "lightgcn-softmax"],
)


@BOTH
def test_it_learns_far_more_than_popularity(recommender: Recommender) -> None:
    learns_far_more_than_popularity(recommender)


@pytest.mark.parametrize("recommender", [MF(**SETTINGS), LightGCN(**SETTINGS)], ids=["mf", "lightgcn"])
def test_the_missing_item_of_a_checkerboard_comes_first(recommender: Recommender) -> None:
    puts_the_missing_item_of_a_checkerboard_first(recommender)


@pytest.mark.parametrize("kind", [MF, LightGCN])
def test_validation_chooses_from_the_grid(kind: type[MF] | type[LightGCN]) -> None:
    """The best of the grid is what its best member would be alone; the bad ones keep all vectors at zero."""
    grid = kind(**{**SETTINGS, "dim": (16, 1), "regularization": (1e3, 1e-2)})
    alone = kind(**SETTINGS)
    heard = Heard()
    chosen = grid.fit(DATA, Context(seed=1, reporter=heard)).state()
    assert chosen["user"].shape[1] == 16
    assert any("d16-bpr-0.01" in note and "best of 4" in note for note in heard.notes)
    valid = [
        evaluate(recommender.fit(DATA, Context(seed=1)), DATA, split="valid", top_k=(10,)).metrics["recall@10"]
        for recommender in (grid, alone, replace(alone, dim=(1,)))
    ]
    assert valid[0] > valid[2]
    assert valid[0] == pytest.approx(valid[1], abs=0.03)  # the batches of its stage are others


def test_the_softmax_is_trained_once_and_not_for_each_regularization() -> None:
    heard = Heard()
    grid = LightGCN(dim=(4,), epochs=1, losses=("bpr", "softmax"), regularization=(1e-2, 1e-3))
    grid.fit(DATA, Context(reporter=heard))
    assert any("best of 3" in note for note in heard.notes)


@pytest.mark.parametrize("recommender", [MF(**SHORT), LightGCN(**SHORT)], ids=["mf", "lightgcn"])
def test_features_and_test_items_have_no_part_in_it(recommender: Recommender) -> None:
    looks_at_neither_features_nor_test_items(recommender)


def test_lists_are_those_of_the_saved_vectors() -> None:
    fitted = LightGCN(**SHORT).fit(DATA, Context(seed=1))
    state = load(save(fitted.state()))
    users = torch.tensor([5, 0, 77])
    recommended = fitted.recommend(users, top_k=10, exclusion=exclusion_of(DATA.train, users))
    scores = state["user"][users] @ state["item"].T
    seen = torch.zeros(scores.shape, dtype=torch.bool)
    row, item = DATA.train.items_of(users)
    seen[row, item] = True
    wanted = scores.masked_fill(seen, -torch.inf).topk(10)
    assert isinstance(fitted, FittedFactors)
    assert torch.equal(recommended.item, wanted.indices)
    torch.testing.assert_close(recommended.score, wanted.values)


def test_mf_is_the_graph_encoder_without_a_layer() -> None:
    """No neighbour has a part in a vector: an untrained user is as it was drawn, whatever they did."""
    states = [
        MF(**{**SHORT, "epochs": 0}).fit(data, Context(seed=1)).state()
        for data in (DATA, replace(DATA, train=DATA.test))
    ]
    assert torch.equal(states[0]["user"], states[1]["user"])
    graph = [
        LightGCN(**{**SHORT, "epochs": 0}).fit(data, Context(seed=1)).state()
        for data in (DATA, replace(DATA, train=DATA.test))
    ]
    assert not torch.equal(graph[0]["user"], graph[1]["user"])
