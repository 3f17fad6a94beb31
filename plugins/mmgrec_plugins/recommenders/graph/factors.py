"""Recommenders whose score is an inner product of two vectors: their settings, training, tuning and ranking."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, MinLen
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations, Recommender, Representations
from mmgrec.ranking import rank_items
from mmgrec.training import TrainingSettings, ValidationRecall, seeded
from mmgrec_plugins.representations.ranking import Loss, RankingNetwork, RankingTask, best_of

__all__ = ["FactorRecommender", "FittedFactors"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedFactors(FittedRecommender):
    """Ranks by ``x_u . x_i``."""

    representations: Representations

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = self.representations.user[users] @ self.representations.item.T
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)

    def state(self) -> dict[str, Tensor]:
        return {"user": self.representations.user, "item": self.representations.item}


@dataclass(frozen=True, kw_only=True)
class FactorRecommender(Recommender):
    """A `RankingNetwork` trained to rank. Several values of a setting: validation chooses."""

    dim: Annotated[tuple[int, ...], MinLen(1)] = (64,)
    losses: Annotated[tuple[Loss, ...], MinLen(1)] = ("bpr",)
    regularization: Annotated[tuple[float, ...], MinLen(1)] = (3e-3, 1e-2, 3e-2)  # L2 of the free vectors, with bpr
    temperature: Annotated[float, Gt(0)] = 0.2  # of the softmax
    num_negatives: Annotated[int, Ge(1)] = 500  # of the softmax, shared by a batch
    batch_size: Annotated[int, Ge(1)] = 4096  # edges
    epochs: Annotated[int, Ge(0)] = 300
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    patience: Annotated[int, Ge(1)] = 6  # validations
    validate_every: Annotated[int, Ge(1)] = 5  # epochs
    validation_users: Annotated[int, Ge(1)] = 10_000  # at most, a seeded sample

    @abstractmethod
    def network(self, data: Dataset, *, dim: int, context: Context) -> RankingNetwork:
        """The untrained network; torch's own random stream is seeded for it."""

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        """Train over the grid of dims, losses and regularizations; validation recall chooses."""
        recall = ValidationRecall(
            data, max_users=self.validation_users, generator=context.generator("validation users")
        )
        grid = [
            (dim, loss, strength)
            for dim, loss, strength in itertools.product(self.dim, self.losses, self.regularization)
            if loss == "bpr" or strength == self.regularization[0]  # the softmax has no regularization
        ]
        tasks = (
            (f"d{dim}-{loss}-{strength:g}", self._task(data, recall, context, dim, loss, strength))
            for dim, loss, strength in grid
        )
        training = TrainingSettings(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
        )
        return FittedFactors(representations=best_of(tasks, training, context, "train").representations)

    def _task(
        self, data: Dataset, recall: ValidationRecall, context: Context, dim: int, loss: Loss, regularization: float
    ) -> RankingTask:
        with seeded(context.generator("start", loss)):
            network = self.network(data, dim=dim, context=context)
        return RankingTask(
            network.to(context.device),
            data,
            loss=loss,
            regularization=regularization,
            temperature=self.temperature,
            num_negatives=self.num_negatives,
            batch_size=self.batch_size,
            recall=recall,
        )
