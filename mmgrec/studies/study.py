"""A study as a value: data sets, models, seeds, grids to tune over, what is measured.

Made from plain values: a built-in definition (`mmgrec.studies`) or a TOML file of one's own, with settings for all rows
laid over; everything that is wrong with them is in one error. `mmgrec.studies.run_study` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from mmgrec.errors import Problem, SettingsError
from mmgrec.interfaces import Metric
from mmgrec.registry import Registry
from mmgrec.settings import Settings, merge
from mmgrec.studies.values import Row, StudyData, StudyOptions

__all__ = ["Study"]


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
        problems: Sequence[Problem] = (),
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
        from mmgrec.studies.parsing import Maker

        maker = Maker(merge(config, over or {}), registry or Registry.discover(), list(problems), lenient, only)
        options = maker.options()
        data = maker.data(paths)
        rows = maker.rows(options)
        metrics = {name: maker.plugin("metric", name, {}, f"metrics.{name}") for name in options.metrics}
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
