"""The memory that a rival of a run or a study is given beside itself, from its table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmgrec.errors import SettingsError

__all__ = ["Beside", "beside_of"]


class Beside(NamedTuple):
    """An item memory by name, as a table has it."""

    name: str
    settings: dict[str, Any]  # Any: TOML
    candidates: int  # see `mmgrec.with_memory.WithMemory`


def beside_of(values: dict[str, Any], default: str) -> Beside | None:  # Any: TOML
    """Take ``memory`` and ``memory_candidates`` out of a rival's table; None where it has no memory.

    Args:
        values: the table; what is read is removed from it.
        default: the memory that is meant where none is named.

    Raises:
        SettingsError: if they are not a table and a number.
    """
    memory, candidates = values.pop("memory", None), values.pop("memory_candidates", 0)
    if memory is None:
        return None
    if not isinstance(memory, Mapping):
        raise SettingsError([f"memory: a table is needed, got {memory!r}"], code="settings.not-a-table")
    if not isinstance(candidates, int) or isinstance(candidates, bool) or candidates < 0:
        raise SettingsError(
            [f"memory_candidates: a whole number of at least 0 is needed, got {candidates!r}"],
            code="runs.memory-candidates",
        )
    own = {str(key): value for key, value in memory.items() if key != "name"}
    return Beside(str(memory.get("name", default)), own, candidates)
