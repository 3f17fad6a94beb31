"""The files of a data folder as values, and findings about them: what the rest of the room and `mmgrec.readers` share.

Read it to see what a folder holds once it is open: `FolderContents`, with the shape of every array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmgrec.errors import DataError

__all__ = [
    "CONVERT",
    "INTERACTIONS",
    "ITEMS",
    "PICKLED",
    "USERS",
    "Array",
    "BagTable",
    "Finding",
    "FolderContents",
    "counted",
    "error",
    "such",
    "warning",
]

Array = NDArray[Any]  # Any: numpy's own spelling of "whatever number type"
INTERACTIONS, ITEMS, USERS = "interactions.parquet", "items.parquet", "users.parquet"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong or odd."""

    severity: Literal["error", "warning"]
    file: str  # relative to the folder
    what: str  # names the first row or item
    remedy: str
    code: str  # of the kind of finding, for programs: ``folder.missing-column``

    def error(self) -> DataError:
        return DataError(self.what, where=self.file, remedy=self.remedy, code=self.code)

    def __str__(self) -> str:
        return str(self.error())


def warning(file: str, what: str, remedy: str = "", *, code: str) -> Finding:
    """A finding that is good to know."""
    return Finding(severity="warning", file=file, what=what, remedy=remedy, code=code)


@dataclass(frozen=True, kw_only=True, eq=False)
class BagTable:
    """A sparse modality as its file has it: which word which item has, how much of it."""

    item: Array  # [N] int64
    word: Array  # [N] int64, a place in `words`
    weight: Array  # [N] float32, positive
    num_words: int
    words: Sequence[str] | None = None  # [num_words] names; None: the numbers are the names

    @property
    def num_described(self) -> int:
        """Items with at least one word."""
        return int(np.unique(self.item).size)


@dataclass(frozen=True, kw_only=True, eq=False)
class FolderContents:
    """A folder without errors, as arrays. Features and graphs stay on the disk until they are used."""

    path: Path  # the folder, or what the contents were read from
    user: Array  # [N] int64, in the order of the file
    item: Array  # [N] int64
    num_users: int
    num_items: int
    timestamp: Array | None = None  # [N] int64
    part: Array | None = None  # [N] int8, a place in PARTS: the given split
    features: Mapping[str, Array] = field(default_factory=dict)  # name -> [num_items, dim] float16 or float32
    graphs: Mapping[str, Array] = field(default_factory=dict)  # name -> [num_items, k] integers
    bags: Mapping[str, BagTable] = field(default_factory=dict)  # name -> a sparse modality
    user_ids: Sequence[str] | None = None
    item_ids: Sequence[str] | None = None
    item_titles: Sequence[str] | None = None
    item_texts: Mapping[str, Sequence[str]] = field(default_factory=dict)  # further columns; only readers fill them in

    @property
    def modalities(self) -> tuple[str, ...]:
        return (*self.features, *self.bags)


#: How a pickled array becomes a plain one.
CONVERT = (
    "a pickle can run code when it is opened, so convert it where it was made: "
    "numpy.save('NAME.npy', numpy.asarray(table, dtype='float32'), allow_pickle=False)"
)
PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")


def error(file: str, what: str, remedy: str, *, code: str) -> Finding:
    """A finding that makes the folder unusable."""
    return Finding(severity="error", file=file, what=what, remedy=remedy, code=code)


def such(count: int | np.integer[Any]) -> str:
    """How many rows are alike.

    >>> such(1), such(12)
    ('1 such row', '12 such rows')
    """
    return f"{count} such row" + ("s" if count != 1 else "")


def counted(count: int | np.integer[Any], what: str) -> str:
    """A number with its noun.

    >>> counted(1, "user"), counted(2, "user")
    ('1 user', '2 users')
    """
    return f"{count} {what}" + ("s" if count != 1 else "")
