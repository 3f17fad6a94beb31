"""What the report page is given: facts of a run or a study, no folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mmgrec.storage import Json

__all__ = ["DatasetSection", "Measurement", "ModelRow", "PageFacts", "data_counts", "measurements", "milliseconds_each"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measured number."""

    mean: float
    deviation: float | None = None  # over seeds; None: one seed
    place: int | None = None  # 0 the best of its column, 1 the second best


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
    tuned: Json | None = None  # by, chosen, trials
    insights: Sequence[Json] = ()  # one a seed
    stages: Sequence[Json] = ()  # of the first seed: stage, rows


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
    return 1000 * seconds / users if seconds is not None and users else None


def data_counts(data: Json) -> dict[str, int]:
    return {name: data[f"num_{name}"] for name in ("users", "items", "interactions") if f"num_{name}" in data}


def measurements(found: Mapping[str, Json], places: Mapping[str, int]) -> dict[str, Measurement]:
    return {
        name: Measurement(mean=one["mean"], deviation=one["deviation"], place=places.get(name))
        for name, one in found.items()
        if one["mean"] is not None
    }
