"""Recall on the validation part, fast enough to be asked after every epoch: for stopping, and for choices of weights.

Results that are reported come from `mmgrec.evaluation`; this agrees with it (a test holds them against each other).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from mmgrec.data import Dataset

__all__ = ["ValidationRecall"]


class ValidationRecall:
    """Mean Recall@K over users with validation items, their training items removed.

    Args:
        data: only `train` and `valid` are used.
        top_k: K.
        max_users: a seeded sample where more users have validation items.
        generator: draws the sample.
        batch_size: users scored at a time.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        top_k: int = 10,
        max_users: int = 20_000,
        generator: torch.Generator | None = None,
        batch_size: int = 1024,
    ) -> None:
        users = data.valid.user_degree.nonzero().flatten()
        if users.numel() > max_users:
            users = users[torch.randperm(users.numel(), generator=generator)[:max_users].sort().values]
        self.users = users  # [V] int64
        self.data = data
        self.top_k = min(top_k, data.num_items)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return self.users.numel()

    @cached_property
    def _batches(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Per batch: users, then (row, item) of what is seen and of what is wanted."""
        return [
            (users, *self.data.train.items_of(users), *self.data.valid.items_of(users))
            for users in torch.split(self.users, self.batch_size)
        ]

    def of_scores(self, score: Callable[[Tensor], Tensor]) -> float:
        """Recall of ``score(users [B]) -> [B, num_items]``; the scores may be overwritten."""
        total = 0.0
        for users, seen_row, seen_item, row, item in self._batches:
            scores = score(users)
            scores[seen_row, seen_item] = -torch.inf
            total += self._hits(scores.topk(self.top_k, dim=1).indices, row, item)
        return total / max(len(self), 1)

    def of_sums(
        self,
        score: Callable[[Tensor], Tensor],
        other: Callable[[Tensor], Tensor],
        *,
        scales: Sequence[float],
    ) -> list[float]:
        """Recall of ``score + scale * other`` for each scale; for an infinite one, of `other` alone.

        Args:
            score: as in `of_scores`.
            other: the same of other scores.
            scales: each is tried.
        """
        totals = [0.0] * len(scales)
        for users, seen_row, seen_item, row, item in self._batches:
            one, two = score(users), other(users)
            one[seen_row, seen_item] = two[seen_row, seen_item] = -torch.inf
            for place, scale in enumerate(scales):
                both = two if scale == float("inf") else torch.add(one, two, alpha=scale) if scale else one
                totals[place] += self._hits(both.topk(self.top_k, dim=1).indices, row, item)
        return [total / max(len(self), 1) for total in totals]

    def of_items(self, recommend: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Recall of ``recommend(users [B], seen [B, S]) -> items [B, K]`` (-1 = none)."""
        total = 0.0
        for users, _, _, row, item in self._batches:
            total += self._hits(recommend(users, self.data.train.padded(users))[:, : self.top_k], row, item)
        return total / max(len(self), 1)

    def _hits(self, top: Tensor, row: Tensor, item: Tensor) -> float:
        """Sum over a batch's users of found items / wanted items."""
        hit = (top[row] == item[:, None]).any(1).double()
        wanted = torch.bincount(row, minlength=top.shape[0]).clamp_min(1).double()
        return float((hit / wanted[row]).sum())
