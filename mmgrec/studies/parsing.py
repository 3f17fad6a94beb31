"""From the plain values of a study's file to its data sets, rows and grids, for `mmgrec.studies.Study.of`.

Nothing stops at the first mistake: all that is wrong is collected, and the study says it at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgrec.errors import PluginError, Problem, SettingsError, near_miss
from mmgrec.registry import Registry
from mmgrec.runs import PARTS, VALUES, Model
from mmgrec.settings import Settings, build, flat, merge, nested
from mmgrec.studies.tuning import grid_points
from mmgrec.studies.values import COMMON, Point, Row, StudyData, StudyOptions, model_of, model_values

__all__ = ["Maker"]

Table = dict[str, Any]  # Any: TOML
_TABLES = ("data", "models", "tune", *COMMON)
_OWN = ("name", "preset", "between", "taken", *PARTS, *VALUES)  # keys of an MMGRec model's table


class Maker:
    """Makes the parts of one Study and collects what is wrong with them."""

    def __init__(
        self, config: Settings, registry: Registry, problems: list[Problem], lenient: bool, only: Sequence[str]
    ) -> None:
        self.registry, self.problems, self.lenient, self.only = registry, problems, lenient, only
        self.absent: list[str] = []  # rows that are left out, each with its reason
        self.config: Table = {}
        self.used: set[str] = set()  # common settings that some row has
        known = [field.name for field in dataclasses.fields(StudyOptions)]
        for key, value in config.items():
            if key not in known and key not in _TABLES:
                problems.append(
                    Problem(
                        f"{key}: there is no such setting; {near_miss(key, [*known, *_TABLES])}", "settings.unknown-key"
                    )
                )
            elif key in _TABLES and not isinstance(value, Mapping):
                problems.append(Problem(f"{key}: a table is needed, got {value!r}", "settings.not-a-table"))
            else:
                self.config[key] = value

    def options(self) -> StudyOptions:
        """The keys above the tables; the defaults where they are wrong."""
        given = {key: value for key, value in self.config.items() if key not in _TABLES}
        if isinstance(given.get("seeds"), int):
            given["seeds"] = list(range(given["seeds"]))
        try:
            return build(StudyOptions, given)
        except SettingsError as error:
            self.problems.extend(
                Problem("seeds: at least one is needed", "settings.nothing-given")
                if "seeds" in problem and not given.get("seeds")
                else problem
                for problem in error.problems
            )
            return StudyOptions()

    def data(self, paths: Sequence[Path]) -> list[StudyData]:
        """The study's data sets, one a share of each; folders take the place of those that the file names."""
        data_sets: list[StudyData] = []
        shares = self.config.get("shares") or [1.0]
        for name, values in self._data_tables(paths).items():
            settings = {key: value for key, value in values.items() if key != "name"}
            plugin = str(values.get("name", "folder" if "path" in values else "synthetic"))
            if plugin == "folder" and not Path(str(settings.get("path", ""))).is_dir():
                self.problems.append(
                    Problem(
                        f"data.{name}: there is no folder {str(settings.get('path', ''))!r}", "studies.no-such-folder"
                    )
                )
                continue
            source = self.plugin("dataset", plugin, settings, f"data.{name}")
            if source is None:
                continue
            data_sets += [
                StudyData(
                    name=f"{name}-{share:g}" if "shares" in self.config else name,
                    plugin=plugin,
                    values=settings,
                    source=source,
                    share=float(share),
                )
                for share in shares
                if isinstance(share, int | float)
            ]
        return data_sets

    def _data_tables(self, paths: Sequence[Path]) -> dict[str, Table]:
        """Name of a data set -> its source's name and settings; settings that stand above all tables count for each."""
        entries = self.config.get("data", {})
        common = {key: value for key, value in entries.items() if not isinstance(value, Mapping)}
        tables = {name: {**common, **table} for name, table in entries.items() if isinstance(table, Mapping)}
        if paths:
            names = [path.resolve().name for path in paths]
            if len(set(names)) < len(names):
                self.problems.append(
                    Problem(
                        "data: two folders have the same name, by which their results are told apart",
                        "studies.same-name",
                    )
                )
            tables = {
                name: {**tables.get(name, common), "name": "folder", "path": path.as_posix()}
                for name, path in zip(names, paths, strict=True)
            }
        return tables or {"synthetic": common}

    def rows(self, options: StudyOptions) -> list[Row]:
        """The wanted rows, each with the points of its grid."""
        grids = self._grids()
        rows: list[Row] = []
        for label, table in self._tables("models").items():
            if "," in label:
                self.problems.append(
                    Problem(
                        f"models.{label}: leave out the comma; between commas --models names several",
                        "studies.comma-in-a-name",
                    )
                )
            grid = grid_points(grids.get(label, {}), options.grid_size, f"tune.{label}", self.problems)
            model = self._model(label, table)
            if model is None:
                continue
            points = []
            for settings in grid:
                tried = self._model(label, merge(table, nested(settings)))
                if tried is not None:
                    points.append(Point(settings=settings, model=tried))
            rows.append(Row(model=model, points=tuple(points)))
        return [row for row in rows if row.label in (self.only or [row.label])]

    def check(self, options: StudyOptions, rows: Sequence[Row], *, against_is_wanted: bool) -> None:
        """What can be seen only when all is there; whether `against` has to be among the rows that are wanted."""
        labels = list(self._tables("models"))
        if not rows and not self.problems and not self.only:
            self.problems.append(Problem("models: at least one is needed", "settings.nothing-given"))
        wanted = {
            "--models": list(self.only),
            "against": [options.against] if options.against else [],
            "tune": list(self.config.get("tune", {})),
        }
        for where, names in wanted.items():
            self.problems += [
                Problem(f"{where}: there is no model {name!r}; {near_miss(name, labels)}", "studies.no-such-model")
                for name in names
                if name not in labels
            ]
        if against_is_wanted and options.against and self.only and options.against not in self.only:
            self.problems.append(
                Problem(
                    f"against: {options.against!r} is not among the models that are wanted; name it with --models too",
                    "studies.against",
                )
            )
        known = [f"{metric}@{k}" for metric in options.metrics for k in options.top_k]
        if options.tune_by not in known:
            self.problems.append(
                Problem(
                    f"tune_by: {options.tune_by!r} is not measured; {near_miss(options.tune_by, known)}",
                    "studies.not-measured",
                )
            )
        given = {f"{section}.{key}" for section in COMMON for key in self.config.get(section, {})}
        self.problems += [
            Problem(f"{name}: no model of this study has such a setting", "studies.unused-setting")
            for name in sorted(given - self.used)
            if rows
        ]

    def plugin(self, kind: str, name: str, values: Settings, where: str) -> Any:  # Any: the kind's class
        """A plugin by its name and settings; None where that failed."""
        try:
            return build(self.registry.load(kind, name), values, where)
        except SettingsError as error:
            self.problems.extend(error.problems)
        except PluginError as error:
            self.problems.append(Problem(str(error), error.code))
        return None

    def _model(self, label: str, table: Settings) -> Model | None:
        """A row's model; None where its values are wrong, or where its plugin or preset is missing and may be."""
        from mmgrec.runs import PRESETS

        plugin = str(table.get("name", label if label in self.registry.names("recommender") else "mmgrec"))
        missing = ""
        if plugin not in self.registry.names("recommender"):
            missing = f"there is no recommender called {plugin!r}"
        elif plugin == "mmgrec" and str(table.get("preset", "recipe")) not in PRESETS:
            missing = Problem(f"there is no preset {table['preset']!r}", "runs.no-such-preset")
        if missing and self.lenient and label not in self.only:
            self.absent += [] if self.only or f"{label}: {missing}" in self.absent else [f"{label}: {missing}"]
            return None
        if plugin == "mmgrec":
            self.problems += [
                Problem(
                    f"models.{label}.{key}: there is no such setting; {near_miss(key, _OWN)}", "settings.unknown-key"
                )
                for key in table
                if key not in _OWN
            ]
            table = {key: value for key, value in table.items() if key in _OWN}
        try:
            if "between" in table:
                return self._between(label, table)
            return model_of(label, self._with_common(plugin, table), self.registry)
        except SettingsError as error:
            self.problems.extend(problem.within(f"models.{label}") for problem in error.problems)
        except PluginError as error:
            self.problems.append(Problem(f"models.{label}: {error}", error.code))
        return None

    def _between(self, label: str, table: Settings) -> Model:
        """A model on the way from one preset to another: the settings named in ``taken`` are the second's already."""
        from mmgrec.runs import PRESETS

        ends, taken = table["between"], table.get("taken", [])
        if not isinstance(ends, list) or len(ends) != 2 or any(end not in PRESETS for end in ends):
            raise SettingsError(
                [f"between: two presets are needed; {near_miss(str(ends), PRESETS)}"], code="studies.between"
            )
        if not isinstance(taken, list) or any(str(name).partition(".")[0] not in (*PARTS, *VALUES) for name in taken):
            raise SettingsError(
                ["taken: a list of parts and settings is needed, like network.head"], code="studies.taken"
            )
        first, second = (
            dict(flat(model_values(model_of(end, self._with_common("mmgrec", {"preset": end}), self.registry))))
            for end in ends
        )

        def is_taken(key: str) -> bool:
            return any(key == name or key.startswith(f"{name}.") for name in taken)

        values = {key: value for key, value in first.items() if not is_taken(key)}
        values |= {key: value for key, value in second.items() if is_taken(key)}
        own = {key: value for key, value in table.items() if key in (*PARTS, *VALUES)}
        return model_of(label, merge(nested(values), own), self.registry)

    def _with_common(self, plugin: str, table: Settings) -> Table:
        """A row's table under which the settings that count for all rows are laid, as far as its parts have them."""
        if plugin != "mmgrec":
            common = self._fitting("baselines", self.registry.load("recommender", plugin))
            return merge(common, {"name": plugin}, table)
        from mmgrec.runs import PRESETS

        cls = self.registry.load("recommender", "mmgrec")
        under: Table = {}
        base = PRESETS.get(str(table.get("preset", "recipe")), {})
        for section in (*PARTS, *VALUES):
            if section not in self.config:
                continue
            if section in PARTS:
                own: Any = table.get(section, {})
                everybody: Any = self.config[section]
                name = own.get("name") or everybody.get("name") or base.get(section, {}).get("name", PARTS[section])
                fitting = self._fitting(section, self.registry.load(section, str(name)))
                under[section] = {**fitting, "name": name}
            else:
                under[section] = self._fitting(section, type(_default(cls, section)))
        return merge(under, {"name": "mmgrec"}, table)

    def _fitting(self, section: str, cls: type) -> Table:
        """The common settings of a section that a class has; they count as used."""
        fields = {field.name for field in dataclasses.fields(cls) if field.init} | {"name"}
        settings = {key: value for key, value in self.config.get(section, {}).items() if key in fields}
        self.used |= {f"{section}.{key}" for key in settings}
        return settings

    def _grids(self) -> dict[str, Settings | list[Settings]]:
        """label -> a grid: a table of lists, or a list of tables."""
        grids: dict[str, Settings | list[Settings]] = {}
        for label, grid in self.config.get("tune", {}).items():
            if isinstance(grid, Mapping) or (isinstance(grid, list) and all(isinstance(row, Mapping) for row in grid)):
                grids[label] = grid
            else:
                self.problems.append(
                    Problem(
                        f"tune.{label}: a table of lists, or a list of tables, is needed, got {grid!r}",
                        "studies.not-a-grid",
                    )
                )
        return grids

    def _tables(self, key: str) -> dict[str, Table]:
        """The tables below a key; what is none is a problem."""
        tables: dict[str, Table] = {}
        for name, table in self.config.get(key, {}).items():
            if isinstance(table, Mapping):
                tables[name] = dict(table)
            else:
                self.problems.append(Problem(f"{key}.{name}: a table is needed, got {table!r}", "settings.not-a-table"))
        return tables


def _default(cls: type, name: str) -> object:
    """The default of a field that is a dataclass itself."""
    (field,) = [field for field in dataclasses.fields(cls) if field.name == name]
    assert callable(field.default_factory)
    return field.default_factory()
