"""Paired tests over users, and Holm's correction for several of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from mmgrec.evaluation.report import Report

__all__ = ["PairedTest", "holm", "paired_test"]


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

    >>> first = PairedTest(metric="recall@10", difference=0.1, t=2.5, p=0.01, num_users=9)
    >>> [test.p_holm for test in holm([first, replace(first, p=0.04), replace(first, p=0.9)])]
    [0.03, 0.08, 0.9]
    """
    ascending = sorted(range(len(tests)), key=lambda index: tests[index].p)
    corrected = [0.0] * len(tests)
    largest = 0.0
    for rank, index in enumerate(ascending):
        largest = max(largest, min(1.0, (len(tests) - rank) * tests[index].p))
        corrected[index] = largest
    return [replace(test, p_holm=p) for test, p in zip(tests, corrected, strict=True)]
