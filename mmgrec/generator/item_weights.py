"""Item weights: what each item of a history says for or against a candidate, learnt in closed form (EASE).

Used by re-ranking, and by the recommenders EASE and L3AE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgrec.data import Interactions

__all__ = ["ItemWeights", "common_users", "ease_weights", "hollow_ridge", "user_item"]


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
    return hollow_ridge(common_users(part, device), l2=l2)


def common_users(part: Interactions, device: torch.device) -> Tensor:
    """``X'X [num_items, num_items]`` float32: how many users two items share."""
    matrix = user_item(part)
    return torch.from_numpy((matrix.T @ matrix).tocsr().toarray()).to(device)


def hollow_ridge(gram: Tensor, *, l2: float, target: Tensor | None = None, pull: float = 0.0) -> Tensor:
    """B with a zero diagonal that minimises ``|X - X B|² + l2 |B|² + pull |B - T|²``, in closed form.

    With ``P = (X'X + (l2 + pull) I)^-1``, Lagrange's multipliers of the diagonal give, next to it,
    ``B = pull P T - P diag((1 + pull (P T)_jj) / P_jj)``.

    Args:
        gram: ``X'X [n, n]``; it is overwritten.
        l2: λ; l2 + pull is above 0.
        target: T ``[n, n]`` with a zero diagonal; None: zero.
        pull: how much nearness to T counts.

    Returns:
        ``[n, n]``, in the precision of `gram`.
    """
    gram.diagonal().add_(l2 + pull)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
    diagonal = inverse.diagonal().clone()
    if target is None:
        weight = inverse.div_(-diagonal)
    else:
        weight = torch.matmul(inverse, target).mul_(pull)
        weight -= inverse.mul_((1.0 + weight.diagonal()) / diagonal)
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
