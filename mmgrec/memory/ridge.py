"""The local ridge: for each item the few items that speak for it, weighed by a small regression of its own.

Where EASE inverts one matrix of all items, here each item i has n neighbours S (`mmgrec.memory.neighbours`, which
defines P and R) and its own weights ``b_i = (P_SS + lambda I)^-1 R_Si``: what each neighbour in a history says for or
against it, given what the others say already.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mmgrec.memory.neighbours import Gram, Neighbours
from mmgrec.memory.weights import ItemWeights

__all__ = ["ridge_weights"]


def ridge_weights(
    gram: Gram, neighbours: Neighbours, *, counts: Sequence[int], l2: Sequence[float]
) -> dict[tuple[int, float], ItemWeights]:
    """The weights of every item's neighbours, for several sizes and strengths at once: P_SS is looked up once.

    Args:
        gram: P.
        neighbours: S of each item, and R_Si.
        counts: how many of the neighbours are used, n.
        l2: lambda.

    Returns:
        (n, lambda) -> weights, on the CPU.
    """
    table = _Counts(gram)
    width = neighbours.index.shape[1]
    parts: dict[tuple[int, float], list[Tensor]] = {key: [] for key in itertools.product(counts, l2)}
    dim = 0 if gram.features is None else gram.features.shape[1]
    for items in gram.blocks(4 * max(1, width) * max(4 * width, dim)):
        near = neighbours.index[items].to(gram.device)
        found = near >= 0
        system = table.between(near.clamp_min(0))  # P_SS
        if gram.features is not None:
            mine = gram.features[near.clamp_min(0)]
            system = system + mine @ mine.transpose(1, 2)
        system = system * (found[:, :, None] & found[:, None, :])
        right = neighbours.value[items].to(gram.device)
        for (count, strength), weights in parts.items():
            small = system[:, :count, :count].clone()
            small.diagonal(dim1=1, dim2=2).add_(strength)
            lower = torch.linalg.cholesky(small)
            weights.append(torch.cholesky_solve(right[:, :count, None], lower).squeeze(2).cpu())
    return {
        (count, strength): ItemWeights(index=neighbours.index[:, :count].contiguous(), weight=torch.cat(weights))
        for (count, strength), weights in parts.items()
    }


class _Counts:
    """Common users of pairs of items, looked up among those that are not zero."""

    def __init__(self, gram: Gram) -> None:
        counts, device = gram.counts, gram.device
        rows = torch.repeat_interleave(torch.arange(gram.num_items), torch.from_numpy(counts.indptr).diff().long())
        self.num_items = gram.num_items
        self.keys = (rows * gram.num_items + torch.from_numpy(counts.indices).long()).to(device)  # ascending
        self.values = torch.from_numpy(counts.data).to(device)

    def between(self, near: Tensor) -> Tensor:
        """``[B, n, n]`` float32: counts among the neighbours ``[B, n]`` of each item; half of them are looked up."""
        size = near.shape[1]
        system = torch.zeros(*near.shape, size, device=near.device)
        if not self.keys.numel():
            return system
        one, other = torch.triu_indices(size, size, device=near.device)
        wanted = near[:, one] * self.num_items + near[:, other]
        at = torch.searchsorted(self.keys, wanted).clamp_max(self.keys.numel() - 1)
        value = torch.where(self.keys[at] == wanted, self.values[at], 0.0)
        system[:, one, other] = value
        system[:, other, one] = value
        return system
