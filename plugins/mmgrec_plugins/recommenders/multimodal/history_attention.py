"""The light attention of LightGT over users' histories: which items a user's history holds, and three kinds of layer.

One head, whose products are taken together: ``q . k = (x W_q + b_q) . (y W_k + b_k)`` is ``(x M + b) . y`` plus what is
equal for all keys of a query, and ``(A (x W_v + b_v)) W_o + b_o`` is ``A (x V) + c``; the same functions with half the
parameters. It also lets the products be taken where they are fewest: before the items are looked up, or after they are
summed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.data import Interactions

__all__ = ["Histories", "LightAttention", "blocks"]

_BLOCK = 1 << 18  # attention weights of a block of users, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Histories:
    """The items that each user's encoder reads: all of their training items, or a random part of them."""

    offsets: Tensor  # [num_users + 1] int64
    item: Tensor  # [N] int64

    @classmethod
    def drawn(cls, train: Interactions, max_length: int, generator: torch.Generator | None = None) -> Histories:
        """At most `max_length` items of each user, drawn without repetition; in an order without meaning."""
        if int(train.user_degree.max()) <= max_length:
            return cls(offsets=train.offsets, item=train.item)
        key = torch.rand(len(train), generator=generator, dtype=torch.float64)
        order = (train.user + key).argsort()  # by user, then at random
        rank = torch.arange(len(train)) - train.offsets[train.user]
        kept = train.user_degree.clamp_max(max_length)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)])
        return cls(offsets=offsets, item=train.item[order][rank < max_length])

    def padded(self, users: Tensor) -> Tensor:
        """``[B, most]`` int64, filled up on the right with -1; ``most`` at least 1."""
        first, length = self.offsets[users], self.offsets[users + 1] - self.offsets[users]
        column = torch.arange(max(1, int(length.max())))
        items = self.item[(first[:, None] + column).clamp_max(max(self.item.numel() - 1, 0))]
        return torch.where(column < length[:, None], items, -1)


def blocks(histories: Histories, users: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Users of like length together: their places in `users`, and their items ``[B, T]`` filled up with -1."""
    length = histories.offsets[users + 1] - histories.offsets[users]
    order = length.argsort(stable=True)
    cost = ((length[order] + 1) ** 2).cummax(0).values
    first = 0
    while first < users.numel():
        size = torch.arange(1, users.numel() - first + 1)
        enough = int((size * cost[first:] <= _BLOCK).sum().clamp_min(1))
        chosen = order[first : first + enough]
        yield chosen, histories.padded(users[chosen])
        first += enough


class LightAttention(nn.Module):
    """One layer: ``LN(softmax((x + p) M (x + p)^T / sqrt(D)) x V + c)``; no residual, no feed-forward network.

    The place of the user, before their items, is an argument of its own. Keys may be any of the inputs that are kept.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)  # M and b
        self.value = nn.Linear(dim, dim)  # V and c
        self.norm = nn.LayerNorm(dim)
        self.dropout = dropout
        nn.init.normal_(self.query.weight, std=dim**-0.5)
        nn.init.normal_(self.value.weight, std=dim**-0.5)

    def forward(self, x: Tensor, position: Tensor, keep: Tensor, *, rows: int | None = None) -> Tensor:
        """Attention among a user's inputs.

        Args:
            x: ``[B, T, D]``.
            position: ``[B, T, D]``, added to queries and keys but not to values.
            keep: ``[B, T]`` bool; what is False is no key. At least one of a row is True.
            rows: only the first of T are wanted.

        Returns:
            ``[B, rows, D]``; rows of what is not kept hold something finite.
        """
        key = x + position
        logits = self.query(key[:, :rows]) @ key.transpose(1, 2) / math.sqrt(x.shape[2])
        weight = logits.masked_fill(~keep[:, None], -torch.inf).softmax(2)
        weight = F.dropout(weight, self.dropout, self.training)
        out: Tensor = self.norm(self.value(weight @ x))
        return out
