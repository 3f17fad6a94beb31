"""A Dataset from the canonical folder. Errors of the folder are raised before anything else happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

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

__all__ = ["SIDE_INFORMATION", "SplitRule", "dataset_of", "load_folder"]


SplitRule = Literal["auto", "given", "random", "leave-one-out", "temporal"]
SIDE_INFORMATION = ("category",)  # features that are no modality: used only when they are named


def load_folder(
    path: Path | str,
    *,
    split: SplitRule = "auto",
    split_seed: int = 0,
    k_core_of: int = 0,
    modalities: Sequence[str] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """Read a canonical folder; the arguments after `path` are those of `dataset_of`.

    Raises:
        DataError: if the folder is unsound, or cannot be split that way.
    """
    contents, errors = read_folder(path)
    if contents is None:
        first, rest = errors[0], len(errors) - 1
        more = f" ({rest} more: mmgrec data check {path})" if rest else ""
        raise DataError(first.what, where=first.file, remedy=first.remedy + more)
    return dataset_of(
        contents, split=split, split_seed=split_seed, k_core_of=k_core_of, modalities=modalities, note=note
    )


def dataset_of(
    contents: FolderContents,
    *,
    split: SplitRule = "auto",
    split_seed: int = 0,
    k_core_of: int = 0,
    modalities: Sequence[str] | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Dataset:
    """Make a Dataset from sound contents.

    Args:
        contents: what a folder or another file holds.
        split: ``auto`` takes the given split where there is one, else ``random`` (80/10/10 per user);
            ``leave-one-out`` and ``temporal`` need timestamps.
        split_seed: of the random split.
        k_core_of: drop users and items with fewer interactions, again and again; 0 keeps all.
        modalities: names of features and bags; None: all but side information (`SIDE_INFORMATION`).
        note: hears what the user should know.

    Raises:
        DataError: if the contents cannot be split that way.
    """
    names = _chosen(contents, modalities)
    keep = np.ones(len(contents.user), dtype=bool)
    if k_core_of > 0:
        keep = k_core(contents.user, contents.item, k_core_of)
        if not keep.any():
            raise DataError(f"the {k_core_of}-core is empty", where=str(contents.path), remedy="lower k_core")
    user, item = contents.user[keep], contents.item[keep]
    part, ordered = _split(contents, keep, split, split_seed)
    if not (part == TRAIN).any():
        raise DataError(
            "the split leaves nothing to train on",
            where=str(contents.path),
            remedy="users with three items or more are needed",
        )
    users, items = np.arange(contents.num_users), np.arange(contents.num_items)
    if k_core_of > 0:
        users, user = np.unique(user, return_inverse=True)
        items, item = np.unique(item, return_inverse=True)
        note(
            f"{k_core_of}-core: {len(users)} of {contents.num_users} users, {len(items)} of {contents.num_items} items"
        )

    time = None if contents.timestamp is None else rank_within_user(user, contents.timestamp[keep])[0]
    parts: dict[str, Interactions] = {}
    for place, name in enumerate(PARTS):
        rows = part == place
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
    if item_ids is None and k_core_of > 0:
        item_ids = [str(number) for number in range(contents.num_items)]
    user_ids = contents.user_ids
    if user_ids is None and k_core_of > 0:
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
    if modalities is None:
        return [name for name in contents.modalities if name not in SIDE_INFORMATION]
    for name in modalities:
        if name not in contents.modalities:
            raise DataError(
                f"there is no modality {name!r}", where=str(contents.path), remedy=near_miss(name, contents.modalities)
            )
    return list(modalities)


def _split(contents: FolderContents, keep: Array, rule: SplitRule, seed: int) -> tuple[Array, bool]:
    """``[N]`` part of each kept row; and whether the parts follow one another in time."""
    user = contents.user[keep]
    if rule == "given" or (rule == "auto" and contents.part is not None):
        if contents.part is None:
            raise DataError("there is no split column", where=INTERACTIONS, remedy="use split 'random', or 'auto'")
        return contents.part[keep], False
    if rule in ("random", "auto"):
        return random_split(user, seed=seed), False
    if rule not in ("leave-one-out", "temporal"):
        raise ValueError(f"unknown split {rule!r}")
    if contents.timestamp is None:
        raise DataError(
            f"there is no timestamp column, which split {rule!r} needs", where=INTERACTIONS, remedy="use split 'random'"
        )
    draw = leave_one_out_split if rule == "leave-one-out" else temporal_split
    part = draw(user, contents.timestamp[keep])
    return part, True


def _thinned(table: Array, items: Array) -> Array:
    """Renumber a graph after items were dropped; a dropped neighbour becomes the item itself, which readers drop."""
    number = np.full(len(table), -1, dtype=np.int64)
    number[items] = np.arange(len(items))
    kept = number[table[items]]
    return np.where(kept < 0, np.arange(len(items))[:, None], kept)


def _of(names: Sequence[str] | None, rows: Array) -> Sequence[str] | None:
    if names is None or len(rows) == len(names):
        return names
    return [names[row] for row in rows]
