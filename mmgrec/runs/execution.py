"""Carries an Experiment out: data, fits, evaluations, the gap to the exact decoder, and the run folder.

`execute` is what ``mmgrec run`` calls, and any other program that wants a run made; it is heard through a `Reporter`.
Every row of the results is put away as soon as it is made, so that a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mmgrec.data import Dataset
from mmgrec.errors import DataError, RunError, SettingsError
from mmgrec.evaluation import SPLITS, Report, Split
from mmgrec.guards import contained, list_warnings, third_parties
from mmgrec.insight import recall_of_exact
from mmgrec.interfaces import Context, FittedRecommender, Reporter, Silent
from mmgrec.recid import health_report
from mmgrec.recommender import FittedMMGRec
from mmgrec.registry import Registry
from mmgrec.runs.experiment import Experiment, Model, load_data
from mmgrec.runs.files import insight_bytes, per_user_parquet, rec_id_parquet, written_page
from mmgrec.runs.fitting import Judge, fit_recommender
from mmgrec.runs.folder import RunFolder, identity
from mmgrec.runs.layout import HEALTH, INSIGHT, LOG, PER_USER, REC_IDS, RESULTS, RUN, WEIGHTS, slug
from mmgrec.runs.log import LogTee
from mmgrec.runs.results import (
    DataFacts,
    Decoding,
    ModelResult,
    RecIDFacts,
    RunRecord,
    RunResults,
    environment,
    now,
)
from mmgrec.storage import Json, Tensors, json_bytes, load_folder, record_json, record_of, save_folder, tensor_bytes

__all__ = ["RunOutcome", "circumstances", "execute"]


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A finished run."""

    folder: Path
    results: RunResults
    stored: bool  # True: the folder had been finished before, nothing was computed

    def to_json(self) -> Json:
        """What `mmgrec run --json` prints: the results and the folder they are in, which is not written into it."""
        content = self.results.to_json()
        return {"schema": content["schema"], "run": self.folder.as_posix(), **content}


@contained()
def execute(
    experiment: Experiment,
    *,
    out: Path | None = None,
    reporter: Reporter | None = None,
    device: torch.device | None = None,
) -> RunOutcome:
    """Run, resume, or find the stored result.

    Args:
        experiment: what to do.
        out: the run folder; ``runs/<data>-<identity>`` by default, so that the same experiment finds it again.
        reporter: who watches.
        device: where tensors live; the CPU by default.

    Raises:
        RunError: if the folder belongs to other settings or to another process.
    """
    reporter = reporter or Silent()
    _refuse_equal_slugs(experiment)
    data = load_data(experiment, reporter)
    values = _portable(experiment.values())
    folder = RunFolder(path=out or Path("runs") / f"{slug(data.name)}-{identity(values, data.fingerprint)}")
    with folder.claimed({**values, "fingerprint": data.fingerprint}):
        if folder.finished:
            folder.checked()
            stored = RunResults.read(folder.path / RESULTS, remedy=folder.again)
            return RunOutcome(folder=folder.path, results=stored, stored=True)
        log = LogTee(folder.path / LOG, reporter, hide=folder.path)
        try:
            if changed := folder.changed_since(circumstances(experiment, device)):
                log.warn(changed)
            work = _Work(experiment=experiment, data=data, folder=folder, device=device or torch.device("cpu"), log=log)
            results = work.run(values)
        finally:
            log.close()
        folder.finish()
    return RunOutcome(folder=folder.path, results=results, stored=False)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One model's results, as they are put away until all rows are done."""

    results: tuple[ModelResult, ...]
    definitions: Mapping[str, str]
    insight: Json | None
    health: Json | None = None  # what only a generator has, here and below
    rec_ids: RecIDFacts | None = None
    decoding: Json | None = None


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One execution of one experiment in one folder."""

    experiment: Experiment
    data: Dataset
    folder: RunFolder
    device: torch.device
    log: Reporter

    def run(self, values: Json) -> RunResults:
        """Make every row, or find it, then write the result."""
        rows = {model.label: self._row(model) for model in self.experiment.rows}
        options = self.experiment.options
        _, own = rows[self.experiment.models[0].label]
        measured = [f"{name}@{k}" for k in sorted(options.top_k) for name in self.experiment.metrics]
        assert own.rec_ids is not None  # the first row is an MMGRec
        assert own.decoding is not None
        results = RunResults(
            seed=options.seed,
            preset=options.preset,
            data=DataFacts.of(self.data),
            rec_ids=own.rec_ids,
            decoding=Decoding(**Decoding.fields_of(own.decoding)),
            results=tuple(result.ordered(measured) for _, row in rows.values() for result in row.results),
            definitions={name: own.definitions[name] for name in self.experiment.metrics},
        )
        for label, (tensors, _) in rows.items():
            if tensors["weights"]:
                self.folder.write(f"{WEIGHTS}/{slug(label)}.safetensors", tensor_bytes(tensors["weights"]))
        self.folder.write(REC_IDS, rec_id_parquet(self.data, rows["mmgrec"][0]["rec_ids"]["token"]))
        self.folder.write(HEALTH, json_bytes(own.health))
        self.folder.write(PER_USER, per_user_parquet({label: tensors for label, (tensors, _) in rows.items()}, SPLITS))
        self.folder.write(RUN, json_bytes(self._record(values).to_json()))
        self.folder.write(INSIGHT, insight_bytes({label: row.insight for label, (_, row) in rows.items()}))
        self.folder.write(RESULTS, json_bytes(results.to_json()))
        written_page(self.folder.path, self.log)
        return results

    def _row(self, model: Model) -> tuple[Tensors, _Row]:
        """Fit and evaluate one model, or take what an earlier attempt put away."""
        stored = self.folder.checkpoints / slug(model.label) / "row"
        if stored.is_dir():
            try:
                tensors, meta = load_folder(stored)
                return tensors, record_of(_Row, meta, where=stored)
            except RunError as error:
                self.log.warn(f"{model.label}: made again, since {error}")
        self.log.note(f"{model.label}: fitting")
        context = Context(
            seed=self.experiment.options.seed,
            device=self.device,
            reporter=self.log,
            checkpoints=self.folder.checkpoints / slug(model.label) / "fit",
        )
        fit = fit_recommender(model.recommender, self.data, context)
        options = self.experiment.options
        judge = Judge(data=self.data, metrics=self.experiment.metrics, top_k=options.top_k, mask=options.mask)
        reports = {split: judge.report(fit.fitted, split) for split in judge.splits}
        self._warn_of_lists(model, fit.fitted, reports)
        if not reports:
            raise DataError(
                "the data have neither a test nor a validation item",
                remedy="choose another split",
                code="runs.nothing-to-evaluate",
            )
        last = next(iter(reports.values()))  # of the test part, where there is one
        insight, fault = judge.insight(fit.fitted, last)
        if fault:
            self.log.warn(f"the page will lack a model: {fault}")
        tensors = {split: {"user": report.user, **report.per_user} for split, report in reports.items()}
        tensors["weights"] = {}
        row = _Row(
            results=tuple(ModelResult.of(model.label, report, fit.seconds) for report in reports.values()),
            definitions=dict(last.definitions),
            insight=None if insight is None else insight.to_json(),
        )
        if isinstance(fit.fitted, FittedMMGRec):
            tensors["weights"] = fit.fitted.state()
            tensors["rec_ids"] = {"token": fit.fitted.rec_ids.token}
            row = self._generative(row, fit.fitted, last, context)
        save_folder(stored, tensors=tensors, meta=record_json(row))
        return tensors, row

    def _warn_of_lists(self, model: Model, fitted: FittedRecommender, reports: Mapping[Split, Report]) -> None:
        """Say what lists hold that they must not, and who made them."""
        others = ", ".join(map(str, third_parties(model.recommender)))
        who = f"{model.label} ({others})" if others else model.label
        defects: dict[str, dict[str, int]] = {split: vars(report.defects) for split, report in reports.items()}
        for warning in list_warnings(fitted, self.data, defects):
            self.log.warn(f"{who}: {warning}")

    def _generative(self, row: _Row, fitted: FittedMMGRec, report: Report, context: Context) -> _Row:
        """The same row with what only a generator has: the health of its Rec-IDs and its gap to the exact decoder."""
        health = health_report(fitted.codes, fitted.rec_ids, vectors=fitted.representations.item)
        for alarm in health.alarms:
            self.log.warn(alarm)
        order = torch.randperm(report.num_users, generator=context.generator("oracle"))
        sample = report.user[order[: self.experiment.options.oracle_users]].sort().values
        gap = recall_of_exact(fitted, self.data, users=sample, mask=report.mask) if sample.numel() else None
        if sample.numel() and gap is None:
            self.log.warn("the gap to exact search is not measured: the decoder 'exact' cannot be loaded")
        decoding = Decoding(
            users=report.num_users, **vars(report.defects), recall_of_exact=gap, exact_users=sample.numel()
        )
        return dataclasses.replace(
            row, health=dict(health.as_dict()), rec_ids=RecIDFacts.of(health), decoding=decoding.to_json()
        )

    def _record(self, values: Json) -> RunRecord:
        """What the run was made with."""
        registry = Registry.discover()
        parts = {
            f"{model.label}/{part}": registry.find(part, name)
            for model in self.experiment.models
            for part, name in model.parts.items()
        }
        return RunRecord(
            seed=self.experiment.options.seed,
            identity=identity(values, self.data.fingerprint),
            data=DataFacts.of(self.data),
            plugins={key: f"{plugin.name} of {plugin.distribution} {plugin.version}" for key, plugin in parts.items()},
            written=now(),
            **vars(environment(self.device)),
        )


def _portable(values: Json) -> Json:
    """Settings without this machine's paths: the data's folder as seen from here, or its name alone."""
    path = values["data"].get("path")
    if not path:
        return values
    here, there = Path.cwd(), Path(path).resolve()
    shared = os.path.commonpath([here, there])
    near = os.path.relpath(there, here) if shared not in ("/", "/home", "/Users") else there.name
    return {**values, "data": {**values["data"], "path": Path(near).as_posix()}}


def circumstances(experiment: Experiment, device: torch.device | None = None) -> Json:
    """What may change the last bits of a result and is no setting: a run that goes on under others says so."""
    parts = [plugin for model in experiment.rows for plugin in third_parties(model.recommender)]
    parts += [plugin for part in (experiment.data, *experiment.metrics.values()) for plugin in third_parties(part)]
    here = environment(device or torch.device("cpu"))
    return {
        "threads": here.threads,
        "device": here.device,
        "python": here.python,
        "versions": {**here.versions, **{plugin.distribution: plugin.version for plugin in parts}},
    }


def _refuse_equal_slugs(experiment: Experiment) -> None:
    """Two rows with one slug would share a folder of checkpoints, and one would be given the other's result."""
    labels: dict[str, str] = {}
    for row in experiment.rows:
        other = labels.setdefault(slug(row.label), row.label)
        if other != row.label:
            raise SettingsError(
                [f"the names {other!r} and {row.label!r} are too much alike"],
                remedy="rename one",
                code="runs.names-alike",
            )
