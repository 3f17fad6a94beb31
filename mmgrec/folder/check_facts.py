"""The facts and warnings of `mmgrec data check`: what a sound folder holds, in numbers, and what about it is odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mmgrec.data import PARTS, TEST, TRAIN, VALID
from mmgrec.folder.check_time import time_oddities
from mmgrec.folder.contents import (
    INTERACTIONS,
    ITEMS,
    Array,
    BagTable,
    Finding,
    FolderContents,
    counted,
    error,
    warning,
)

__all__ = ["facts_of", "oddities"]

_SKEWED = 0.5  # share of the most popular hundredth above which popularity alone is hard to beat
_PAIRS = 20_000  # pairs of items that are looked at for rows out of order
_FEWEST_PAIRS = 500


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
        "share_of_most_popular_tenth": round(_top_share(per_item, 10), 3),
        "share_of_most_popular_hundredth": round(_top_share(per_item, 100), 3),
        "timestamp": contents.timestamp is not None,
        "split": None,
        "features": {name: _feature_facts(table) for name, table in contents.features.items()},
        "bags": {name: _bag_facts(bag, contents.num_items) for name, bag in contents.bags.items()},
        "graphs": {name: {"shape": list(table.shape)} for name, table in contents.graphs.items()},
        "items_without_any_modality": int((~_described(contents)).sum()),
    }
    if contents.part is not None:
        rows = np.bincount(contents.part, minlength=len(PARTS))
        train = contents.part == TRAIN
        facts["split"] = {
            **{name: int(rows[number]) for number, name in enumerate(PARTS)},
            "users_without_training": int(contents.num_users - np.unique(user[train]).size),
            "items_without_training": int(contents.num_items - np.unique(item[train]).size),
            "users_with_test": int(np.unique(user[contents.part == TEST]).size),
        }
    return facts


def oddities(contents: FolderContents, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What would keep a model from training, then warnings: true of many honest data sets, and good to know."""
    yield from _too_little(contents)
    yield from _degree_warnings(contents)
    if contents.part is not None:
        yield from _split_warnings(contents)
    if contents.timestamp is not None:
        yield from time_oddities(contents.user, contents.timestamp, contents.part)
    share = facts["share_of_most_popular_hundredth"]
    if contents.num_items >= 100 and share > _SKEWED:
        what = f"the most popular hundredth of the items has {share:.0%} of the interactions"
        remedy = "compare with the baseline popularity, and look at coverage and novelty"
        yield warning(INTERACTIONS, what, remedy, code="folder.skewed-popularity")
    if contents.item_ids is not None:
        different = len(set(contents.item_ids))
        if different < contents.num_items:
            what = f"{contents.num_items} items share {different} source_ids, so row numbers are used"
            yield warning(ITEMS, what, "give each item a source_id of its own", code="folder.repeated-ids")
    yield from _modality_warnings(contents, facts)
    for name, table in contents.graphs.items():
        own = float((table == np.arange(contents.num_items)[:, None]).any(axis=1).mean())
        if own:
            what = f"{own:.0%} of the items are among their own neighbours"
            remedy = "nothing needs to be done, they are dropped on use"
            yield warning(f"graphs/{name}.npy", what, remedy, code="folder.own-neighbours")


def _too_little(contents: FolderContents) -> Iterator[Finding]:
    if contents.num_items < 2:
        what, remedy = "there is only one item", "ranking needs two items or more"
        yield error(INTERACTIONS, what, remedy, code="folder.one-item")
    most = int(np.bincount(contents.user).max())
    if contents.part is None and most < 3:
        what = f"no user has more than {counted(most, 'item')}, so that a split leaves nothing to train on"
        remedy = "users with three items or more are needed; are users and items mixed up?"
        yield error(INTERACTIONS, what, remedy, code="folder.nothing-to-train-on")


def _modality_warnings(contents: FolderContents, facts: Mapping[str, Any]) -> Iterator[Finding]:
    if not contents.modalities:
        yield warning(
            "features",
            "there are no features at all, so items are told apart by interactions alone",
            "add some with `mmgrec data features`, or import them with --features",
            code="folder.no-features",
        )
    elif facts["items_without_any_modality"]:
        yield warning(
            "features",
            f"{counted(facts['items_without_any_modality'], 'item')} of {contents.num_items} "
            "without any modality, told apart by interactions alone",
            "add features for them if you can",
            code="folder.items-without-modality",
        )
    for name, fact in facts["features"].items():
        file, columns = f"features/{name}.npy", fact["shape"][1]
        if fact["missing"]:
            yield _missing(file, fact, contents.num_items)
        if fact["constant_columns"] == columns:
            what = "every item has the same row, which says nothing"
            yield warning(file, what, "leave this modality out", code="folder.constant-feature")
        elif fact["constant_columns"]:
            what = f"{fact['constant_columns']} of {columns} columns are the same for every item"
            remedy = "they do no harm and say nothing; leave them out"
            yield warning(file, what, remedy, code="folder.constant-columns")
        if _looks_misaligned(contents, contents.features[name]):
            yield warning(
                file,
                "items that the same users like are no more alike here than any two",
                f"either it says nothing of taste, or row i is not item i of {ITEMS}: import it by item id",
                code="folder.misaligned-feature",
            )
    for name, fact in facts["bags"].items():
        file = f"bags/{name}.parquet"
        if fact["missing"]:
            yield _missing(file, fact, contents.num_items)
        if fact["repeated"]:
            what = f"{counted(fact['repeated'], 'row')} repeat an item and its word"
            yield warning(file, what, "their weights are added", code="folder.repeated-words")


def _missing(file: str, fact: Mapping[str, Any], num_items: int) -> Finding:
    count = f"{counted(fact['missing'], 'item')} of {num_items} without it (a row of zeros counts as missing)"
    remedy = "they are known by their other modalities" if fact["missing"] * 2 < num_items else "is the file complete?"
    what = f"{count}, the first is item {fact['first_missing']}"
    return warning(file, what, remedy, code="folder.missing-modality")


def _degree_warnings(contents: FolderContents) -> Iterator[Finding]:
    for kind, number, total in (
        ("user", contents.user, contents.num_users),
        ("item", contents.item, contents.num_items),
    ):
        count = np.bincount(number, minlength=total)
        none = int((count == 0).sum())
        if none:
            what = f"{counted(none, kind)} without any interaction, the first is {kind} {count.argmin()}"
            remedy = "drop them (k_core = 1), or keep them as cold ones"
            yield warning(INTERACTIONS, what, remedy, code="folder.without-interactions")


def _split_warnings(contents: FolderContents) -> Iterator[Finding]:
    assert contents.part is not None
    train = contents.part == TRAIN
    for kind, number, total in (
        ("user", contents.user, contents.num_users),
        ("item", contents.item, contents.num_items),
    ):
        count = np.bincount(number[train], minlength=total)
        none = int((count == 0).sum())
        if none:
            what = f"{counted(none, kind)} without training interactions, the first is {kind} {count.argmin()}"
            known = "features alone" if kind == "item" else "nothing"
            remedy = f"{known} can rank for a cold {kind}; thin out with k_core, or accept it"
            yield warning(INTERACTIONS, what, remedy, code="folder.cold")
    for part in (VALID, TEST):
        if not (contents.part == part).any():
            what = f"the {PARTS[part]} part is empty"
            yield warning(INTERACTIONS, what, "use another split to evaluate", code="folder.empty-part")


def _described(contents: FolderContents) -> Array:
    """``[num_items]`` bool: the items with at least one modality."""
    described = np.zeros(contents.num_items, dtype=bool)
    for table in contents.features.values():
        described |= np.asarray(table.any(axis=1))
    for bag in contents.bags.values():
        described[bag.item] = True
    return described


def _looks_misaligned(contents: FolderContents, table: Array) -> bool:
    """Whether features say nothing of who likes what: pairs of items of one user against pairs drawn anew.

    Both kinds of pairs have the same items, so popularity does not matter; the difference of the mean cosines is
    held against its standard error.
    """
    user, item = contents.user, contents.item
    if contents.part is not None:
        user, item = user[contents.part == TRAIN], item[contents.part == TRAIN]
    rng = np.random.default_rng(0)
    order = np.lexsort((rng.random(len(user)), user))
    pairs = np.flatnonzero(np.diff(user[order]) == 0)
    if len(pairs) > _PAIRS:
        pairs = rng.choice(pairs, _PAIRS, replace=False)
    left, right = item[order][pairs], item[order][pairs + 1]
    whole = table[left].any(axis=1) & table[right].any(axis=1)
    left, right = left[whole], right[whole]
    if len(left) < _FEWEST_PAIRS:
        return False
    first, second = (_unit(table[rows]) for rows in (left, right))
    together = (first * second).sum(axis=1)
    apart = (first * second[rng.permutation(len(second))]).sum(axis=1)
    difference = together - apart
    return bool(difference.mean() < 2 * difference.std() / np.sqrt(len(difference)))


def _unit(rows: Array) -> Array:
    """Rows less their mean, at length one."""
    rows = rows.astype(np.float32)
    rows -= rows.mean(axis=0)
    length: Array = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return np.divide(rows, length, dtype=np.float32)


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


def _bag_facts(bag: BagTable, num_items: int) -> dict[str, Any]:  # Any: JSON
    words = np.bincount(bag.item, minlength=num_items)
    pairs = np.unique(bag.item * bag.num_words + bag.word).size
    return {
        "words": bag.num_words,
        "rows": len(bag.item),
        "words_per_item": round(float(words.mean()), 2),
        "missing": int((words == 0).sum()),
        "first_missing": int((words == 0).argmax()) if (words == 0).any() else None,
        "repeated": len(bag.item) - int(pairs),
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


def _top_share(count: Array, part: int) -> float:
    top = max(1, len(count) // part)
    return float(np.sort(count)[-top:].sum() / count.sum())
