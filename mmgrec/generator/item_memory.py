"""An item memory: for each item the few items that speak for it, weighed by a small ridge regression of its own.

Where EASE inverts one matrix of all items, here each item i has n neighbours S, the items of highest cosine under

    P = X'X + beta F F'

(X: who liked what; F: what items look, sound and read like), and its own weights ``b_i = (P_SS + lambda I)^-1 P_Si``:
what each neighbour in a history says for or against it, given what the others say already. No matrix of items by items
is ever held: co-occurrences are sparse, and neighbours are chosen and systems solved a block of items at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.generator.item_weights import ItemWeights, user_item

__all__ = ["local_ridge_weights", "unit_features"]

BLOCK_BYTES = 1 << 26  # of the largest table that a block makes


def unit_features(tables: list[Tensor]) -> Tensor:
    """Features of all modalities side by side, centred on the items that have them, each row of norm one.

    Args:
        tables: ``[num_items, dim]`` each; a row of zeros: the item lacks the modality.

    Returns:
        ``[num_items, sum of dims]`` float32; a row of zeros where an item lacks all of them.
    """
    parts = []
    for table in tables:
        has = table.abs().sum(1, keepdim=True) > 0
        mean = table.float().sum(0) / has.sum().clamp_min(1)
        parts.append(torch.nn.functional.normalize((table.float() - mean) * has, dim=1))
    return torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1)


def local_ridge_weights(
    part: Interactions,
    features: Tensor | None = None,
    *,
    neighbours: int,
    l2: float,
    feature_weight: float,
    device: torch.device,
    block_bytes: int = BLOCK_BYTES,
) -> ItemWeights:
    """The weights of every item's neighbours.

    Args:
        part: X.
        features: F, ``[num_items, dim]`` with rows of norm one or zero, see `unit_features`; None: X alone.
        neighbours: n of each item; items with fewer that have anything in common with them are given fewer.
        l2: lambda.
        feature_weight: beta, how many common users two items of equal features are worth.
        device: where neighbours are chosen and systems solved; the weights are returned to the CPU.
        block_bytes: the largest table that may be made at a time; it changes the time and nothing else.

    Returns:
        Indices ascending in no order; a place without a neighbour holds item 0 with weight 0.
    """
    gram = _Gram.of(part, features, feature_weight, device)
    count = min(neighbours, part.num_items - 1)
    index, weight = [], []
    for items in gram.blocks(count, block_bytes):
        near, found = gram.nearest(items, count)
        index.append(near.cpu())
        weight.append(gram.solved(items, near, found, l2).cpu())
    return ItemWeights(index=torch.cat(index), weight=torch.cat(weight))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Gram:
    """P, asked for its entries: sparse counts of common users, and products of features."""

    counts: Any  # X'X as scipy CSR, its columns ascending in each row
    keys: Tensor  # [nnz] int64, ascending: row * num_items + column
    values: Tensor  # [nnz] float32
    features: Tensor | None  # [num_items, dim], scaled by the root of beta
    diagonal: Tensor  # [num_items] float32, P_ii
    num_items: int
    device: torch.device

    @classmethod
    def of(cls, part: Interactions, features: Tensor | None, weight: float, device: torch.device) -> _Gram:
        matrix = user_item(part)
        counts = (matrix.T @ matrix).tocsr()
        counts.sort_indices()
        rows = torch.repeat_interleave(torch.arange(part.num_items), torch.from_numpy(counts.indptr).diff())
        scaled = None if features is None or not weight else (features.float() * weight**0.5).to(device)
        diagonal = part.item_degree.float().to(device)
        return cls(
            counts=counts,
            keys=(rows * part.num_items + torch.from_numpy(counts.indices).long()).to(device),
            values=torch.from_numpy(counts.data).to(device),
            features=scaled,
            diagonal=diagonal if scaled is None else diagonal + scaled.square().sum(1),
            num_items=part.num_items,
            device=device,
        )

    def blocks(self, count: int, most: int) -> Iterator[Tensor]:
        """Items so many at a time that no table of a block outgrows the memory."""
        width = 0 if self.features is None else self.features.shape[1]
        largest = 4 * max(self.num_items, count * count, count * width)
        yield from torch.split(torch.arange(self.num_items), max(1, most // largest))

    def nearest(self, items: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The `count` items of highest cosine to each, themselves left out, and which of these places hold one.

        Returns:
            ``[B, count]`` int64, 0 where there is none, and ``[B, count]`` bool.
        """
        rows = torch.from_numpy(self.counts[items.numpy()].toarray()).to(self.device)  # [B, num_items]
        items = items.to(self.device)
        if self.features is not None:
            rows = rows + self.features[items] @ self.features.T
        cosine = rows / (self.diagonal[items, None] * self.diagonal).sqrt().clamp_min(1e-12)
        cosine[torch.arange(items.numel(), device=self.device), items] = -torch.inf
        order = cosine.argsort(dim=1, descending=True, stable=True)[:, :count]  # equal cosines: lower item first
        found = cosine.gather(1, order) > 0
        return order.masked_fill(~found, 0), found

    def between(self, one: Tensor, other: Tensor) -> Tensor:
        """Common users of pairs of items, of any shape."""
        wanted = one * self.num_items + other
        place = torch.searchsorted(self.keys, wanted).clamp_max(max(self.keys.numel() - 1, 0))
        return torch.where(self.keys[place] == wanted, self.values[place], 0.0) if self.keys.numel() else wanted * 0.0

    def solved(self, items: Tensor, near: Tensor, found: Tensor, l2: float) -> Tensor:
        """``[B, n]``: the weights of each item's neighbours, 0 where there is none."""
        items = items.to(self.device)
        system = self.between(near[:, :, None], near[:, None, :])  # P_SS
        right = self.between(near, items[:, None])  # P_Si
        if self.features is not None:
            mine = self.features[near]
            system = system + mine @ mine.transpose(1, 2)
            right = right + (mine @ self.features[items, :, None]).squeeze(2)
        system = system * (found[:, :, None] & found[:, None, :])
        system.diagonal(dim1=1, dim2=2).add_(l2)
        lower = torch.linalg.cholesky(system)
        return torch.cholesky_solve((right * found)[:, :, None], lower).squeeze(2) * found
