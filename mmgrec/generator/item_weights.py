"""Item weights: what each item of a history says for or against a candidate, learnt in closed form (EASE).

Used by re-ranking, and by the recommender EASE itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgrec.data import Interactions

__all__ = ["ItemWeights", "ease_weights", "user_item"]


def user_item(part: Interactions) -> Any:  # Any: scipy has no types
    """The interactions as a CSR matrix of ones, ``[num_users, num_items]`` float32."""
    from scipy import sparse

    ones = np.ones(len(part), dtype=np.float32)
    return sparse.csr_matrix(
        (ones, part.item.numpy(), part.offsets.numpy()), shape=(part.num_users, part.num_items), copy=False
    )


def ease_weights(part: Interactions, *, l2: float, device: torch.device) -> Tensor:
    """B of EASE (Steck, WWW 2019): minimises ``|X - X B|² + l2 |B|²`` with a zero diagonal.

    Args:
        part: X.
        l2: λ.
        device: where it is computed and stays.

    Returns:
        ``[num_items, num_items]`` float32, from an item of the history (row) to a candidate (column).
    """
    matrix = user_item(part)
    gram = torch.from_numpy((matrix.T @ matrix).tocsr().toarray()).to(device)  # X'X
    gram.diagonal().add_(l2)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    weight = inverse.div_(-inverse.diagonal().clone())
    weight.fill_diagonal_(0)
    return weight


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemWeights:
    """For each item the N items that speak most for it or against it, with their weights."""

    index: Tensor  # [num_items, N] int64
    weight: Tensor  # [num_items, N] float32

    @classmethod
    def strongest(cls, weight: Tensor, count: int) -> ItemWeights:
        """The `count` greatest magnitudes of each column of ``weight [num_items, num_items]``."""
        index = weight.abs().topk(min(count, weight.shape[0]), dim=0).indices
        return cls(index=index.T.contiguous(), weight=weight.gather(0, index).T.contiguous())

    def of(self, history: Tensor, item: Tensor) -> Tensor:
        """Sum of the weights from a history's items to each candidate.

        Args:
            history: ``[B, T]`` int64, -1 = none.
            item: ``[B, M]`` int64, candidates, -1 = none.

        Returns:
            ``[B, M]`` float32; any number where there is no candidate.
        """
        if not history.shape[1]:
            return self.weight.new_zeros(item.shape)
        candidate = item.clamp_min(0)
        wanted = self.index[candidate].flatten(1)  # [B, M * N]
        ascending = history.sort(dim=1).values
        column = torch.searchsorted(ascending, wanted).clamp_max(history.shape[1] - 1)
        in_history = (ascending.gather(1, column) == wanted).view(*item.shape, -1)
        return (self.weight[candidate] * in_history).sum(2)
