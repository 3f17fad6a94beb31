"""Evaluates a fitted recommender on one part of the data, and compares two reports by a paired test over users.

All items are ranked. What a recommender returns is not trusted: invalid, duplicate, seen, missing and misplaced items
are counted here from the lists themselves. Does not know how recommendations are made.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.doors import checked_definition, checked_lists, checked_measure
from mmgrec.errors import DataError
from mmgrec.interfaces import FittedRecommender, Metric, exclusion_of
from mmgrec.interfaces import Judged as _Judged
from mmgrec.metrics import DEFINITIONS, FUNCTIONS, contains, judge

__all__ = ["Defects", "Mask", "PairedTest", "Report", "Split", "evaluate", "find_defects", "holm", "paired_test"]

Split = Literal["test", "valid"]
Mask = Literal["train+valid", "train"]


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Items that must not be in a list, counted over all lists. A correct recommender has none."""

    invalid: int = 0  # outside the catalogue, after the end of the list, or with a score that is no number
    duplicate: int = 0  # named before in the same list
    seen: int = 0  # masked for this user
    missing: int = 0  # places left empty although there were items to recommend
    misplaced: int = 0  # better score than the item before, or the same score and a lower number


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The result of one evaluation."""

    metrics: Mapping[str, float]  # "recall@10" -> mean over users
    per_user: Mapping[str, Tensor]  # "recall@10" -> [U] float64; metrics that belong to all lists have no row here
    definitions: Mapping[str, str]  # "recall" -> its formula
    user: Tensor  # [U] int64, ascending: users with a relevant item
    item: Tensor  # [U, K] int64: what was recommended, best first, -1 = none
    defects: Defects
    split: str
    mask: str
    seconds: float  # wall clock of recommending alone

    @property
    def num_users(self) -> int:
        return self.user.numel()

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """Everything but the tensors, ready for JSON."""
        return {
            "split": self.split,
            "mask": self.mask,
            "metrics": dict(self.metrics),
            "definitions": dict(self.definitions),
            "num_users": self.num_users,
            "seconds": self.seconds,
            **vars(self.defects),
        }


@dataclass(frozen=True, kw_only=True)
class _Plain(Metric):
    name: str

    @property
    def definition(self) -> str:
        return DEFINITIONS[self.name]

    def measure(self, judged: _Judged, top_k: int) -> Tensor:
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
    """
    if not top_k or min(top_k) < 1:
        raise ValueError(f"top_k must be positive lengths, got {tuple(top_k)}")
    if split not in ("test", "valid") or mask not in ("train+valid", "train"):
        raise ValueError(f"split is 'test' or 'valid', mask 'train+valid' or 'train', got {split!r}, {mask!r}")
    measured = {name: _Plain(name=name) for name in ("recall", "ndcg")} if metrics is None else metrics
    relevant = data.test if split == "test" else data.valid
    user = _users_with(relevant, users, split)
    masked = data.train.merged(data.valid) if split == "test" and mask == "train+valid" else data.train
    if data.ordered and masked is not data.train:
        fitted = fitted.with_history(masked)

    width = max(top_k)
    items: list[Tensor] = []
    defects: list[Defects] = []
    seconds = 0.0
    for batch in torch.split(user, batch_size):
        exclusion = exclusion_of(masked, batch)
        begin = time.perf_counter()
        result = checked_lists(
            fitted.recommend(batch, top_k=width, exclusion=exclusion), batch, width, getattr(fitted, "recipe", fitted)
        )
        item, score = result.item.cpu(), result.score.cpu()
        seconds += time.perf_counter() - begin
        items.append(item)
        defects.append(find_defects(item, score, batch, masked))

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
        defects=Defects(**{name: sum(getattr(one, name) for one in defects) for name in vars(Defects())}),
        split=split,
        mask="train+valid" if masked is not data.train else "train",
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


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """A two-sided paired t-test over the same users; `difference` is the first report minus the second."""

    metric: str
    difference: float
    t: float
    p: float
    num_users: int
    p_holm: float | None = field(default=None)  # corrected for all tests made together, see `holm`


def paired_test(first: Report, second: Report, metric: str) -> PairedTest:
    """Is the first report better than the second, user by user?

    Args:
        first: a report.
        second: another, on the same users.
        metric: a key of both, such as ``"recall@10"``.

    Raises:
        ValueError: if the users differ or the metric is not measured per user in both.
    """
    if not torch.equal(first.user, second.user):
        raise ValueError("a paired test needs two reports on the same users")
    for report in (first, second):
        if metric not in report.per_user:
            raise ValueError(f"{metric!r} is not measured per user; there are {', '.join(report.per_user)}")
    from scipy import stats

    difference = first.per_user[metric] - second.per_user[metric]
    mean = float(difference.mean())
    if bool((difference == difference[0]).all()):  # no spread: t is not defined
        t, p = (0.0, 1.0) if mean == 0 else (float("inf") * (1 if mean > 0 else -1), 0.0)
    else:
        result = stats.ttest_1samp(difference.numpy(), 0.0)
        t, p = float(result.statistic), float(result.pvalue)
    return PairedTest(metric=metric, difference=mean, t=t, p=p, num_users=first.num_users)


def holm(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """Correct several tests for being several (Holm, 1979); the order stays.

    >>> one = PairedTest(metric="recall@10", difference=0.1, t=2.5, p=0.01, num_users=9)
    >>> [test.p_holm for test in holm([one, replace(one, p=0.04), replace(one, p=0.9)])]
    [0.03, 0.08, 0.9]
    """
    order = sorted(range(len(tests)), key=lambda place: tests[place].p)
    corrected = [0.0] * len(tests)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(tests) - rank) * tests[place].p))
        corrected[place] = largest
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]


def _users_with(relevant: Interactions, among: Tensor | None, split: str) -> Tensor:
    has = relevant.user_degree > 0
    if among is not None:
        chosen = torch.zeros_like(has)
        chosen[among] = True
        has &= chosen
    user = has.nonzero().squeeze(1)
    if not user.numel():
        raise DataError(
            f"no user has an item in the {split} part", remedy="choose another split, or users who have one"
        )
    return user
