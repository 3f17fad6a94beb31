"""What a fitted model does with its items and users, in figures small enough for a page: `insight`.

Read this to know how a figure of the page is computed, and `mmgrec.insight.values` for what it means. Of every model:
popularity of what it recommends, coverage, accuracy by popularity of the item and by length of the history. Of MMGRec
also its Rec-IDs (`mmgrec.insight.rec_ids`), its item memory (`mmgrec.insight.memory_use`) and one user
(`mmgrec.insight.one_user`). Everything is aggregated, so that the answer for any number of users stays below 100 KB of
JSON.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import Mask, Split, judge, masked, ndcg, recall
from mmgrec.insight.bins import doubling, short
from mmgrec.insight.values import GeneratorInsight, GroupAccuracy, ModelInsight, PopularityGroups
from mmgrec.interfaces import FittedRecommender

__all__ = ["insight", "num_parameters"]

_LENGTH = 10  # of the lists that are judged; shorter ones as they are


def insight(
    fitted: FittedRecommender,
    data: Dataset,
    lists: Tensor,
    users: Tensor,
    *,
    split: Split = "test",
    mask: Mask = "train+valid",
) -> ModelInsight:
    """Facts on a model: the same for the same model, without dates or times.

    Args:
        fitted: the model.
        data: what it was fitted on.
        lists: ``[U, K]`` int64, its best items for each user, -1 = none; the first 10 are judged.
        users: ``[U]`` int64, each with an item in the part `split`.
        split: the part that holds what the users liked.
        mask: the parts whose items were left out of the lists on ``test``.

    Raises:
        ValueError: if there are no users, or lists of other users.
    """
    if lists.ndim != 2 or lists.shape[0] != users.numel() or not lists.numel():
        raise ValueError(f"lists [U, K] of users [U] expected, got {tuple(lists.shape)} and {tuple(users.shape)}")
    rule = masked(data, split=split, mask=mask)
    liked = _of_users(data.test if split == "test" else data.valid, users)
    return ModelInsight(
        split=split,
        users=users.numel(),
        items=data.num_items,
        top_k=min(_LENGTH, lists.shape[1]),
        parameters=num_parameters(fitted),
        coverage=_coverage(lists, data.num_items),
        popularity=_popularity(lists[:, :_LENGTH], liked, data.train.item_degree),
        by_popularity=_by_popularity(lists, users, liked, data.train.item_degree),
        by_history=_by_history(lists, users, liked, rule.history.user_degree[users]),
        generator=_generator(
            fitted, data, lists[:, :_LENGTH], users, liked=liked, masked=rule.items, history=rule.history
        ),
    )


def _generator(
    fitted: FittedRecommender,
    data: Dataset,
    lists: Tensor,
    users: Tensor,
    *,
    liked: Interactions,
    masked: Interactions,
    history: Interactions,
) -> GeneratorInsight | None:
    """What only MMGRec has; None for other models."""
    from mmgrec.insight.memory_use import memory_use
    from mmgrec.insight.one_user import gains, one_user
    from mmgrec.insight.rec_ids import codewords, prefixes
    from mmgrec.recommender import FittedMMGRec

    if not isinstance(fitted, FittedMMGRec):
        return None
    if history is not data.train:
        fitted = fitted.with_history(history)
    return GeneratorInsight(
        codewords=codewords(fitted.codes, fitted.rec_ids),
        prefixes=prefixes(fitted.trie),
        gains=gains(fitted, users),
        user=one_user(fitted, data, lists, users, liked=liked, masked=masked),
        memory=memory_use(fitted, users, masked=masked, top_k=lists.shape[1]),
    )


def _of_users(part: Interactions, users: Tensor) -> Interactions:
    chosen = torch.zeros(part.num_users, dtype=torch.bool)
    chosen[users] = True
    return _those(part, chosen[part.user])


def _those(part: Interactions, keep: Tensor) -> Interactions:
    return Interactions(user=part.user[keep], item=part.item[keep], num_users=part.num_users, num_items=part.num_items)


def num_parameters(fitted: FittedRecommender) -> int | None:
    """Numbers in the tensors that ranking needs; None where a model does not tell."""
    try:
        return sum(tensor.numel() for tensor in fitted.state().values() if tensor.is_floating_point())
    except NotImplementedError:
        return None


def _coverage(lists: Tensor, num_items: int) -> dict[int, float]:
    """Length of the lists -> share of the catalogue that is in at least one."""
    lengths = sorted({min(length, lists.shape[1]) for length in (_LENGTH, 20)})
    parts = {length: lists[:, :length] for length in lengths}
    return {length: short(torch.unique(part[part >= 0]).numel() / num_items) for length, part in parts.items()}


def _popularity(lists: Tensor, liked: Interactions, degree: Tensor) -> PopularityGroups:
    """How catalogue, recommendations and liked items spread over groups of items, by training interactions."""
    group, groups = doubling(degree)
    return PopularityGroups(
        groups=tuple(groups),
        catalogue=_shares(group, len(groups)),
        recommended=_shares(group[lists[lists >= 0]], len(groups)),
        liked=_shares(group[liked.item], len(groups)),
    )


def _shares(group: Tensor, count: int) -> tuple[float, ...]:
    number = torch.bincount(group, minlength=count).double()
    return tuple(short(share) for share in (number / number.sum().clamp(min=1)).tolist())


def _by_popularity(lists: Tensor, users: Tensor, liked: Interactions, degree: Tensor) -> tuple[GroupAccuracy, ...]:
    """Each group of items by itself: mean over the users who liked one of its items, nothing else being relevant."""
    group, groups = doubling(degree)
    rows = []
    for number, counts in enumerate(groups):
        here = _those(liked, group[liked.item] == number)
        have = here.user_degree[users] > 0
        if len(here):
            recalls, ndcgs = _accuracy(lists[have], users[have], here)
            rows.append(
                GroupAccuracy(
                    counts=counts, users=int(have.sum()), likes=len(here), recall=_mean(recalls), ndcg=_mean(ndcgs)
                )
            )
    return tuple(rows)


def _by_history(lists: Tensor, users: Tensor, liked: Interactions, length: Tensor) -> tuple[GroupAccuracy, ...]:
    """Mean over the users whose histories have such a length."""
    group, groups = doubling(length)
    recalls, ndcgs = _accuracy(lists, users, liked)
    rows = []
    for number, counts in enumerate(groups):
        mine = group == number
        if bool(mine.any()):
            size = int(mine.sum())
            means = _mean(recalls[mine]), _mean(ndcgs[mine])
            rows.append(GroupAccuracy(counts=counts, users=size, likes=None, recall=means[0], ndcg=means[1]))
    return tuple(rows)


def _accuracy(lists: Tensor, users: Tensor, liked: Interactions) -> tuple[Tensor, Tensor]:
    """Recall and NDCG of each user ``[U]`` float64."""
    judged = judge(lists, users, liked, torch.zeros(liked.num_items, dtype=torch.int64))
    length = min(_LENGTH, lists.shape[1])
    return recall(judged, length), ndcg(judged, length)


def _mean(values: Tensor) -> float:
    return short(float(values.mean()))
