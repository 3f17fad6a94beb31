"""What the plugin of a file format inherits from: it recognises its files and reads them; the rest is done here."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mmgrec.data import Dataset
from mmgrec.errors import DataError, SettingsError
from mmgrec.folder import FolderContents, SplitSettings, dataset_of
from mmgrec.interfaces import Context, DatasetSource
from mmgrec.readers.numbering import numbered
from mmgrec.readers.raw import RawTables

__all__ = ["ColumnSource", "FileSource"]


@dataclass(frozen=True, kw_only=True)
class FileSettings:
    """Which files are read; a class of its own, so that these settings come before those of the split."""

    path: str = ""  # the file, or the folder that holds the files
    min_rating: float | None = None  # keep interactions rated so or better; none: every row counts


@dataclass(frozen=True, kw_only=True)
class FileSource(SplitSettings, FileSettings, DatasetSource):
    """Reads files of one format. A plugin defines `recognises` and `read`, and is found by `mmgrec data import`."""

    general: ClassVar[bool] = False  # True: asked only where no other format recognises the files

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> str:
        """Why files look like this format, in a few words; "" where they do not. Reads beginnings only."""

    @abstractmethod
    def read(self) -> RawTables:
        """Read the files at `path`.

        Raises:
            DataError: if they are not of this format.
        """

    def raw(self) -> RawTables:
        """`read`, once it is known that there is something.

        Raises:
            SettingsError: if no path is given.
            DataError: if there is nothing there, or it cannot be read.
        """
        if not self.path:
            raise SettingsError(
                ["this source needs a path"], remedy="give --set data.path=PATH", code="readers.path-required"
            )
        if not Path(self.path).exists():
            raise DataError(
                "there is no such file or folder", where=self.path, remedy="check the path", code="readers.missing-file"
            )
        return self.read()

    def contents(self, note: Callable[[str], None] = lambda text: None) -> FolderContents:
        """The files as the contents of a data folder."""
        raw = self.raw()
        note(raw.understood)
        return numbered(raw, min_rating=self.min_rating, note=note)

    def load(self, context: Context) -> Dataset:
        return dataset_of(self.contents(context.reporter.note), self, note=context.reporter.note)


@dataclass(frozen=True, kw_only=True)
class ColumnSource(FileSource):
    """A format whose columns have names of the user's own."""

    user_column: str = ""  # name of the column; empty: by its name
    item_column: str = ""  # the same for items
    time_column: str = ""  # the same for times
    rating_column: str = ""  # the same for ratings

    @property
    def columns(self) -> dict[str, str]:
        """role -> the column that was named, or ""."""
        return {
            "user": self.user_column,
            "item": self.item_column,
            "timestamp": self.time_column,
            "rating": self.rating_column,
        }
