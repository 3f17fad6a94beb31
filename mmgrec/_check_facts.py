"""What a sound data folder holds, in numbers, and what about it is odd. The second half of `mmgrec.checks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmgrec.checks import INTERACTIONS, ITEMS, Array, Finding, FolderContents
from mmgrec.splits import PARTS, TEST, TRAIN, VALID

__all__ = ["facts_of", "oddities"]


def facts_of(contents: FolderContents) -> dict[str, Any]:  # Any: JSON
    """Counts, degrees, popularity skew, shapes."""
    user, item = contents.user, contents.item
    per_user = np.bincount(user, minlength=contents.num_users)
    per_item = np.bincount(item, minlength=contents.num_items)
    facts: dict[str, Any] = {
        "users": contents.num_users,
        "items": contents.num_items,
        "interactions": len(user),
        "density": round(len(user) / (contents.num_users * contents.num_items), 6),
        "interactions_per_user": _spread(per_user),
        "interactions_per_item": _spread(per_item),
        "popularity_gini": round(_gini(per_item), 3),
        "share_of_most_popular_tenth": round(_top_share(per_item), 3),
        "timestamp": contents.timestamp is not None,
        "split": None,
        "features": {name: _feature_facts(table) for name, table in contents.features.items()},
        "graphs": {name: {"shape": list(table.shape)} for name, table in contents.graphs.items()},
    }
    if contents.part is not None:
        rows = np.bincount(contents.part, minlength=len(PARTS))
        train = contents.part == TRAIN
        facts["split"] = {
            **{name: int(rows[place]) for place, name in enumerate(PARTS)},
            "users_without_training": int(contents.num_users - np.unique(user[train]).size),
            "items_without_training": int(contents.num_items - np.unique(item[train]).size),
            "users_with_test": int(np.unique(user[contents.part == TEST]).size),
        }
    return facts


def oddities(contents: FolderContents, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Warnings: true of many honest data sets, and good to know."""
    yield from _degree_warnings(contents)
    if contents.part is not None:
        yield from _split_warnings(contents)
    if contents.timestamp is not None:
        yield from _time_warnings(contents.user, contents.timestamp)
    if contents.item_ids is not None:
        different = len(set(contents.item_ids))
        if different < contents.num_items:
            yield _warning(ITEMS, f"{contents.num_items} items share {different} source_ids; row numbers are used")
    for name, fact in facts["features"].items():
        file = f"features/{name}.npy"
        if fact["missing"]:
            yield _warning(
                file,
                f"{fact['missing']} of {contents.num_items} rows are zero and count as missing, "
                f"the first is item {fact['first_missing']}",
            )
        if fact["constant_columns"]:
            yield _warning(
                file, f"{fact['constant_columns']} of {fact['shape'][1]} columns are the same for every item"
            )
    for name, table in contents.graphs.items():
        own = float((table == np.arange(contents.num_items)[:, None]).any(axis=1).mean())
        if own:
            yield _warning(
                f"graphs/{name}.npy", f"{own:.0%} of the items are among their own neighbours; dropped on use"
            )


def _degree_warnings(contents: FolderContents) -> Iterator[Finding]:
    for kind, number, total in (
        ("users", contents.user, contents.num_users),
        ("items", contents.item, contents.num_items),
    ):
        count = np.bincount(number, minlength=total)
        if (count == 0).any():
            yield _warning(
                INTERACTIONS,
                f"{(count == 0).sum()} {kind} have no interaction, the first is {kind[:-1]} {count.argmin()}",
            )


def _split_warnings(contents: FolderContents) -> Iterator[Finding]:
    assert contents.part is not None
    train = contents.part == TRAIN
    for kind, number, total in (
        ("users", contents.user, contents.num_users),
        ("items", contents.item, contents.num_items),
    ):
        count = np.bincount(number[train], minlength=total)
        if (count == 0).any():
            yield _warning(
                INTERACTIONS,
                f"{(count == 0).sum()} {kind} have no training interaction, the first is {kind[:-1]} {count.argmin()}",
            )
    for place in (VALID, TEST):
        if not (contents.part == place).any():
            yield _warning(INTERACTIONS, f"the {PARTS[place]} part is empty", "use another split to evaluate")


def _time_warnings(user: Array, timestamp: Array) -> Iterator[Finding]:
    order = np.lexsort((timestamp, user))
    same = (np.diff(user[order]) == 0) & (np.diff(timestamp[order]) == 0)
    if same.any():
        row = order[1:][same].min()
        yield _warning(
            INTERACTIONS,
            f"row {row}: user {user[row]} has several rows of one time ({same.sum()} such rows); file order decides",
        )


def _feature_facts(table: Array) -> dict[str, Any]:  # Any: JSON
    missing = ~table.any(axis=1)
    norm = np.linalg.norm(table[~missing].astype(np.float32), axis=1)
    return {
        "shape": list(table.shape),
        "dtype": str(table.dtype),
        "missing": int(missing.sum()),
        "first_missing": int(missing.argmax()) if missing.any() else None,
        "constant_columns": int((table.min(axis=0) == table.max(axis=0)).sum()),
        "mean_row_norm": round(float(norm.mean()), 3) if norm.size else 0.0,
    }


def _spread(count: Array) -> dict[str, float]:
    return {
        "min": int(count.min()),
        "median": float(np.median(count)),
        "mean": round(float(count.mean()), 2),
        "max": int(count.max()),
    }


def _gini(count: Array) -> float:
    """0 = all items equally popular, 1 = one item has everything."""
    ordered = np.sort(count).astype(np.float64)
    size = len(ordered)
    return float((2 * np.arange(1, size + 1) - size - 1) @ ordered / (size * ordered.sum()))


def _top_share(count: Array) -> float:
    top = max(1, len(count) // 10)
    return float(np.sort(count)[-top:].sum() / count.sum())


def _warning(file: str, what: str, remedy: str = "") -> Finding:
    return Finding(severity="warning", file=file, what=what, remedy=remedy)
