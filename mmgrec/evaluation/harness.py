"""Evaluates a fitted recommender on one part of the data: `evaluate` asks for lists, judges and measures them.

All items are ranked. What a recommender returns is not trusted: invalid, duplicate, seen, missing and misplaced items
are counted here, from the lists themselves (`find_defects`). `mmgrec.evaluation.significance` compares two reports.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import DataError
from mmgrec.evaluation.metrics import DEFINITIONS, FUNCTIONS, contains, judge
from mmgrec.evaluation.protocol import MASKS, SPLITS, Mask, Split, masked
from mmgrec.evaluation.report import Defects, Report
from mmgrec.guards import checked_definition, checked_lists, checked_measure
from mmgrec.interfaces import FittedRecommender, Metric, RankedTruth, exclusion_of

__all__ = ["evaluate", "find_defects"]


@dataclass(frozen=True, kw_only=True)
class _Plain(Metric):
    """One of the functions of `mmgrec.evaluation.metrics`, by its name."""

    name: str

    @property
    def definition(self) -> str:
        return DEFINITIONS[self.name]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return FUNCTIONS[self.name](judged, top_k)


def evaluate(
    fitted: FittedRecommender,
    data: Dataset,
    *,
    split: Split = "test",
    metrics: Mapping[str, Metric] | None = None,
    top_k: Sequence[int] = (10, 20),
    mask: Mask = "train+valid",
    batch_size: int = 256,
    users: Tensor | None = None,
) -> Report:
    """Rank all items for every user with at least one relevant item, and measure.

    On ``valid`` the users' training items are masked. On ``test`` their validation items are too, unless `mask` is
    ``"train"``, the rule of some published tables. Where the split follows time (`Dataset.ordered`), masked validation
    items are part of the history that the recommender reads.

    Args:
        fitted: what is evaluated.
        data: the data that it was fitted on.
        split: the part that holds the relevant items.
        metrics: name -> metric; recall and NDCG where None.
        top_k: lengths K of the lists.
        mask: what is masked on ``test``.
        batch_size: users at a time.
        users: ``[U]`` int64, only these users (those of them who have a relevant item).

    Raises:
        DataError: if no user has a relevant item.
        PluginError: if the recommender or a metric returns what its interface does not allow.
        ValueError: if a length is not positive, or the part or the mask is unknown.
    """
    if not top_k or min(top_k) < 1:
        raise ValueError(f"top_k must be positive lengths, got {tuple(top_k)}")
    if split not in SPLITS or mask not in MASKS:
        raise ValueError(f"split is 'test' or 'valid', mask 'train+valid' or 'train', got {split!r}, {mask!r}")
    measured = {name: _Plain(name=name) for name in ("recall", "ndcg")} if metrics is None else metrics
    relevant = data.test if split == "test" else data.valid
    user = _users_with(relevant, users, split)
    rule = masked(data, split=split, mask=mask)
    fitted = rule.reader(fitted, data)

    width = max(top_k)
    items: list[Tensor] = []
    defects: list[Defects] = []
    seconds = 0.0
    for batch in torch.split(user, batch_size):
        exclusion = exclusion_of(rule.items, batch)
        begin = time.perf_counter()
        result = checked_lists(
            fitted.recommend(batch, top_k=width, exclusion=exclusion), batch, width, getattr(fitted, "method", fitted)
        )
        item, score = result.item.cpu(), result.score.cpu()
        seconds += time.perf_counter() - begin
        items.append(item)
        defects.append(find_defects(item, score, batch, rule.items))

    item = torch.cat(items)
    judged = judge(item, user, relevant, data.train.item_degree)
    values = {
        f"{name}@{k}": checked_measure(metric.measure(judged, k), user.numel(), metric)
        for k in sorted(set(top_k))
        for name, metric in measured.items()
    }
    return Report(
        metrics={key: float(value.mean()) for key, value in values.items()},
        per_user={key: value for key, value in values.items() if value.ndim},
        definitions={name: checked_definition(metric) for name, metric in measured.items()},
        user=user,
        item=item,
        defects=Defects(**{name: sum(getattr(batch, name) for batch in defects) for name in vars(Defects())}),
        split=split,
        mask="train+valid" if rule.items is not data.train else "train",
        seconds=seconds,
    )


def find_defects(item: Tensor, score: Tensor, user: Tensor, masked: Interactions) -> Defects:
    """Count what is wrong in lists, without asking who made them.

    Args:
        item: ``[U, K]`` int64, -1 = none.
        score: ``[U, K]``.
        user: ``[U]`` int64.
        masked: what must not be recommended.
    """
    num_items, width = masked.num_items, item.shape[1]
    real = (item >= 0) & (item < num_items)
    after_end = real & ((item == -1).cumsum(dim=1) > 0)
    invalid = ((item != -1) & ~real) | after_end | (real & ~score.isfinite())
    ordered = torch.where(real, item, -1 - torch.arange(width)).sort(dim=1).values  # holes are made distinct
    duplicate = (ordered[:, 1:] == ordered[:, :-1]).sum()
    possible = (num_items - masked.user_degree[user]).clamp(max=width)
    pair = real[:, 1:] & real[:, :-1]
    better = score[:, 1:] > score[:, :-1]
    tied = (score[:, 1:] == score[:, :-1]) & (item[:, 1:] < item[:, :-1])
    return Defects(
        invalid=int(invalid.sum()),
        duplicate=int(duplicate),
        seen=int(contains(masked, user, item).sum()),
        missing=int((possible - real.sum(dim=1)).clamp(min=0).sum()),
        misplaced=int((pair & (better | tied)).sum()),
    )


def _users_with(relevant: Interactions, among: Tensor | None, split: str) -> Tensor:
    """The users who have an item in the part, ascending; `among` restricts them."""
    has = relevant.user_degree > 0
    if among is not None:
        chosen = torch.zeros_like(has)
        chosen[among] = True
        has &= chosen
    user = has.nonzero().squeeze(1)
    if not user.numel():
        raise DataError(
            f"no user has an item in the {split} part",
            remedy="choose another split, or users who have one",
            code="evaluation.no-relevant-items",
        )
    return user
