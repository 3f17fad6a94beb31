"""What a run found, as values: the one reader and the one writer of ``results.json`` and ``run.json``.

Pages, comparisons, tables and the command line work on these, not on the files' keys.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmgrec.data import Dataset
from mmgrec.evaluation import Mask, Report, Split
from mmgrec.recid import Health
from mmgrec.runs.layout import recorded_versions
from mmgrec.storage import Json, read_json, record_json, record_of

__all__ = [
    "DataFacts",
    "Decoding",
    "Environment",
    "ModelResult",
    "RecIDFacts",
    "RunRecord",
    "RunResults",
    "Seconds",
    "environment",
]

#: Field -> its key in the file, where they differ.
_DECODING_KEYS = {"recall_of_exact": "beam_recall_of_exact@10", "exact_users": "oracle_users"}


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """Which data a result is of."""

    name: str
    num_users: int
    num_items: int
    num_interactions: int
    fingerprint: str  # SHA-256 of interactions, split and features

    @classmethod
    def of(cls, data: Dataset) -> DataFacts:
        return cls(
            name=data.name,
            num_users=data.num_users,
            num_items=data.num_items,
            num_interactions=data.num_interactions,
            fingerprint=data.fingerprint,
        )


@dataclass(frozen=True, kw_only=True)
class RecIDFacts:
    """The health of the run's own Rec-IDs, in a few figures; all of them are in ``rec_ids.json``."""

    num_levels: int
    usage: tuple[float, ...]  # [L + 1] share of the vocabulary that some item has
    perplexity: tuple[float, ...]  # [L + 1]
    unique_before_collision: float
    largest_group: int
    hash: str

    @classmethod
    def of(cls, health: Health) -> RecIDFacts:
        return cls(
            num_levels=health.num_levels,
            usage=health.usage,
            perplexity=health.perplexity,
            unique_before_collision=health.unique_before_collision,
            largest_group=health.largest_group,
            hash=health.hash,
        )


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The lists of the run's own model: what is wrong in them, and how near the search comes to an exact one."""

    users: int
    invalid: int
    duplicate: int
    seen: int
    missing: int
    misplaced: int
    recall_of_exact: float | None  # share of the exact decoder's top 10 that is found; None: not measured
    exact_users: int  # users on whom that was measured

    def to_json(self) -> Json:
        return {_DECODING_KEYS.get(name, name): value for name, value in vars(self).items()}

    @classmethod
    def fields_of(cls, payload: Mapping[str, Any]) -> Json:
        """The file's keys as the names of fields."""
        fields = {key: field for field, key in _DECODING_KEYS.items()}
        return {fields.get(key, key): value for key, value in payload.items()}


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Wall clock of one model."""

    fit: float
    recommend: float  # all users of the part


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """One model on one part of the data."""

    model: str  # its label
    split: Split
    mask: Mask
    metrics: Mapping[str, float]  # "recall@10" -> mean over users
    num_users: int
    seconds: Seconds

    @classmethod
    def of(cls, label: str, report: Report, fit_seconds: float) -> ModelResult:
        return cls(
            model=label,
            split=report.split,
            mask=report.mask,
            metrics=dict(report.metrics),
            num_users=report.num_users,
            seconds=Seconds(fit=round(fit_seconds, 3), recommend=round(report.seconds, 3)),
        )

    def ordered(self, metrics: Sequence[str]) -> ModelResult:
        """The same with its metrics in this order."""
        return replace(self, metrics={name: self.metrics[name] for name in metrics})


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """Content of ``results.json``."""

    schema: int = 1
    seed: int
    preset: str
    data: DataFacts
    rec_ids: RecIDFacts
    decoding: Decoding
    results: tuple[ModelResult, ...]  # the run's own model first; each on test, then on valid
    definitions: Mapping[str, str]  # "recall" -> its formula

    def to_json(self) -> Json:
        return record_json(self)

    @classmethod
    def of_json(cls, payload: object, *, where: Path | str, remedy: str = "") -> RunResults:
        """From the content of the file.

        Raises:
            RunError: if a newer version wrote it, or it is not what was written.
        """
        if isinstance(payload, Mapping) and isinstance(payload.get("decoding"), Mapping):
            payload = {**payload, "decoding": Decoding.fields_of(payload["decoding"])}
        return record_of(cls, payload, where=where, remedy=remedy)

    @classmethod
    def read(cls, path: Path, *, remedy: str = "") -> RunResults:
        """From the file.

        Raises:
            RunError: as `of_json`, or if it cannot be read.
        """
        return cls.of_json(read_json(path, remedy=remedy), where=path, remedy=remedy)

    @property
    def labels(self) -> list[str]:
        """Models with results, the run's own first."""
        return list(dict.fromkeys(result.model for result in self.results))

    @property
    def metrics(self) -> list[str]:
        """All that was measured, in order."""
        return list(self.results[0].metrics)

    def find(self, label: str, split: Split) -> ModelResult | None:
        """A model's result on a part; None where there is none."""
        return next((row for row in self.results if row.model == label and row.split == split), None)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where and with what something was computed; names neither the machine nor its user."""

    threads: int
    device: str  # cpu or cuda
    python: str
    system: str
    processors: int | None
    versions: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """In words, the versions apart."""
        return f"{self.system}, {self.processors} processors, Python {self.python}, {self.device}"


def environment(device: torch.device) -> Environment:
    """Of this process."""
    return Environment(
        threads=torch.get_num_threads(),
        device=device.type,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processors=os.cpu_count(),
        versions=recorded_versions(),
    )


def now() -> str:
    """The time in UTC, as results are dated."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, kw_only=True)
class RunRecord(Environment):
    """Content of ``run.json``: what a run was made with."""

    schema: int = 1
    seed: int
    identity: str  # of settings, seed and data
    data: DataFacts
    plugins: Mapping[str, str]  # "<model>/<part>" -> "<name> of <distribution> <version>"
    written: str

    def to_json(self) -> Json:
        order = ("schema", "seed", "identity", "data", *Environment.__dataclass_fields__, "plugins", "written")
        content: dict[str, Any] = record_json(self)
        return {name: content[name] for name in order}
