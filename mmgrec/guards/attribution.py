"""Finds the plugin whose fault an error is, so that the message sends people to its author and not to ours.

A *third party's* plugin is one of another distribution than this; errors of the core and the shipped plugins are ours,
and pass with their traceback.
"""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmgrec.errors import PluginError, UserError
from mmgrec.registry import Plugin, Registry

__all__ = ["contained", "failing_plugin", "in_one_line", "origin", "third_parties", "third_party"]

_OURS = "mmgrec"  # the distribution of the core and the shipped plugins


@contextmanager
def contained() -> Iterator[None]:
    """Within the block, an error of a third party's part becomes a `PluginError` that names it; all else passes.

    Raises:
        PluginError: for any exception, a `UserError` apart, that comes from a third party's code.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        plugin = failing_plugin(error)
        if plugin is None:
            raise
        raise PluginError(
            in_one_line(error),
            where=str(plugin),
            remedy="tell its author; --debug shows where it happened",
            code="guards.part-failed",
        ) from error


def in_one_line(error: BaseException) -> str:
    """An error of a plugin in one line."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return f"it tried to end the process ({line})" if isinstance(error, SystemExit) else line


def failing_plugin(error: BaseException) -> Plugin | None:
    """The third party's plugin in whose code an error was raised, or whose method could not be called; None: ours."""
    plugins = _third_party_plugins()
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    for module in reversed(modules):
        if owners := _owners(module, plugins):
            return owners[0]
    if isinstance(error, TypeError):  # a wrong signature is found by the caller: the message names the method
        called = str(error).partition(".")[0]
        return next((plugin for plugin in plugins if _defines(plugin, called)), None)
    return None


def origin(cls: type) -> str:
    """Where a part comes from: "quantizer 'hash' of mmgrec-hash 0.1.0", or the class's own name."""
    registered = (row for row in Registry.discover().plugins if row.target is not None and row.place == _place(cls))
    plugin = next(registered, None) or third_party(cls)
    return f"{cls.__module__}.{cls.__qualname__}" if plugin is None else str(plugin)


def third_party(cls: type) -> Plugin | None:
    """The third party's plugin that a class belongs to, be it a part or what a part returned; None: it is ours."""
    plugins = _third_party_plugins()
    owners = [plugin for plugin in plugins if plugin.place == _place(cls)] or _owners(cls.__module__, plugins)
    return owners[0] if owners else None


def third_parties(part: object) -> list[Plugin]:
    """The third parties' plugins among a part and the parts that its fields hold."""
    fields = dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()
    places = {_place(type(value)) for value in (part, *(getattr(part, field.name) for field in fields))}
    return [plugin for plugin in _third_party_plugins() if plugin.place in places]


def _third_party_plugins() -> list[Plugin]:
    return [row for row in Registry.discover().plugins if row.usable and row.distribution != _OURS]


def _owners(module: str, plugins: Sequence[Plugin]) -> list[Plugin]:
    """Plugins that a module belongs to: those that are in it, or else those of its package."""
    homes = [(plugin, plugin.place.partition(":")[0]) for plugin in plugins]
    inside = [plugin for plugin, home in homes if home == module]
    return inside or [plugin for plugin, home in homes if home.split(".")[0] == module.split(".")[0]]


def _defines(plugin: Plugin, name: str) -> bool:
    """Whether a class of this name is written in a plugin's module."""
    module = plugin.place.partition(":")[0]
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and cls.__module__ == module


def _place(cls: type) -> str:
    """Where a class is written, as an entry point says it."""
    return f"{cls.__module__}:{cls.__qualname__}"
