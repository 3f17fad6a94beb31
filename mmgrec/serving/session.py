"""A stored model that answers, opened once and asked often.

`Session.open` takes a run's folder; it holds the fitted model, the names of users and items, and what users have seen.
``mmgrec recommend`` asks one; a service or a batch job of one's own does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.evaluation import Known
from mmgrec.interfaces import FittedRecommender, Recommendations
from mmgrec.runs import StoredRun
from mmgrec.serving.answers import recommend
from mmgrec.serving.files import Shards, format_of, write
from mmgrec.serving.ids import allowed_items, read_ids, user_numbers
from mmgrec.storage import Json, sha256_of

__all__ = ["Question", "Session"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What is asked about each user."""

    top_k: int = 10
    exclude: Known = "train+valid"  # parts whose items their users are not given again
    allowed: Tensor | None = None  # [num_items] bool, True = may be recommended; None: all may

    def to_json(self) -> Json:
        """All that decides an answer beside the model; the allow-list by its digest."""
        digest = "" if self.allowed is None else sha256_of(self.allowed.numpy().tobytes())
        return {"top_k": self.top_k, "exclude": self.exclude, "allow": digest}


@dataclass(frozen=True, kw_only=True, eq=False)
class Session:
    """One model of one stored run, ready to answer on its device."""

    run: StoredRun
    model: str  # its label
    fitted: FittedRecommender
    data: Dataset

    @classmethod
    def open(
        cls, path: Path, *, model: str = "mmgrec", data_path: str | None = None, device: torch.device | None = None
    ) -> Session:
        """Check a run's files, read its data, restore one of its models.

        Args:
            path: the run's folder.
            model: label of the model.
            data_path: where the data lie now, where that is not what the run says.
            device: where it answers; the CPU by default.

        Raises:
            RunError: if the run is unfinished or damaged, its data are not there, or it has no weights of the model.
        """
        run = StoredRun.open(path, data_path=data_path)
        data = run.data()
        return cls(run=run, model=model, fitted=run.fitted(model, device=device), data=data)

    def users(self, file: Path) -> Tensor:
        """``[N]`` int64: the users that a file names by their ids.

        Raises:
            DataError: if it cannot be read, or names nobody, or somebody who is not in the data.
        """
        return user_numbers(read_ids(file, "user"), self.data, where=str(file))

    def items(self, file: Path) -> Tensor:
        """``[num_items]`` bool: True for the items that a file names by their ids.

        Raises:
            DataError: as `users`.
        """
        return allowed_items(file, self.data)

    def answer(self, users: Tensor, question: Question) -> Iterator[Recommendations]:
        """The best items of the users ``[N]``, a batch at a time."""
        return recommend(
            self.fitted,
            self.data,
            users,
            top_k=question.top_k,
            exclude=question.exclude,
            allowed=question.allowed,
        )

    def write(
        self,
        out: Path,
        users: Tensor,
        question: Question,
        *,
        shard_size: int = 100_000,
        note: Callable[[str], None] = lambda text: None,
    ) -> int:
        """Write answers to a file, or to a folder of shards, by the name of `out`.

        Args:
            out: a ``.parquet`` or ``.jsonl`` file, which is whole or not there; any other name is a folder, in which
                work that was stopped goes on.
            users: ``[N]`` int64.
            question: what is asked.
            shard_size: users a file of a folder.
            note: hears how far a folder is.

        Returns:
            The number of rows.

        Raises:
            DataError: if the name asks for another format.
            RunError: if the disk refuses, or the folder is another's.
        """
        if format_of(out) is not None:
            return write(out, self.answer(users, question), self.data)
        asked = {
            "run": self.run.results.data.fingerprint,
            "weights": self.run.digest(self.model),
            "model": self.model,
            **question.to_json(),
        }
        shards = Shards(path=out, size=shard_size)
        return shards.write_users(users, self.data, lambda part: self.answer(part, question), asked=asked, note=note)
