"""The canonical folder as a DatasetSource. The work is done by `mmgrec.folder`."""

from __future__ import annotations

from dataclasses import dataclass

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.folder import SplitSettings, contents_of, dataset_of
from mmgrec.interfaces import Context, DatasetSource

__all__ = ["Folder"]


@dataclass(frozen=True, kw_only=True)
class FolderPlace:
    """Where the data lie; a class of its own, so that this setting comes before those of the split."""

    path: str = ""  # the folder


@dataclass(frozen=True, kw_only=True)
class Folder(SplitSettings, FolderPlace, DatasetSource):
    """Interactions and items in Parquet, features and graphs in .npy; see the documentation for the columns."""

    def load(self, context: Context) -> Dataset:
        if not self.path:
            raise SettingsError(
                ["the folder source needs a path"], remedy="give --data PATH", code="datasets.path-required"
            )
        return dataset_of(contents_of(self.path), self, note=context.reporter.note)
