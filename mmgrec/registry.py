"""Finds, checks and loads plugins by kind and name. Listing is instant: no target is imported before it is used.

A plugin enters by an entry point of the group ``mmgrec``; the shipped ones come in by the same door. Whatever a plugin
does wrong becomes a row that says so, never a crash. Ask here for the class of a part by its name, for the function of
a command, or for all that is installed.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import pluggy

from mmgrec import __version__, hookspecs
from mmgrec.errors import PluginError, near_miss
from mmgrec.hookspecs import GROUP, KINDS

__all__ = ["BLOCKED", "BLOCK_VARIABLE", "ENTRY_POINT", "OK", "Plugin", "Registry", "load"]

BLOCK_VARIABLE = "MMGREC_DISABLE_PLUGINS"  # names of entry points or distributions, with commas between
OK = "ok"
BLOCKED = "blocked"
SLOW = "slow:"  # how the status of a plugin begins that works, but is slow to import
ENTRY_POINT = "entry-point"  # the kind of a row that stands for an entry point as a whole: a broken or blocked one

_SLOW = 1.0  # seconds that importing a plugin's hooks may take unremarked
_ASKS_US = re.compile(r"mmgrec(?![\w.-])", re.IGNORECASE)
_KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")

# A stranger's module may fail in any way at import. KeyboardInterrupt and GeneratorExit are not its failures.
_ANY_FAILURE = (Exception, SystemExit)


class _EntryPoint(Protocol):
    """As much of `importlib.metadata.EntryPoint` as is used here."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def dist(self) -> _Distribution | None: ...
    def load(self) -> object: ...


class _Distribution(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One row of ``mmgrec plugins``."""

    kind: str  # a key of `KINDS`, or `ENTRY_POINT`
    name: str
    summary: str
    distribution: str
    version: str
    status: str  # "ok", "blocked", or what is wrong, in words
    target: type | str | None = None  # a class, or "package.module:Class"; of a command "package.module:function"

    @property
    def usable(self) -> bool:
        return self.status == OK

    @property
    def place(self) -> str:
        """The module and the class or function that it names, "package.module:Class"."""
        target = self.target
        return f"{target.__module__}:{target.__qualname__}" if isinstance(target, type) else str(target)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.distribution} {self.version}"

    def row(self) -> dict[str, str]:
        """The row as ``mmgrec plugins --json`` prints it."""
        columns = ("kind", "name", "summary", "distribution", "version", "status")
        return {column: getattr(self, column) for column in columns}


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All plugins that were found, good and bad, sorted by kind (in the order of `KINDS`) and name."""

    plugins: tuple[Plugin, ...]

    @classmethod
    def discover(
        cls, points: Iterable[_EntryPoint] | None = None, *, environ: Mapping[str, str] | None = None
    ) -> Registry:
        """Ask every entry point of the group what it offers.

        Args:
            points: entry points; by default those of the installed distributions.
            environ: environment variables; by default the process's. `BLOCK_VARIABLE` is read from it.
        """
        every: Iterable[_EntryPoint | EntryPoint] = entry_points(group=GROUP) if points is None else points
        listed = (os.environ if environ is None else environ).get(BLOCK_VARIABLE, "")
        blocked = {_normal(name) for name in listed.split(",") if name.strip()}
        rows = [row for point in every for row in _ask(point, blocked)]
        order = {kind: position for position, kind in enumerate([*KINDS, ENTRY_POINT])}
        return cls(plugins=tuple(sorted(_marked_twice(rows), key=lambda row: (order[row.kind], row.name))))

    def names(self, kind: str) -> list[str]:
        """Names of the usable plugins of a kind."""
        return [row.name for row in self.plugins if row.kind == kind and row.usable]

    def find(self, kind: str, name: str) -> Plugin:
        """The one usable plugin of this kind and name.

        Raises:
            PluginError: if there is none, or more than one.
        """
        if kind not in KINDS:
            raise ValueError(f"there is no kind of plugin called {kind!r}; {near_miss(kind, KINDS)}")
        rows = [row for row in self.plugins if row.kind == kind and row.name == name and row.target is not None]
        if not rows:
            raise PluginError(
                f"there is no {kind} called {name!r}", remedy=self._hint(kind, name), code="registry.unknown-plugin"
            )
        if len(rows) > 1:
            both = " and ".join(f"{row.distribution} {row.version}" for row in rows)
            raise PluginError(
                f"the {kind} {name!r} is claimed by {both}",
                remedy=f"uninstall one, or block one by {BLOCK_VARIABLE}=<distribution>",
                code="registry.claimed-twice",
            )
        return rows[0]

    def load(self, kind: str, name: str) -> type:
        """Import the class of a plugin and check that it is what it says.

        Raises:
            PluginError: if it is unknown, claimed twice, not importable, or not a concrete dataclass of its kind.
            ValueError: for a kind that does not exist, or is not one of classes: commands are loaded by `load_command`.
        """
        plugin = self.find(kind, name)
        expected = KINDS[kind].interface
        if expected is None:
            raise ValueError(f"a {kind} is no class: use load_{kind}")
        cls, refused = _imported(plugin), partial(PluginError, where=str(plugin))
        interface = getattr(import_module("mmgrec.interfaces"), expected)
        if not isinstance(cls, type) or not issubclass(cls, interface):
            what = f"{_shown(cls)} does not inherit from mmgrec.interfaces.{interface.__name__}"
            raise refused(what, remedy="tell its author", code="registry.of-another-kind")
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(vars(cls)["__abstractmethods__"]))
            what = f"{_shown(cls)} does not define {missing}"
            raise refused(what, remedy="tell its author", code="registry.abstract-class")
        if "__dataclass_fields__" not in vars(cls) or not dataclasses.is_dataclass(cls):
            what = f"{_shown(cls)} is not a dataclass, so its settings cannot be known"
            remedy = "decorate it with @dataclass(frozen=True, kw_only=True)"
            raise refused(what, remedy=remedy, code="registry.no-dataclass")
        return cls

    def load_command(self, name: str) -> Callable[..., object]:
        """Import what a command's target names: a function, or a `typer.Typer`, which can be called as well.

        Raises:
            PluginError: if it is unknown, claimed twice, not importable, or cannot be called.
        """
        plugin = self.find("command", name)
        target = _imported(plugin)
        if isinstance(target, type) or not callable(target):
            raise PluginError(
                f"{_shown(target)} is neither a function nor a typer.Typer",
                where=str(plugin),
                remedy="tell its author",
                code="registry.no-command",
            )
        return target

    def _hint(self, kind: str, name: str) -> str:
        """What may have been meant by a name that nobody has, and which plugins would have to be mended to have it."""
        hint = near_miss(name, self.names(kind))
        rows = [row for row in self.plugins if row.kind in (ENTRY_POINT, kind) and row.target is None]
        ill = [row for row in rows if not row.status.startswith(SLOW)]
        for row in ill:
            if row.name == name:
                return f"{name} of {row.distribution} {row.version} is not available: {row.status}"
        if ill:
            names = ", ".join(f"{row.name} of {row.distribution} {row.version}" for row in ill)
            hint = f"{hint}{'' if hint.endswith('?') else '.'} Not available: {names} (see `mmgrec plugins`)"
        return hint


def load(kind: str, name: str) -> type:
    """The class of an installed plugin: `Registry.load` on what is installed now."""
    return Registry.discover().load(kind, name)


# --------------------------------------------------------------------------- asking one entry point


def _ask(point: _EntryPoint, blocked: set[str]) -> list[Plugin]:
    """The rows of one entry point."""
    distribution = point.dist.name if point.dist else "unknown"
    version = point.dist.version if point.dist else "unknown"
    make = partial(Plugin, distribution=distribution, version=version)
    whole = partial(make, kind=ENTRY_POINT, name=point.name, summary=point.value)
    if {_normal(point.name), _normal(distribution)} & blocked:
        return [whole(status=BLOCKED)]
    if problem := _unmet(getattr(point.dist, "requires", None) or ()):
        return [whole(status=problem)]
    begun = time.monotonic()
    try:
        hooks = point.load()
    except _ANY_FAILURE as error:
        return [whole(status=f"broken: {_in_one_line(error)}")]
    seconds = time.monotonic() - begun
    rows = [whole(status=problem) for problem in _misspelt(hooks)]
    if seconds > _SLOW:
        rows.append(whole(status=f"{SLOW} its hooks took {seconds:.1f} s to import; register targets as strings"))
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(hooks, name=point.name)
    except _ANY_FAILURE as error:  # pluggy's: a hook takes an argument that does not exist
        return [*rows, whole(status=f"broken: {_in_one_line(error)}")]
    for kind, (hook, interface) in KINDS.items():
        offered: list[Plugin] = []
        try:
            getattr(manager.hook, hook)(register=partial(_register, offered, partial(make, kind=kind), interface))
        except _ANY_FAILURE as error:
            rows.append(make(kind=kind, name=point.name, summary=point.value, status=f"broken: {_in_one_line(error)}"))
        rows.extend(offered)
    if not rows:
        rows.append(whole(status=f"offers nothing: it has no hook of group {GROUP!r}"))
    return rows


def _register(
    offered: list[Plugin],
    make: partial[Plugin],
    interface: str | None,
    name: str,
    target: type | str,
    *,
    summary: str = "",
) -> None:
    """What a hook calls: `register(name, target, summary=...)`."""
    if not isinstance(name, str) or not _KEBAB.fullmatch(name):
        raise PluginError(
            f"the name {name!r} is not kebab-case", remedy="write it like 'my-plugin'", code="registry.bad-name"
        )
    named = isinstance(target, str) and _TARGET.fullmatch(target)
    if not named and (interface is None or not isinstance(target, type)):
        remedy = "give 'package.module:function'" if interface is None else "give a class or 'package.module:Class'"
        raise PluginError(f"the target of {name!r} is {target!r}", remedy=remedy, code="registry.bad-target")
    offered.append(make(name=name, summary=str(summary), status=OK, target=target))


def _misspelt(hooks: object) -> Iterator[str]:
    """Sentences on functions that look like hooks and are none."""
    known = {kind.hook for kind in KINDS.values()}
    for name, member in inspect.getmembers_static(hooks):
        marked = hasattr(member, f"{GROUP}_impl")
        if name in known:
            if callable(member) and not marked:
                yield f"hook {name!r} is not marked; decorate it with @mmgrec.hookimpl"
        elif marked or (name.startswith(f"{GROUP}_") and inspect.isfunction(member)):
            yield f"unknown hook {name!r}: {near_miss(name, known)}"


def _marked_twice(rows: list[Plugin]) -> list[Plugin]:
    """Rows that claim the same name say so."""
    claims: dict[tuple[str, str], list[Plugin]] = {}
    for row in rows:
        if row.target is not None:
            claims.setdefault((row.kind, row.name), []).append(row)
    marked = []
    for row in rows:
        rivals = [rival.distribution for rival in claims.get((row.kind, row.name), []) if rival is not row]
        if row.target is not None and rivals:
            row = dataclasses.replace(row, status=f"claimed twice: also by {', '.join(rivals)}")
        marked.append(row)
    return marked


def _unmet(requires: Iterable[str]) -> str:
    """What a distribution asks of mmgrec and does not get, as a sentence; "" where all is well."""
    for line in requires:
        if not _ASKS_US.match(line):
            continue
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and not wanted.specifier.contains(__version__, prereleases=True):
            return f"built for mmgrec {wanted.specifier}, this is {__version__}; install a version that fits"
    return ""


# --------------------------------------------------------------------------- small helpers


def _imported(plugin: Plugin) -> object:
    """What the target of a plugin names.

    Raises:
        PluginError: if its module cannot be imported or has no such name.
    """
    if not isinstance(plugin.target, str):
        return plugin.target
    module, _, name = plugin.target.partition(":")
    try:
        return getattr(import_module(module), name)
    except _ANY_FAILURE as error:
        raise PluginError(
            f"{plugin.target} cannot be imported: {_in_one_line(error)}",
            where=str(plugin),
            remedy="install what it needs, or tell its author",
            code="registry.not-importable",
        ) from error


def _normal(name: str) -> str:
    """A distribution's name in the one spelling that `pip` compares."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _in_one_line(error: BaseException) -> str:
    """An exception's class and words."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shown(target: object) -> str:
    return f"{target.__module__}.{target.__qualname__}" if isinstance(target, type) else repr(target)
