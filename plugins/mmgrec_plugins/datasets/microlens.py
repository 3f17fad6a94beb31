"""MicroLens as a DatasetSource: ``*_pairs.csv`` with user, item and time; titles where their file lies beside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgrec.readers import FileSource, RawTables, files, interactions, item_texts, layout_of
from mmgrec_plugins.datasets.single_file import first_line, only_file

__all__ = ["MicroLens"]

_PATTERN = "*pairs.csv"
_HEAD = "user,item,timestamp"


@dataclass(frozen=True, kw_only=True)
class MicroLens(FileSource):
    """Pairs of user and item with their time."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        paths = files.found(path, _PATTERN)
        if len(paths) != 1 or "pairs" not in paths[0].name:
            return ""
        return "pairs of user, item and time" if first_line(path, _PATTERN) == _HEAD else ""

    def read(self) -> RawTables:
        file = only_file(self.path, _PATTERN)
        table = files.delimited(file, separator=",", header=True)
        rows, understood = interactions(table, {}, where=str(file))
        titles = files.found(file.parent, "*title*.csv")
        items = None
        if len(titles) == 1:
            layout = layout_of(titles[0])
            known = files.delimited(titles[0], separator=layout.separator, header=layout.header)
            if known.width == 2:
                known.columns = ["item", "title"]
            items = item_texts(known, where=str(titles[0]))
            understood += f"; titles: {titles[0].name}"
        return RawTables(path=Path(self.path), rows=rows, items=items, understood=f"columns: {understood}")
