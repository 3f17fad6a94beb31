"""Recommendations for a list of users, in the data's own ids, as Parquet or JSON lines, or for many users as shards.

Does not know how a model ranks, nor what a run is.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmgrec.checkpoint import sweep, write_atomically
from mmgrec.data import Dataset
from mmgrec.errors import DataError, RunError, near_miss, reason_of
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations
from mmgrec.runfolder import differences, lock

__all__ = [
    "KNOWN",
    "Format",
    "Known",
    "Shards",
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
_ASKED, _MANIFEST = "asked.json", "manifest.json"


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
                    f"there is no column {column!r}", where=str(path), remedy=near_miss(column, frame.columns)
                )
            return [str(one) for one in frame[column].to_list()]
        text = path.read_text(encoding="utf-8").split("\n")  # not splitlines: U+2028 may be part of an id
        lines = [line.strip(" \t\r") for line in text if line.strip(" \t\r")]
        if path.suffix in (".jsonl", ".json"):
            return [str(_field(line, column)) for line in lines]
        return [line for number, line in enumerate(lines) if not (number == 0 and line == column)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, PolarsError) as error:
        raise DataError(
            f"the ids cannot be read ({reason_of(error)})", where=str(path), remedy=f"write one {column} a line"
        ) from None


def _field(line: str, column: str) -> object:
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


def format_of(path: Path) -> Format | None:
    """The format that a file's name asks for; None: a name without an ending is a folder of shards.

    Raises:
        DataError: if it asks for none that is known.
    """
    if path.suffix == ".parquet":
        return "parquet"
    if path.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if not path.suffix or path.is_dir():
        return None
    raise DataError(
        f"the format {path.suffix!r} is unknown",
        where=str(path),
        remedy="end the name in .parquet or .jsonl, or name a folder",
    )


def write(path: Path, batches: Iterable[Recommendations], data: Dataset) -> int:
    """Write all rows to a file that is whole or not there.

    Returns:
        The number of rows.

    Raises:
        RunError: if the disk refuses.
    """
    if format_of(path) == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for batch in batches for row in rows_of(batch, data)]
        write_atomically(path, "".join(lines).encode())
        return len(lines)
    content, count = _parquet(list(batches), data)
    write_atomically(path, content)
    return count


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A folder of Parquet files, each with the rows of so many users; ``manifest.json`` is written last.

    Work that was stopped at any moment goes on with the files that are missing.
    """

    path: Path
    size: int  # users a file

    def write(
        self,
        users: Tensor,
        data: Dataset,
        answer: Callable[[Tensor], Iterable[Recommendations]],
        *,
        asked: Mapping[str, Any],  # Any: JSON
        note: Callable[[str], None] = lambda text: None,
    ) -> int:
        """Write what is not there yet.

        Args:
            users: ``[N]`` int64.
            data: names of users and items.
            answer: from users to their recommendations.
            asked: what the rows depend on; a folder begun with anything else is refused.
            note: hears how far it is.

        Returns:
            The number of rows of all shards.

        Raises:
            RunError: if another process is at the folder, it holds other things, or the disk refuses.
        """
        asked = {**asked, "users": hashlib.sha256(users.numpy().tobytes()).hexdigest(), "shard_size": self.size}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"the folder cannot be made ({error.strerror})", where=str(self.path), remedy="choose another --out"
            ) from None
        with lock(self.path / "lock"):
            self._settle(asked)
            whole = self._finished()
            files: dict[str, dict[str, Any]] = {}
            parts = torch.split(users, self.size)
            for place, part in enumerate(parts):
                name = f"part-{place:05d}.parquet"
                if name not in whole and not (self.path / name).is_file():
                    content, _ = _parquet(list(answer(part)), data)
                    write_atomically(self.path / name, content)
                    note(f"{place + 1} of {len(parts)} shards are written")
                files[name] = whole.get(name) or self._facts(name)
            manifest = {"asked": asked, "files": files}
            write_atomically(self.path / _MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        return sum(int(one["rows"]) for one in files.values())

    def _settle(self, asked: Mapping[str, Any]) -> None:
        sweep(self.path)
        if not (self.path / _ASKED).exists():
            strangers = sorted(one.name for one in self.path.iterdir() if one.name != "lock")
            if strangers:
                raise RunError(
                    f"the folder holds other things ({', '.join(strangers[:3])})",
                    where=str(self.path),
                    remedy="choose another folder with --out",
                )
            write_atomically(self.path / _ASKED, json.dumps(asked, indent=1).encode())
            return
        odd = differences(self._json(_ASKED), asked)
        if odd:
            raise RunError(
                f"this folder was begun for something else: {', '.join(odd)}",
                where=str(self.path),
                remedy="choose another folder with --out, or delete this one",
            )

    def _finished(self) -> dict[str, dict[str, Any]]:
        """The shards that a manifest vouches for; those that are not as it says are removed."""
        if not (self.path / _MANIFEST).exists():
            return {}
        whole = {}
        for name, facts in dict(self._json(_MANIFEST).get("files", {})).items():
            file = self.path / Path(name).name
            if file.is_file() and self._facts(file.name, count=False)["sha256"] == facts.get("sha256"):
                whole[file.name] = facts
            else:
                file.unlink(missing_ok=True)
        (self.path / _MANIFEST).unlink()
        return whole

    def _facts(self, name: str, *, count: bool = True) -> dict[str, Any]:
        import polars

        content = (self.path / name).read_bytes()
        facts: dict[str, Any] = {"sha256": hashlib.sha256(content).hexdigest()}
        if count:
            facts["rows"] = polars.read_parquet(io.BytesIO(content), columns=["rank"]).height
        return facts

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"cannot be read ({reason_of(error)})", where=str(self.path / name), remedy="delete the folder"
            ) from None
        if not isinstance(found, dict):
            raise RunError("is not what was written", where=str(self.path / name), remedy="delete the folder")
        return found


def _parquet(answers: Sequence[Recommendations], data: Dataset) -> tuple[bytes, int]:
    """The rows of `rows_of` as a Parquet file, and their number."""
    import polars

    item = torch.cat([one.item for one in answers])
    kept = item >= 0
    row, place = kept.nonzero(as_tuple=True)
    user = torch.cat([one.user for one in answers])
    users = [data.user_id(one) for one in user.tolist()]
    chosen, number = torch.unique(item[kept], return_inverse=True)
    items = [data.item_id(one) for one in chosen.tolist()]
    frame = polars.DataFrame(
        {
            "user": polars.Series(users, dtype=polars.String).gather(row.numpy()),
            "rank": polars.Series((place + 1).numpy(), dtype=polars.Int32),
            "item": polars.Series(items, dtype=polars.String).gather(number.numpy()),
            "score": polars.Series(torch.cat([one.score for one in answers])[kept].numpy(), dtype=polars.Float32),
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue(), frame.height
