"""MovieLens as a DatasetSource: ``ratings.dat`` with ``::`` between, ``ratings.csv``, ``u.data``; titles and genres."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mmgrec.errors import DataError
from mmgrec.readers import FileSource, RawTables, files, interactions, item_texts

__all__ = ["MovieLens"]

_NAMES = ("ratings.dat", "ratings.csv", "u.data")
_ROLES = {"user": "1", "item": "2", "rating": "3", "timestamp": "4"}
_HEAD = "userId,movieId,rating,timestamp"
_DAT = re.compile(r"[^:]+::[^:]+::[0-9.]+::[0-9]+")
_TAB = re.compile(r"[0-9]+\t[0-9]+\t[1-5]\t[0-9]{8,10}")


@dataclass(frozen=True, kw_only=True)
class MovieLens(FileSource):
    """Ratings, all of them kept unless a least rating is given."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        return _form(_file(path))

    def read(self) -> RawTables:
        file = _file(Path(self.path))
        form = _form(file)
        if file is None or not form:
            raise DataError(
                f"holds none of {', '.join(_NAMES)} in MovieLens' form",
                where=self.path,
                remedy="give its folder",
                code="datasets.not-this-format",
            )
        if form == "user::item::rating::time":
            rows, _ = interactions(files.split_lines(file, "::", 4), _ROLES, where=str(file))
            beside = file.with_name("movies.dat")
            items = files.split_lines(beside, "::", 3, latin1=True) if beside.is_file() else None
        elif form == _HEAD:
            rows, _ = interactions(files.delimited(file, separator=",", header=True), {}, where=str(file))
            beside = file.with_name("movies.csv")
            items = files.delimited(beside, separator=",", header=True) if beside.is_file() else None
        else:
            table = files.delimited(file, separator="\t", header=False, quoted=False)
            rows, _ = interactions(table, _ROLES, where=str(file))
            beside = file.with_name("u.item")
            items = None
            if beside.is_file():
                items = files.delimited(beside, separator="|", header=False, quoted=False, latin1=True)[["1", "2"]]
        if items is not None:
            items.columns = ["item", "title", "genres"][: items.width]
            items = item_texts(items, where=str(beside))
        return RawTables(path=Path(self.path), rows=rows, items=items, understood=f"{file.name}: {form}")


def _file(path: Path) -> Path | None:
    if path.is_file():
        return path
    matching = [file for file in files.found(path, *_NAMES) if _form(file)]
    return matching[0] if matching else None


def _form(file: Path | None) -> str:
    """Which of the three forms it is; "" for none."""
    lines = files.beginning(file, 1) if file is not None else []
    if not lines:
        return ""
    if _DAT.fullmatch(lines[0]):
        return "user::item::rating::time"
    if lines[0] == _HEAD:
        return _HEAD
    return "user, item, rating, time between tabs" if _TAB.fullmatch(lines[0]) else ""
