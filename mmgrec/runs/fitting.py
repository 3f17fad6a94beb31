"""One recommender on one data set: fitted without the test part, then judged part by part.

A row of a run and a cell of a study are both made here, by `fit_recommender` and a `Judge`; they differ in what they
write of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import Mask, Report, Split, evaluate
from mmgrec.guards import checked_fitted
from mmgrec.insight import ModelInsight, insight
from mmgrec.interfaces import Context, FittedRecommender, Metric, Recommender

__all__ = ["Fit", "Judge", "fit_recommender"]

_LISTS = 20  # of each list, at most, are looked at for the page


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted recommender."""

    fitted: FittedRecommender
    seconds: float  # wall clock


def fit_recommender(recommender: Recommender, data: Dataset, context: Context) -> Fit:
    """Fit on data that have no test part, whatever `data` have.

    Raises:
        PluginError: if what comes back is no fitted recommender.
    """
    started = time.perf_counter()
    fitted = checked_fitted(recommender.fit(data.without_test(), context), recommender)
    return Fit(fitted=fitted, seconds=time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The rule by which fitted recommenders of one data set are judged."""

    data: Dataset
    metrics: Mapping[str, Metric]
    top_k: tuple[int, ...]
    mask: Mask  # on test

    @property
    def splits(self) -> list[Split]:
        """The parts that hold something to find, test first."""
        parts: list[tuple[Split, Interactions]] = [("test", self.data.test), ("valid", self.data.valid)]
        return [split for split, part in parts if len(part)]

    def report(self, fitted: FittedRecommender, split: Split, *, mask: Mask | None = None) -> Report:
        """What a fitted model reaches; on validation, the test part is not there."""
        data = self.data if split == "test" else self.data.without_test()
        return evaluate(fitted, data, split=split, metrics=self.metrics, top_k=self.top_k, mask=mask or self.mask)

    def insight(self, fitted: FittedRecommender, report: Report) -> tuple[ModelInsight | None, str]:
        """What the page shows of a model; None, with the reason, where that fails: no fit is lost over a picture."""
        try:
            lists = report.item[:, :_LISTS]
            facts = insight(fitted, self.data, lists, report.user, split=report.split, mask=report.mask)
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        return facts, ""
