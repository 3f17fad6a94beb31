"""A run as a value: which data, which parts with which settings, what is measured, which seed.

`Experiment.of` makes one from plain values laid over one another: a preset, a configuration file, ``--set``, flags;
everything that is wrong with them is in one error. `mmgrec.runs.execute` carries it out, ``mmgrec config show`` prints
it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, cast

from annotated_types import Ge, Le, Lt, MinLen

from mmgrec.data import Dataset
from mmgrec.errors import PluginError, Problem, SettingsError, near_miss
from mmgrec.guards import checked_data, in_one_line, third_party
from mmgrec.interfaces import Context, DatasetSource, Metric, Recommender, Reporter, Silent
from mmgrec.registry import Registry
from mmgrec.runs.beside import beside_of
from mmgrec.runs.earlier import upgraded
from mmgrec.runs.presets import PRESETS, differing, label_of, part_of, preset_of
from mmgrec.settings import Setting, Settings, build, describe, merge, plain
from mmgrec.with_memory import WithMemory

__all__ = ["METRICS", "PARTS", "SECTIONS", "VALUES", "Experiment", "Model", "Options", "load_data"]

#: The parts of MMGRec that are plugins, with the plugin that is taken where none is named.
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "quantizer": "graph-rqvae",
        "collisions": "popularity",
        "position": "relation-aware",
        "memory": "local-ridge",
        "decoder": "trie-beam",
    }
)
#: The parts of MMGRec that are settings alone.
VALUES = ("network", "training", "weighing")
#: What is measured where nothing else is named.
METRICS = ("recall", "ndcg", "precision", "mrr", "hit-rate", "coverage", "novelty", "popularity-bias")
#: The tables of a configuration file, and what ``--set`` may name.
SECTIONS = (*PARTS, *VALUES, "data", "baselines", "compare")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is told beside its parts: the keys of a configuration file that stand above its tables."""

    preset: str = "recipe"  # settings under all that is given
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    mask: Literal["train+valid", "train"] = "train+valid"  # what is never recommended at test time
    top_k: Annotated[tuple[Annotated[int, Ge(1), Le(100_000)], ...], MinLen(1)] = (10, 20)  # lengths of the lists
    metrics: Annotated[tuple[str, ...], MinLen(1)] = METRICS
    oracle_users: Annotated[int, Ge(0)] = 200  # users whose lists are held against the exact decoder; 0: none


@dataclass(frozen=True, kw_only=True)
class Model:
    """One row of the results: a recommender under a label."""

    label: str
    plugin: str  # the recommender's name
    recommender: Recommender
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)  # part -> plugin's name; a rival's: its memory

    def values(self) -> dict[str, Any]:  # Any: TOML
        """All settings, defaults spelt out."""
        if isinstance(self.recommender, WithMemory):
            memory = {"name": self.parts["memory"], **plain(self.recommender.memory)}
            asked = self.recommender.candidates
            table = {**plain(self.recommender.base), "memory": memory}
            return {**table, "memory_candidates": asked} if asked else table
        table = plain(self.recommender)
        return {key: {"name": self.parts[key], **value} if key in self.parts else value for key, value in table.items()}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that decides a result, the software apart."""

    options: Options
    data_name: str
    data: DatasetSource
    models: tuple[Model, ...]  # the run's own first, then MMGRec by other presets
    baselines: tuple[Model, ...]
    metrics: Mapping[str, Metric]

    @classmethod
    def of(
        cls,
        config: Settings,
        *,
        over: Settings | None = None,
        registry: Registry | None = None,
        problems: Sequence[Problem] = (),
    ) -> Experiment:
        """Check values and load the plugins they name.

        Args:
            config: a configuration: keys of `Options`, tables of `SECTIONS`.
            over: the same shape, laid over the configuration *and* over every preset that is compared.
            registry: the installed plugins by default.
            problems: what is known to be wrong already; told with the rest.

        Raises:
            SettingsError: with everything that is wrong.
        """
        wrong = list(problems)
        given, laid_over = (_checked(upgraded(table, wrong), wrong) for table in (config, over or {}))
        maker = _Maker(given, laid_over, registry or Registry.discover(), wrong)
        options = maker.options()
        source = maker.data()
        models = (maker.mmgrec("mmgrec", options.preset, maker.main()), *maker.compared())
        baselines = tuple(maker.baselines())
        metrics = {name: maker.plugin("metric", name, {}, f"metrics.{name}") for name in options.metrics}
        if maker.problems:
            raise SettingsError(list(dict.fromkeys(maker.problems)))
        return cls(
            options=options,
            data_name=maker.data_name,
            data=cast(DatasetSource, source),
            models=cast("tuple[Model, ...]", models),
            baselines=baselines,
            metrics=cast("dict[str, Metric]", metrics),
        )

    @property
    def rows(self) -> tuple[Model, ...]:
        """All models, the run's own first."""
        return (*self.models, *self.baselines)

    def values(self) -> dict[str, Any]:  # Any: TOML
        """The experiment as a configuration that leaves nothing to defaults or presets; `of` takes it back."""
        table: dict[str, Any] = {**plain(self.options), "data": {"name": self.data_name, **plain(self.data)}}
        table |= self.models[0].values()
        if self.models[1:]:
            table["compare"] = {preset_of(model.label): model.values() for model in self.models[1:]}
        if self.baselines:
            table["baselines"] = {model.label: {"name": model.plugin, **model.values()} for model in self.baselines}
        return table

    def described(self) -> dict[str, list[Setting]]:
        """Section -> its settings with value, type and comment."""
        sections = {"(top)": describe(Options, over=self.options), "data": describe(type(self.data), over=self.data)}
        own = self.models[0].recommender
        for part in (*PARTS, *VALUES):
            value = getattr(own, part)
            sections[part] = describe(type(value), over=value)
        for row in self.baselines:
            rival = row.recommender
            if isinstance(rival, WithMemory):
                sections[f"baselines.{row.label}.memory"] = describe(type(rival.memory), over=rival.memory)
                rival = rival.base
            sections[f"baselines.{row.label}"] = describe(type(rival), over=rival)
        return sections


def _checked(config: Settings, problems: list[Problem]) -> dict[str, Any]:  # Any: TOML
    """The configuration with lists of names as tables; unknown keys and misplaced values become problems."""
    known = [field.name for field in dataclasses.fields(Options)]
    unknown = [key for key in config if key not in known and key not in SECTIONS]
    problems += [
        Problem(f"{key}: there is no such setting; {near_miss(key, [*known, *SECTIONS])}", "settings.unknown-key")
        for key in unknown
    ]
    checked: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("baselines", "compare") and isinstance(value, list | tuple):
            value = {str(name): {} for name in value}
        if key in SECTIONS and not isinstance(value, Mapping):
            problems.append(Problem(f"{key}: a table is needed, got {value!r}", "settings.not-a-table"))
        elif key in ("baselines", "compare"):
            tables = typing.cast(Settings, value)
            problems += [
                Problem(f"{key}.{name}: a table is needed", "settings.not-a-table")
                for name, table in tables.items()
                if not isinstance(table, Mapping)
            ]
            checked[key] = {name: table for name, table in tables.items() if isinstance(table, Mapping)}
        elif key in known or key in SECTIONS:
            checked[key] = value
    return checked


class _Maker:
    """Makes the parts of one Experiment and collects what is wrong with them."""

    def __init__(
        self, config: dict[str, Any], over: dict[str, Any], registry: Registry, problems: list[Problem]
    ) -> None:
        self.config = config
        self.over = over
        self.both = merge(config, over)
        self.registry = registry
        self.problems = problems
        self.data_name = ""

    def options(self) -> Options:
        """The keys above the tables; where some are wrong, what the right ones give: it shows what else is wrong."""
        known = {field.name for field in dataclasses.fields(Options)}
        values = {key: value for key, value in self.both.items() if key in known}
        options = self._built(Options, values, "")
        if options is None:
            options = build(Options, {key: value for key, value in values.items() if _accepted(key, value)})
        return cast(Options, options)

    def data(self) -> object:
        """The source of the data; None where that failed."""
        values = cast(dict[str, Any], dict(cast(Settings, self.both.get("data", {}))))
        self.data_name = str(values.pop("name", "folder" if "path" in values else "synthetic"))
        return self.plugin("dataset", self.data_name, values, "data")

    def main(self) -> dict[str, Any]:
        """The sections of the run's own model."""
        return {key: self.both[key] for key in (*PARTS, *VALUES) if key in self.both}

    def compared(self) -> list[Model | None]:
        """MMGRec by other presets: the run's parts, the preset's settings, then what its own table says."""
        chosen = {part: self._name(part, self.main()) for part in PARTS}
        names = {part: {"name": name} for part, name in chosen.items() if name}
        over: Settings = {key: self.over[key] for key in (*PARTS, *VALUES) if key in self.over}
        tables = cast(Mapping[str, Settings], self.both.get("compare", {}))
        own = str(self.both.get("preset", Options.preset))

        def meant(preset: str) -> Settings:  # what is set of the run's plugin is not meant of a preset's other one
            other = {part for part in PARTS if not chosen[part] and part in differing(own, preset, PARTS)}
            return {key: value for key, value in over.items() if key not in other}

        return [self.mmgrec(label_of(name), name, merge(names, table, meant(name))) for name, table in tables.items()]

    def baselines(self) -> list[Model]:
        """The rivals whose values are right."""
        models = []
        for label, table in cast(Mapping[str, Settings], self.both.get("baselines", {})).items():
            values = dict(table)
            name = str(values.pop("name", label))
            if name == "mmgrec":
                self.problems.append(
                    Problem(
                        f"baselines.{label}: mmgrec is the run's own model; use --preset to compare two",
                        "runs.mmgrec-as-baseline",
                    )
                )
                continue
            where = f"baselines.{label}"
            try:
                beside = beside_of(values, PARTS["memory"])
            except SettingsError as error:
                self.problems.extend(problem.within(where) for problem in error.problems)
                continue
            part = self.plugin("recommender", name, values, where)
            parts: dict[str, str] = {}
            if part is not None and beside is not None:
                parts["memory"] = beside.name
                memory = self.plugin("memory", beside.name, beside.settings, f"{where}.memory")
                part = memory and WithMemory(base=part, memory=memory, candidates=beside.candidates)
            if part is not None:
                models.append(Model(label=label, plugin=name, recommender=cast(Recommender, part), parts=parts))
        return models

    def mmgrec(self, label: str, preset: str, sections: Mapping[str, Any]) -> Model | None:
        """MMGRec from a preset with sections laid over it."""
        where = "" if label == "mmgrec" else f"compare.{preset}."
        if preset not in PRESETS:
            self.problems.append(
                Problem(f"preset: there is no preset {preset!r}; {near_miss(preset, PRESETS)}", "runs.no-such-preset")
            )
        base: Mapping[str, Settings] = PRESETS.get(preset, {})
        names: dict[str, str] = {}
        parts: dict[str, object] = {}
        for part, default in PARTS.items():
            names[part] = self._name(part, sections) or part_of(preset, part, default)
            values = {key: value for key, value in sections.get(part, {}).items() if key != "name"}
            parts[part] = self.plugin(part, names[part], values, f"{where}{part}", base=base.get(part, {}))
        if (cls := self._loaded("recommender", "mmgrec")) is None:
            return None
        for part in VALUES:
            parts[part] = self._built(
                _class_of(cls, part), merge(base.get(part, {}), sections.get(part, {})), f"{where}{part}"
            )
        if any(part is None for part in parts.values()):
            return None
        return Model(label=label, plugin="mmgrec", recommender=cls(**parts), parts=names)

    def plugin(self, kind: str, name: str, values: Settings, where: str, *, base: Settings | None = None) -> Any:
        """A part by name, from its preset's settings (those that it has) and the given ones; None where that failed."""
        cls = self._loaded(kind, name)
        if cls is None:
            return None
        return self._built(cls, merge(_fitting(cls, base or {}), values), where)

    def _name(self, part: str, sections: Mapping[str, Any]) -> str:
        return str(cast(Settings, sections.get(part, {})).get("name", ""))

    def _loaded(self, kind: str, name: str) -> type | None:
        try:
            return self.registry.load(kind, name)
        except PluginError as error:
            self.problems.append(Problem(str(error), error.code))
            return None

    def _built(self, cls: type, values: Settings, where: str) -> object:
        try:
            return build(cls, values, where)
        except SettingsError as error:
            self.problems.extend(error.problems)
            return None
        except Exception as error:  # types that do not exist, a __post_init__ that raises
            plugin = third_party(cls)
            if plugin is None:
                raise
            self.problems.append(
                Problem(f"{plugin}: it cannot be made ({in_one_line(error)}); tell its author", "guards.part-failed")
            )
            return None


def _accepted(key: str, value: object) -> bool:
    try:
        build(Options, {key: value})
    except SettingsError:
        return False
    return True


def _class_of(owner: type, name: str) -> type:
    """The dataclass of a field, from its type."""
    hint = typing.get_type_hints(owner)[name]
    if not isinstance(hint, type):
        raise TypeError(f"{owner.__name__}.{name} must hold a dataclass")
    return hint


def _fitting(cls: type, values: Settings) -> dict[str, object]:
    """A preset's values for a part, less those that the chosen class does not have."""
    known = {field.name for field in dataclasses.fields(cls) if field.init}
    return {key: value for key, value in values.items() if key in known}


def load_data(experiment: Experiment, reporter: Reporter | None = None) -> Dataset:
    """The experiment's data, checked."""
    data = experiment.data.load(Context(seed=experiment.options.seed, reporter=reporter or Silent()))
    return checked_data(data, experiment.data)
