"""What a study is made of: options, data sets, rows with grids of points, models from plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from mmgrec.interfaces import DatasetSource
from mmgrec.registry import Registry
from mmgrec.runs import METRICS, PARTS, VALUES, Experiment, Model, beside_of
from mmgrec.settings import Settings, build
from mmgrec.with_memory import WithMemory

__all__ = ["COMMON", "Point", "Row", "StudyData", "StudyOptions", "model_of", "model_values"]

Table = dict[str, Any]  # Any: TOML

#: Tables that count for every row that has such settings: MMGRec's sections, and ``baselines`` for all other models.
COMMON = (*PARTS, *VALUES, "baselines")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """The keys of a study's file that stand above its tables."""

    title: str = ""  # one line
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (0, 1, 2, 3, 4)  # or their number
    mask: Literal["train+valid", "train"] = "train+valid"  # what is never recommended at test time
    top_k: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (10, 20)  # lengths of the lists
    metrics: Annotated[tuple[str, ...], MinLen(1)] = METRICS
    grid_size: Annotated[int, Ge(1)] = 6  # points of a grid that are tried, the same number for every model
    tune_by: str = "recall@10"  # on validation
    shares: tuple[Annotated[float, Gt(0), Le(1)], ...] = ()  # of each data set's items; several: several data sets
    against: str = ""  # the model that is tested against all others; the first by default


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a model's grid."""

    settings: Mapping[str, Any]  # dotted name -> value
    model: Model


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of a study; with points, validation chooses one of them for each data set."""

    model: Model
    points: tuple[Point, ...] = ()

    @property
    def label(self) -> str:
        return self.model.label


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """One data set of a study."""

    name: str
    plugin: str
    values: Mapping[str, Any]  # the source's settings
    source: DatasetSource
    share: float = 1.0  # of its items, drawn at random; the others are left out


def model_of(label: str, table: Settings, registry: Registry) -> Model:
    """A model from its plain values: ``name``, settings; MMGRec's by ``preset`` and parts, as in a run's file.

    Raises:
        SettingsError: with everything that is wrong.
    """
    values = dict(table)
    plugin = str(values.pop("name", label if label in registry.names("recommender") else "mmgrec"))
    if plugin == "mmgrec":
        own = Experiment.of(values, registry=registry).models[0]
        return dataclasses.replace(own, label=label)
    beside = beside_of(values, PARTS["memory"])
    recommender: Any = build(registry.load("recommender", plugin), values)
    if beside is None:
        return Model(label=label, plugin=plugin, recommender=recommender)
    memory: Any = build(registry.load("memory", beside.name), beside.settings, "memory")
    return Model(
        label=label,
        plugin=plugin,
        recommender=WithMemory(base=recommender, memory=memory, candidates=beside.candidates),
        parts={"memory": beside.name},
    )


def model_values(model: Model) -> Table:
    """What `model_of` takes back, nothing left to defaults."""
    return {"name": model.plugin, **model.values()}
