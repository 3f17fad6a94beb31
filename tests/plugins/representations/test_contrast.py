"""Neighbouring layers as contrast pairs, edge by edge."""

from __future__ import annotations

import math

import torch

from mmgrec.interfaces import Context
from mmgrec.synthetic import planted
from mmgrec.training import ValidationRecall, seeded
from mmgrec_plugins.representations.contrast import neighbouring_layers
from mmgrec_plugins.representations.graph_network import GraphNetwork
from mmgrec_plugins.representations.ranking import RankingTask

DATA = planted(num_users=30, num_items=20, mean_interactions=8, seed=2)


def test_it_is_the_loss_of_the_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [(torch.randn(5, 4, generator=generator), torch.randn(6, 4, generator=generator)) for _ in range(3)]
    user, item = torch.tensor([0, 1, 1, 4]), torch.tensor([2, 2, 3, 5])
    losses = []
    for (users, items), (next_users, next_items) in zip(layers, layers[1:], strict=False):  # noqa: RUF007
        for anchors, others, mine, theirs in ((users, next_items, user, item), (items, next_users, item, user)):
            for edge in range(4):
                cosine = [
                    float(torch.cosine_similarity(anchors[mine[edge]], others[theirs[other]], dim=0)) / 0.3
                    for other in range(4)
                    if other == edge or theirs[other] != theirs[edge]
                ]
                own = float(torch.cosine_similarity(anchors[mine[edge]], others[theirs[edge]], dim=0)) / 0.3
                losses.append(-own + math.log(sum(map(math.exp, cosine))))
    found = neighbouring_layers(layers, user, item, temperature=0.3)
    assert math.isclose(float(found), sum(losses) / len(losses), rel_tol=1e-5)


def test_it_is_a_term_of_the_loss_where_it_is_asked_for() -> None:
    def losses(contrast: float) -> dict[str, float]:
        with seeded(Context().generator("start")):
            network = GraphNetwork(DATA, dim=8, num_layers=2, contrast=contrast)
        task = RankingTask(
            network.train(), DATA, loss="bpr", regularization=0.0, temperature=1.0, num_negatives=4, batch_size=64,
            recall=ValidationRecall(DATA),
        )  # fmt: skip
        generator = torch.Generator().manual_seed(1)
        terms = task.loss(next(task.batches(0, generator)), generator)
        return {name: value.item() for name, value in terms.items()}

    without, with_it = losses(0.0), losses(0.5)
    assert "contrast" not in without
    assert with_it["bpr"] == without["bpr"]
    assert math.isclose(with_it["loss"], with_it["bpr"] + with_it["contrast"], rel_tol=1e-6)
    assert with_it["contrast"] > 0.5
