"""Makes a `mmgrec.studies.Study` from plain values, and collects everything that is wrong with them."""

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
        self.absent: list[str] = []
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
        given = {key: one for key, one in self.config.items() if key not in _TABLES}
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
        every = {key: one for key, one in self.config.get("data", {}).items() if not isinstance(one, Mapping)}
        tables = {
            name: {**every, **one} for name, one in self.config.get("data", {}).items() if isinstance(one, Mapping)
        }
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
                name: {**tables.get(name, every), "name": "folder", "path": path.as_posix()}
                for name, path in zip(names, paths, strict=True)
            }
        made: list[StudyData] = []
        shares = self.config.get("shares") or [1.0]
        for name, values in (tables or {"synthetic": every}).items():
            settings = {key: one for key, one in values.items() if key != "name"}
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
            made += [
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
        return made

    def rows(self, options: StudyOptions) -> list[Row]:
        grids = self._grids()
        made: list[Row] = []
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
                one = self._model(label, merge(table, nested(settings)))
                if one is not None:
                    points.append(Point(settings=settings, model=one))
            made.append(Row(model=model, points=tuple(points)))
        return [row for row in made if row.label in (self.only or [row.label])]

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
        try:
            return build(self.registry.load(kind, name), values, where)
        except SettingsError as error:
            self.problems.extend(error.problems)
        except PluginError as error:
            self.problems.append(Problem(str(error), error.code))
        return None

    def _model(self, label: str, table: Settings) -> Model | None:
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
            table = {key: one for key, one in table.items() if key in _OWN}
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
        if not isinstance(ends, list) or len(ends) != 2 or any(one not in PRESETS for one in ends):
            raise SettingsError(
                [f"between: two presets are needed; {near_miss(str(ends), PRESETS)}"], code="studies.between"
            )
        if not isinstance(taken, list) or any(str(one).partition(".")[0] not in (*PARTS, *VALUES) for one in taken):
            raise SettingsError(
                ["taken: a list of parts and settings is needed, like network.head"], code="studies.taken"
            )
        one, two = (
            dict(flat(model_values(model_of(end, self._with_common("mmgrec", {"preset": end}), self.registry))))
            for end in ends
        )

        def is_taken(key: str) -> bool:
            return any(key == step or key.startswith(f"{step}.") for step in taken)

        values = {key: value for key, value in one.items() if not is_taken(key)}
        values |= {key: value for key, value in two.items() if is_taken(key)}
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
        fields = {field.name for field in dataclasses.fields(cls) if field.init} | {"name"}
        found = {key: one for key, one in self.config.get(section, {}).items() if key in fields}
        self.used |= {f"{section}.{key}" for key in found}
        return found

    def _grids(self) -> dict[str, Settings | list[Settings]]:
        """label -> a grid: a table of lists, or a list of tables."""
        found: dict[str, Settings | list[Settings]] = {}
        for name, one in self.config.get("tune", {}).items():
            if isinstance(one, Mapping) or (isinstance(one, list) and all(isinstance(row, Mapping) for row in one)):
                found[name] = one
            else:
                self.problems.append(
                    Problem(
                        f"tune.{name}: a table of lists, or a list of tables, is needed, got {one!r}",
                        "studies.not-a-grid",
                    )
                )
        return found

    def _tables(self, key: str) -> dict[str, Table]:
        found: dict[str, Table] = {}
        for name, one in self.config.get(key, {}).items():
            if isinstance(one, Mapping):
                found[name] = dict(one)
            else:
                self.problems.append(Problem(f"{key}.{name}: a table is needed, got {one!r}", "settings.not-a-table"))
        return found


def _default(cls: type, name: str) -> object:
    """The default of a field that is a dataclass itself."""
    (field,) = [one for one in dataclasses.fields(cls) if one.name == name]
    assert callable(field.default_factory)
    return field.default_factory()
