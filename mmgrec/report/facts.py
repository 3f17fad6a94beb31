"""What the report page is given: facts of a run or a study, no folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmgrec.evaluation import Spread
from mmgrec.storage import Json

__all__ = [
    "DatasetSection",
    "Measurement",
    "ModelRow",
    "PageFacts",
    "TrainingStage",
    "TuningFacts",
    "measurements",
    "milliseconds_each",
]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measured number."""

    mean: float
    deviation: float | None = None  # over seeds; None: one seed
    place: int | None = None  # 0 the best of its column, 1 the second best


@dataclass(frozen=True, kw_only=True)
class TuningFacts:
    """How a model's settings were found."""

    by: str  # the metric and where it was measured
    chosen: Mapping[str, object] | None  # dotted name -> value; None: not yet known
    tried: int  # points of its grid


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """How the training of one stage went."""

    stage: str
    total: int = 0  # epochs at most
    rows: Sequence[Mapping[str, float]] = ()  # one an epoch: epoch, loss, seconds, …
    facts: Mapping[str, float] = field(default_factory=dict)  # what was said at the end


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
    tuning: TuningFacts | None = None  # None: its settings were given
    insights: Sequence[Json] = ()  # one a seed
    stages: Sequence[TrainingStage] = ()  # of the first seed


@dataclass(frozen=True, kw_only=True)
class DatasetSection:
    """One data set and all models on it."""

    name: str
    facts: Mapping[str, int]  # users, items, interactions
    first: str  # the model that is tested against all others
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
    """For each user, of so many seconds for all; None where that is not known."""
    return 1000 * seconds / users if seconds is not None and users else None


def measurements(figures: Mapping[str, Spread], places: Mapping[str, int]) -> dict[str, Measurement]:
    """Metric -> its figure on the page, with its place among the models; what has no value is left out."""
    return {
        name: Measurement(mean=figure.mean, deviation=figure.deviation, place=places.get(name))
        for name, figure in figures.items()
        if figure.mean is not None
    }
