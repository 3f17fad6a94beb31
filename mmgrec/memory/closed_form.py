"""EASE's item-item weights and their like: a matrix of all items by all items, inverted. For some 10,000 items."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.memory.incidence import user_item

__all__ = ["common_users", "ease_weights", "hollow_ridge"]


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
        ``[n, n]``, in the precision of `gram`, a row after the other in memory: rows are what ranking reads.
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
    return weight.contiguous()  # an inverse comes column by column
