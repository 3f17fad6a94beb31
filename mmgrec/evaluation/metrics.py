"""What recommendations are worth: one plain function per metric, and the judging that comes before.

`judge` marks the hits in lists. Every metric takes what it returns, `RankedTruth`, and a length K, and gives a float64
number per user, or a single one where the metric belongs to all lists together. `DEFINITIONS` has all formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.interfaces import RankedTruth

__all__ = [
    "DEFINITIONS",
    "FUNCTIONS",
    "contains",
    "coverage",
    "hit_rate",
    "judge",
    "mrr",
    "ndcg",
    "novelty",
    "popularity_bias",
    "precision",
    "recall",
]


def contains(part: Interactions, user: Tensor, item: Tensor) -> Tensor:
    """Which items the users have in a part.

    Args:
        part: sorted interactions.
        user: ``[U]`` int64.
        item: ``[U, K]`` int64; numbers outside the catalogue are in no part.

    Returns:
        ``[U, K]`` bool.
    """
    real = (item >= 0) & (item < part.num_items)
    wanted = user[:, None] * part.num_items + item.clamp(0, max(part.num_items - 1, 0))  # [U, K]
    key = part.user * part.num_items + part.item  # [N], ascending
    if not len(part):
        return torch.zeros_like(real)
    row = torch.searchsorted(key, wanted).clamp(max=len(part) - 1)
    return real & (key[row] == wanted)


def judge(item: Tensor, user: Tensor, relevant: Interactions, popularity: Tensor) -> RankedTruth:
    """Hold recommendations against the truth.

    Args:
        item: ``[U, K]`` int64, best first, -1 = none.
        user: ``[U]`` int64, each with at least one item in `relevant`.
        relevant: what the users should have been given.
        popularity: ``[num_items]`` int64, training interactions.
    """
    return RankedTruth(
        item=item,
        hit=contains(relevant, user, item),
        num_relevant=relevant.user_degree[user],
        popularity=popularity,
        num_users=relevant.num_users,
        num_items=relevant.num_items,
    )


def recall(judged: RankedTruth, top_k: int) -> Tensor:
    """Hits among the first K over the number of relevant items, ``[U]``."""
    return _hits(judged, top_k) / judged.num_relevant


def precision(judged: RankedTruth, top_k: int) -> Tensor:
    """Hits among the first K over K, ``[U]``; a short list is not forgiven."""
    return _hits(judged, top_k) / top_k


def hit_rate(judged: RankedTruth, top_k: int) -> Tensor:
    """One where the first K hold a relevant item, else zero, ``[U]``."""
    return (_hits(judged, top_k) > 0).double()


def mrr(judged: RankedTruth, top_k: int) -> Tensor:
    """One over the rank of the first hit among the first K, zero without a hit, ``[U]``."""
    hit = judged.hit[:, :top_k]
    rank = torch.arange(1, hit.shape[1] + 1, dtype=torch.float64)
    return (hit / rank).amax(dim=1)


def ndcg(judged: RankedTruth, top_k: int) -> Tensor:
    """Gain of the hits among the first K, discounted by 1 / log2(rank + 1), over that of the best order, ``[U]``.

    The best order has min(K, relevant items) hits in front.
    """
    hit = judged.hit[:, :top_k]
    discount = 1 / torch.log2(torch.arange(2, top_k + 2, dtype=torch.float64))  # [K]
    ideal = discount.cumsum(0)[judged.num_relevant.clamp(max=top_k) - 1]  # [U]
    return (hit * discount[: hit.shape[1]]).sum(dim=1) / ideal


def coverage(judged: RankedTruth, top_k: int) -> Tensor:
    """Share of the catalogue that is among the first K of at least one user, ``[]``."""
    item = judged.item[:, :top_k]
    return torch.tensor(torch.unique(item[item >= 0]).numel() / judged.num_items, dtype=torch.float64)


def novelty(judged: RankedTruth, top_k: int) -> Tensor:
    """Mean of -log2(share of users with the item in training) over the first K, in bits, ``[U]``.

    An item without training interactions counts as having one. An empty list has novelty 0.
    """
    share = judged.popularity.clamp(min=1).double() / judged.num_users
    return _mean_over_list(judged, top_k, -share.log2())


def popularity_bias(judged: RankedTruth, top_k: int) -> Tensor:
    """Mean popularity percentile of the first K, ``[U]``: 1 = the most popular item, 0.5 = what chance would give.

    Percentile = share of items that are less popular, those equally popular counting half. An empty list has 0.
    """
    ordered = judged.popularity.sort().values
    below = torch.searchsorted(ordered, judged.popularity, right=False)
    up_to = torch.searchsorted(ordered, judged.popularity, right=True)
    return _mean_over_list(judged, top_k, (below + up_to) / (2 * judged.num_items))


def _hits(judged: RankedTruth, top_k: int) -> Tensor:
    return judged.hit[:, :top_k].sum(dim=1).double()


def _mean_over_list(judged: RankedTruth, top_k: int, value: Tensor) -> Tensor:
    item = judged.item[:, :top_k]
    real = item >= 0
    total = (value.double()[item.clamp(min=0)] * real).sum(dim=1)
    return total / real.sum(dim=1).clamp(min=1)


FUNCTIONS: Mapping[str, Callable[[RankedTruth, int], Tensor]] = MappingProxyType(
    {
        "recall": recall,
        "ndcg": ndcg,
        "precision": precision,
        "hit-rate": hit_rate,
        "mrr": mrr,
        "coverage": coverage,
        "novelty": novelty,
        "popularity-bias": popularity_bias,
    }
)

#: The formula of each metric in one line; stored with every result.
DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "recall": "|first K ∩ relevant| / |relevant|, mean over users",
        "ndcg": "Σ_hits 1/log2(rank+1) / Σ_{r=1..min(K, |relevant|)} 1/log2(r+1), mean over users",
        "precision": "|first K ∩ relevant| / K, mean over users",
        "hit-rate": "1 if first K ∩ relevant is not empty, mean over users",
        "mrr": "1 / rank of the first hit among the first K, 0 without one, mean over users",
        "coverage": "|union of the first K of all users| / |items|",
        "novelty": "mean over the first K of -log2(max(n_i, 1) / users), n_i = training interactions, mean over users",
        "popularity-bias": "mean over the first K of the item's popularity percentile (ties half), mean over users",
    }
)
