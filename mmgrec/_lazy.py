"""How a room hands out names that are imported when they are first asked for.

A room's ``__init__.py`` says which of its modules defines which name, once for Python (the table given to `hand_out`)
and once for type checkers (under ``TYPE_CHECKING``); a test holds the two against each other. Importing a room costs
nothing, and no name is kept here, so that what a test puts in a module's place is what everybody gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["hand_out"]


def hand_out(
    room: str, table: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__all__``, ``__getattr__`` and ``__dir__`` of a package.

    Args:
        room: the package's name.
        table: module in it -> the names that it defines and that others may take.
    """
    home = {name: f"{room}.{module}" for module, names in table.items() for name in names}
    names = sorted(home)

    def find(name: str) -> Any:  # Any: a module attribute can be anything
        if name in home:
            return getattr(import_module(home[name]), name)
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return names, find, lambda: list(names)
