"""What the report page is given: facts of a run or a study as values, whichever folder they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmgrec.evaluation import Spread
from mmgrec.insight import ModelInsight

__all__ = [
    "DatasetSection", "Measurement", "ModelRow", "PageFacts", "TrainingStage", "TunedSettings",
    "measurements", "milliseconds_each",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measured number."""

    mean: float
    deviation: float | None = None  # over seeds; None: one seed
    place: int | None = None  # 0 the best of its column, 1 the second best


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """The history of one stage of a model's training."""

    stage: str  # its name
    total: int = 0  # epochs at most
    rows: Sequence[Mapping[str, float]] = ()  # one an epoch: "epoch", "loss", "score", "seconds" and others -> value
    facts: Mapping[str, float] = field(default_factory=dict)  # what was said at its end

    def curve(self, what: str) -> list[tuple[float, float]]:
        """Epoch and value, for each epoch in which `what` was measured."""
        measured = [row for row in self.rows if row.get(what) is not None and "epoch" in row]
        return [(row["epoch"], row[what]) for row in measured]


@dataclass(frozen=True, kw_only=True)
class TunedSettings:
    """How a model's settings were chosen among several."""

    by: str  # the metric on the validation part
    chosen: Mapping[str, Any] | None  # setting -> value; None: no choice of settings could be fitted
    trials: int  # choices that were tried


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One model on one data set."""

    label: str
    plugin: str = ""
    seeds: int = 1
    figures: Mapping[str, Measurement] = field(default_factory=dict)  # "recall@10" -> on test
    valid: Mapping[str, Measurement] = field(default_factory=dict)
    difference: float | None = None  # the first model minus this one, by the first metric
    p: float | None = None  # of that difference, corrected by Holm
    fit_seconds: float | None = None
    rank_ms: float | None = None  # to recommend to one user
    parameters: int | None = None
    memory_mib: float | None = None
    defects: int = 0  # places of all lists that hold what they must not, or nothing
    tuned: TunedSettings | None = None
    insights: Sequence[ModelInsight] = ()  # one a seed
    stages: Sequence[TrainingStage] = ()  # of the first seed


@dataclass(frozen=True, kw_only=True)
class DatasetSection:
    """One data set and all models on it."""

    name: str
    facts: Mapping[str, int]  # "users", "items", "interactions" -> how many
    first: str  # the label of the model that is tested against all others
    lines: Sequence[ModelRow]


@dataclass(frozen=True, kw_only=True)
class PageFacts:
    """Everything on one page."""

    kind: str  # run or study
    name: str
    title: str
    written: str
    mask: str
    seeds: Sequence[int]
    metrics: Sequence[str]
    definitions: Mapping[str, str]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    sheets: Sequence[DatasetSection]
    notes: Sequence[str] = ()  # what failed or was left out
    seeds_wanted: int = 1


def milliseconds_each(seconds: float | None, users: int) -> float | None:
    """Of one user; None where it was not measured."""
    return 1000 * seconds / users if seconds is not None and users else None


def measurements(figures: Mapping[str, Spread], places: Mapping[str, int]) -> dict[str, Measurement]:
    """Metric -> its figure on the page, with its place among the models; what was not measured is left out."""
    return {
        name: Measurement(mean=figure.mean, deviation=figure.deviation, place=places.get(name))
        for name, figure in figures.items()
        if figure.mean is not None
    }
