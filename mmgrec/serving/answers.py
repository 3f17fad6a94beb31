"""A fitted model's answers for users, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.evaluation import Known, known
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations

__all__ = ["recommend", "rows_of"]

BATCH = 256  # users at a time


def recommend(
    fitted: FittedRecommender,
    data: Dataset,
    users: Tensor,
    *,
    top_k: int,
    exclude: Known,
    allowed: Tensor | None = None,
) -> Iterator[Recommendations]:
    """The best items of the users, a batch at a time.

    Args:
        fitted: a model of these data.
        data: its data.
        users: ``[N]`` int64.
        top_k: items for each.
        exclude: the parts of the data whose items their users are not given again.
        allowed: ``[num_items]`` bool, True = may be recommended; None: all may.
    """
    rule = known(data, exclude)
    fitted = rule.reader(fitted, data)
    for batch in torch.split(users, BATCH):
        exclusion = Exclusion(seen=rule.items.padded(batch), allowed=allowed)
        yield fitted.recommend(batch, top_k=top_k, exclusion=exclusion)


def rows_of(answer: Recommendations, data: Dataset) -> Iterator[dict[str, Any]]:  # Any: JSON
    """One row for each recommended item: user, rank (from 1), item, score."""
    for user, items, scores in zip(
        answer.user.tolist(), answer.item.tolist(), answer.score.double().tolist(), strict=True
    ):
        for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1):
            if item >= 0:
                yield {"user": data.user_id(user), "rank": rank, "item": data.item_id(item), "score": score}
