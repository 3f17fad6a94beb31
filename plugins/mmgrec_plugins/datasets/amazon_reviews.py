"""Amazon reviews as a DatasetSource: JSON lines of 2014 and 2023, and the nameless CSV of 2018 (item before user)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from mmgrec.errors import DataError
from mmgrec.readers import FileSource, RawTables, files, interactions
from mmgrec_plugins.datasets.single_file import only_file

__all__ = ["AmazonReviews"]

_PATTERNS = ("*.json", "*.jsonl", "*.csv")
#: edition -> the fields of user, item, rating and time
_FIELDS = {
    "2014": ("reviewerID", "asin", "overall", "unixReviewTime"),
    "2023": ("user_id", "parent_asin", "rating", "timestamp"),
}
_ROW = re.compile(r"[0-9A-Z]{10},A[0-9A-Z]{8,24},[1-5](\.0)?,[0-9]{9,10}")
_ROLES = ("user", "item", "rating", "timestamp")


@dataclass(frozen=True, kw_only=True)
class AmazonReviews(FileSource):
    """Reviews as interactions; what the reviews say is not read."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        paths = files.found(path, *_PATTERNS)
        return _edition(paths[0]) if len(paths) == 1 else ""

    def read(self) -> RawTables:
        file = only_file(self.path, *_PATTERNS)
        edition = _edition(file)
        if not edition:
            raise DataError(
                "does not look like Amazon reviews of 2014, 2018 or 2023",
                where=str(file),
                remedy="import it as csv, or look at its first line",
                code="datasets.not-this-format",
            )
        if edition.startswith("2018"):
            table = files.delimited(file, separator=",", header=False)
            given = {"item": "1", "user": "2", "rating": "3", "timestamp": "4"}
        else:
            names = _FIELDS[edition[:4]]
            table = files.json_lines(file, names)
            given = dict(zip(_ROLES, names, strict=True))
        rows, _ = interactions(table, given, where=str(file))
        return RawTables(path=Path(self.path), rows=rows, understood=f"reviews of {edition}")


def _edition(file: Path) -> str:
    """Which edition it is, and how that is seen; "" for none."""
    lines = files.beginning(file, 1)
    if lines and _ROW.fullmatch(lines[0]):
        return "2018: item, user, rating, time without names"
    try:
        first = json.loads(lines[0]) if lines else None
    except (ValueError, RecursionError):
        return ""
    if isinstance(first, dict):
        for edition, names in _FIELDS.items():
            if set(names) <= set(first):
                return f"{edition}: fields {', '.join(names)}"
    return ""
