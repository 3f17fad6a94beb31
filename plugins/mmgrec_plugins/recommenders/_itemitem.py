"""Sparse item-item arithmetic shared by `itemknn` and `ease`."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from mmgrec.data import Interactions

__all__ = ["co_occurrence", "user_item"]


def user_item(part: Interactions) -> Any:  # Any: scipy has no types
    """The interactions as a CSR matrix of ones, ``[num_users, num_items]`` float32."""
    ones = np.ones(len(part), dtype=np.float32)
    return sparse.csr_matrix(
        (ones, part.item.numpy(), part.offsets.numpy()), shape=(part.num_users, part.num_items), copy=False
    )


def co_occurrence(part: Interactions) -> Any:  # Any: scipy has no types
    """How many users have both items, CSR ``[num_items, num_items]``; popularity on the diagonal."""
    matrix = user_item(part)
    return (matrix.T @ matrix).tocsr()
