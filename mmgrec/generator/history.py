"""A user's history as the network reads it when it recommends: all of it, or a fixed sample of a long one."""

from __future__ import annotations

from torch import Tensor

from mmgrec.data import Interactions

__all__ = ["fixed_history"]


def fixed_history(history: Interactions, users: Tensor, length: int) -> Tensor:
    """Histories for inference ``[B, T]``, filled up with -1: of a long one the same sample always, in whatever batch.

    Args:
        history: of all users.
        users: ``[B]`` int64.
        length: most items of a user; T is at most this.
    """
    items = history.padded(users)
    if items.shape[1] <= length:
        return items
    order = _mixed(items, users[:, None]).masked_fill(items < 0, 1 << 32).argsort(dim=1, stable=True)
    sample = items.gather(1, order[:, :length])
    last = history.num_items  # padding is sorted behind all items: ascending, as where none is left out
    sample = sample.masked_fill(sample < 0, last).sort(dim=1).values
    return sample.masked_fill(sample == last, -1)


def _mixed(items: Tensor, users: Tensor) -> Tensor:
    """A fixed number in 0 … 2^32 - 1 for each pair, as good as random: each user leaves out items of their own."""
    key = (items * 0x9E3779B1 + users * 0x85EBCA77) & 0xFFFFFFFF
    for factor in (0x2C1B3C6D, 0x297A2D39):  # any odd numbers below 2^30: the products stay in 63 bits
        key = ((key ^ (key >> 15)) * factor) & 0xFFFFFFFF
    return key ^ (key >> 15)
