"""What a table needs of many results: means with deviations, best and second best, which metrics are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from mmgrec.storage import Json

__all__ = ["best_places"]

LOWER_IS_BETTER = ("popularity-bias",)
_SHOWN = ("recall", "ndcg")  # the metrics of the printed tables, where they are measured


def spread(values: Sequence[float]) -> Json:
    """Mean, sample standard deviation (None for a single value) and the values themselves.

    >>> spread([1.0, 2.0, 4.0])["deviation"]
    1.5275252316519468
    """
    return {
        "mean": statistics.mean(values) if values else None,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


# --------------------------------------------------------------------------- forms


def ranks(models: Sequence[Json], metric: str) -> dict[str, int]:
    """Label -> 0 for the best, 1 for the second best mean on test; equal figures share a place."""
    means = {one["model"]: one["test"][metric]["mean"] for one in models if metric in one["test"]}
    lower = metric.partition("@")[0] in LOWER_IS_BETTER
    order = sorted(set(means.values()), reverse=not lower)
    return {label: order.index(mean) for label, mean in means.items() if order.index(mean) < 2}


def shown(told: Json) -> list[str]:
    """The metrics of a printed table: recall and NDCG at all lengths, or all where neither is measured."""
    main = [name for name in told["metrics"] if name.partition("@")[0] in _SHOWN]
    return main or list(told["metrics"])


# --------------------------------------------------------------------------- both


def main_metrics(metrics: Sequence[str]) -> list[str]:
    """Recall and NDCG at all lengths, or all metrics where neither is measured."""

    return shown({"metrics": list(metrics)})


def best_places(found: Mapping[str, Mapping[str, Json]], metrics: Sequence[str]) -> dict[str, dict[str, int]]:
    """Label -> metric -> 0 for the best mean, 1 for the second best."""

    known = [{"model": label, "test": figures} for label, figures in found.items()]
    out: dict[str, dict[str, int]] = {}
    for metric in metrics if len(known) > 1 else ():
        for label, place in ranks(known, metric).items():
            out.setdefault(label, {})[metric] = place
    return out
