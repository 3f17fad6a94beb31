"""One cell of a study: one model, fitted on one data set with one seed, and evaluated.

A cell is made in two steps. The fit is judged on validation, which is all that tuning sees (`TRIAL`); then the test
part is looked at and the folder sealed. A cell that was left between the two is fitted again from its training
checkpoints, to the same bits and in no time. No fit is ever given a test part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from mmgrec.data import Dataset
from mmgrec.errors import DataError, UserError
from mmgrec.evaluation import Mask, Report
from mmgrec.guards import checked_data, contained
from mmgrec.insight import num_parameters
from mmgrec.interfaces import Context, DatasetSource, FittedRecommender, Metric, Reporter, Silent
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.registry import Registry
from mmgrec.runs import (
    INSIGHT,
    LOG,
    PER_USER,
    DataFacts,
    Judge,
    LogTee,
    RunFolder,
    clear_peak,
    environment,
    fit_recommender,
    last_stages,
    now,
    peak_mib,
    recorded_versions,
    seconds_of,
    slug,
    user_parquet,
)  # fmt: skip
from mmgrec.settings import build
from mmgrec.storage import Json, json_bytes, read_record, record_json, tensor_bytes
from mmgrec.studies.cache import FolderCache, with_cached_stage_1
from mmgrec.studies.layout import CELL, FAILED, PER_USER_VALID, TRACE, TRIAL, WEIGHTS
from mmgrec.studies.results import (
    CellResult,
    CellSeconds,
    EvaluationResult,
    FailedCell,
    OtherMask,
    TrialResult,
    TrialSeconds,
)  # fmt: skip
from mmgrec.studies.values import StudyData, model_of

__all__ = ["CACHE_VERSIONS", "Cell", "CellTask", "DataTask", "load_study_data", "make_cell"]

CACHE_VERSIONS = {name: recorded_versions()[name] for name in ("mmgrec", "numpy", "scipy", "torch", "torch-geometric")}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model, one seed, one data set, one rule of evaluation.

    Two cells that agree in all but the label and the data's name have the same result.
    """

    label: str
    model: Json  # every setting spelt out, see `mmgrec.studies.values.model_values`
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
        dataset = checked_data(data.source.load(Context(reporter=reporter or Silent())), data.source)
    if data.share < 1:
        from mmgrec.studies.subsample import with_share

        dataset = with_share(dataset, data.share)
    return dataclasses.replace(dataset, name=data.name)


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
        cache: where results that several cells share are kept.
        keep_weights: put away the tensors of an MMGRec model.
        reporter: who watches.
        device: where tensors live; the CPU by default.
    """
    if data.fingerprint != cell.fingerprint:
        raise DataError(
            "the data are not those that the study began with", where=cell.data_name, code="studies.other-data"
        )
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
            sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            failed = FailedCell(what=" ".join(sentence.split()), users=isinstance(error, UserError))
            home.write(FAILED, json_bytes(record_json(failed)))
            home.write(TRACE, "\n".join([*_where(error), sentence, ""]).encode())
            raise
        finally:
            log.close()
        if test:
            home.finish()


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One attempt at one cell in its folder."""

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
        log = self.home.path / LOG
        cache = FolderCache(
            self.cache, fingerprint=self.cell.fingerprint, versions=CACHE_VERSIONS, stages=lambda: last_stages(log)
        )
        context = Context(
            seed=self.cell.seed,
            device=self.device,
            reporter=self.log,
            checkpoints=self.home.checkpoints / "fit",
            cache=cache,
        )
        fit = fit_recommender(recommender, self.data, context)
        fitted = fit.fitted
        if isinstance(fitted, FittedMMGRec) and quantizer is not None:
            fitted = dataclasses.replace(fitted, method=dataclasses.replace(fitted.method, quantizer=quantizer))
        if (self.home.path / TRIAL).is_file():
            return fitted
        stages = last_stages(log)
        report = self.judge.report(fitted, "valid") if len(self.data.valid) else None
        trial = TrialResult(
            seconds=TrialSeconds(
                fit=round(max(cache.saved + fit.seconds, seconds_of(stages)), 3),
                stage1=None if cache.stage1 is None else round(cache.stage1, 3),
                shared=round(cache.saved, 3),
                valid=None if report is None else round(report.seconds, 3),
            ),
            peak_memory_mib=peak_mib(),
            parameters=num_parameters(fitted),
            valid=None if report is None else EvaluationResult.of(report),
            history=tuple(stages),
        )
        if report is not None:
            self.home.write(PER_USER_VALID, user_parquet(report))
        self.home.write(TRIAL, json_bytes(record_json(trial)))
        return fitted

    @cached_property
    def judge(self) -> Judge:
        """By the cell's metrics, lengths and mask."""
        registry = Registry.discover()
        metrics = {name: cast(Metric, build(registry.load("metric", name), {})) for name in self.cell.metrics}
        return Judge(data=self.data, metrics=metrics, top_k=self.cell.top_k, mask=self.cell.mask)

    def finish(self, fitted: FittedRecommender, keep_weights: bool) -> None:
        """Look at the test part and write the result."""
        trial = read_record(TrialResult, self.home.path / TRIAL, remedy=self.home.again)
        results = [] if trial.valid is None else [trial.valid]
        fault: str | None = None
        otherwise: OtherMask | None = None
        if len(self.data.test):
            report = self.judge.report(fitted, "test")
            other = self.judge.report(fitted, "test", mask=_other(self.cell.mask))
            otherwise = OtherMask(mask=other.mask, metrics=dict(other.metrics))
            results = [EvaluationResult.of(report), *results]
            self.home.write(PER_USER, user_parquet(report))
            fault = self._insight(fitted, report)
        if keep_weights and isinstance(fitted, FittedMMGRec):
            self.home.write(WEIGHTS, tensor_bytes(fitted.state()))
        cell = CellResult(
            label=self.cell.label,
            data=DataFacts.of(self.data),
            seed=self.cell.seed,
            mask=self.cell.mask,
            top_k=self.cell.top_k,
            metrics=self.cell.metrics,
            model=self.cell.model,
            results=tuple(dataclasses.replace(result, definitions=None) for result in results),
            otherwise=otherwise,
            definitions=(results[0].definitions or {}) if results else {},
            seconds=CellSeconds(**vars(trial.seconds), test=results[0].seconds if results else None),
            peak_memory_mib=trial.peak_memory_mib,
            parameters=trial.parameters,
            history=trial.history,
            insight=fault,
            **vars(environment(self.device)),
            written=now(),
        )
        self.home.write(CELL, json_bytes(record_json(cell)))

    def _insight(self, fitted: FittedRecommender, report: Report) -> str | None:
        """Write what the page shows of this model; a sentence where that failed."""
        facts, fault = self.judge.insight(fitted, report)
        if facts is None:
            self.log.warn(f"no insight: {fault}")
            return f"failed: {fault}"
        self.home.write(INSIGHT, json_bytes(facts.to_json()))
        return None


def _other(mask: Mask) -> Mask:
    """The rule by which much of the literature counts, or ours."""
    return "train" if mask == "train+valid" else "train+valid"


def _where(error: Exception) -> list[str]:
    """Where an error came from, without the machine's paths."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]


@dataclass(frozen=True, kw_only=True)
class DataTask:
    """A study's data set as a worker process is told of it."""

    name: str
    plugin: str
    values: Mapping[str, Any]  # the source's settings
    share: float

    def data(self, registry: Registry) -> StudyData:
        """The data set, its source made."""
        source: object = build(registry.load("dataset", self.plugin), self.values)
        return StudyData(
            name=self.name,
            plugin=self.plugin,
            values=self.values,
            source=cast(DatasetSource, source),
            share=self.share,
        )


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """What a worker process is asked to make, and how; JSON on the way."""

    cell: Cell
    data: DataTask
    folder: str
    cache: str
    test: bool
    keep_weights: bool
    threads: int
    device: str
