"""Features, bags and texts of items from files of their own; pickles are refused with the way to convert them.

What is read keeps the ids of its file; `mmgrec.readers.numbering` matches it to the items of the interactions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgrec.errors import DataError, near_miss
from mmgrec.folder import CONVERT, PICKLED, Array, such
from mmgrec.readers import files
from mmgrec.readers.columns import ROLES, guess, ids, item_texts
from mmgrec.readers.layout import layout_of
from mmgrec.readers.raw import ItemTable

if TYPE_CHECKING:
    from polars import DataFrame

__all__ = ["any_table", "bag_file", "feature_file", "item_file", "item_list", "plain_array"]

_LISTED = "say with --item-list which item each row belongs to (one id a line)"
_JSON = (".json", ".jsonl", ".ndjson")
_WORDS = {"word": ("word", "words", "wordid", "tag", "token", "term"), "weight": ("weight", "count", "value", "tfidf")}
_NAMES = ("item", "item_id", "parent_asin", "asin", "movieId", "title", "name", "category", "categories", "genres")
_MORE_NAMES = ("main_category", "text", "description", "abstract", "image_path", "image")


def feature_file(path: Path, name: str, *, listed: Sequence[str] | None) -> ItemTable:
    """A modality: Parquet keyed by item, or ``.npy`` or safetensors whose rows are those of an item list.

    Args:
        path: the file.
        name: of the modality; the tensor of this name is taken where a safetensors file holds several.
        listed: ids of the items of the rows, for files that hold none.

    Raises:
        DataError: if the file holds no finite numbers, one row for each item, or is a pickle.
    """
    _there(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        item, table = _keyed_table(path)
    elif suffix in (".npy", ".safetensors"):
        table = plain_array(path) if suffix == ".npy" else _tensor(path, name)
        if listed is None:
            raise DataError(
                "has rows, but no ids of items", where=str(path), remedy=_LISTED, code="readers.item-list-required"
            )
        item = list(listed)
    elif suffix in PICKLED:
        raise DataError("is a pickle, which is never loaded", where=str(path), remedy=CONVERT, code="readers.pickle")
    else:
        raise DataError(
            f"features cannot be read from {suffix or 'such a'} file",
            where=str(path),
            remedy="give .parquet with a column item_id, or .npy or .safetensors with an item list",
            code="readers.unknown-format",
        )
    return keyed(str(path), item, table)


def keyed(where: str, item: list[str], table: Array) -> ItemTable:
    """Ids and rows that belong together, looked over.

    Raises:
        DataError: if they do not fit, an id stands twice, or a number is not finite.
    """
    if table.ndim != 2 or table.shape[1] == 0 or not np.issubdtype(table.dtype, np.number):
        raise DataError(
            "holds no table of numbers",
            where=where,
            remedy="one row of numbers for each item is wanted",
            code="readers.no-numbers",
        )
    if len(item) != len(table):
        raise DataError(
            f"has {len(table)} rows, but the item list has {len(item)}",
            where=where,
            remedy="row i is item i of the list",
            code="readers.wrong-row-count",
        )
    if len(set(item)) < len(item):
        seen: set[str] = set()
        again = next(name for name in item if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DataError(
            f"item {again!r} has two rows",
            where=where,
            remedy="keep one row for each item",
            code="readers.repeated-item",
        )
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        value = table[row][~np.isfinite(table[row])][0]
        raise DataError(
            f"item {item[row]!r} (row {row}) holds {value} ({such(int(bad.sum()))})",
            where=where,
            remedy="leave items out that lack the modality, or give them zeros",
            code="readers.not-finite",
        )
    return ItemTable(where=where, item=item, table=table)


def plain_array(path: Path) -> Array:
    """A ``.npy`` file; object arrays and pickles end in an error before anything of them is read.

    Raises:
        DataError: if it is no plain array of numbers.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError):
        what = "is no plain numeric array, or not a whole one; pickles and object arrays are never loaded"
        raise DataError(what, where=str(path), remedy=CONVERT, code="readers.not-an-array") from None


def bag_file(path: Path) -> DataFrame:
    """Rows of item, word and perhaps weight, from Parquet or a table of text with these names.

    Raises:
        DataError: if columns are missing, or weights are not above zero.
    """
    import polars

    frame = any_table(path)
    chosen = guess(frame.columns, {"item": ROLES["item"], **_WORDS})
    for role in ("item", "word"):
        if role not in chosen:
            raise DataError(
                f"no column looks like the {role}; there are {', '.join(frame.columns[:20])}",
                where=str(path),
                remedy="call the columns item, word and, if known, weight",
                code="readers.unknown-column",
            )
    columns = {role: ids(frame[chosen[role]], role, str(path)) for role in ("item", "word")}
    if "weight" in chosen:
        weight = frame[chosen["weight"]].cast(polars.Float64, strict=False)
        wrong = ~((weight > 0) & weight.is_finite()).fill_null(False)
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise DataError(
                f"row {row + 1} has the weight {frame[chosen['weight']][row]!r}",
                where=str(path),
                remedy="a weight is a number above zero",
                code="readers.wrong-value",
            )
    else:
        weight = polars.Series([1.0]).new_from_index(0, frame.height)
    columns["weight"] = weight
    return polars.DataFrame({role: column.alias(role) for role, column in columns.items()})


def item_file(path: Path) -> DataFrame:
    """What is known of items in words, from Parquet, JSON lines or a table of text.

    Raises:
        DataError: if the file cannot be read, or tells nothing.
    """
    return item_texts(any_table(path), where=str(path))


def item_list(path: Path) -> list[str]:
    """Ids of items in the order of somebody's rows: one a line, or the item column of a Parquet file.

    Raises:
        DataError: if the file cannot be read.
    """
    _there(path)
    if path.suffix.lower() == ".parquet":
        frame = files.parquet(path)
        name = guess(frame.columns, {"item": ROLES["item"]}).get("item", frame.columns[0])
        return [str(item) for item in ids(frame[name], "item", str(path)).to_list()]
    frame = files.delimited(path, separator="\x01", header=False, quoted=False)
    return [str(item) for item in ids(frame["1"], "item", str(path)).to_list()]


def any_table(path: Path) -> DataFrame:
    """A table in any of the plain formats, by the ending of its name.

    Raises:
        DataError: if it cannot be read.
    """
    _there(path)
    suffix = files.suffix_of(path)[0]
    if suffix == ".parquet":
        return files.parquet(path)
    if suffix in PICKLED:
        raise DataError(
            "is a pickle, which is never loaded",
            where=str(path),
            remedy="write it as Parquet or CSV",
            code="readers.pickle",
        )
    if suffix in _JSON:
        frame = files.json_lines(path, (*_NAMES, *_MORE_NAMES, "word", "weight"))
        return frame[[column.name for column in frame if column.null_count() < frame.height]]
    layout = layout_of(path)
    return files.delimited(path, separator=layout.separator, header=layout.header)


def _there(path: Path) -> None:
    """Refuse a path that names no file."""
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), remedy="check the path", code="readers.missing-file")


def _keyed_table(path: Path) -> tuple[list[str], Array]:
    """Ids of items, and a table of numbers from a column of lists or else from all columns of numbers."""
    import polars

    frame = files.parquet(path)
    where = str(path)
    strings = [name for name in frame.columns if frame[name].dtype == polars.String]
    name = guess(frame.columns, {"item": ROLES["item"]}).get("item") or (strings[0] if len(strings) == 1 else "")
    if not name:
        raise DataError(
            "no column holds the ids of items", where=where, remedy="call it item_id", code="readers.unknown-column"
        )
    rest = frame.drop(name)
    lists = [column.name for column in rest if isinstance(column.dtype, polars.List | polars.Array)]
    if lists:
        column = rest[lists[0]]
        if isinstance(column.dtype, polars.List):
            width = int(column.list.len().max() or 0)  # type: ignore[arg-type]  # polars: any literal
            if column.null_count() or not (column.list.len() == width).all():
                raise DataError(
                    f"the lists of {lists[0]!r} differ in length",
                    where=where,
                    remedy="give them one length",
                    code="readers.ragged",
                )
            column = column.list.to_array(width)
        table = column.to_numpy()
    else:
        numbers = [column.name for column in rest if column.dtype.is_numeric()]
        if not numbers:
            raise DataError(
                "there are no numbers",
                where=where,
                remedy="give a column of lists, or one column each",
                code="readers.no-numbers",
            )
        table = rest[numbers].fill_null(float("nan")).to_numpy()
    if table.dtype == object:
        raise DataError("the lists hold gaps", where=where, remedy="fill them in", code="readers.missing-value")
    return [str(item) for item in ids(frame[name], "item", where).to_list()], np.asarray(table)


def _tensor(path: Path, name: str) -> Array:
    """The tensor of this name, or the only one, of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if name not in names and len(names) != 1:
                raise DataError(
                    f"holds no tensor {name!r}",
                    where=str(path),
                    remedy=near_miss(name, names),
                    code="readers.missing-tensor",
                )
            table: Array = file.get_tensor(name if name in names else names[0]).float().numpy()
            return table
    except (SafetensorError, OSError, ValueError) as problem:
        raise DataError(
            f"cannot be read as safetensors ({str(problem).splitlines()[0]})",
            where=str(path),
            remedy="write it again",
            code="readers.not-safetensors",
        ) from None
