"""One cell of a study: one model, fitted on one data set with one seed, and evaluated.

A cell is made in two steps. The fit is judged on validation, which is all that tuning sees (`TRIAL`); then the test
part is looked at and the folder sealed. A cell that was left between the two is fitted again from its training
checkpoints, to the same bits and in no time. No fit is ever given a test part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import DataError, UserError
from mmgrec.evaluation import Mask, Report, Split, evaluate
from mmgrec.guards import checked_data, checked_fitted, contained
from mmgrec.insight import insight
from mmgrec.interfaces import Context, DatasetSource, FittedRecommender, Metric, Reporter, Silent
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.registry import Registry
from mmgrec.runs import LOG, LogTee, RunFolder, data_facts, last_stages, recorded_versions, seconds_told, slug
from mmgrec.settings import build
from mmgrec.storage import Json, json_bytes, tensor_bytes
from mmgrec.studies.cache import FolderCache, with_cached_stage_1
from mmgrec.studies.memory import clear_peak, peak_mib
from mmgrec.studies.values import StudyData, model_of

__all__ = ["CACHE_VERSIONS", "CELL", "FAILED", "INSIGHT", "PER_USER", "TRIAL", "Cell", "load_study_data", "make_cell"]


SCHEMA = 1
CACHE_VERSIONS = {name: recorded_versions()[name] for name in ("mmgrec", "numpy", "scipy", "torch", "torch-geometric")}
CELL, TRIAL, FAILED, INSIGHT, PER_USER, WEIGHTS, TRACE = (
    "cell.json", "valid.json", "failed.json", "insight.json", "per_user.parquet", "weights.safetensors",
    "traceback.txt",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a cell is; all of it but the label and the data's name and place decides its result."""

    label: str
    model: Json  # every setting spelt out, see `study.model_values`
    seed: int
    mask: Mask
    top_k: tuple[int, ...]
    metrics: tuple[str, ...]
    data_name: str
    fingerprint: str

    @property
    def values(self) -> Json:
        """What is written into the folder and decides whose it is."""
        return {
            "seed": self.seed,
            "mask": self.mask,
            "top_k": list(self.top_k),
            "metrics": list(self.metrics),
            "model": self.model,
        }

    @cached_property
    def slug(self) -> str:
        """The name of its folder."""
        text = json.dumps({**self.values, "fingerprint": self.fingerprint}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        return f"{slug(self.data_name)}-{slug(self.label)}-s{self.seed}-{digest}"


def load_study_data(data: StudyData, reporter: Reporter | None = None) -> Dataset:
    """A study's data set under its name there."""
    with contained():
        found = checked_data(data.source.load(Context(reporter=reporter or Silent())), data.source)
    if data.share < 1:
        from mmgrec.studies.subsample import with_share

        found = with_share(found, data.share)
    return dataclasses.replace(found, name=data.name)


def make_cell(
    cell: Cell,
    folder: Path,
    data: Dataset,
    *,
    test: bool,
    cache: Path,
    keep_weights: bool = False,
    reporter: Reporter | None = None,
    device: torch.device | None = None,
) -> None:
    """Make a cell as far as is wanted; what is there already stays.

    Args:
        cell: what to make.
        folder: its folder.
        data: its data, the test part included.
        test: look at the test part and seal the folder; otherwise stop after the validation.
        shelf: where results that several cells share are kept.
        keep_weights: put away the tensors of an MMGRec model.
        reporter: who watches.
        device: where tensors live; the CPU by default.
    """
    if data.fingerprint != cell.fingerprint:
        raise DataError("the data are not those that the study began with", where=cell.data_name)
    home = RunFolder(path=folder)
    with home.claimed({**cell.values, "fingerprint": cell.fingerprint}):
        if home.finished or (not test and (folder / TRIAL).is_file()):
            return
        for name in (FAILED, TRACE):
            (folder / name).unlink(missing_ok=True)
        log = LogTee(folder / LOG, reporter or Silent(), hide=folder)
        try:
            work = _Work(cell=cell, home=home, data=data, log=log, cache=cache, device=device or torch.device("cpu"))
            with contained():
                fitted = work.fit()
                if test:
                    work.finish(fitted, keep_weights)
        except Exception as error:
            told = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            home.write(FAILED, json_bytes({"what": " ".join(told.split()), "users": isinstance(error, UserError)}))
            home.write(TRACE, "\n".join([*_where(error), told, ""]).encode())
            raise
        finally:
            log.close()
        if test:
            home.finish()


@dataclass(frozen=True, kw_only=True)
class _Work:
    cell: Cell
    home: RunFolder
    data: Dataset
    log: LogTee
    cache: Path
    device: torch.device

    def fit(self) -> FittedRecommender:
        """Fit; unless that was done before, judge on validation and put the result away."""
        self.log.attempt()
        clear_peak()
        recommender = model_of(self.cell.label, self.cell.model, Registry.discover()).recommender
        quantizer = None
        if isinstance(recommender, MMGRec):
            quantizer = recommender.quantizer
            recommender = with_cached_stage_1(recommender)
        file = self.home.path / LOG
        cache = FolderCache(
            self.cache, fingerprint=self.cell.fingerprint, versions=CACHE_VERSIONS, told=lambda: last_stages(file)
        )
        context = Context(
            seed=self.cell.seed,
            device=self.device,
            reporter=self.log,
            checkpoints=self.home.checkpoints / "fit",
            cache=cache,
        )
        started = time.perf_counter()
        fitted = checked_fitted(recommender.fit(_without_test(self.data), context), recommender)
        elapsed = cache.saved + time.perf_counter() - started
        if isinstance(fitted, FittedMMGRec) and quantizer is not None:
            fitted = dataclasses.replace(fitted, method=dataclasses.replace(fitted.method, quantizer=quantizer))
        if (self.home.path / TRIAL).is_file():
            return fitted
        stages = last_stages(file)
        found = self._evaluated(fitted, "valid") if len(self.data.valid) else None
        trial = {
            "seconds": {
                "fit": round(max(elapsed, seconds_told(stages)), 3),
                "stage1": None if cache.stage1 is None else round(cache.stage1, 3),
                "shared": round(cache.saved, 3),
                "valid": None if found is None else round(found.seconds, 3),
            },
            "peak_memory_mib": peak_mib(),
            "parameters": _parameters(fitted),
            "valid": None if found is None else found.as_dict(),
            "history": stages,
        }
        if found is not None:
            self.home.write("per_user_valid.parquet", _per_user(found))
        self.home.write(TRIAL, json_bytes(trial))
        return fitted

    def finish(self, fitted: FittedRecommender, keep_weights: bool) -> None:
        """Look at the test part and write the result."""
        trial = self.home.json(TRIAL)
        results = [trial["valid"]] if trial["valid"] else []
        told: str | None = None
        otherwise: Report | None = None
        if len(self.data.test):
            report = self._evaluated(fitted, "test")
            otherwise = self._evaluated(fitted, "test", mask=_other(self.cell.mask))
            results = [report.as_dict(), *results]
            self.home.write(PER_USER, _per_user(report))
            told = self._insight(fitted, report)
        definitions = results[0]["definitions"] if results else {}
        if keep_weights and isinstance(fitted, FittedMMGRec):
            self.home.write(WEIGHTS, tensor_bytes(fitted.state()))
        cell = {
            "schema": SCHEMA,
            "label": self.cell.label,
            "data": data_facts(self.data),
            **self.cell.values,
            "results": [{key: one for key, one in row.items() if key != "definitions"} for row in results],
            "otherwise": None if otherwise is None else {"mask": otherwise.mask, "metrics": dict(otherwise.metrics)},
            "definitions": definitions,
            "seconds": {**trial["seconds"], "test": results[0]["seconds"] if results else None},
            "peak_memory_mib": trial["peak_memory_mib"],
            "parameters": trial["parameters"],
            "history": trial["history"],
            "insight": told,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
            "versions": recorded_versions(),
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self.home.write(CELL, json_bytes(cell))

    def _evaluated(self, fitted: FittedRecommender, split: Split, *, mask: Mask | None = None) -> Report:
        """What a fitted model reaches; under the cell's mask, unless another is given."""
        registry = Registry.discover()
        metrics = {name: cast(Metric, build(registry.load("metric", name), {})) for name in self.cell.metrics}
        data = self.data if split == "test" else _without_test(self.data)
        return evaluate(fitted, data, split=split, metrics=metrics, top_k=self.cell.top_k, mask=mask or self.cell.mask)

    def _insight(self, fitted: FittedRecommender, report: Report) -> str | None:
        """What the page shows of this model, where there is a page; a sentence where that failed."""
        try:
            told = insight(
                fitted=fitted, data=self.data, lists=report.item[:, :20], users=report.user, mask=self.cell.mask
            )
            self.home.write(INSIGHT, json_bytes(told.to_json()))
        except Exception as error:  # hours of fitting are not lost over a picture
            sentence = f"{type(error).__name__}: {error}"
            self.log.warn(f"no insight: {sentence}")
            return f"failed: {sentence}"
        return None


def _other(mask: Mask) -> Mask:
    """The rule by which much of the literature counts, or ours."""
    return "train" if mask == "train+valid" else "train+valid"


def _where(error: Exception) -> list[str]:
    """Where an error came from, without the machine's paths."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(one.filename).name}:{one.lineno} in {one.name}: {one.line}" for one in frames]


def _without_test(data: Dataset) -> Dataset:
    none = torch.empty(0, dtype=torch.int64)
    empty = Interactions(user=none, item=none, num_users=data.num_users, num_items=data.num_items)
    return dataclasses.replace(data, test=empty)


def _parameters(fitted: FittedRecommender) -> int | None:
    """Numbers in the tensors that ranking needs; None where a model does not tell."""
    try:
        return sum(tensor.numel() for tensor in fitted.state().values() if tensor.is_floating_point())
    except NotImplementedError:
        return None


def _per_user(report: Report) -> bytes:
    import io

    import polars

    columns = {"user": report.user.numpy(), **{name: value.numpy() for name, value in report.per_user.items()}}
    buffer = io.BytesIO()
    polars.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def cell_of(task: Mapping[str, Any]) -> Cell:
    """A cell from JSON."""
    values: Json = dict(task)
    return Cell(**{**values, "top_k": tuple(values["top_k"]), "metrics": tuple(values["metrics"])})


def data_of(task: Mapping[str, Any], registry: Registry) -> StudyData:
    """A study's data set from JSON."""
    source: object = build(registry.load("dataset", task["plugin"]), cast(Json, task["values"]))
    return StudyData(
        name=task["name"],
        plugin=task["plugin"],
        values=task["values"],
        source=cast(DatasetSource, source),
        share=task["share"],
    )
