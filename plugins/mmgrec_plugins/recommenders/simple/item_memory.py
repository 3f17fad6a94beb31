"""The item memory alone: a history's items speak for others, each other item by weights of a ridge of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from scipy import sparse
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.generator import local_ridge_weights, unit_features
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec_plugins.recommenders.simple.item_sums import ItemSums

__all__ = ["ItemMemory"]


@dataclass(frozen=True, kw_only=True)
class ItemMemory(Recommender):
    """A user's score of an item is the sum of what each item of their history says for it.

    Like EASE, but each item is explained by its nearest items alone, and features count beside common users.
    """

    neighbours: Annotated[int, Ge(1)] = 50  # n of each item
    l2: Annotated[float, Gt(0)] = 20.0  # λ of each item's ridge
    feature_weight: Annotated[float, Ge(0)] = 3.0  # β: as many common users are two items of equal features worth

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        tables = [data.features[name] for name in data.modalities if name in data.features]
        weights = local_ridge_weights(
            data.train,
            unit_features(tables) if tables else None,
            neighbours=self.neighbours,
            l2=self.l2,
            feature_weight=self.feature_weight,
            device=context.device,
        )
        return FittedItemMemory(index=weights.index, weight=weights.weight, history=data.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedItemMemory(ItemSums):
    """The weights, and the histories that they are summed over."""

    index: Tensor  # [num_items, n] int64, the items that speak for each
    weight: Tensor  # [num_items, n] float32

    @cached_property
    def speaks(self) -> Any:  # Any: scipy has no types
        num_items, count = self.index.shape
        rows = torch.arange(num_items).repeat_interleave(count)
        entries = (self.weight.flatten().numpy(), (self.index.flatten().numpy(), rows.numpy()))
        return sparse.csr_matrix(entries, shape=(num_items, num_items))

    def state(self) -> dict[str, Tensor]:
        return {"index": self.index, "weight": self.weight}
