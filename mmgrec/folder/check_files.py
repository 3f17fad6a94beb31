"""The errors of `mmgrec data check`: mistakes in the files of a data folder, file by file. Opens, never unpickles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgrec.data import PARTS, TRAIN
from mmgrec.folder.contents import (
    CONVERT,
    INTERACTIONS,
    ITEMS,
    PICKLED,
    Array,
    BagTable,
    Finding,
    counted,
    error,
    such,
    warning,
)

if TYPE_CHECKING:
    import polars

__all__ = [
    "arrays_of",
    "bags_of",
    "column_errors",
    "feature_errors",
    "first_line",
    "graph_errors",
    "pair_errors",
    "parts_of",
    "table_of",
    "unknown_files",
]

_OTHER = (".npz", ".safetensors", ".parquet", ".csv", ".h5")


def table_of(path: Path, name: str, findings: list[Finding]) -> polars.DataFrame | None:
    """A Parquet file of the folder; None where it cannot be read, and then the reason is in `findings`."""
    import polars

    if not (path / name).is_file():
        findings.append(error(name, "is missing", f"the folder {path} needs it", code="folder.missing-file"))
        return None
    try:
        return polars.read_parquet(path / name, glob=False)
    except (polars.exceptions.PolarsError, OSError) as problem:
        what = f"cannot be read as Parquet ({first_line(problem)})"
        findings.append(error(name, what, "write it again", code="folder.not-parquet"))
        return None


def arrays_of(path: Path, folder: str, findings: list[Finding]) -> dict[str, Array]:
    """The ``.npy`` files of a folder within the data folder; what is wrong with them goes to `findings`."""
    arrays: dict[str, Array] = {}
    for file in sorted((path / folder).glob("*.npy")):
        try:
            # Maps the file; object arrays and pickles end in a ValueError before anything of them is read.
            arrays[file.stem] = np.lib.format.open_memmap(file, mode="r")
        except (ValueError, OSError, EOFError):
            what = "is no plain numeric array, or not a whole one; pickles and object arrays are never loaded"
            findings.append(error(f"{folder}/{file.name}", what, CONVERT, code="folder.not-an-array"))
    return arrays


def unknown_files(path: Path) -> Iterator[Finding]:
    """Files beside the features that nobody reads: pickles are errors, others are worth a word."""
    for file in sorted((path / "features").glob("*")):
        name = f"features/{file.name}"
        if file.suffix in PICKLED:
            yield error(name, "is a pickle, which is never loaded", CONVERT, code="folder.pickle")
        elif file.suffix in _OTHER:
            remedy = "a folder holds features as .npy; `mmgrec data import` makes them"
            yield warning(name, "is not read", remedy, code="folder.unread-file")


def bags_of(path: Path, num_items: int, findings: list[Finding]) -> dict[str, BagTable]:
    """The sparse modalities of a folder; what is wrong with them goes to `findings`."""
    bags: dict[str, BagTable] = {}
    for file in sorted((path / "bags").glob("*.parquet")):
        name, before = file.stem, len(findings)
        if name.endswith(".words"):
            continue
        rows_file, words_file = f"bags/{file.name}", f"bags/{name}.words.parquet"
        table = table_of(path, rows_file, findings)
        words = None
        if (path / words_file).exists():
            words = table_of(path, words_file, findings)
            if words is not None:
                errors = [*column_errors(words, words_file, texts=("word",), needed=("word",))]
                findings += errors
                words = None if errors else words
        if table is None:
            continue
        findings += column_errors(table, rows_file, integers=("item", "word"))
        if len(findings) > before:
            continue
        bag = _bag(table, None if words is None else words["word"].to_list())
        findings += _bag_errors(rows_file, bag, num_items)
        if (path / "features" / f"{name}.npy").exists():
            what = f"features/{name}.npy has the same name"
            findings.append(error(rows_file, what, "rename one of them", code="folder.repeated-name"))
        bags[name] = bag
    return bags


def _bag(table: polars.DataFrame, words: list[str] | None) -> BagTable:
    item, word = (table[name].to_numpy().astype(np.int64) for name in ("item", "word"))
    if "weight" in table.columns:
        weight = table["weight"].to_numpy().astype(np.float32)
    else:
        weight = np.ones(len(item), dtype=np.float32)
    size = len(words) if words is not None else int(word.max()) + 1 if word.size else 0
    return BagTable(item=item, word=word, weight=weight, num_words=size, words=words)


def _bag_errors(file: str, bag: BagTable, num_items: int) -> Iterator[Finding]:
    for kind, number, size in (("item", bag.item, num_items), ("word", bag.word, bag.num_words)):
        outside = np.flatnonzero((number < 0) | (number >= size))
        if outside.size:
            row = outside[0]
            what = f"row {row} names {kind} {number[row]}, but there are {size} {kind}s ({such(outside.size)})"
            remedy = "items and words are numbered from 0, as in items.parquet and the list of words"
            yield error(file, what, remedy, code="folder.unknown-item" if kind == "item" else "folder.unknown-word")
    bad = np.flatnonzero(~(np.isfinite(bag.weight) & (bag.weight > 0)))
    if bad.size:
        what = f"row {bad[0]} has the weight {bag.weight[bad[0]]} ({such(bad.size)})"
        remedy = "a weight is above zero; leave out the words that an item does not have"
        yield error(file, what, remedy, code="folder.wrong-weight")


def first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0].rstrip(".")


def column_errors(
    table: polars.DataFrame,
    file: str,
    *,
    integers: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
    needed: tuple[str, ...] = (),
) -> Iterator[Finding]:
    """Missing columns (`integers` and `needed`), wrong types and gaps; `optional` are whole numbers too."""
    import polars

    if table.height == 0:
        yield error(file, "has no rows", "a data set needs interactions and items", code="folder.empty-file")
    for name in (*integers, *needed):
        if name not in table.columns:
            what = f"column {name!r} is missing; there are {', '.join(table.columns)}"
            yield error(file, what, "add or rename it", code="folder.missing-column")
    for name in (*integers, *optional, *texts):
        if name not in table.columns:
            continue
        column = table[name]
        if name in texts and column.dtype != polars.String:
            what = f"column {name!r} is {column.dtype}, not text"
            yield error(file, what, "cast it to String", code="folder.wrong-type")
        elif name not in texts and not column.dtype.is_integer():
            what = f"column {name!r} is {column.dtype}, not whole numbers"
            yield error(file, what, "cast it to Int32 or Int64", code="folder.wrong-type")
        elif column.null_count():
            row = column.is_null().arg_max()
            yield error(
                file,
                f"row {row}: {name!r} is null ({such(column.null_count())})",
                "fill them in; unknown text is the empty string",
                code="folder.missing-value",
            )


def pair_errors(user: Array, item: Array, num_items: int, part: Array | None = None) -> Iterator[Finding]:
    """Numbers out of range, and pairs that stand twice."""
    outside = np.flatnonzero((item < 0) | (item >= num_items))
    if outside.size:
        row = outside[0]
        what = f"row {row} names item {item[row]}, but there are {counted(num_items, 'item')} ({such(outside.size)})"
        yield error(INTERACTIONS, what, f"drop the rows, or add the items to {ITEMS}", code="folder.unknown-item")
    negative = np.flatnonzero(user < 0)
    if negative.size:
        row = negative[0]
        what = f"row {row} names user {user[row]}"
        yield error(INTERACTIONS, what, "users are numbered from 0", code="folder.wrong-user-number")
        return
    if user.size and user.max() >= max(10 * user.size, 1000):
        yield error(
            INTERACTIONS,
            f"row {user.argmax()} names user {user.max()}, but there are only {user.size} rows",
            "number the users 0, 1, 2, … without gaps",
            code="folder.wrong-user-number",
        )
        return
    if outside.size:
        return
    key = user * num_items + item
    if (np.diff(key) > 0).all():
        return
    order = np.argsort(key, kind="stable")
    same = key[order][1:] == key[order][:-1]
    again, first = order[1:][same], order[:-1][same]
    if again.size:
        row = again.min()
        leaks = 0 if part is None else int((part[again] != part[first]).sum())
        what = f"row {row} repeats user {user[row]}, item {item[row]} ({such(again.size)}"
        what += f", {leaks} of them in another part of the split: a leak)" if leaks else ")"
        remedy = "keep each pair once; a pair in two parts of a split would leak"
        yield error(INTERACTIONS, what, remedy, code="folder.repeated-pair")


def parts_of(column: polars.Series) -> tuple[Array | None, list[Finding]]:
    """``[N]`` int8, the part of each row as a place in `PARTS`; or None and what is wrong."""
    import polars

    part = column.replace_strict(list(PARTS), list(range(len(PARTS))), default=None, return_dtype=polars.Int8)
    bad = part.is_null()
    if bad.any():
        row = int(bad.to_numpy().argmax())
        what = f"row {row}: split is {column[row]!r} ({such(int(bad.sum()))})"
        return None, [error(INTERACTIONS, what, "a split is train, valid or test", code="folder.unknown-part")]
    if not (part == TRAIN).any():
        what, remedy = "the split has no training rows", "nothing can be learnt from it"
        return None, [error(INTERACTIONS, what, remedy, code="folder.nothing-to-train-on")]
    return part.to_numpy(), []


def _shape_errors(file: str, table: Array, num_items: int) -> Iterator[Finding]:
    if table.ndim != 2 or table.shape[1:] == (0,):
        what = f"has the shape {list(table.shape)}, which is no table"
        yield error(file, what, f"{num_items} rows, one for each item, are wanted", code="folder.wrong-shape")
    elif table.shape[0] != num_items:
        what = f"has {counted(table.shape[0], 'row')} for {counted(num_items, 'item')}"
        yield error(file, what, f"row i belongs to item i of {ITEMS}", code="folder.wrong-row-count")


def feature_errors(file: str, table: Array, num_items: int) -> Iterator[Finding]:
    """A table of the wrong shape or type, or with numbers that are not finite."""
    yield from (wrong := list(_shape_errors(file, table, num_items)))
    if wrong:
        return
    if table.dtype not in (np.float16, np.float32):
        yield error(file, f"holds {table.dtype}", "save it as float32 or float16", code="folder.wrong-type")
        return
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        value = table[bad.argmax()]
        yield error(
            file,
            f"row {bad.argmax()} holds {value[~np.isfinite(value)][0]} ({such(int(bad.sum()))})",
            "an item without this modality has a row of zeros",
            code="folder.not-finite",
        )


def graph_errors(file: str, table: Array, num_items: int) -> Iterator[Finding]:
    """A table of the wrong shape or type, or with items that do not exist."""
    yield from (wrong := list(_shape_errors(file, table, num_items)))
    if wrong:
        return
    if not np.issubdtype(table.dtype, np.integer):
        yield error(file, f"holds {table.dtype}", "save the neighbours' numbers as int32", code="folder.wrong-type")
        return
    bad = ((table < 0) | (table >= num_items)).any(axis=1)
    if bad.any():
        yield error(
            file,
            f"row {bad.argmax()} names an item outside 0 … {num_items - 1} ({such(int(bad.sum()))})",
            "a graph names items by their row",
            code="folder.unknown-item",
        )
