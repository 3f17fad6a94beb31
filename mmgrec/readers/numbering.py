"""From ids to numbers: users and items in the sorted order of their ids, rows by user and time, each pair once.

The result depends on what the files say, not on their format or the order of their lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mmgrec.data import TRAIN
from mmgrec.errors import DataError
from mmgrec.folder import Array, BagTable, FolderContents
from mmgrec.readers.raw import ITEM_TEXTS, ItemTable, RawTables

if TYPE_CHECKING:
    from polars import DataFrame, Series

__all__ = ["numbered"]

Note = Callable[[str], None]


def numbered(raw: RawTables, *, min_rating: float | None = None, note: Note = lambda text: None) -> FolderContents:
    """Number users and items and bring everything into their order.

    Args:
        raw: what a reader found.
        min_rating: keep rows rated so or better; None: every row counts, however it is rated.
        note: hears what was dropped or is missing.

    Raises:
        DataError: if nothing is left, or a rating is asked for that is not known.
    """
    import polars

    rows = _rated(raw, min_rating, note)
    users, items = (rows[name].unique().sort() for name in ("user", "item"))
    for name, known in (("user", users), ("item", items)):
        rows = rows.with_columns(_numbers(rows[name], known).alias(name))
    order = [name for name in ("user", "timestamp", "item", "part") if name in rows.columns]
    pairs = [name for name in ("user", "item", "timestamp", "part") if name in rows.columns]
    kept = rows.sort(pairs).unique(["user", "item"], keep="first", maintain_order=True).sort(order)
    if kept.height < rows.height:
        earliest = "at its earliest" if "timestamp" in rows.columns else "once"
        note(
            f"{rows.height - kept.height} of {rows.height} rows repeat a pair of user and item; each is kept {earliest}"
        )
    part = kept["part"].to_numpy() if "part" in kept.columns else None
    if part is not None and not (part == TRAIN).any():
        raise DataError(
            "the split has no training rows",
            where=str(raw.path),
            remedy="nothing can be learnt from it",
            code="readers.nothing-to-train-on",
        )
    texts = _texts(raw, items)
    return FolderContents(
        path=raw.path,
        user=kept["user"].cast(polars.Int64).to_numpy(),
        item=kept["item"].cast(polars.Int64).to_numpy(),
        num_users=len(users),
        num_items=len(items),
        timestamp=kept["timestamp"].to_numpy() if "timestamp" in kept.columns else None,
        part=part,
        features={name: _placed(name, table, items, note) for name, table in sorted(raw.features.items())},
        bags={name: _bag(name, table, items, note) for name, table in sorted(raw.bags.items())},
        user_ids=users.to_list(),
        item_ids=items.to_list(),
        item_titles=texts.pop("title", None),
        item_texts=texts,
    )


def _rated(raw: RawTables, least: float | None, note: Note) -> DataFrame:
    """The rows that are rated `least` or better, without their ratings."""
    rows = raw.rows
    if least is not None:
        if "rating" not in rows.columns:
            raise DataError(
                "there are no ratings",
                where=str(raw.path),
                remedy="leave out --min-rating (min_rating)",
                code="readers.no-ratings",
            )
        rows = rows.filter(rows["rating"] >= least)
        note(f"{rows.height} of {raw.rows.height} rows are rated {least:g} or better")
        if not rows.height:
            raise DataError(
                f"no row is rated {least:g} or better",
                where=str(raw.path),
                remedy="lower --min-rating",
                code="readers.nothing-left",
            )
    return rows.drop("rating", strict=False)


def _numbers(column: Series, known: Series) -> Series:
    """``[N]`` Int64: the place of each value among the known ones, which are sorted; null where it is none."""
    import polars

    numbers = polars.DataFrame({"id": known, "number": np.arange(len(known))})
    return polars.DataFrame({"id": column}).join(numbers, on="id", how="left", maintain_order="left")["number"]


def _texts(raw: RawTables, items: Series) -> dict[str, list[str]]:
    """name -> ``[num_items]`` what is known of each item in words; "" where nothing is."""
    import polars

    if raw.items is None:
        return {}
    known = raw.items.unique("item", keep="first", maintain_order=True)
    table = polars.DataFrame({"item": items}).join(known, on="item", how="left", maintain_order="left")
    return {name: table[name].fill_null("").to_list() for name in ITEM_TEXTS if name in table.columns}


def _placed(name: str, keyed: ItemTable, items: Series, note: Note) -> Array:
    """``[num_items, dim]`` float32; zeros where an item has no row."""
    import polars

    number = _numbers(polars.Series(keyed.item, dtype=polars.String), items)
    known = number.is_not_null().to_numpy()
    out = np.zeros((len(items), keyed.table.shape[1]), dtype=np.float32)
    out[number.drop_nulls().to_numpy()] = keyed.table[known]
    described = int(out.any(axis=1).sum())
    if not described:
        raise DataError(
            f"no item of the interactions has a row; {keyed.item[0]!r} is the first it names, {items[0]!r} the data",
            where=keyed.where,
            remedy="the ids must be spelt alike",
            code="readers.no-common-items",
        )
    facts = [f"{described} of {len(items)} items have it"]
    facts += [f"{int((~known).sum())} rows belong to no item of the data and are left out"] if not known.all() else []
    note(f"modality {name}: {'; '.join(facts)}")
    return out


def _bag(name: str, table: DataFrame, items: Series, note: Note) -> BagTable:
    """Words by number, of items by number; weights of the same word of the same item are added."""
    import polars

    number = _numbers(table["item"], items)
    known = table.with_columns(number.alias("number")).filter(number.is_not_null())
    if not known.height:
        raise DataError(
            f"the bag {name!r} has no word of an item of the data",
            remedy="the ids must be spelt alike",
            code="readers.no-common-items",
        )
    known = known.sort("number", "word", "weight")
    summed = known.group_by("number", "word", maintain_order=True).agg(polars.col("weight").sum())
    words = summed["word"].unique().sort()
    bag = BagTable(
        item=summed["number"].to_numpy(),
        word=_numbers(summed["word"], words).to_numpy(),
        weight=summed["weight"].cast(polars.Float32).to_numpy(),
        num_words=len(words),
        words=words.to_list(),
    )
    left = table.height - known.height
    more = f"; {left} rows belong to no item of the data and are left out" if left else ""
    note(f"modality {name}: {bag.num_described} of {len(items)} items have words, {len(words)} different ones{more}")
    return bag
