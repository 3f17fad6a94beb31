"""What a fitted model does with its items and users, in figures small enough for a page: `insight`.

Of every model: popularity of what it recommends, coverage, accuracy by popularity of the item and by length of the
history. Of MMGRec also its Rec-IDs (`mmgrec.insight.rec_ids`) and one user (`mmgrec.insight.one_user`). Everything is
aggregated, so that the answer for any number of users stays below 100 KB. Does not know how it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import Mask, Split, judge, masked, ndcg, recall
from mmgrec.insight.bins import doubling, short
from mmgrec.interfaces import FittedRecommender
from mmgrec.storage import Json

__all__ = ["insight"]


SCHEMA = 1
_LENGTH = 10  # of the lists that are judged; shorter ones as they are


def insight(
    fitted: FittedRecommender,
    data: Dataset,
    lists: Tensor,
    users: Tensor,
    *,
    split: Split = "test",
    mask: Mask = "train+valid",
) -> Json:
    """Facts on a model, ready for JSON; the same for the same model, without dates or times.

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
    found: Json = {
        "schema": SCHEMA,
        "split": split,
        "users": users.numel(),
        "items": data.num_items,
        "top_k": min(_LENGTH, lists.shape[1]),
        "parameters": _parameters(fitted),
        "coverage": _coverage(lists, data.num_items),
        "popularity": _popularity(lists[:, :_LENGTH], liked, data.train.item_degree),
        "accuracy": {
            "popularity": _by_popularity(lists, users, liked, data.train.item_degree),
            "history": _by_history(lists, users, liked, rule.history.user_degree[users]),
        },
    }
    from mmgrec.recommender import FittedMMGRec

    if isinstance(fitted, FittedMMGRec):
        from mmgrec.insight.one_user import gains, one_user
        from mmgrec.insight.rec_ids import codewords, prefixes

        if rule.history is not data.train:
            fitted = fitted.with_history(rule.history)
        found["codewords"] = codewords(fitted.codes, fitted.rec_ids)
        found["prefixes"] = prefixes(fitted.trie)
        found["gains"] = gains(fitted, users)
        found["user"] = one_user(fitted, data, lists[:, :_LENGTH], users, liked=liked, masked=rule.items)
    return found


def _of_users(part: Interactions, users: Tensor) -> Interactions:
    chosen = torch.zeros(part.num_users, dtype=torch.bool)
    chosen[users] = True
    return _those(part, chosen[part.user])


def _those(part: Interactions, keep: Tensor) -> Interactions:
    return Interactions(user=part.user[keep], item=part.item[keep], num_users=part.num_users, num_items=part.num_items)


def _parameters(fitted: FittedRecommender) -> int | None:
    """Numbers in the tensors that ranking needs; None where a model does not tell."""
    try:
        return sum(tensor.numel() for tensor in fitted.state().values() if tensor.is_floating_point())
    except NotImplementedError:
        return None


def _coverage(lists: Tensor, num_items: int) -> dict[str, float]:
    """Length of the lists -> share of the catalogue that is in at least one."""
    lengths = sorted({min(length, lists.shape[1]) for length in (_LENGTH, 20)})
    parts = {length: lists[:, :length] for length in lengths}
    return {str(k): short(torch.unique(part[part >= 0]).numel() / num_items) for k, part in parts.items()}


def _popularity(lists: Tensor, liked: Interactions, degree: Tensor) -> Json:
    """How catalogue, recommendations and liked items spread over groups of items, by training interactions."""
    group, groups = doubling(degree)
    shares = {
        "catalogue": group,
        "recommended": group[lists[lists >= 0]],
        "liked": group[liked.item],
    }
    return {"groups": groups, **{name: _shares(one, len(groups)) for name, one in shares.items()}}


def _shares(group: Tensor, count: int) -> list[float]:
    number = torch.bincount(group, minlength=count).double()
    return [short(one) for one in (number / number.sum().clamp(min=1)).tolist()]


def _by_popularity(lists: Tensor, users: Tensor, liked: Interactions, degree: Tensor) -> list[Json]:
    """Each group of items by itself: mean over the users who liked one of its items, nothing else being relevant."""
    group, groups = doubling(degree)
    rows = []
    for place, one in enumerate(groups):
        here = _those(liked, group[liked.item] == place)
        have = here.user_degree[users] > 0
        values = _accuracy(lists[have], users[have], here)
        rows.append({**one, "users": int(have.sum()), "likes": len(here), **_means(values)})
    return [row for row in rows if row["likes"]]


def _by_history(lists: Tensor, users: Tensor, liked: Interactions, length: Tensor) -> list[Json]:
    """Mean over the users whose histories have such a length."""
    group, groups = doubling(length)
    values = _accuracy(lists, users, liked)
    rows = [
        {
            **one,
            "users": int((group == place).sum()),
            **_means({name: value[group == place] for name, value in values.items()}),
        }
        for place, one in enumerate(groups)
    ]
    return [row for row in rows if row["users"]]


def _accuracy(lists: Tensor, users: Tensor, liked: Interactions) -> dict[str, Tensor]:
    judged = judge(lists, users, liked, torch.zeros(liked.num_items, dtype=torch.int64))
    length = min(_LENGTH, lists.shape[1])
    return {"recall": recall(judged, length), "ndcg": ndcg(judged, length)}


def _means(values: Mapping[str, Tensor]) -> dict[str, float | None]:
    return {name: short(float(value.mean())) if value.numel() else None for name, value in values.items()}
