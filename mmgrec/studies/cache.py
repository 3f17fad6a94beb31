"""Expensive results that several models of a study share: stage 1, what is inside it, and the trained network.

A cell gives its models a `FolderCache`; the first that needs a result makes it, the others read it. The key holds all
that decides a result: the part with its settings, the names of the parts around it, the seed, the data, the versions.
Random streams come from the seed and the names of the parts, so a kept result has the bits of a fresh one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mmgrec.data import Dataset
from mmgrec.errors import RunError
from mmgrec.guards import checked_quantization
from mmgrec.interfaces import CachedResult, Context, Quantization, Quantizer, Representations, ResultCache
from mmgrec.recid import Codes
from mmgrec.recommender import MMGRec
from mmgrec.report import TrainingStage
from mmgrec.runs import seconds_of
from mmgrec.settings import plain
from mmgrec.storage import Meta, Tensors, alone, load_folder, record_json, save_folder

SHIPPED = ("mmgrec", "mmgrec_plugins")  # packages whose parts have names of their own, whatever their modules

__all__ = ["CachedQuantizer", "FolderCache", "cache_key", "with_cached_stage_1"]


def cache_key(part: object, path: Sequence[str], *, seed: int, fingerprint: str, versions: Mapping[str, str]) -> str:
    """The name under which a part's result is kept.

    Args:
        part: a dataclass.
        path: the names of the parts on the way to it.
        seed: of everything random.
        fingerprint: of the data.
        versions: of the software that computes.
    """
    facts = [part, list(path), seed, fingerprint, dict(versions)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=_described).encode()).hexdigest()[:16]


def _described(value: object) -> Any:  # Any: JSON
    """What JSON cannot say by itself; a part, wherever it stands, with its class: others may have the same settings."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return plain(value)
    settings = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return [class_name(type(value)), settings]


def class_name(cls: type) -> str:
    """A name of a part's class that outlives a move of its module, for the parts that ship; the full one of others."""
    package = cls.__module__.partition(".")[0]
    return f"{package if package in SHIPPED else cls.__module__}.{cls.__qualname__}"


class FolderCache(ResultCache):
    """Results in folders, one a key, for the models of one data set.

    Args:
        root: where the folders are.
        fingerprint: of the data.
        versions: of the software that computes.
        stages: gives the training stages of this attempt so far, see `mmgrec.runs.last_stages`.
    """

    def __init__(
        self,
        root: Path,
        *,
        fingerprint: str,
        versions: Mapping[str, str],
        stages: Callable[[], Sequence[TrainingStage]],
    ) -> None:
        self.root, self.fingerprint, self.versions, self._stages = root, fingerprint, dict(versions), stages
        self.saved = 0.0  # seconds that results that were here already would have taken
        self.stage1: float | None = None  # of these and those that were made here, the quantizer's

    def folder(self, part: object, context: Context) -> Path:
        """Where the result of a part is kept."""
        key = cache_key(part, context.path, seed=context.seed, fingerprint=self.fingerprint, versions=self.versions)
        return self.root / key

    def get_or_make(self, part: object, context: Context, make: Callable[[], CachedResult]) -> CachedResult:
        folder = self.folder(part, context)
        with alone(folder.with_suffix(".lock")):
            result = _stored(folder, context)
            cached = result is not None
            tensors, meta = result or self._make(folder, make)
            seconds = float(meta["seconds"])
            if cached:
                self.saved += seconds
                _tell_again([TrainingStage(**stage) for stage in meta["stages"]], seconds, context)
        if context.path == ("quantizer",) and isinstance(part, Quantizer):
            self.stage1 = seconds
        return tensors, meta["facts"]

    def _make(self, folder: Path, make: Callable[[], CachedResult]) -> tuple[Tensors, Meta]:
        """Make a result and put it away, with the seconds and the training stages it took."""
        started, saved, begun = time.perf_counter(), self.saved, len(self._stages())
        tensors, facts = make()
        stages = list(self._stages())[begun:]
        elapsed = time.perf_counter() - started + self.saved - saved
        before_a_kill = seconds_of(stages)
        meta = {
            "seconds": max(elapsed, before_a_kill),
            "stages": [record_json(stage) for stage in stages],
            "facts": dict(facts),
        }
        save_folder(folder, tensors={name: dict(group) for name, group in tensors.items()}, meta=meta)
        return load_folder(folder)  # what others will find, down to the strides


@dataclass(frozen=True, kw_only=True)
class CachedQuantizer(Quantizer):
    """A quantizer whose result is taken from the cache of its context, or put there."""

    inner: Quantizer

    def fit(self, data: Dataset, context: Context) -> Quantization:
        def make() -> CachedResult:
            return _taken_apart(checked_quantization(self.inner.fit(data, context), data, self.inner))

        return _put_together(*context.get_or_make(self.inner, make))


def with_cached_stage_1(recommender: MMGRec) -> MMGRec:
    """The same model, its quantizer a `CachedQuantizer`."""
    return replace(recommender, quantizer=CachedQuantizer(inner=recommender.quantizer))


def _stored(folder: Path, context: Context) -> tuple[Tensors, Meta] | None:
    """The result in a folder; None where there is none, or a damaged one, which is removed."""
    if not folder.is_dir():
        return None
    try:
        return load_folder(folder)
    except RunError as error:
        context.reporter.warn(f"a kept result is made again, since {error}")
        shutil.rmtree(folder)
        return None


def _tell_again(stages: Sequence[TrainingStage], seconds: float, context: Context) -> None:
    """The training of a kept result belongs to the history of whoever uses it."""
    context.reporter.note(f"kept from another model: {', '.join(stage.stage for stage in stages)}, {seconds:.1f} s")
    for stage in stages:
        context.reporter.begin(stage.stage, stage.total)
        for row in stage.rows:
            context.reporter.update(stage.stage, int(row["epoch"]), row)
        context.reporter.end(stage.stage, stage.facts)


def _taken_apart(quantization: Quantization) -> CachedResult:
    """A quantizer's result as tensors and JSON; `_put_together` is the way back."""
    codes, representations = quantization.codes, quantization.representations
    tensors = {
        "representations": {"user": representations.user, "item": representations.item},
        "codes": {"token": codes.token},
        "codebooks": {str(level): codebook for level, codebook in enumerate(codes.codebooks or ())},
    }
    meta = {
        "level_sizes": list(codes.level_sizes),
        "codebooks": codes.codebooks is not None,
        "reconstruction": None if codes.reconstruction is None else list(codes.reconstruction),
        "history": {stage: list(rows) for stage, rows in quantization.history.items()},
    }
    return tensors, meta


def _put_together(tensors: Mapping[str, Mapping[str, torch.Tensor]], meta: Mapping[str, Any]) -> Quantization:
    codebooks = tensors["codebooks"]
    reconstruction = meta["reconstruction"]
    return Quantization(
        representations=Representations(**tensors["representations"]),
        codes=Codes(
            token=tensors["codes"]["token"],
            level_sizes=tuple(meta["level_sizes"]),
            codebooks=tuple(codebooks[str(level)] for level in range(len(codebooks))) if meta["codebooks"] else None,
            reconstruction=None if reconstruction is None else tuple(reconstruction),
        ),
        history=meta["history"],
    )
