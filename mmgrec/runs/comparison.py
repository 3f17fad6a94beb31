"""Stored runs against each other: paired tests over their users."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from mmgrec.errors import RunError, near_miss
from mmgrec.evaluation import PairedTest, Split, holm, paired_test
from mmgrec.runs.stored import StoredRun
from mmgrec.storage import Json

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One model against another over the same users."""

    first: str
    second: str
    first_value: float
    second_value: float
    test: PairedTest

    def as_dict(self) -> Json:
        return {
            "first": self.first,
            "second": self.second,
            "first_value": self.first_value,
            "second_value": self.second_value,
            **dataclasses.asdict(self.test),
        }


def compare(runs: Sequence[StoredRun], *, metric: str = "recall@10", split: Split = "test") -> list[Comparison]:
    """Paired tests over users: the first run's own model against every other model of all runs, corrected by Holm.

    Raises:
        RunError: if the runs are of different data, or have no such metric, or there is nothing to compare.
    """
    if len({run.results.data.fingerprint for run in runs}) != 1:
        raise RunError(
            "the runs are of different data, so their users cannot be paired",
            where=", ".join(str(run.folder.path) for run in runs),
            remedy="compare runs of one data set and split",
            code="runs.different-data",
        )
    single = len(runs) == 1
    named = [
        (label if single else f"{run.folder.path.as_posix()}: {label}", run.report(label, split))
        for run in runs
        for label in run.labels
    ]
    if len(named) < 2:
        raise RunError(
            "there is one model only",
            where=str(runs[0].folder.path),
            remedy="name a second run, or use --baselines",
            code="runs.one-model",
        )
    for name, report in named:
        if metric not in report.per_user:
            raise RunError(
                f"{name} has no {metric!r} per user",
                where="compare",
                remedy=near_miss(metric, report.per_user),
                code="runs.no-such-metric",
            )
    (first, mine), *others = named
    tests = holm([paired_test(mine, other, metric) for _, other in others])
    return [
        Comparison(
            first=first,
            second=name,
            first_value=mine.metrics[metric],
            second_value=other.metrics[metric],
            test=test,
        )
        for (name, other), test in zip(others, tests, strict=True)
    ]
