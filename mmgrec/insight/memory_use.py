"""The item memory of a model as figures: how much it keeps, and what becomes of the lists by it. Part of insight."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.insight.bins import short
from mmgrec.insight.values import MemoryInsight
from mmgrec.interfaces import exclusion_of
from mmgrec.recommender import FittedMMGRec

__all__ = ["memory_use"]

_USERS, _BATCH = 512, 64  # whose lists are searched twice, at most and at a time


def memory_use(
    fitted: FittedMMGRec, users: Tensor, *, masked: Interactions, top_k: int = 10, sample: int = _USERS
) -> MemoryInsight | None:
    """What a model keeps in its memory, and its lists with and without it; None where it has no memory.

    Args:
        fitted: the model, reading the history that is meant.
        users: ``[U]`` int64; so many of them as `sample` says, evenly spread, are looked at.
        masked: what is not recommended to them.
        top_k: length of the lists.
        sample: users that are looked at, at most.
    """
    weights = fitted.weights
    if weights is None or not weights.active:
        return None
    users = users[torch.linspace(0, users.numel() - 1, min(users.numel(), sample)).round().long()]
    without = replace(fitted, weights=None)
    parts = [_both_lists(fitted, without, batch, masked, top_k) for batch in torch.split(users, _BATCH)]
    real, same_place, kept, share = (torch.cat(part) for part in zip(*parts, strict=True))
    places = max(int(real.sum()), 1)
    speaking = weights.weight.ne(0).sum(1)
    spoken_for = speaking[speaking > 0]
    return MemoryInsight(
        kept=weights.index.shape[1],
        neighbours=short(float(spoken_for.double().mean())),
        spoken_for=short(spoken_for.numel() / weights.num_items),
        bytes=weights.num_bytes,
        decay=weights.decay,
        users=users.numel(),
        top_k=top_k,
        other_places=short(int((real & ~same_place).sum()) / places),
        other_items=short(int((real & ~kept).sum()) / places),
        share=short(float(share[real].median())) if bool(real.any()) else 0.0,
    )


def _both_lists(
    fitted: FittedMMGRec, without: FittedMMGRec, users: Tensor, masked: Interactions, top_k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The lists of a batch with the memory, held against those without it.

    Returns:
        Each ``[B, K]``: whether there is an item; whether the other list has it in the same place; whether it has it
        anywhere; the memory's share of its score.
    """
    exclusion = exclusion_of(masked, users)
    item, score = (part.cpu() for part in fitted.search(users, top_k=top_k, exclusion=exclusion))
    other, _ = without.search(users, top_k=top_k, exclusion=exclusion)
    scores = fitted.item_scores(users)
    assert scores is not None  # there is a memory
    added = scores.of(item).double().abs()
    written = (score.double() - scores.of(item)).abs()
    other = other.cpu()
    kept = (item[:, :, None] == other[:, None, :]).any(2)
    return item >= 0, item == other, kept, added / (added + written).clamp_min(1e-12)
