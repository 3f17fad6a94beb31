"""Names the plugin whose fault an error is. Knows neither torch nor what parts do."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmgrec.errors import PluginError, UserError
from mmgrec.registry import Plugin, Registry

__all__ = ["contained", "failing_plugin", "origin", "third_parties", "third_party", "told_of"]


_OURS = "mmgrec"  # the distribution of the core and the shipped plugins


@contextmanager
def contained() -> Iterator[None]:
    """What a stranger's part raises inside is told as a `PluginError` that names it; all else passes as it is."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        plugin = failing_plugin(error)
        if plugin is None:
            raise
        raise PluginError(
            told_of(error), where=str(plugin), remedy="tell its author; --debug shows where it happened"
        ) from error


def told_of(error: BaseException) -> str:
    """An error of a plugin in one line."""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    return f"it tried to end the process ({told})" if isinstance(error, SystemExit) else told


def failing_plugin(error: BaseException) -> Plugin | None:
    """The plugin in whose code an error was raised, or whose method could not be called; None: it is no stranger's."""
    rows = _foreign()
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    for module in reversed(modules):
        if near := _near(module, rows):
            return near[0]
    if isinstance(error, TypeError):  # a wrong signature is found by the caller: the message names the method
        called = str(error).partition(".")[0]
        return next((row for row in rows if _defines(row, called)), None)
    return None


def origin(cls: type) -> str:
    """Where a part comes from: "quantizer 'hash' of mmgrec-hash 0.1.0", or the class's own name."""
    rows = [row for row in Registry.discover().plugins if row.target is not None and row.place == _place(cls)]
    found = rows[0] if rows else third_party(cls)
    return f"{cls.__module__}.{cls.__qualname__}" if found is None else str(found)


def third_party(cls: type) -> Plugin | None:
    """The plugin that a class belongs to: a part itself, or what it returned; None: it is no stranger's."""
    rows = _foreign()
    own = [row for row in rows if row.place == _place(cls)] or _near(cls.__module__, rows)
    return own[0] if own else None


def third_parties(part: object) -> list[Plugin]:
    """Those of a part and the parts that it is made of which others wrote."""
    fields = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    places = {_place(type(one)) for one in (part, *(getattr(part, field.name) for field in fields))}
    return [row for row in _foreign() if row.place in places]


def _foreign() -> list[Plugin]:
    return [row for row in Registry.discover().plugins if row.usable and row.distribution != _OURS]


def _near(module: str, rows: Sequence[Plugin]) -> list[Plugin]:
    """Plugins that a module belongs to: those that are in it, or else those of its package."""
    inside = [row for row in rows if row.place.partition(":")[0] == module]
    return inside or [row for row in rows if row.place.partition(":")[0].split(".")[0] == module.split(".")[0]]


def _defines(row: Plugin, name: str) -> bool:
    """Whether a class of this name is written in a plugin's module."""
    module = row.place.partition(":")[0]
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and found.__module__ == module


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
