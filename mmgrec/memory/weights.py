"""Item weights: which items of a history speak for or against a candidate, and how much; and what they say together.

An item memory (`mmgrec.interfaces.ItemMemory`) makes `ItemWeights`. Asked with histories they give `ItemScores`, a few
items with a number each, which a decoder adds to the generator's log-probabilities inside its search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgrec.data import Interactions

__all__ = ["ItemScores", "ItemWeights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemScores:
    """Numbers of a few items of each user of a batch; all other items have 0."""

    item: Tensor  # [B, S] int64, ascending, each once; filled up on the right with -1
    value: Tensor  # [B, S] float32, 0 where there is no item

    def to(self, device: torch.device) -> ItemScores:
        return ItemScores(item=self.item.to(device), value=self.value.to(device))

    def owned(self) -> ItemScores:
        """A copy that shares no memory."""
        return ItemScores(item=self.item.clone(), value=self.value.clone())

    def of(self, item: Tensor) -> Tensor:
        """``[B, M]`` float32: the numbers of items ``[B, M]`` int64; 0 for -1."""
        if not self.item.shape[1]:
            return self.value.new_zeros(item.shape)
        ascending = self.item.masked_fill(self.item < 0, torch.iinfo(torch.int64).max)
        at = torch.searchsorted(ascending, item.contiguous()).clamp_max(ascending.shape[1] - 1)
        return torch.where(ascending.gather(1, at) == item, self.value.gather(1, at), 0.0)

    def padded(self, *, num_users: int, width: int) -> ItemScores:
        """The same with more users, of whom nothing is known, and a wider table."""
        more = (0, width - self.item.shape[1], 0, num_users - self.item.shape[0])
        pad = torch.nn.functional.pad
        return ItemScores(item=pad(self.item, more, value=-1), value=pad(self.value, more))


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemWeights:
    """For each item the N items that speak most for it or against it, with their weights."""

    index: Tensor  # [num_items, N] int64, -1 = none
    weight: Tensor  # [num_items, N] float32, 0 where there is none
    decay: float = 1.0  # an item of a history counts decay^age; age: how many of the history's items are newer

    @classmethod
    def strongest(cls, weight: Tensor, count: int) -> ItemWeights:
        """The `count` greatest magnitudes of each column of ``weight [num_items, num_items]``."""
        index = weight.abs().topk(min(count, weight.shape[0]), dim=0).indices
        return cls(index=index.T.contiguous(), weight=weight.gather(0, index).T.contiguous())

    @property
    def num_items(self) -> int:
        return self.index.shape[0]

    @cached_property
    def active(self) -> bool:
        """Whether any item speaks for another."""
        return bool(self.weight.any())

    @property
    def num_bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.index, self.weight))

    def times(self, factor: float) -> ItemWeights:
        """The same weights, each as many times as heavy."""
        return replace(self, weight=self.weight * factor)

    @cached_property
    def speaks(self) -> Any:  # Any: scipy has no types
        """CSR ``[num_items, num_items]`` float32: from an item of the history (row) to a candidate (column)."""
        from scipy import sparse

        candidate, at = self.weight.nonzero(as_tuple=True)
        entries = (self.weight[candidate, at].numpy(), (self.index[candidate, at].numpy(), candidate.numpy()))
        matrix = sparse.csr_matrix(entries, shape=(self.num_items, self.num_items))
        matrix.sort_indices()
        return matrix

    def rows(self, history: Interactions, users: Tensor) -> Any:  # Any: scipy has no types
        """What the users' histories say of all items: CSR ``[B, num_items]`` float32, columns ascending.

        Args:
            history: of all users; its times, where it has some, give the items' ages.
            users: ``[B]`` int64.
        """
        from scipy import sparse

        row, item = history.items_of(users)
        count = history.user_degree[users]
        weight = np.ones(len(row), dtype=np.float32)
        if self.decay != 1.0:
            first = torch.repeat_interleave(count.cumsum(0) - count, count)
            place = history.offsets[users][row] + torch.arange(len(row)) - first
            weight = self._strength(history.age[place]).numpy()
        offsets = np.concatenate([[0], count.cumsum(0).numpy()])
        batch = sparse.csr_matrix((weight, item.numpy(), offsets), shape=(users.numel(), self.num_items))
        said = (batch @ self.speaks).tocsr()
        said.sort_indices()
        return said

    def scores(self, history: Interactions, users: Tensor) -> ItemScores:
        """What the users' histories say, of the items they say something of: `ItemScores` of the batch, on the CPU."""
        said = self.rows(history, users)
        count = torch.from_numpy(np.diff(said.indptr)).long()
        width = int(count.max()) if count.numel() else 0
        row = torch.repeat_interleave(torch.arange(count.numel()), count)
        column = torch.arange(row.numel()) - torch.repeat_interleave(count.cumsum(0) - count, count)
        item = torch.full((count.numel(), width), -1, dtype=torch.int64)
        value = torch.zeros(count.numel(), width)
        item[row, column] = torch.from_numpy(said.indices).long()
        value[row, column] = torch.from_numpy(said.data)
        return ItemScores(item=item, value=value)

    def spoken(self, history: Interactions, user: int, item: int) -> tuple[Tensor, Tensor]:
        """Who of one user's history speaks for an item, and how much: items ``[T]`` and values ``[T]``, all of them.

        The values' sum is the item's score.
        """
        _, mine = history.items_of(torch.tensor([user]))
        age = history.age[int(history.offsets[user]) : int(history.offsets[user + 1])]
        weight = (mine[:, None] == self.index[item]).float() @ self.weight[item]
        return mine, weight * self._strength(age)

    def _strength(self, age: Tensor) -> Tensor:
        return (self.decay ** age.double()).float()
