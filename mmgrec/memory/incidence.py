"""Who liked what, and what followed what, as sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmgrec.data import Interactions

__all__ = ["followers", "user_item"]


def user_item(part: Interactions) -> Any:  # Any: scipy has no types
    """The interactions as a CSR matrix of ones, ``[num_users, num_items]`` float32."""
    from scipy import sparse

    ones = np.ones(len(part), dtype=np.float32)
    return sparse.csr_matrix(
        (ones, part.item.numpy(), part.offsets.numpy()), shape=(part.num_users, part.num_items), copy=False
    )


def followers(part: Interactions, *, reach: int) -> Any:  # Any: scipy has no types
    """How often items follow one another: ``N_1 + N_2 / 2 + … + N_k / 2^(k - 1)``.

    Args:
        part: interactions whose order is known.
        reach: k, the furthest that one item may be behind the other.

    Returns:
        CSR ``[num_items, num_items]`` float32; N_k[j, i] = users for whom item i comes k places after item j.
    """
    from scipy import sparse

    order = part.in_order
    user, item = part.user[order].numpy(), part.item[order].numpy()
    total = sparse.csr_matrix((part.num_items, part.num_items), dtype=np.float32)
    for step in range(1, reach + 1):
        same = user[step:] == user[:-step]
        value = np.full(int(same.sum()), 2.0 ** (1 - step), dtype=np.float32)
        pairs = (value, (item[:-step][same], item[step:][same]))
        total = total + sparse.csr_matrix(pairs, shape=total.shape)
    return total
