"""What a table needs of many results: means with deviations, best and second best, which metrics are shown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from mmgrec.storage import Json

__all__ = ["LOWER_IS_BETTER", "best_places", "main_metrics", "ranks", "shown", "spread"]

LOWER_IS_BETTER = ("popularity-bias",)  # of all metrics; a name without its length
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


def ranks(models: Sequence[Json], metric: str) -> dict[str, int]:
    """Label -> 0 for the best, 1 for the second best mean on test; equal figures share a rank.

    Args:
        models: each with its label as ``"model"``, and under ``"test"`` for each metric a `spread`.
        metric: such as ``"recall@10"``; models without it have no rank.
    """
    means = {model["model"]: model["test"][metric]["mean"] for model in models if metric in model["test"]}
    lower = metric.partition("@")[0] in LOWER_IS_BETTER
    order = sorted(set(means.values()), reverse=not lower)
    return {label: order.index(mean) for label, mean in means.items() if order.index(mean) < 2}


def main_metrics(metrics: Sequence[str]) -> list[str]:
    """Recall and NDCG at all lengths, or all metrics where neither is measured.

    >>> main_metrics(["recall@10", "coverage@10", "ndcg@10"]), main_metrics(["mrr@10"])
    (['recall@10', 'ndcg@10'], ['mrr@10'])
    """
    main = [name for name in metrics if name.partition("@")[0] in _SHOWN]
    return main or list(metrics)


def shown(study: Json) -> list[str]:
    """The `main_metrics` of a study: those of its printed tables."""
    return main_metrics(study["metrics"])


def best_places(figures: Mapping[str, Mapping[str, Json]], metrics: Sequence[str]) -> dict[str, dict[str, int]]:
    """Label -> metric -> 0 for the best mean, 1 for the second best; none where there is one model alone.

    Args:
        figures: label -> metric -> `spread`.
        metrics: those that are ranked.
    """
    models = [{"model": label, "test": values} for label, values in figures.items()]
    places: dict[str, dict[str, int]] = {}
    for metric in metrics if len(models) > 1 else ():
        for label, rank in ranks(models, metric).items():
            places.setdefault(label, {})[metric] = rank
    return places
