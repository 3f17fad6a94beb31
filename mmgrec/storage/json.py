"""JSON as it is read and written here: UTF-8, one space of indentation, a line's end at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from mmgrec.errors import RunError, reason_of

__all__ = ["Json", "json_bytes", "json_if_there", "read_json"]

Json: TypeAlias = dict[str, Any]  # Any: whatever JSON can hold


def json_bytes(value: object) -> bytes:
    """What a file of JSON holds; the same bytes for the same value."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def read_json(path: Path, *, remedy: str = "") -> Any:  # Any: JSON
    """What a file of JSON holds.

    Raises:
        RunError: if it cannot be read; `remedy` says what to do about it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        what = f"cannot be read ({reason_of(error)})"
        raise RunError(what, where=str(path), remedy=remedy, code="storage.unreadable") from error


def json_if_there(path: Path) -> Json:
    """`read_json`, or an empty table where there is no such file."""
    content: Json = read_json(path) if path.is_file() else {}
    return content
