"""Opens tables of text, Parquet and JSON lines as columns of strings; what is wrong with a file is one sentence.

Every value of a text file stays a string, so that ``01`` and ``1`` are two ids; `mmgrec.readers.columns` says which
column is what.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmgrec.errors import DataError

if TYPE_CHECKING:
    from polars import DataFrame

__all__ = ["beginning", "delimited", "fields_of", "found", "json_lines", "parquet", "split_lines", "suffix_of"]

SAMPLE = 1 << 16  # bytes that are looked at to tell a format
_UTF8 = "save it as UTF-8, for example by iconv -f latin1 -t utf-8"
_MOST_FOLDER = 10_000  # files of a folder that are looked at


def beginning(path: Path, lines: int = 50) -> list[str]:
    """The first whole lines of a file, without line ends; none where it is no UTF-8 text or cannot be read."""
    try:
        with gzip.open(path, "rb") if suffix_of(path)[1] else open(path, "rb") as file:
            data = file.read(SAMPLE)
        cut = data.rfind(b"\n")
        text = (data[: cut + 1] if len(data) == SAMPLE and cut >= 0 else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return []
    return [line.removesuffix("\r") for line in text.split("\n")[:lines]]


def suffix_of(path: Path) -> tuple[str, bool]:
    """The ending of a name in small letters, ``.gz`` put aside; and whether that was there.

    >>> suffix_of(Path("ratings.CSV.gz"))
    ('.csv', True)
    """
    packed = path.suffix.lower() == ".gz"
    return (Path(path.stem) if packed else path).suffix.lower(), packed


def found(path: Path, *patterns: str) -> list[Path]:
    """The file itself, or the files of a folder whose names match one of the patterns, packed or not, sorted."""
    if path.is_file():
        return [path]
    wanted = [name for pattern in patterns for name in (pattern, f"{pattern}.gz")]
    return sorted({file for pattern in wanted for file in path.glob(pattern) if file.is_file()})[:_MOST_FOLDER]


def fields_of(line: str, separator: str) -> list[str]:
    """The fields of a line of text, quotes undone."""
    try:
        return next(csv.reader(io.StringIO(line, newline=""), delimiter=separator), [])
    except csv.Error:
        return line.split(separator)


def delimited(path: Path, *, separator: str, header: bool, quoted: bool = True, latin1: bool = False) -> DataFrame:
    """A table of text; without a header its columns are ``1``, ``2``, ….

    Args:
        path: the file, perhaps packed by gzip.
        separator: one character.
        header: whether the first line holds names.
        quoted: whether fields may stand in double quotes.
        latin1: take a file that is no UTF-8 for ISO 8859-1.

    Raises:
        DataError: if it is empty, ragged, not UTF-8 or cannot be read.
    """
    import polars

    errors = polars.exceptions
    try:
        frame = polars.read_csv(
            path,
            has_header=header,
            separator=separator,
            quote_char='"' if quoted else None,
            infer_schema=False,
            encoding="iso-8859-1" if latin1 and not _is_utf8(path) else "utf8",
            glob=False,
        )
    except errors.NoDataError:
        raise DataError(
            "is empty", where=str(path), remedy="give a file with rows", code="readers.empty-file"
        ) from None
    except (errors.PolarsError, OSError, EOFError, zlib.error, UnicodeDecodeError) as problem:
        raise _table_error(path, problem, separator, quoted) from None
    if not header:
        frame.columns = [str(column + 1) for column in range(frame.width)]
    frame = frame.filter(~polars.all_horizontal(polars.all().is_null()))
    if not frame.height:
        raise DataError("has no rows", where=str(path), remedy="give a file with rows", code="readers.empty-file")
    return frame


def split_lines(path: Path, separator: str, width: int, *, latin1: bool = False) -> DataFrame:
    """A table whose separator has several characters (``::``), without header and quotes; columns ``1``, ``2``, ….

    Raises:
        DataError: if a line has not `width` fields, or the file cannot be read.
    """
    import polars

    lines = delimited(path, separator="\x01", header=False, quoted=False, latin1=latin1)
    parts = lines["1"].str.split(separator)
    ragged = parts.list.len() != width
    if ragged.any():
        row = int(ragged.arg_max() or 0)
        raise DataError(
            f"row {row + 1} has {parts[row].len()} fields between {separator!r}, not {width}",
            where=str(path),
            remedy="mend or drop that line",
            code="readers.ragged",
        )
    return polars.DataFrame({str(column + 1): parts.list.get(column) for column in range(width)})


def parquet(path: Path) -> DataFrame:
    """A Parquet file with its own types.

    Raises:
        DataError: if it is none, or holds no rows.
    """
    import polars

    try:
        frame = polars.read_parquet(path, glob=False)
    except (polars.exceptions.PolarsError, OSError) as problem:
        raise DataError(
            f"cannot be read as Parquet ({_first_line(problem)})",
            where=str(path),
            remedy="write it again",
            code="readers.not-parquet",
        ) from None
    if not frame.height:
        raise DataError("has no rows", where=str(path), remedy="give a file with rows", code="readers.empty-file")
    return frame


def json_lines(path: Path, names: Sequence[str]) -> DataFrame:
    """Some fields of JSON lines as strings; null where a line lacks one.

    Raises:
        DataError: if a line is no JSON object, or the file cannot be read.
    """
    import polars

    try:
        frame = polars.read_ndjson(path, schema=dict.fromkeys(names, polars.String))
    except (polars.exceptions.PolarsError, OSError, EOFError, zlib.error) as problem:
        raise _json_error(path, problem) from None
    if not frame.height:
        raise DataError("is empty", where=str(path), remedy="give a file with rows", code="readers.empty-file")
    return frame


def _is_utf8(path: Path) -> bool:
    try:
        with gzip.open(path, "rb") if suffix_of(path)[1] else open(path, "rb") as file:
            io.TextIOWrapper(file, encoding="utf-8").read()
    except UnicodeDecodeError:
        return False
    return True


def _table_error(path: Path, problem: Exception, separator: str, quoted: bool) -> DataError:
    """What is wrong with a table, found by reading it once more, slowly."""
    where = str(path)
    if isinstance(problem, OSError) and not isinstance(problem, gzip.BadGzipFile):
        what = f"cannot be read ({problem.strerror or problem})"
        return DataError(what, where=where, remedy="check the path", code="readers.unreadable-file")
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="")
            if suffix_of(path)[1]
            else open(path, encoding="utf-8", newline="") as file
        ):
            rows = (
                csv.reader(file, delimiter=separator, strict=True)
                if quoted
                else csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE, strict=True)
            )
            width = len(next(rows, []))
            for row in rows:
                if len(row) > width:
                    return DataError(
                        f"line {rows.line_num} has {len(row)} fields, the first line has {width}",
                        where=where,
                        remedy="mend that line, or put its text in quotes",
                        code="readers.ragged",
                    )
    except UnicodeDecodeError:
        return DataError("is not UTF-8 text", where=where, remedy=_UTF8, code="readers.not-utf8")
    except (OSError, EOFError, zlib.error):
        what = "is not whole, or no gzip file"
        return DataError(what, where=where, remedy="fetch it again", code="readers.not-gzip")
    except csv.Error as wrong:
        what = f"cannot be read as a table ({wrong})"
        return DataError(what, where=where, remedy="look for a lone quotation mark", code="readers.not-a-table")
    what = f"cannot be read as a table ({_first_line(problem)})"
    return DataError(what, where=where, remedy="look at its quotes", code="readers.not-a-table")


def _json_error(path: Path, problem: Exception) -> DataError:
    """What is wrong with JSON lines, found by reading them once more, slowly."""
    where, number = str(path), 0
    try:
        with gzip.open(path, "rb") if suffix_of(path)[1] else open(path, "rb") as file:
            for line in file:
                number += 1
                if line.strip() and not isinstance(json.loads(line.decode("utf-8")), dict):
                    raise ValueError
    except UnicodeDecodeError:
        return DataError(f"line {number} is not UTF-8 text", where=where, remedy=_UTF8, code="readers.not-utf8")
    except (OSError, EOFError, zlib.error) as wrong:
        what = f"cannot be read ({_first_line(wrong)})"
        return DataError(what, where=where, remedy="check the file", code="readers.unreadable-file")
    except (ValueError, RecursionError):
        what = f"line {number} is no JSON object"
        return DataError(what, where=where, remedy="write one object on each line", code="readers.not-json-lines")
    what = f"cannot be read as JSON lines ({_first_line(problem)})"
    return DataError(what, where=where, remedy="write it again", code="readers.not-json-lines")


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")
