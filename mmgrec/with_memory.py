"""Any recommender with an item memory beside it: the honest control for what the memory gives to MMGRec.

A row of a run or a study gets one by its settings (``memory = {name = "local-ridge"}``; of a recommender that writes
its lists, like TIGER, ``memory_candidates`` says how long a list it is asked for). The recommender is fitted as
ever; its scores of all items are made comparable with log-probabilities, and the memory's are added to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.guards import checked_fitted, checked_weights
from mmgrec.interfaces import (
    Context,
    Exclusion,
    FittedRecommender,
    ItemMemory,
    ItemWeights,
    Recommendations,
    Recommender,
    no_exclusion,
)
from mmgrec.ranking import rank_items
from mmgrec.training import likeliest_factor

__all__ = ["WithMemory"]


@dataclass(frozen=True, kw_only=True)
class WithMemory(Recommender):
    """Ranks all items by ``factor * score + sum_j B_ji`` over the items j of the history."""

    base: Recommender
    memory: ItemMemory
    candidates: Annotated[int, Ge(0)] = 0  # that the recommender is asked for, the others count as its last; 0: all

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        fitted = checked_fitted(self.base.fit(data, context), self.base)

        def scores(users: Tensor) -> Tensor:
            return _all_scores(fitted, users, data.num_items, self.candidates)

        factor = likeliest_factor(scores, data, context.generator("calibration"))
        weights = self.memory.fit(data, lambda users: scores(users) * factor, context.within("memory"))
        weights = checked_weights(weights, data, self.memory)
        return FittedWithMemory(
            base=fitted, factor=factor, weights=weights, history=data.train, candidates=self.candidates
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedWithMemory(FittedRecommender):
    """The fitted recommender and the memory's weights."""

    base: FittedRecommender
    factor: float  # on the recommender's scores
    weights: ItemWeights
    history: Interactions
    candidates: int

    def with_history(self, history: Interactions) -> FittedWithMemory:
        return replace(self, base=self.base.with_history(history), history=history)

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = _all_scores(self.base, users, self.weights.num_items, self.candidates) * self.factor
        scores += torch.from_numpy(self.weights.rows(self.history, users).toarray())
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)

    def state(self) -> dict[str, Tensor]:
        return {
            **{f"base.{name}": value for name, value in self.base.state().items()},
            "factor": torch.tensor(self.factor, dtype=torch.float64),
            "memory.index": self.weights.index,
            "memory.weight": self.weights.weight,
            "memory.decay": torch.tensor(self.weights.decay, dtype=torch.float64),
        }


def _all_scores(fitted: FittedRecommender, users: Tensor, num_items: int, candidates: int) -> Tensor:
    """``[B, num_items]`` float32; an item that is not named has the score of the last one that is."""
    width = min(candidates or num_items, num_items)
    lists = fitted.recommend(users, top_k=width, exclusion=no_exclusion(users.numel()))
    named = lists.item >= 0
    last = lists.score.masked_fill(~named, torch.inf).amin(1, keepdim=True)
    scores = torch.where(last.isinf(), 0.0, last).expand(-1, num_items + 1).clone()
    scores.scatter_(1, torch.where(named, lists.item, num_items), lists.score)
    return scores[:, :num_items].contiguous()
