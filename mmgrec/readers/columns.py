"""Which column is what: by its name if one is given, else by names that people use; and strings to times and numbers.

A reader of any format gives its table to `interactions` and `item_texts`, and has the columns under our names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mmgrec.data import PARTS
from mmgrec.errors import DataError, near_miss

if TYPE_CHECKING:
    from polars import DataFrame, Series

__all__ = ["ROLES", "guess", "interactions", "item_texts", "role_of", "texts"]

#: role -> names of columns in small letters and figures alone, the better ones first
ROLES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "userid", "uid", "reviewerid", "customerid", "customer", "visitorid", "accountid", "memberid"),
    "item": (
        *("item", "itemid", "iid", "parentasin", "asin", "movieid", "productid", "product", "sku", "videoid"),
        *("trackid", "songid", "bookid", "isbn", "businessid", "articleid", "newsid", "artistid", "recipeid"),
    ),
    "timestamp": ("timestamp", "time", "ts", "unixreviewtime", "datetime", "date", "createdat", "eventtime"),
    "rating": ("rating", "score", "stars", "overall"),
    "split": ("split", "xlabel"),
}
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "title": ("title", "name", "movietitle", "itemname", "productname"),
    "category": ("category", "categories", "maincategory", "genres", "genre", "class"),
    "text": ("text", "description", "abstract", "body"),
    "image_path": ("imagepath", "image"),
}
_PARTS = {**{name: part for part, name in enumerate(PARTS)}, "validation": 1, "val": 1, "0": 0, "1": 1, "2": 2}


def role_of(name: str) -> str:
    """What a column of this name is taken for; "" for nothing.

    >>> role_of("user_id"), role_of("movieId"), role_of("timestamp:float"), role_of("colour")
    ('user', 'item', 'timestamp', '')
    """
    plain = _plain(name)
    return next((role for role, names in ROLES.items() if plain in names), "")


def guess(names: Sequence[str], roles: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """role -> the column whose name speaks best for it."""
    plain = {_plain(name): name for name in reversed(names)}
    best = {role: next((plain[word] for word in wanted if word in plain), "") for role, wanted in roles.items()}
    return {role: name for role, name in best.items() if name}


def interactions(frame: DataFrame, given: Mapping[str, str], *, where: str) -> tuple[DataFrame, str]:
    """Take the columns of interactions out of a table.

    Args:
        frame: any table.
        given: role -> name of a column, "" to guess it.
        where: the file, for messages.

    Returns:
        The rows as `RawTables.rows`, and what was taken for what, in words.

    Raises:
        DataError: if a column is not there, cannot be guessed, or holds gaps or wrong values.
    """
    import polars

    chosen = guess(frame.columns, ROLES)
    for role, name in given.items():
        if name and name not in frame.columns:
            raise DataError(
                f"there is no column {name!r}",
                where=where,
                remedy=near_miss(name, frame.columns),
                code="readers.missing-column",
            )
        if name:
            chosen = {other: column for other, column in chosen.items() if column != name}
            chosen[role] = name
    for role in ("user", "item"):
        if role not in chosen:
            raise DataError(
                f"no column looks like the {role}; there are {', '.join(frame.columns[:20])}",
                where=where,
                remedy=f"name it with --{role}-column",
                code="readers.unknown-column",
            )
    columns = {role: ids(frame[chosen[role]], role, where) for role in ("user", "item")}
    if "timestamp" in chosen:
        columns["timestamp"] = _times(frame[chosen["timestamp"]], where)
    if "rating" in chosen:
        columns["rating"] = _numbers(frame[chosen["rating"]], "rating", where)
    if "split" in chosen:
        columns["part"] = _parts(frame[chosen["split"]], where)
    understood = ", ".join(f"{role} = {name!r}" for role, name in chosen.items())
    return polars.DataFrame({role: column.alias(role) for role, column in columns.items()}), understood


def item_texts(frame: DataFrame, *, where: str, column: str = "") -> DataFrame:
    """Take item ids and what is known of the items in words out of a table: `RawTables.items`.

    Raises:
        DataError: if no column looks like the item, or none like text.
    """
    import polars

    item = column or guess(frame.columns, {"item": ROLES["item"]}).get("item", "")
    if item not in frame.columns:
        raise DataError(
            "no column looks like the item", where=where, remedy="call it item_id", code="readers.unknown-column"
        )
    chosen = {name: source for name, source in guess(frame.columns, _TEXTS).items() if source != item}
    if not chosen:
        raise DataError(
            "nothing of the items is told",
            where=where,
            remedy="call the columns title, category, text or image_path",
            code="readers.no-texts",
        )
    columns = {"item": ids(frame[item], "item", where)}
    columns |= {name: texts(frame[source]).fill_null("") for name, source in chosen.items()}
    return polars.DataFrame({name: column.alias(name) for name, column in columns.items()})


def ids(column: Series, role: str, where: str) -> Series:
    """A column of ids as strings, none missing."""
    import polars

    if column.dtype.is_float():
        whole = column.cast(polars.Int64, strict=False)
        if not ((whole == column) | column.is_null()).all():
            raise DataError(
                f"the column of {role}s holds fractions",
                where=where,
                remedy="give whole numbers or text",
                code="readers.wrong-value",
            )
        column = whole
    column = texts(column)
    gaps = column.is_null() | (column == "")
    if gaps.any():
        count = int(gaps.sum())
        more = f" ({count} such rows)" if count > 1 else ""
        raise DataError(
            f"row {int(gaps.arg_max() or 0) + 1} has no {role}{more}",
            where=where,
            remedy="drop or mend it",
            code="readers.missing-value",
        )
    return column


def texts(column: Series) -> Series:
    """Any column as strings; lists are joined by blanks."""
    import polars

    if isinstance(column.dtype, polars.List):
        return column.list.eval(polars.element().cast(polars.String)).list.join(" ")
    return column.cast(polars.String)


def _plain(name: str) -> str:
    """A column's name in small letters and figures alone, without the type that some formats put behind it."""
    return re.sub(r"[^a-z0-9]", "", name.partition(":")[0].lower())


def _wrong(column: Series, parsed: Series, kind: str, where: str, wanted: str) -> DataError:
    """An error about the first row that could not be parsed."""
    row = int(parsed.is_null().arg_max() or 0)
    value = column[row]
    what = f"row {row + 1} has no {kind}" if value is None else f"row {row + 1} has the {kind} {value!r}"
    return DataError(
        what, where=where, remedy=wanted, code="readers.missing-value" if value is None else "readers.wrong-value"
    )


def _numbers(column: Series, kind: str, where: str) -> Series:
    import polars

    parsed = column.cast(polars.Float64, strict=False)
    parsed = parsed.set(parsed.is_nan(), None)
    if parsed.null_count():
        raise _wrong(column, parsed, kind, where, "a number is wanted")
    return parsed


def _times(column: Series, where: str) -> Series:
    """Whole numbers: as they are; fractions: times a million; dates: milliseconds since 1970."""
    import polars

    if column.dtype.is_temporal():
        parsed = column.cast(polars.Datetime("ms")).dt.epoch("ms")
    else:
        parsed = _from_fractions(column) if column.dtype.is_float() else column.cast(polars.Int64, strict=False)
        if parsed.null_count() and column.dtype == polars.String:
            parsed = _from_fractions(column)
        if parsed.null_count() and column.dtype == polars.String:
            parsed = _from_dates(column, parsed)
    if parsed.null_count():
        raise _wrong(column, parsed, "timestamp", where, "a number or an ISO date is wanted")
    return parsed


def _from_fractions(column: Series) -> Series:
    import polars

    number = column.cast(polars.Float64, strict=False)
    number = number.set(~number.is_finite(), None)
    if not number.null_count() and (number == number.floor()).all():
        return number.cast(polars.Int64, strict=False)
    return (number * 1e6).round().cast(polars.Int64, strict=False)


def _from_dates(column: Series, otherwise: Series) -> Series:
    import polars

    plain = column.str.replace(r"(Z|[+-]00:?00)$", "").str.replace("T", " ", literal=True)
    for shape in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        parsed = plain.str.to_datetime(shape, time_unit="ms", strict=False)
        if not parsed.null_count():
            return parsed.dt.epoch("ms")
    return otherwise if column.dtype != polars.String else otherwise.clear(len(otherwise))


def _parts(column: Series, where: str) -> Series:
    import polars

    text = column.cast(polars.String).str.strip_suffix(".0").str.to_lowercase()
    parsed = text.replace_strict(_PARTS, default=None, return_dtype=polars.Int8)
    if parsed.null_count():
        raise _wrong(column, parsed, "split", where, "a split is train, valid or test, or 0, 1 or 2")
    return parsed
