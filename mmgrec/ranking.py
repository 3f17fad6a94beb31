"""From rows of scores to ranked lists, exactly. Shared by the recommenders that score the whole catalogue."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.interfaces import Exclusion, Recommendations

__all__ = ["rank_items"]


def rank_items(users: Tensor, scores: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
    """The best items of each row; equal scores: lower item first.

    Args:
        users: ``[B]`` int64.
        scores: ``[B, num_items]`` finite, any device; overwritten where items are excluded.
        top_k: length K of the lists; it may exceed the catalogue.
        exclusion: what must not be named.

    Returns:
        Recommendations on the CPU; item -1 and score -inf where fewer than K items are left.
    """
    num_rows, num_items = scores.shape
    width = min(top_k, num_items)
    _exclude(scores, exclusion)
    item = _first(scores, width)  # [B, width], ascending in item number
    score = scores.gather(1, item)
    order = score.sort(dim=1, descending=True, stable=True).indices
    item, score = item.gather(1, order), score.gather(1, order)
    item = torch.where(score.isneginf(), -1, item)
    if width < top_k:
        item = torch.cat([item, item.new_full((num_rows, top_k - width), -1)], dim=1)
        score = torch.cat([score, score.new_full((num_rows, top_k - width), -torch.inf)], dim=1)
    return Recommendations(user=users, item=item.cpu(), score=score.float().cpu())


def _exclude(scores: Tensor, exclusion: Exclusion) -> None:
    seen = exclusion.seen.to(scores.device)
    row, place = (seen >= 0).nonzero(as_tuple=True)
    scores[row, seen[row, place]] = -torch.inf
    if exclusion.allowed is not None:
        scores[:, ~exclusion.allowed.to(scores.device)] = -torch.inf


def _first(scores: Tensor, width: int) -> Tensor:
    """``[B, width]`` the items of the best scores, ascending; of those tied for the last places, the lowest."""
    best, item = scores.topk(width, dim=1)
    worst = best[:, -1:]
    open_end = ((scores >= worst).sum(dim=1) > width).nonzero().squeeze(1)  # topk settles their ties as it likes
    if open_end.numel():
        rows, last = scores[open_end], worst[open_end]
        above, tied = rows > last, rows == last
        left = width - above.sum(dim=1, keepdim=True)
        chosen = above | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= left))
        item[open_end] = chosen.nonzero()[:, 1].view(-1, width)
    return item.sort(dim=1).values
