"""Candidates ranked anew: for decoders that do not add an item memory's scores within their search."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["reranked"]


def reranked(item: Tensor, score: Tensor, *, top_k: int) -> tuple[Tensor, Tensor]:
    """The best `top_k` of candidates by new scores.

    Args:
        item: ``[B, M]`` int64, -1 = none.
        score: ``[B, M]`` float32.
        top_k: K.

    Returns:
        item and score ``[B, K]``, best first; equal scores: lower item first; -1 and -inf where there are fewer.
    """
    total = torch.where(item >= 0, score, -torch.inf)
    by_number = torch.where(item >= 0, item, item.new_full((), torch.iinfo(item.dtype).max)).argsort(dim=1, stable=True)
    item, total = item.gather(1, by_number), total.gather(1, by_number)
    best = total.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    item, total = item.gather(1, best), total.gather(1, best)
    if item.shape[1] < top_k:
        more = top_k - item.shape[1]
        item = torch.nn.functional.pad(item, (0, more), value=-1)
        total = torch.nn.functional.pad(total, (0, more), value=-torch.inf)
    return item, total
