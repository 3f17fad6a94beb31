"""The canonical folder as a DatasetSource. The work is done by `mmgrec.folder`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.folder import SplitRule, load_folder
from mmgrec.interfaces import Context, DatasetSource

__all__ = ["Folder"]


@dataclass(frozen=True, kw_only=True)
class Folder(DatasetSource):
    """Interactions and items in Parquet, features and graphs in .npy; see the documentation for the columns."""

    path: str = ""  # the folder
    split: SplitRule = "auto"  # auto: the given split where there is one, else random
    split_seed: Annotated[int, Ge(0)] = 0  # of the random split; not the seed of the run
    k_core: Annotated[int, Ge(0)] = 0  # drop users and items with fewer interactions, repeatedly; 0: keep all
    modalities: tuple[str, ...] | None = None  # names of feature files; None: all but side information (category)

    def load(self, context: Context) -> Dataset:
        if not self.path:
            raise SettingsError(["the folder source needs a path"], remedy="give --data PATH")
        return load_folder(
            self.path,
            split=self.split,
            split_seed=self.split_seed,
            k_core_of=self.k_core,
            modalities=self.modalities,
            note=context.reporter.note,
        )
