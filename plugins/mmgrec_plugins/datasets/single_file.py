"""What formats of a single table share: that table's file, and the line by which the format is recognised."""

from __future__ import annotations

from pathlib import Path

from mmgrec.errors import DataError
from mmgrec.readers import files

__all__ = ["first_line", "only_file"]


def first_line(path: str | Path, *patterns: str) -> str:
    """Of the file at a path, or of the first in a folder that matches a pattern; empty where there is no text."""
    paths = files.found(Path(path), *patterns)
    lines = files.beginning(paths[0], 1) if paths else []
    return lines[0] if lines else ""


def only_file(path: str | Path, *patterns: str) -> Path:
    """The file at a path, or the one in a folder that matches a pattern.

    Raises:
        DataError: if there is none, or more than one.
    """
    paths = files.found(Path(path), *patterns)
    if len(paths) == 1:
        return paths[0]
    if not paths:
        raise DataError(
            "holds no such file",
            where=str(Path(path)),
            remedy="give the path of the file itself",
            code="datasets.no-such-file",
        )
    names = ", ".join(file.name for file in paths[:5])
    raise DataError(
        f"holds {len(paths)} such files ({names})",
        where=str(Path(path)),
        remedy="give the path of one of them",
        code="datasets.several-files",
    )
