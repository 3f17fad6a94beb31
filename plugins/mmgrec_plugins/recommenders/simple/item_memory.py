"""The item memory alone: a history's items speak for others, each other item by weights of a ridge of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, FittedRecommender, ItemWeights, Recommender
from mmgrec_plugins.memories.local_ridge import LocalRidge
from mmgrec_plugins.recommenders.simple.item_sums import ItemSums

__all__ = ["ItemMemoryAlone"]


@dataclass(frozen=True, kw_only=True)
class ItemMemoryAlone(Recommender):
    """A user's score of an item is the sum of what each item of their history says for it.

    Like EASE, but each item is explained by its nearest items alone, features count beside common users, and where
    the order of histories is known, newer items count more. It is what mmgrec adds to its generator, by itself.
    """

    ridge: LocalRidge = field(default_factory=LocalRidge)  # its `scale` is not read: here there is nothing beside it

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        def nothing(users: Tensor) -> Tensor:
            return torch.zeros(users.numel(), data.num_items)

        weights = replace(self.ridge, scale=(1.0,)).fit(data, nothing, context)
        return FittedItemMemory(weights=weights, history=data.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedItemMemory(ItemSums):
    """The weights, and the histories that they are summed over."""

    weights: ItemWeights

    def said(self, users: Tensor) -> Any:  # Any: scipy has no types
        return self.weights.rows(self.history, users)

    def state(self) -> dict[str, Tensor]:
        return {
            "index": self.weights.index,
            "weight": self.weights.weight,
            "decay": torch.tensor(self.weights.decay, dtype=torch.float64),
        }
