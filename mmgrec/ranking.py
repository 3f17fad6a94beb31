"""From a score for every item to ranked lists: `rank_items`, for recommenders that score the whole catalogue.

A plugin that can say how much each user would like each item needs no ranking of its own: `rank_items` leaves out what
must not be recommended and orders the rest as `mmgrec.interfaces.Recommendations` demands, ties included. It is exact,
works on any device, and sorts no more than the lists that are asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.interfaces import Exclusion, Recommendations

__all__ = ["rank_items"]


def rank_items(users: Tensor, scores: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
    """The items with the best scores, for each user of a batch; of equal scores the lower item comes first.

    This is all that a `FittedRecommender.recommend` has to call, with what it was given and the scores:

    >>> users = torch.tensor([3, 8])
    >>> scores = torch.tensor([[0.1, 0.9, 0.5, 0.5], [0.7, 0.2, 0.3, 0.4]])  # a row for each of the two users
    >>> exclusion = Exclusion(seen=torch.tensor([[1, -1], [0, 3]]))  # user 3 has item 1, user 8 items 0 and 3
    >>> lists = rank_items(users, scores, top_k=3, exclusion=exclusion)
    >>> lists.item.tolist()
    [[2, 3, 0], [2, 1, -1]]
    >>> lists.score[1].tolist()[1:]
    [0.20000000298023224, -inf]

    Args:
        users: ``[B]`` int64, whose rows these are; they are passed on as they come.
        scores: ``[B, num_items]`` of a floating type, on any device. **Written over**: excluded items become -inf, so
            hand over a table of the model's own only as a copy (indexing by `users` makes one, `expand` does not). An
            item whose score is -inf is not recommended; NaN must not be there.
        top_k: length K of the lists, at least 1; it may exceed the catalogue.
        exclusion: the users' seen items and, perhaps, the items that may be recommended at all, on any device.

    Returns:
        Lists on the CPU, best first, scores as float32; item -1 and score -inf where fewer than K items are left.

    Raises:
        ValueError: if there are not as many rows as users.
    """
    num_rows, num_items = scores.shape
    width = min(top_k, num_items)
    _exclude(scores, exclusion)
    item = _best_items(scores, width)  # [B, width], ascending in item number
    score = scores.gather(1, item)
    order = score.sort(dim=1, descending=True, stable=True).indices
    item, score = item.gather(1, order), score.gather(1, order)
    item = torch.where(score.isneginf(), -1, item)
    if width < top_k:
        item = torch.cat([item, item.new_full((num_rows, top_k - width), -1)], dim=1)
        score = torch.cat([score, score.new_full((num_rows, top_k - width), -torch.inf)], dim=1)
    return Recommendations(user=users, item=item.cpu(), score=score.float().cpu())


def _exclude(scores: Tensor, exclusion: Exclusion) -> None:
    """Give -inf, in place, to what must not be recommended."""
    seen = exclusion.seen.to(scores.device)
    row, column = (seen >= 0).nonzero(as_tuple=True)
    scores[row, seen[row, column]] = -torch.inf
    if exclusion.allowed is not None:
        scores[:, ~exclusion.allowed.to(scores.device)] = -torch.inf


def _best_items(scores: Tensor, width: int) -> Tensor:
    """``[B, width]`` the items of the best scores, ascending; of those tied for the last places, the lowest."""
    best, item = scores.topk(width, dim=1)
    worst = best[:, -1:]
    undecided = ((scores >= worst).sum(dim=1) > width).nonzero().squeeze(1)  # topk settles their ties as it likes
    if undecided.numel():
        rows, last = scores[undecided], worst[undecided]
        above, tied = rows > last, rows == last
        left = width - above.sum(dim=1, keepdim=True)
        chosen = above | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= left))
        item[undecided] = chosen.nonzero()[:, 1].view(-1, width)
    return item.sort(dim=1).values
