"""What a reader hands over: rows with the file's own ids, nothing numbered, nothing dropped.

Who writes a reader makes these values; `mmgrec.readers.numbering` turns the ids into numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmgrec.folder import Array

if TYPE_CHECKING:
    from polars import DataFrame

__all__ = ["ITEM_TEXTS", "ItemTable", "RawTables"]

ITEM_TEXTS = ("title", "category", "text", "image_path")  # what may be known of an item in words


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemTable:
    """A table whose rows belong to items by their ids."""

    where: str  # the file, for messages
    item: list[str]  # [R] ids, each once
    table: Array  # [R, dim] numbers


@dataclass(frozen=True, kw_only=True, eq=False)
class RawTables:
    """Interactions as they stand in the files."""

    path: Path
    rows: DataFrame  # user, item: String; perhaps timestamp Int64, rating Float64, part Int8 (a place in PARTS)
    items: DataFrame | None = None  # item: String; any of ITEM_TEXTS: String
    features: Mapping[str, ItemTable] = field(default_factory=dict)
    bags: Mapping[str, DataFrame] = field(default_factory=dict)  # item: String, word: String, weight: Float64
    understood: str = ""  # which columns were taken for what, in words


#: Names before 0.2, for plugins that import them.
Raw, Keyed = RawTables, ItemTable
