"""A Dataset from the canonical folder: which rows and modalities are used, and how they are split.

Errors of the folder are raised before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge

from mmgrec.data import (
    PARTS,
    TRAIN,
    Bag,
    Dataset,
    Interactions,
    k_core,
    leave_one_out_split,
    random_split,
    rank_within_user,
    temporal_split,
)
from mmgrec.errors import DataError, near_miss
from mmgrec.folder.check import read_folder
from mmgrec.folder.contents import INTERACTIONS, ITEMS, Array, BagTable, FolderContents
from mmgrec.folder.write import slug_of

__all__ = ["SIDE_INFORMATION", "SplitRule", "SplitSettings", "contents_of", "dataset_of", "load_folder"]

SplitRule = Literal["auto", "given", "random", "leave-one-out", "temporal"]
SIDE_INFORMATION = ("category",)  # features that are no modality: used only when they are named

Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """What is used of the contents of a folder, and how they are split: settings that all sources of files share.

    A source inherits from it and gives itself to `dataset_of`. Settings are listed in the order of the bases from the
    right to the left, then the class's own: what shall stand before the split comes from a base to the right of it.
    """

    split: SplitRule = "auto"  # auto: the given split where there is one, else random
    split_seed: Annotated[int, Ge(0)] = 0  # of the random split; not the seed of the run
    k_core: Annotated[int, Ge(0)] = 0  # drop users and items with fewer interactions, repeatedly; 0: keep all
    modalities: tuple[str, ...] | None = None  # names of features and bags; None: all but side information (category)


def load_folder(
    path: Path | str,
    *,
    split: SplitRule = "auto",
    split_seed: int = 0,
    k_core_of: int = 0,
    modalities: Sequence[str] | None = None,
    note: Note = lambda text: None,
) -> Dataset:
    """Read a canonical folder.

    Args:
        path: the folder.
        split: ``auto`` takes the given split where there is one, else ``random`` (80/10/10 per user);
            ``leave-one-out`` and ``temporal`` need timestamps.
        split_seed: of the random split.
        k_core_of: drop users and items with fewer interactions, again and again; 0 keeps all.
        modalities: names of features and bags; None: all but side information (`SIDE_INFORMATION`).
        note: hears what the user should know.

    Raises:
        DataError: if the folder is unsound, or cannot be split that way.
    """
    settings = SplitSettings(
        split=split,
        split_seed=split_seed,
        k_core=k_core_of,
        modalities=None if modalities is None else tuple(modalities),
    )
    return dataset_of(contents_of(path), settings, note=note)


def contents_of(path: Path | str) -> FolderContents:
    """The contents of a sound folder.

    Raises:
        DataError: with the first of its errors, if the folder is unsound.
    """
    contents, errors = read_folder(path)
    if contents is None:
        first, rest = errors[0], len(errors) - 1
        more = f" ({rest} more: mmgrec data check {path})" if rest else ""
        raise DataError(first.what, where=first.file, remedy=first.remedy + more, code=first.code)
    return contents


def dataset_of(
    contents: FolderContents,
    settings: SplitSettings = SplitSettings(),
    *,
    note: Note = lambda text: None,
) -> Dataset:
    """Make a Dataset from sound contents.

    Args:
        contents: what a folder or another file holds.
        settings: which users, items and modalities are used, and how interactions are split.
        note: hears what the user should know.

    Raises:
        DataError: if the contents cannot be split that way.
    """
    names = _chosen(contents, settings.modalities)
    keep = np.ones(len(contents.user), dtype=bool)
    least = settings.k_core
    if least > 0:
        keep = k_core(contents.user, contents.item, least)
        if not keep.any():
            raise DataError(
                f"the {least}-core is empty",
                where=str(contents.path),
                remedy="lower k_core",
                code="folder.empty-k-core",
            )
    user, item = contents.user[keep], contents.item[keep]
    part, ordered = _split(contents, keep, settings.split, settings.split_seed)
    if not (part == TRAIN).any():
        raise DataError(
            "the split leaves nothing to train on",
            where=str(contents.path),
            remedy="users with three items or more are needed",
            code="folder.nothing-to-train-on",
        )
    users, items = np.arange(contents.num_users), np.arange(contents.num_items)
    if least > 0:
        users, user = np.unique(user, return_inverse=True)
        items, item = np.unique(item, return_inverse=True)
        note(f"{least}-core: {len(users)} of {contents.num_users} users, {len(items)} of {contents.num_items} items")

    time = None if contents.timestamp is None else rank_within_user(user, contents.timestamp[keep])[0]
    parts: dict[str, Interactions] = {}
    for number, name in enumerate(PARTS):
        rows = part == number
        parts[name] = Interactions.of(
            torch.from_numpy(user[rows]),
            torch.from_numpy(item[rows]),
            num_users=len(users),
            num_items=len(items),
            time=None if time is None else torch.from_numpy(time[rows]),
        )
    item_ids = contents.item_ids
    if item_ids is not None and (len(set(item_ids)) < len(item_ids) or "" in item_ids):
        note(f"{ITEMS}: source_id is not unique or has gaps; items are named by their row numbers")
        item_ids = None
    if item_ids is None and least > 0:
        item_ids = [str(number) for number in range(contents.num_items)]
    user_ids = contents.user_ids
    if user_ids is None and least > 0:
        user_ids = [str(number) for number in range(contents.num_users)]
    features = {name: contents.features[name] for name in names if name in contents.features}
    return Dataset(
        name=slug_of(contents.path),
        train=parts["train"],
        valid=parts["valid"],
        test=parts["test"],
        features={name: torch.from_numpy(table[items].astype(np.float32)) for name, table in features.items()},
        graphs={name: torch.from_numpy(_thinned(table, items)) for name, table in contents.graphs.items()},
        bags={name: _bag_of(contents.bags[name], items, contents.num_items) for name in names if name not in features},
        user_ids=_of(user_ids, users),
        item_ids=_of(item_ids, items),
        item_titles=_of(contents.item_titles, items),
        ordered=ordered,
    )


def _bag_of(table: BagTable, items: Array, num_items: int) -> Bag:
    """The bag of the items that are kept, in their new numbers."""
    number = np.full(num_items, -1, dtype=np.int64)
    number[items] = np.arange(len(items))
    item = number[table.item]
    kept = item >= 0
    return Bag.of(
        torch.from_numpy(item[kept]),
        torch.from_numpy(table.word[kept].astype(np.int64)),
        torch.from_numpy(table.weight[kept].astype(np.float32)),
        num_items=len(items),
        num_words=table.num_words,
    )


def _chosen(contents: FolderContents, modalities: Sequence[str] | None) -> list[str]:
    """The names of the modalities to use."""
    if modalities is None:
        return [name for name in contents.modalities if name not in SIDE_INFORMATION]
    for name in modalities:
        if name not in contents.modalities:
            raise DataError(
                f"there is no modality {name!r}",
                where=str(contents.path),
                remedy=near_miss(name, contents.modalities),
                code="folder.no-such-modality",
            )
    return list(modalities)


def _split(contents: FolderContents, keep: Array, rule: SplitRule, seed: int) -> tuple[Array, bool]:
    """``[N]`` part of each kept row; and whether the parts follow one another in time."""
    user = contents.user[keep]
    if rule == "given" or (rule == "auto" and contents.part is not None):
        if contents.part is None:
            raise DataError(
                "there is no split column",
                where=INTERACTIONS,
                remedy="use split 'random', or 'auto'",
                code="folder.no-split",
            )
        return contents.part[keep], False
    if rule in ("random", "auto"):
        return random_split(user, seed=seed), False
    if rule not in ("leave-one-out", "temporal"):
        raise ValueError(f"unknown split {rule!r}")
    if contents.timestamp is None:
        raise DataError(
            f"there is no timestamp column, which split {rule!r} needs",
            where=INTERACTIONS,
            remedy="use split 'random'",
            code="folder.no-timestamps",
        )
    draw = leave_one_out_split if rule == "leave-one-out" else temporal_split
    part = draw(user, contents.timestamp[keep])
    return part, True


def _thinned(table: Array, items: Array) -> Array:
    """Renumber a graph after items were dropped; a dropped neighbour becomes the item itself, dropped when used."""
    number = np.full(len(table), -1, dtype=np.int64)
    number[items] = np.arange(len(items))
    kept = number[table[items]]
    return np.where(kept < 0, np.arange(len(items))[:, None], kept)


def _of(names: Sequence[str] | None, rows: Array) -> Sequence[str] | None:
    """The names of the rows that are kept."""
    if names is None or len(rows) == len(names):
        return names
    return [names[row] for row in rows]
