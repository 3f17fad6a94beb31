"""Recommendations for a list of users, in the data's own ids, as Parquet or JSON lines.

Does not know how a model ranks, nor what a run is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import DataError, near_miss
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations

__all__ = [
    "KNOWN",
    "Format",
    "Known",
    "allowed_items",
    "format_of",
    "read_ids",
    "recommend",
    "rows_of",
    "user_numbers",
    "write",
]

Format = Literal["parquet", "jsonl"]
Known = Literal["train", "train+valid", "all"]
KNOWN: tuple[Known, ...] = ("train", "train+valid", "all")
BATCH = 256  # users at a time


def read_ids(path: Path, column: str) -> list[str]:
    """Ids from a file: a column of a Parquet file, a key of JSON lines, or plain text with one id a line.

    Raises:
        DataError: if the file cannot be read or lacks the column.
    """
    try:
        if path.suffix == ".parquet":
            import polars

            frame = polars.read_parquet(path)
            if column not in frame.columns:
                raise DataError(
                    f"there is no column {column!r}", where=str(path), remedy=near_miss(column, frame.columns)
                )
            return [str(one) for one in frame[column].to_list()]
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if path.suffix in (".jsonl", ".json"):
            return [str(_field(line, column)) for line in lines]
        return [line for number, line in enumerate(lines) if not (number == 0 and line == column)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the ids cannot be read ({error})", where=str(path), remedy=f"give a {column} a line"
        ) from None


def _field(line: str, column: str) -> object:
    value = json.loads(line)
    return value[column] if isinstance(value, dict) else value


def user_numbers(ids: Sequence[str], data: Dataset, *, where: str) -> Tensor:
    """``[N]`` int64: row numbers of users by their own ids; a user asked for twice is answered once.

    Raises:
        DataError: if there are none, or unknown ones among them.
    """
    return _numbers(ids, data.user_ids, data.num_users, "user", where)


def allowed_items(path: Path, data: Dataset) -> Tensor:
    """``[num_items]`` bool: True for the items whose ids a file names."""
    allowed = torch.zeros(data.num_items, dtype=torch.bool)
    allowed[_numbers(read_ids(path, "item"), data.item_ids, data.num_items, "item", str(path))] = True
    return allowed


def _numbers(ids: Sequence[str], names: Sequence[str] | None, count: int, kind: str, where: str) -> Tensor:
    known = {str(name): number for number, name in enumerate(range(count) if names is None else names)}
    wanted = list(dict.fromkeys(ids))
    unknown = [one for one in wanted if one not in known]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(wanted)} {kind}s are not in the data, {unknown[0]!r} is the first",
            where=where,
            remedy=f"leave them out; the data have {count} {kind}s, {next(iter(known))!r} is the first",
        )
    if not wanted:
        raise DataError(f"no {kind} is named", where=where, remedy=f"write one {kind} a line")
    return torch.tensor([known[one] for one in wanted], dtype=torch.int64)


def recommend(
    fitted: FittedRecommender, data: Dataset, users: Tensor, *, top_k: int, known: Known, allowed: Tensor | None = None
) -> Iterator[Recommendations]:
    """The best items of the users, a batch at a time.

    Args:
        fitted: a model of these data.
        data: its data.
        users: ``[N]`` int64.
        top_k: items for each.
        known: the parts of the data whose items their users are not given again.
        allowed: ``[num_items]`` bool, True = may be recommended; None: all may.
    """
    seen = data.train if known == "train" else data.train.merged(data.valid)
    if known == "all":
        seen = seen.merged(data.test)
    if data.ordered and known != "train":
        fitted = fitted.with_history(seen)
    for batch in torch.split(users, BATCH):
        yield fitted.recommend(batch, top_k=top_k, exclusion=Exclusion(seen=seen.padded(batch), allowed=allowed))


def rows_of(answer: Recommendations, data: Dataset) -> Iterator[dict[str, Any]]:  # Any: JSON
    """One row for each recommended item: user, rank (from 1), item, score."""
    for user, items, scores in zip(
        answer.user.tolist(), answer.item.tolist(), answer.score.double().tolist(), strict=True
    ):
        for place, (item, score) in enumerate(zip(items, scores, strict=True)):
            if item >= 0:
                yield {"user": data.user_id(user), "rank": place + 1, "item": data.item_id(item), "score": score}


def format_of(path: Path) -> Format:
    """The format that a file's name asks for.

    Raises:
        DataError: if it asks for none that is known.
    """
    if path.suffix == ".parquet":
        return "parquet"
    if path.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    raise DataError(
        f"the format {path.suffix!r} is unknown", where=str(path), remedy="end the name in .parquet or .jsonl"
    )


def write(path: Path, batches: Iterator[Recommendations], data: Dataset) -> int:
    """Write all rows to a file that is whole or not there.

    Returns:
        The number of rows.

    Raises:
        DataError: if the file cannot be written.
    """
    kind = format_of(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    rows = (row for batch in batches for row in rows_of(batch, data))
    try:
        count = _write_parquet(temporary, rows) if kind == "parquet" else _write_lines(temporary, rows)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror or error})", where=str(path), remedy="check it") from None
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    import polars

    schema = {"user": polars.String, "rank": polars.Int32, "item": polars.String, "score": polars.Float32}
    frame = polars.DataFrame(list(rows), schema=schema)
    frame.write_parquet(path)
    return frame.height


def _write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
