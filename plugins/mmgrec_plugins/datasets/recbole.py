"""Atomic files as a DatasetSource: ``x.inter``, ``x.item`` and ``x.user``, tabs between, a type behind each name.

The names of the fields are ``user_id:token``, ``timestamp:float`` and so on; sequences have blanks between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgrec.errors import DataError
from mmgrec.readers import ColumnSource, RawTables, files, interactions, item_texts
from mmgrec_plugins.datasets.single_file import first_line, only_file

__all__ = ["RecBole"]

_PATTERN = "*.inter"
_TYPES = ("token", "token_seq", "float", "float_seq")


@dataclass(frozen=True, kw_only=True)
class RecBole(ColumnSource):
    """Interactions of x.inter, titles and categories of x.item; users are known by their interactions alone."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        names = first_line(path, _PATTERN).split("\t")
        typed = len(names) > 1 and all(name.rpartition(":")[2] in _TYPES for name in names)
        return "names with types (user_id:token)" if typed else ""

    def read(self) -> RawTables:
        file = only_file(self.path, _PATTERN)
        frame = files.delimited(file, separator="\t", header=True, quoted=False)
        frame.columns = [name.rpartition(":")[0] or name for name in frame.columns]
        rows, understood = interactions(frame, self.columns, where=str(file))
        beside = file.with_name(files_stem(file) + ".item")
        items = None
        if beside.is_file():
            table = files.delimited(beside, separator="\t", header=True, quoted=False)
            table.columns = [name.rpartition(":")[0] or name for name in table.columns]
            try:
                items = item_texts(table, where=str(beside))
            except DataError as error:
                understood += f"; {beside.name} is not used: {error.what}"
        if file.with_name(files_stem(file) + ".user").is_file():
            understood += f"; {files_stem(file)}.user is not used: no model reads what is known of users"
        return RawTables(path=Path(self.path), rows=rows, items=items, understood=f"columns: {understood}")


def files_stem(file: Path) -> str:
    """The name that the files of one set share."""
    return file.name.partition(".inter")[0]
