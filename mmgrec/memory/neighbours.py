"""Which items are near which: the n of highest cosine, by common users, by what follows what, and by features.

With X users x items and F unit features, ``P = X'X + beta F F'`` and, where the order of histories is known,
``R = P + N_1 + N_2 / 2 + …`` (`mmgrec.memory.incidence.followers`); item j is as near to item i as
``R_ji / sqrt(P_ii P_jj)``. Neither matrix is ever held densely: an item's candidates are those that share a user with
it and the n nearest by features, and no other item can be among the n nearest of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.memory.alike import EXACT_ITEMS, alike_in_cells
from mmgrec.memory.incidence import followers, user_item

__all__ = ["Gram", "Neighbours"]

BLOCK_BYTES = 1 << 27  # of the largest table that is made at a time

_Pairs: TypeAlias = tuple[Tensor, Tensor, Tensor]  # row of the block, item, R_ji: [M] each


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """The items nearest to each, nearest first."""

    index: Tensor  # [num_items, n] int64, -1 = none
    value: Tensor  # [num_items, n] float32: R_ji, 0 where there is none

    def first(self, count: int) -> Neighbours:
        """The `count` nearest alone."""
        return Neighbours(index=self.index[:, :count], value=self.value[:, :count])


@dataclass(frozen=True, kw_only=True, eq=False)
class Gram:
    """P and R, asked for their entries: sparse counts, and products of features."""

    counts: Any  # X'X as scipy CSR, its columns ascending in each row
    towards: Any  # R without features as scipy CSR of the same pattern, row i: R_ji; without an order the counts
    features: Tensor | None  # [num_items, dim], scaled by the root of beta
    diagonal: Tensor  # [num_items] float32, P_ii
    device: torch.device
    block_bytes: int = BLOCK_BYTES

    @classmethod
    def of(
        cls,
        part: Interactions,
        features: Tensor | None,
        *,
        feature_weight: float,
        reach: int,
        device: torch.device,
        block_bytes: int = BLOCK_BYTES,
    ) -> Gram:
        """
        Args:
            part: X, and the order of histories.
            features: F, ``[num_items, dim]`` with rows of norm one or zero; None: X alone.
            feature_weight: beta, how many common users two items of equal features are worth.
            reach: how far apart one item may follow the other and still count; 0, or no order: the order is not read.
            device: where products of features are computed.
            block_bytes: the largest table that may be made at a time; it changes the time and nothing else.
        """
        matrix = user_item(part)
        counts = (matrix.T @ matrix).tocsr()
        counts.sort_indices()
        towards = counts
        if reach and part.time is not None:
            towards = (counts + followers(part, reach=reach).T).tocsr()
            towards.sort_indices()
        degree = part.item_degree.float()
        alone = cls(
            counts=counts, towards=towards, features=None, diagonal=degree, device=device, block_bytes=block_bytes
        )
        return alone if features is None else alone.with_features(features, feature_weight)

    def with_features(self, features: Tensor, weight: float) -> Gram:
        """This one, which has no features yet, with F and beta; the counts are shared."""
        if not weight:
            return self
        scaled = (features.float() * weight**0.5).to(self.device)
        return replace(self, features=scaled, diagonal=self.diagonal + scaled.square().sum(1).cpu())

    @property
    def num_items(self) -> int:
        return int(self.counts.shape[0])

    def blocks(self, bytes_each: int) -> Iterator[Tensor]:
        """The items, so many at a time that a table with so many bytes for each stays within `block_bytes`."""
        yield from torch.split(torch.arange(self.num_items), max(1, self.block_bytes // max(1, bytes_each)))

    def neighbours(self, count: int) -> Neighbours:
        """The `count` items nearest to each, itself left out; equally near: the lower item first.

        Items that have nothing in common with enough others have fewer.
        """
        count = min(count, self.num_items - 1)
        each, keys, alike = max(1, self.counts.nnz // max(1, self.num_items)), None, None
        if self.features is not None:
            each += count
            keys = self.features / self.diagonal.to(self.device).clamp_min(1e-12).sqrt()[:, None]
            if self.num_items > EXACT_ITEMS:
                alike = alike_in_cells(self.features, keys, count)
            else:
                each += self.num_items // 8
        index, value = [], []
        for items in self.blocks(64 * each):
            block = self.towards[items.numpy()]
            row = torch.repeat_interleave(torch.arange(items.numel()), torch.from_numpy(np.diff(block.indptr)).long())
            pairs = row, torch.from_numpy(block.indices).long(), torch.from_numpy(block.data)
            if self.features is not None and keys is not None:
                pairs = self._with_features(items, pairs, keys, None if alike is None else alike[items], count)
            near, said = self._best(items, pairs, count)
            index.append(near)
            value.append(said)
        return Neighbours(index=torch.cat(index), value=torch.cat(value))

    def _with_features(self, items: Tensor, pairs: _Pairs, keys: Tensor, alike: Tensor | None, count: int) -> _Pairs:
        """The pairs of a block and those that features alone suggest, with the products of features in their values."""
        assert self.features is not None
        row, column, value = pairs
        every = None
        if alike is None:
            mine = self.features[items.to(self.device)]
            cosine = mine @ keys.T
            cosine[torch.arange(items.numel(), device=self.device), items.to(self.device)] = -torch.inf
            alike = cosine.topk(count, dim=1).indices.cpu()
            every = (mine @ self.features.T).cpu()
        first = torch.arange(items.numel())[:, None] * self.num_items
        suggested = (first + alike)[alike >= 0]
        key, at = torch.unique(torch.cat([row * self.num_items + column, suggested]), return_inverse=True)
        value = torch.zeros(key.numel()).index_add_(0, at[: value.numel()], value)
        row, column = key // self.num_items, key % self.num_items
        return row, column, value + (self._products(items[row], column) if every is None else every[row, column])

    def _best(self, items: Tensor, pairs: _Pairs, count: int) -> tuple[Tensor, Tensor]:
        """The nearest of a block of items ``[B]``: index and value ``[B, count]``, on the CPU."""
        row, column, value = pairs
        keep = column != items[row]
        row, column, value = row[keep], column[keep], value[keep]
        cosine = value / (self.diagonal[items[row]] * self.diagonal[column]).sqrt().clamp_min(1e-12)
        best = torch.from_numpy(np.lexsort((column.numpy(), -cosine.numpy(), row.numpy())))  # ties: the lower item
        row, column, value = row[best], column[best], value[best]
        size = row.bincount(minlength=items.numel())
        place = torch.arange(row.numel()) - torch.repeat_interleave(size.cumsum(0) - size, size)
        fits = (place < count) & (value > 0)
        index = torch.full((items.numel(), count), -1, dtype=torch.int64)
        said = torch.zeros(items.numel(), count)
        index[row[fits], place[fits]] = column[fits]
        said[row[fits], place[fits]] = value[fits]
        return index, said

    def _products(self, one: Tensor, other: Tensor) -> Tensor:
        """``[M]`` float32: products of the features of pairs of items, on the CPU."""
        assert self.features is not None
        size = max(1, self.block_bytes // (12 * self.features.shape[1]))
        pairs = zip(torch.split(one, size), torch.split(other, size), strict=True)
        parts = [(self.features[a.to(self.device)] * self.features[b.to(self.device)]).sum(1).cpu() for a, b in pairs]
        return torch.cat(parts) if parts else torch.zeros(0)
