"""How a table of text is laid out: its separator, whether its first line holds names, and what nameless columns are.

Looks at the first lines only. Readers of text formats begin here, then read with `mmgrec.readers.files`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmgrec.errors import DataError
from mmgrec.readers.columns import role_of
from mmgrec.readers.files import beginning, fields_of

__all__ = ["Layout", "layout_of", "nameless_roles"]

SEPARATORS = ("\t", ",", ";", "|")
_CLOCK = 1e8  # numbers from here on are times, not ratings


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How to read a table of text."""

    separator: str
    header: bool
    sample: tuple[tuple[str, ...], ...]  # the fields of the first lines

    @property
    def width(self) -> int:
        return len(self.sample[0])


def layout_of(path: Path, *, separator: str = "", names: tuple[str, ...] = ()) -> Layout:
    """Look at the first lines.

    Args:
        path: the file.
        separator: where it is known.
        names: columns that the file must have; numbers stand for places, so that there is no header.

    Raises:
        DataError: if it is empty or no text.
    """
    lines = [line for line in beginning(path) if line]
    if not lines:
        empty = path.is_file() and path.stat().st_size == 0
        raise DataError(
            "is empty" if empty else "is not UTF-8 text",
            where=str(path),
            remedy="give a file with rows" if empty else "save it as UTF-8, for example by iconv -f latin1 -t utf-8",
            code="readers.empty-file" if empty else "readers.not-utf8",
        )
    chosen = separator or _separator(lines)
    sample = tuple(tuple(fields_of(line, chosen)) for line in lines)
    return Layout(separator=chosen, header=_has_names(sample, names), sample=sample)


def nameless_roles(layout: Layout) -> dict[str, str]:
    """role -> column (``1``, ``2``, …) of a table without names: user, item, then rating or time by their size."""
    roles = {"user": "1", "item": "2"}
    for column in range(2, min(layout.width, 4)):
        values = [row[column] for row in layout.sample if len(row) > column]
        numbers = [_number(value) for value in values]
        if not all(number is not None for number in numbers):
            continue
        role = "timestamp" if max(number or 0 for number in numbers) >= _CLOCK else "rating"
        roles.setdefault(role, str(column + 1))
    return roles


def _separator(lines: list[str]) -> str:
    """The one whose names we know; else the one that cuts every line into as many fields."""
    for separator in SEPARATORS:
        roles = {role_of(name) for name in fields_of(lines[0], separator)}
        if {"user", "item"} <= roles or ("item" in roles and len(fields_of(lines[0], separator)) > 1):
            return separator
    best, most = ",", 1
    for separator in SEPARATORS:
        counts = Counter(len(fields_of(line, separator)) for line in lines)
        width, times = counts.most_common(1)[0]
        if width > most and times > len(lines) // 2:
            best, most = separator, width
            if separator == "\t":
                break
    return best


def _has_names(sample: tuple[tuple[str, ...], ...], names: tuple[str, ...]) -> bool:
    """Whether the first line is a header: it has wanted or well-known names, or words above columns of numbers."""
    first, rest = sample[0], sample[1:]
    wanted = [name for name in names if name]
    if any(name in first for name in wanted) or any(role_of(name) for name in first):
        return True
    if wanted and all(name.isdigit() for name in wanted):
        return False
    columns = [[row[column] for row in rest if len(row) > column] for column in range(len(first))]
    return any(
        _number(name) is None and bool(values) and all(_number(value) is not None for value in values)
        for name, values in zip(first, columns, strict=True)
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
