"""A format of somebody's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmgrec.readers import files
from mmgrec.readers.columns import interactions
from mmgrec.readers.raw import Raw
from mmgrec.readers.source import FileSource


@dataclass(frozen=True, kw_only=True)
class Pairs(FileSource):
    """``user|item``, one pair a line, in files that end in .pairs."""

    @classmethod
    def recognises(cls, path: Path) -> str:
        return "it ends in .pairs" if path.suffix == ".pairs" else ""

    def read(self) -> Raw:
        path = Path(self.path)
        assert files.beginning(path, 1)
        frame = files.delimited(path, separator="|", header=False)
        rows, understood = interactions(frame, {"user": frame.columns[0], "item": frame.columns[1]}, where=path.name)
        return Raw(path=path, rows=rows, understood=understood)
