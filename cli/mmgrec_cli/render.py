"""All that the command line prints: answers on stdout, talk on stderr. Nothing else in the project prints.

Data's own strings are escaped, so that an item called ``[bold]`` stays one. Does not know how anything was computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mmgrec.errors import SettingsError, UserError
from mmgrec.registry import OK, Plugin
from mmgrec.settings import Setting

__all__ = ["as_json", "fault", "note", "plugins", "problem", "settings", "table", "text"]

_PLAIN_WIDTH = 180  # columns where the output is no terminal


def _out(*, stderr: bool = False) -> Console:
    """Made anew each time, so that whoever redirects the streams is obeyed."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=_PLAIN_WIDTH)


def as_json(value: object) -> None:
    """One JSON document on stdout."""
    text(json.dumps(value, indent=2, ensure_ascii=False))


def text(line: str) -> None:
    """Text as it is, on stdout."""
    _out().print(line, markup=False, soft_wrap=True)


def note(line: str) -> None:
    """A remark, on stderr."""
    _out(stderr=True).print(line, markup=False, soft_wrap=True)


def problem(error: UserError) -> None:
    """The user's mistake; several mistakes stand one below the other."""
    out = _out(stderr=True)
    if isinstance(error, SettingsError) and len(error.problems) > 1:
        out.print(f"[red]error:[/] {len(error.problems)} settings are wrong", soft_wrap=True)
        for one in error.problems:
            out.print(f"  {escape(one)}", soft_wrap=True)
    else:
        out.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)


def fault(error: BaseException) -> None:
    """Our own mistake."""
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"
    out = _out(stderr=True)
    out.print(f"[red]internal error:[/] {escape(line)}", soft_wrap=True)
    out.print("This is a fault of mmgrec or of a plugin; run the command again with --debug to see where.")


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: int = 0) -> None:
    """A table on stdout; the last `numbers` columns are aligned to the right."""
    made = Table(title=escape(title) or None, title_justify="left", title_style="bold")
    for place, name in enumerate(head):
        right = place >= len(head) - numbers
        made.add_column(escape(name), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        made.add_row(*(cell(one) for one in row))
    _out().print(made)


def cell(value: object) -> str:
    """A value as it stands in a table."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}"
    return escape(str(value))


def plugins(rows: Sequence[Plugin]) -> None:
    """The list of plugins; what cannot be used is red."""
    made = Table(title=None)
    for name in ("kind", "name", "what it does", "distribution", "status"):
        made.add_column(name, no_wrap=name in ("kind", "name"))
    for row in rows:
        made.add_row(
            row.kind,
            escape(row.name),
            escape(row.summary),
            escape(f"{row.distribution} {row.version}"),
            escape(row.status),
            style=None if row.status == OK else "red",
        )
    _out().print(made)


def settings(sections: Mapping[str, Sequence[Setting]]) -> None:
    """Every setting with its value, type and comment, section by section."""
    for section, rows in sections.items():
        made = Table(title=escape(f"[{section}]"), title_justify="left", title_style="bold")
        for name in ("setting", "value", "type", "meaning"):
            made.add_column(name)
        for row in rows:
            value = "(required)" if row.required else row.default
            made.add_row(escape(row.name), escape(value), escape(row.type), escape(row.comment))
        _out().print(made)
