"""A study as a value: data sets, models, seeds, grids to tune over, what is measured.

Made from plain values: a built-in definition (`mmgrec.studies`) or a TOML file of one's own, with settings for all rows
laid over. Everything that is wrong is told at once. `mmgrec.conduct` carries a Study out; this module computes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from annotated_types import Ge, Gt, Le, MinLen

from mmgrec.errors import SettingsError
from mmgrec.experiment import METRICS, PARTS, VALUES, Experiment, Model
from mmgrec.interfaces import DatasetSource, Metric, Recommender
from mmgrec.registry import Registry
from mmgrec.settings import Settings, build, merge

__all__ = ["COMMON", "VALUES", "Point", "Row", "Study", "StudyData", "StudyOptions", "model_of", "model_values"]

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


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything that decides a study's results, the software apart."""

    name: str
    options: StudyOptions
    data: tuple[StudyData, ...]
    rows: tuple[Row, ...]
    metrics: Mapping[str, Metric]
    absent: tuple[str, ...] = ()  # rows of a built-in study that cannot be made here, each with its reason

    @classmethod
    def of(
        cls,
        name: str,
        config: Settings,
        *,
        over: Settings | None = None,
        paths: Sequence[Path] = (),
        registry: Registry | None = None,
        lenient: bool = False,
        only: Sequence[str] = (),
        problems: Sequence[str] = (),
    ) -> Study:
        """Check values and load the plugins they name.

        Args:
            name: of the study.
            config: its definition.
            over: the same shape, laid over it.
            paths: data folders; they replace the data sets of the definition, but for settings under their names.
            registry: the installed plugins by default.
            lenient: rows whose plugin or preset is not there are left out and told in `absent`.
            only: labels of the rows that are wanted; all where none is named. These must be there. Where they leave out
                the definition's own `against`, the first of them takes its place.
            problems: what is known to be wrong already; told with the rest.

        Raises:
            SettingsError: with everything that is wrong.
        """
        from mmgrec._study_maker import Maker

        maker = Maker(merge(config, over or {}), registry or Registry.discover(), list(problems), lenient, only)
        options = maker.options()
        data = maker.data(paths)
        rows = maker.rows(options)
        metrics = {one: maker.plugin("metric", one, {}, f"metrics.{one}") for one in options.metrics}
        maker.check(options, rows, against_is_wanted="against" in (over or {}))
        if maker.problems:
            raise SettingsError(list(dict.fromkeys(maker.problems)))
        return cls(
            name=name,
            options=options,
            data=tuple(data),
            rows=tuple(rows),
            metrics=cast("dict[str, Metric]", metrics),
            absent=tuple(maker.absent),
        )

    @property
    def first(self) -> str:
        """The label of the model that is tested against the others."""
        labels = [row.label for row in self.rows]
        return self.options.against if self.options.against in labels else labels[0]


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
    made: object = build(registry.load("recommender", plugin), values)
    return Model(label=label, plugin=plugin, recommender=cast(Recommender, made))


def model_values(model: Model) -> Table:
    """What `model_of` takes back, nothing left to defaults."""
    return {"name": model.plugin, **model.values()}
