"""What a table needs of many results: means with deviations, best and second best, which metrics are shown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LOWER_IS_BETTER", "Spread", "best_places", "main_metrics", "ranks"]

LOWER_IS_BETTER = ("popularity-bias",)
_SHOWN = ("recall", "ndcg")  # the metrics of the printed tables, where they are measured


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A figure over several seeds."""

    mean: float | None = None  # None: there is no value
    deviation: float | None = None  # of a sample; None: fewer than two values
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Mean, sample standard deviation, and the values themselves.

        >>> Spread.of([1.0, 2.0, 4.0]).deviation
        1.5275252316519468
        """
        values = tuple(values)
        return cls(
            mean=statistics.mean(values) if values else None,
            deviation=statistics.stdev(values) if len(values) > 1 else None,
            values=values,
        )


def ranks(means: Mapping[str, float], metric: str) -> dict[str, int]:
    """Label -> 0 for the best, 1 for the second best mean; equal figures share a place.

    Args:
        means: label -> mean of the metric.
        metric: its name, which says whether more is better.
    """
    lower = metric.partition("@")[0] in LOWER_IS_BETTER
    order = sorted(set(means.values()), reverse=not lower)
    return {label: order.index(mean) for label, mean in means.items() if order.index(mean) < 2}


def main_metrics(metrics: Sequence[str]) -> list[str]:
    """The metrics of a printed table: recall and NDCG at all lengths, or all where neither is measured.

    >>> main_metrics(["recall@10", "coverage@10", "ndcg@10"]), main_metrics(["mrr@10"])
    (['recall@10', 'ndcg@10'], ['mrr@10'])
    """
    main = [name for name in metrics if name.partition("@")[0] in _SHOWN]
    return main or list(metrics)


def best_places(found: Mapping[str, Mapping[str, Spread]], metrics: Sequence[str]) -> dict[str, dict[str, int]]:
    """Label -> metric -> 0 for the best mean, 1 for the second best; nothing where there is one model alone."""
    places: dict[str, dict[str, int]] = {}
    for metric in metrics if len(found) > 1 else ():
        means = {label: figures[metric].mean for label, figures in found.items() if metric in figures}
        for label, place in ranks({label: mean for label, mean in means.items() if mean is not None}, metric).items():
            places.setdefault(label, {})[metric] = place
    return places
