"""Recommenders that score an item by a sum over a history: each item of it says so much for others, most say nothing.

Needed by whoever adds another way to find such weights: give the sparse matrix, and ranking is here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations
from mmgrec.ranking import rank_items

__all__ = ["ItemSums"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemSums(FittedRecommender):
    """A user's scores are the sum of what the items of their history say."""

    history: Interactions

    @property
    @abstractmethod
    def speaks(self) -> Any:  # Any: scipy has no types
        """CSR ``[num_items, num_items]`` float32: from an item of the history (row) to a candidate (column)."""

    def with_history(self, history: Interactions) -> Self:
        return replace(self, history=history)

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        row, item = self.history.items_of(users)
        ones = np.ones(len(row), dtype=np.float32)
        shape = (users.numel(), self.history.num_items)
        batch = sparse.csr_matrix((ones, (row.numpy(), item.numpy())), shape=shape)
        scores = torch.from_numpy((batch @ self.speaks).toarray())  # [B, num_items]
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)
