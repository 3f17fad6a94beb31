"""Recommenders whose score is an inner product of two vectors: their tuning and their ranking."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations, Representations
from mmgrec.validation import ValidationRecall
from mmgrec_plugins.quantizers.graph import GraphEncoder, best_of
from mmgrec_plugins.quantizers.graph_network import Loss
from mmgrec_plugins.recommenders._scoring import rank_items

__all__ = ["FittedFactors", "fit_factors"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedFactors(FittedRecommender):
    """Ranks by ``x_u . x_i``."""

    representations: Representations

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = self.representations.user[users] @ self.representations.item.T
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)

    def state(self) -> dict[str, Tensor]:
        return {"user": self.representations.user, "item": self.representations.item}


def fit_factors(
    encoder: GraphEncoder,
    data: Dataset,
    context: Context,
    *,
    dims: Sequence[int],
    losses: Sequence[Loss],
) -> FittedFactors:
    """Train an encoder without features over a grid of dims, losses and regularizations; validation chooses."""
    recall = ValidationRecall(data, max_users=encoder.validation_users, generator=context.generator("validation users"))
    grid = [
        (dim, loss, strength)
        for dim, loss, strength in itertools.product(dims, losses, encoder.regularization)
        if loss == "bpr" or strength == encoder.regularization[0]  # the softmax has no regularization
    ]
    tasks = (
        (
            f"d{dim}-{loss}-{strength:g}",
            replace(encoder, dim=dim).task(data, None, recall, context, loss=loss, regularization=strength),
        )
        for dim, loss, strength in grid
    )
    best = best_of(tasks, encoder.training(), context, "train")
    return FittedFactors(representations=best.representations)
