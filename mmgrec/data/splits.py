"""Splits interactions into training, validation and test part, and thins them to a k-core.

Works on numpy arrays in the order of the file and returns one part number per row; `mmgrec.folder.dataset_of` makes a
`Dataset` of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PARTS",
    "TEST",
    "TRAIN",
    "VALID",
    "k_core",
    "leave_one_out_split",
    "random_split",
    "rank_within_user",
    "temporal_split",
]

PARTS = ("train", "valid", "test")
TRAIN, VALID, TEST = 0, 1, 2  # places in PARTS

Array = NDArray[Any]  # Any: numpy's own spelling of "whatever number type"


def random_split(user: Array, *, seed: int) -> Array:
    """A tenth of each user's rows, at least one, for test, as many for validation, drawn at random.

    A user with one or two rows keeps none for training: thin such users out with `k_core`, or accept them as cold.

    Args:
        user: ``[N]`` user of each row, in any order.
        seed: of the draw; the same seed and rows give the same split on every machine.

    Returns:
        ``[N]`` int8, a place in `PARTS`.
    """
    drawn = np.random.default_rng(seed).random(len(user))
    rank, count = rank_within_user(user, drawn)
    held = np.maximum(count // 10, 1)
    return _cut(rank, count, held)


def temporal_split(user: Array, timestamp: Array) -> Array:
    """The last tenth of each user's rows, at least one, is test, as many before it validation.

    Equal times keep the order of the rows. Users with fewer than three rows stay in training.

    Args:
        user: ``[N]`` user of each row.
        timestamp: ``[N]`` anything that orders the rows of one user.

    Returns:
        ``[N]`` int8, a place in `PARTS`.
    """
    rank, count = rank_within_user(user, timestamp)
    held = np.where(count < 3, 0, np.maximum(count // 10, 1))
    return _cut(rank, count, held)


def leave_one_out_split(user: Array, timestamp: Array) -> Array:
    """The last row of each user is test, the last but one validation; arguments and small users as `temporal_split`."""
    rank, count = rank_within_user(user, timestamp)
    return _cut(rank, count, np.where(count < 3, 0, 1))


def k_core(user: Array, item: Array, k: int) -> Array:
    """The rows that are left when users and items with fewer than `k` rows are dropped until none is left.

    Returns:
        ``[N]`` bool, True = stays. All False where there is no such core.

    >>> k_core(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2]), 2).tolist()
    [True, True, True, True, False]
    """
    keep = np.ones(len(user), dtype=bool)
    while keep.any():
        stays = keep & (np.bincount(user[keep], minlength=user.max() + 1)[user] >= k)
        stays &= np.bincount(item[keep], minlength=item.max() + 1)[item] >= k
        if stays.sum() == keep.sum():
            break
        keep = stays
    return keep


def rank_within_user(user: Array, by: Array) -> tuple[Array, Array]:
    """Place of each row in its user's rows ordered by `by` (stable), and how many rows its user has; both ``[N]``."""
    order = np.lexsort((by, user))
    in_order = user[order]
    rank = np.empty(len(user), dtype=np.int64)
    rank[order] = np.arange(len(user)) - np.searchsorted(in_order, in_order)
    count = np.bincount(user)[user] if len(user) else rank
    return rank, count


def _cut(rank: Array, count: Array, held: Array) -> Array:
    """The last `held` rows of each user are test, as many before them validation."""
    return np.where(rank < count - 2 * held, TRAIN, np.where(rank < count - held, VALID, TEST)).astype(np.int8)
