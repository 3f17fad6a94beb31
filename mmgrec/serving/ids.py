"""From ids in files to row numbers of users and items."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import DataError, near_miss, reason_of

__all__ = ["allowed_items", "item_number", "read_ids", "user_number", "user_numbers"]


def read_ids(path: Path, column: str) -> list[str]:
    """Ids from a file: a column of a Parquet file, a key of JSON lines, or plain text with one id a line.

    Raises:
        DataError: if the file cannot be read or lacks the column.
    """
    from polars.exceptions import PolarsError

    try:
        if path.suffix == ".parquet":
            import polars

            frame = polars.read_parquet(path)
            if column not in frame.columns:
                raise DataError(
                    f"there is no column {column!r}",
                    where=str(path),
                    remedy=near_miss(column, frame.columns),
                    code="serving.no-such-column",
                )
            return [str(value) for value in frame[column].to_list()]
        text = path.read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 may be part of an id
        lines = [line.strip(" \t\r") for line in text if line.strip(" \t\r")]
        if path.suffix in (".jsonl", ".json"):
            return [str(_field(line, column)) for line in lines]
        return [line for number, line in enumerate(lines) if not (number == 0 and line == column)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, PolarsError) as error:
        raise DataError(
            f"the ids cannot be read ({reason_of(error)})",
            where=str(path),
            remedy=f"write one {column} a line",
            code="serving.unreadable-ids",
        ) from None


def _field(line: str, column: str) -> object:
    """The id on a line of JSON: the value itself, or what an object has under the key."""
    value = json.loads(line)
    if isinstance(value, dict) and column not in value:
        raise ValueError(f"a line has no {column!r}")
    return value[column] if isinstance(value, dict) else value


def user_numbers(ids: Sequence[str], data: Dataset, *, where: str) -> Tensor:
    """``[N]`` int64: row numbers of users by their own ids; a user asked for twice is answered once.

    Raises:
        DataError: if there are none, or unknown ones among them.
    """
    return _numbers(ids, data.user_ids, data.num_users, "user", where)


def user_number(name: str, data: Dataset) -> int:
    """The row number of a user by their own id.

    Raises:
        DataError: if there is no such user.
    """
    places = _places(data.user_ids, data.num_users)
    if name not in places:
        raise DataError(
            f"there is no user {name!r} in the data", remedy=_some_name(places, "user"), code="serving.unknown-user"
        )
    return places[name]


def item_number(name: str, data: Dataset) -> int:
    """The row number of an item by its own id.

    Raises:
        DataError: if there is no such item.
    """
    places = _places(data.item_ids, data.num_items)
    if name not in places:
        raise DataError(
            f"there is no item {name!r} in the data", remedy=_some_name(places, "item"), code="serving.unknown-item"
        )
    return places[name]


def allowed_items(path: Path, data: Dataset) -> Tensor:
    """``[num_items]`` bool: True for the items whose ids a file names."""
    allowed = torch.zeros(data.num_items, dtype=torch.bool)
    allowed[_numbers(read_ids(path, "item"), data.item_ids, data.num_items, "item", str(path))] = True
    return allowed


def _numbers(ids: Sequence[str], names: Sequence[str] | None, count: int, kind: str, where: str) -> Tensor:
    known = _places(names, count)
    wanted = list(dict.fromkeys(ids))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(wanted)} {kind}s are not in the data, {unknown[0]!r} is the first",
            where=where,
            remedy=f"leave them out; the data have {count} {kind}s, {next(iter(known))!r} is the first",
            code="serving.unknown-ids",
        )
    if not wanted:
        raise DataError(f"no {kind} is named", where=where, remedy=f"write one {kind} a line", code="serving.no-ids")
    return torch.tensor([known[name] for name in wanted], dtype=torch.int64)


def _places(names: Sequence[str] | None, count: int) -> dict[str, int]:
    """Id -> row number."""
    return {str(name): number for number, name in enumerate(range(count) if names is None else names)}


def _some_name(places: dict[str, int], kind: str) -> str:
    return f"name one of the {len(places)} {kind}s, {next(iter(places))!r} is the first"
