"""MF and LightGCN learn, choose their settings by validation, and look at nothing that they must not see."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from mmgrec.data import Dataset
from mmgrec.evaluation import Defects, Report, evaluate
from mmgrec.interfaces import Context, Recommender, Silent, exclusion_of
from mmgrec.synthetic import checkerboard, planted
from mmgrec_plugins.recommenders._factors import FittedFactors
from mmgrec_plugins.recommenders.lightgcn import LightGCN
from mmgrec_plugins.recommenders.mf import MF
from mmgrec_plugins.recommenders.popularity import Popularity

DATA = planted(num_users=160, num_items=100, mean_interactions=20, seed=3)
SMALL: dict[str, Any] = {
    "dim": (16,),
    "epochs": 40,
    "batch_size": 1000,
    "regularization": (1e-2,),
    "learning_rate": 2e-2,
}
BOTH = pytest.mark.parametrize(
    "recommender",
    [MF(**SMALL), LightGCN(**SMALL), LightGCN(**SMALL, losses=("softmax",))],
    ids=["mf", "lightgcn", "lightgcn-softmax"],
)
SHORT: dict[str, Any] = {"dim": (8,), "epochs": 3, "regularization": (1e-2,)}


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def report(recommender: Recommender, data: Dataset = DATA) -> Report:
    return evaluate(recommender.fit(data, Context(seed=1)), data, top_k=(10,))


@BOTH
def test_it_learns_far_more_than_popularity(recommender: Recommender) -> None:
    learnt, popular = report(recommender), report(Popularity())
    assert learnt.defects == Defects()
    assert learnt.metrics["recall@10"] > 1.25 * popular.metrics["recall@10"]


@pytest.mark.parametrize("recommender", [MF(**SMALL), LightGCN(**SMALL)], ids=["mf", "lightgcn"])
def test_the_missing_item_of_a_checkerboard_comes_first(recommender: Recommender) -> None:
    """One right answer each: the only unseen item of the user's colour."""
    data = checkerboard(num_users=64, num_items=32)
    found = evaluate(recommender.fit(data, Context(seed=1)), data, top_k=(1,))
    assert found.metrics["recall@1"] > 0.9


@pytest.mark.parametrize("kind", [MF, LightGCN])
def test_validation_chooses_from_the_grid(kind: type[MF] | type[LightGCN]) -> None:
    """The best of the grid is what its best member would be alone; the bad ones keep all vectors at zero."""
    grid = kind(**{**SMALL, "dim": (16, 1), "regularization": (1e3, 1e-2)})
    alone = kind(**SMALL)
    heard = Heard()
    chosen = grid.fit(DATA, Context(seed=1, reporter=heard)).state()
    assert chosen["user"].shape[1] == 16
    assert any("d16-bpr-0.01" in note and "best of 4" in note for note in heard.notes)
    valid = [
        evaluate(one.fit(DATA, Context(seed=1)), DATA, split="valid", top_k=(10,)).metrics["recall@10"]
        for one in (grid, alone, replace(alone, dim=(1,)))
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
    first, second = (
        recommender.fit(data, Context(seed=1)).state() for data in (DATA, replace(DATA, features={}, test=DATA.valid))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_lists_are_those_of_the_saved_vectors() -> None:
    fitted = LightGCN(**SHORT).fit(DATA, Context(seed=1))
    state = load(save(fitted.state()))
    users = torch.tensor([5, 0, 77])
    found = fitted.recommend(users, top_k=10, exclusion=exclusion_of(DATA.train, users))
    scores = state["user"][users] @ state["item"].T
    seen = torch.zeros(scores.shape, dtype=torch.bool)
    row, item = DATA.train.items_of(users)
    seen[row, item] = True
    wanted = scores.masked_fill(seen, -torch.inf).topk(10)
    assert isinstance(fitted, FittedFactors)
    assert torch.equal(found.item, wanted.indices)
    torch.testing.assert_close(found.score, wanted.values)


def test_mf_is_the_graph_encoder_without_a_layer() -> None:
    """No neighbour has a part in a vector: an untrained user is as it was drawn, whatever he did."""
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
