"""Recommenders that score an item by a sum over a history: each item of it says so much for others, most say nothing.

Needed by whoever adds another way to find such weights: give what histories say, sparsely, and ranking is here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations
from mmgrec.ranking import rank_items

__all__ = ["ItemSums"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemSums(FittedRecommender):
    """A user's scores are the sum of what the items of their history say."""

    history: Interactions

    @abstractmethod
    def said(self, users: Tensor) -> Any:  # Any: scipy has no types
        """What the histories of users ``[B]`` say of all items: sparse ``[B, num_items]`` float32."""

    def with_history(self, history: Interactions) -> Self:
        return replace(self, history=history)

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = torch.from_numpy(self.said(users).toarray())  # [B, num_items]
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)
