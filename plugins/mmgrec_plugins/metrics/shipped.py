"""The shipped metrics as plugins. The formulas are in `mmgrec.evaluation.metrics`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgrec.evaluation import metrics
from mmgrec.interfaces import Metric, RankedTruth

__all__ = ["MRR", "NDCG", "Coverage", "HitRate", "Novelty", "PopularityBias", "Precision", "Recall"]


@dataclass(frozen=True, kw_only=True)
class Recall(Metric):
    """Share of the relevant items that are found."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["recall"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.recall(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class NDCG(Metric):
    """Discounted gain over that of the ideal order."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["ndcg"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.ndcg(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class Precision(Metric):
    """Share of the list that is relevant."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["precision"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.precision(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class HitRate(Metric):
    """Share of users who get a relevant item."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["hit-rate"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.hit_rate(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class MRR(Metric):
    """Reciprocal rank of the first relevant item."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["mrr"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.mrr(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class Coverage(Metric):
    """Share of the catalogue that is recommended to somebody."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["coverage"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.coverage(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class Novelty(Metric):
    """Self-information of the recommended items, in bits."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["novelty"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.novelty(judged, top_k)


@dataclass(frozen=True, kw_only=True)
class PopularityBias(Metric):
    """Mean popularity percentile of the recommended items."""

    @property
    def definition(self) -> str:
        return metrics.DEFINITIONS["popularity-bias"]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        return metrics.popularity_bias(judged, top_k)
