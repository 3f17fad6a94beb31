"""Recommendations as Parquet, JSON lines, or for many users as a folder of shards."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import DataError, RunError
from mmgrec.interfaces import Recommendations
from mmgrec.serving.answers import rows_of
from mmgrec.settings import differences
from mmgrec.storage import MANIFEST, Json, SealedFolder, sha256_of, write_atomically

__all__ = ["Format", "Shards", "format_of", "write"]

Format = Literal["parquet", "jsonl"]


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
        code="serving.unknown-format",
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
class Shards(SealedFolder):
    """A folder of Parquet files, each with the rows of so many users; ``manifest.json`` is written last.

    Work that was stopped at any moment goes on with the files that are missing.
    """

    size: int  # users a file

    kind = "folder"
    mark = "asked.json"
    again = "delete the folder"

    def refusal(self, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str] | None:
        if odd := differences(there, wanted):
            sentence = f"this folder was begun for something else: {', '.join(odd)}"
            return sentence, "choose another folder with --out, or delete this one"
        return None

    def write_users(
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
        asked = {**asked, "users": sha256_of(users.numpy().tobytes()), "shard_size": self.size}
        with self.claimed(asked):
            whole = self._finished()
            files: dict[str, Json] = {}
            parts = torch.split(users, self.size)
            for index, part in enumerate(parts):
                name = f"part-{index:05d}.parquet"
                if name not in whole and not (self.path / name).is_file():
                    content, _ = _parquet(list(answer(part)), data)
                    self.write(name, content)
                    note(f"{index + 1} of {len(parts)} shards are written")
                files[name] = whole.get(name) or self._facts(name)
            self.write_manifest({"asked": asked, "files": files})
        return sum(int(facts["rows"]) for facts in files.values())

    def _finished(self) -> dict[str, Json]:
        """The shards that a manifest vouches for; those that are not as it says are removed."""
        if not self.finished:
            return {}
        manifest = self.json(MANIFEST)
        if not isinstance(manifest, dict):
            raise RunError(
                "is not what was written",
                where=str(self.path / MANIFEST),
                remedy=self.again,
                code="storage.not-as-written",
            )
        whole = {}
        for name, facts in dict(manifest.get("files", {})).items():
            file = self.path / Path(name).name
            if file.is_file() and sha256_of(file) == facts.get("sha256"):
                whole[file.name] = facts
            else:
                file.unlink(missing_ok=True)
        (self.path / MANIFEST).unlink()
        return whole

    def _facts(self, name: str) -> Json:
        """What the manifest says of a shard."""
        import polars

        content = (self.path / name).read_bytes()
        rows = polars.read_parquet(io.BytesIO(content), columns=["rank"]).height
        return {"sha256": sha256_of(content), "rows": rows}


def _parquet(answers: Sequence[Recommendations], data: Dataset) -> tuple[bytes, int]:
    """The rows of `rows_of` as a Parquet file, and their number."""
    import polars

    item = torch.cat([answer.item for answer in answers])
    filled = item >= 0
    row, column = filled.nonzero(as_tuple=True)
    user_ids = [data.user_id(user) for answer in answers for user in answer.user.tolist()]
    distinct, number = torch.unique(item[filled], return_inverse=True)  # an id is looked up once
    item_ids = [data.item_id(item) for item in distinct.tolist()]
    score = torch.cat([answer.score for answer in answers])[filled]
    frame = polars.DataFrame(
        {
            "user": polars.Series(user_ids, dtype=polars.String).gather(row.numpy()),
            "rank": polars.Series((column + 1).numpy(), dtype=polars.Int32),
            "item": polars.Series(item_ids, dtype=polars.String).gather(number.numpy()),
            "score": polars.Series(score.numpy(), dtype=polars.Float32),
        }
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue(), frame.height
