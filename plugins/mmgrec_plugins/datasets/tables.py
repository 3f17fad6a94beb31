"""Tables of one's own as DatasetSources: text with separators, and Parquet. Columns are named, or guessed by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from mmgrec.readers import ColumnSource, RawTables, files, interactions, layout_of, nameless_roles
from mmgrec_plugins.datasets.single_file import only_file

__all__ = ["Csv", "ParquetTable"]

_TEXT = ("*.csv", "*.tsv", "*.txt")


@dataclass(frozen=True, kw_only=True)
class Csv(ColumnSource):
    """Text with commas, tabs, semicolons or bars, with or without a line of names; .gz too."""

    general: ClassVar[bool] = True

    separator: str = ""  # one character; empty: by the first lines
    header: Literal["auto", "yes", "no"] = "auto"  # whether the first line holds names; columns without are 1, 2, …

    @classmethod
    def recognises(cls, path: Path) -> str:
        paths = files.found(path, *_TEXT)
        if len(paths) != 1 or not files.beginning(paths[0]):
            return ""
        width = layout_of(paths[0]).width
        return f"text with {width} columns" if width > 1 else ""

    def read(self) -> RawTables:
        file = only_file(self.path, *_TEXT)
        layout = layout_of(file, separator=self.separator, names=tuple(self.columns.values()))
        header = layout.header if self.header == "auto" else self.header == "yes"
        frame = files.delimited(file, separator=layout.separator, header=header)
        named = self.columns
        if not header:
            named = {role: name or nameless_roles(layout).get(role, "") for role, name in named.items()}
        rows, understood = interactions(frame, named, where=str(file))
        return RawTables(path=Path(self.path), rows=rows, understood=f"columns: {understood}")


@dataclass(frozen=True, kw_only=True)
class ParquetTable(ColumnSource):
    """A Parquet file with a row for each interaction."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        paths = files.found(path, "*.parquet")
        if len(paths) != 1:
            return ""
        with open(paths[0], "rb") as file:
            return "a Parquet file" if file.read(4) == b"PAR1" else ""

    def read(self) -> RawTables:
        file = only_file(self.path, "*.parquet")
        rows, understood = interactions(files.parquet(file), self.columns, where=str(file))
        return RawTables(path=Path(self.path), rows=rows, understood=f"columns: {understood}")
