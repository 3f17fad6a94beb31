"""Checked reading of JSON, for `mmgrec.insight.values`, whose tables are flatter than the values they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard, TypeVar

from mmgrec.errors import RunError
from mmgrec.storage import Json

__all__ = ["Facts"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A table of JSON that knows where it stands. Numbers are given as they were written: 3 stays 3 and 3.0 stays 3.0.

    >>> Facts(table={"users": 3}, where="insight.json").whole("users")
    3

    Raises:
        RunError: from every method, if what it reads is not there or of another type.
    """

    table: Json
    where: str  # the file, for the error
    path: str = ""  # the names that lead here, each with a dot behind it

    @classmethod
    def of(cls, value: object, *, where: str, path: str = "") -> Facts:
        """`value` as a table."""
        if not isinstance(value, dict):
            _refuse(where, path.removesuffix(".") or "the whole", "a table")
        return cls(table=value, where=where, path=path)

    def has(self, name: str) -> bool:
        """Whether there is something other than ``null``."""
        return self.table.get(name) is not None

    def whole(self, name: str) -> int:
        value = self.table.get(name)
        return value if _is_whole(value) else self._wrong(name, "a whole number")

    def number(self, name: str) -> float:
        value = self.table.get(name)
        return value if _is_number(value) else self._wrong(name, "a number")

    def text(self, name: str) -> str:
        value = self.table.get(name)
        return value if isinstance(value, str) else self._wrong(name, "a text")

    def flag(self, name: str) -> bool:
        value = self.table.get(name)
        return value if isinstance(value, bool) else self._wrong(name, "true or false")

    def wholes(self, name: str) -> tuple[int, ...]:
        values = self._list(name)
        return tuple(values) if all(map(_is_whole, values)) else self._wrong(name, "a list of whole numbers")

    def numbers(self, name: str) -> tuple[float, ...]:
        values = self._list(name)
        return tuple(values) if all(map(_is_number, values)) else self._wrong(name, "a list of numbers")

    def matrix(self, name: str) -> tuple[tuple[float, ...], ...]:
        """Rows of numbers."""
        rows = self._list(name)
        if not all(isinstance(row, list) and all(map(_is_number, row)) for row in rows):
            self._wrong(name, "rows of numbers")
        return tuple(map(tuple, rows))

    def part(self, name: str) -> Facts:
        """The table of this name."""
        return Facts.of(self.table.get(name), where=self.where, path=f"{self.path}{name}.")

    def each(self, name: str, read: Callable[[Facts], T]) -> tuple[T, ...]:
        """The tables in the list of this name, each read by `read`."""
        return tuple(
            read(Facts.of(value, where=self.where, path=f"{self.path}{name}[{place}]."))
            for place, value in enumerate(self._list(name))
        )

    def _list(self, name: str) -> list[Any]:
        value = self.table.get(name)
        return value if isinstance(value, list) else self._wrong(name, "a list")

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        _refuse(self.where, f"{self.path}{name}", wanted)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(where: str, name: str, wanted: str) -> NoReturn:
    raise RunError(
        f"is not what was written ({name}: should be {wanted})",
        where=where,
        remedy="restore the file: it was changed since",
        code="insight.malformed",
    )
