"""EASE's item-item weights: one matrix of all items by all items, inverted. For catalogues of some ten thousand."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.memory.incidence import user_item

__all__ = ["ease_weights"]


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
