"""Carries an Experiment out: data, fits, evaluations, the gap to the exact decoder, and the run folder.

Every row of the results is put away as soon as it is made, so that a run that was killed goes on where it stopped.
Does not know the command line; who wants to watch passes a `Reporter`.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from mmgrec.data import Dataset
from mmgrec.errors import DataError, RunError, SettingsError
from mmgrec.evaluation import SPLITS, Report, Split, evaluate
from mmgrec.guards import checked_fitted, contained, list_warnings, third_parties
from mmgrec.insight import recall_of_exact
from mmgrec.interfaces import Context, FittedRecommender, Reporter, Silent
from mmgrec.recid import health_report
from mmgrec.recommender import FittedMMGRec
from mmgrec.registry import Registry
from mmgrec.runs.experiment import Experiment, Model, load_data
from mmgrec.runs.files import insight_bytes, per_user_parquet, rec_id_parquet, told_by, written_page
from mmgrec.runs.folder import RunFolder, identity
from mmgrec.runs.layout import (
    HEALTH,
    INSIGHT,
    LOG,
    PER_USER,
    REC_IDS,
    RESULTS,
    RUN,
    WEIGHTS,
    data_facts,
    recorded_versions,
    slug,
)
from mmgrec.runs.log import LogTee
from mmgrec.storage import Json, Tensors, json_bytes, load_folder, save_folder, tensor_bytes

__all__ = ["RunOutcome", "circumstances", "execute"]


SCHEMA = 1
_REC_ID_FACTS = ("num_levels", "usage", "perplexity", "unique_before_collision", "largest_group", "hash")


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """A finished run."""

    folder: Path
    results: Json  # what `mmgrec run --json` prints
    stored: bool  # True: the folder had been finished before, nothing was computed


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
            return RunOutcome(folder=folder.path, results=_placed(folder.json(RESULTS), folder.path), stored=True)
        log = LogTee(folder.path / LOG, reporter, hide=folder.path)
        try:
            if told := folder.changed_since(circumstances(experiment, device)):
                log.warn(told)
            work = _Work(experiment=experiment, data=data, folder=folder, device=device or torch.device("cpu"), log=log)
            results = work.run(values)
        finally:
            log.close()
        folder.finish()
    return RunOutcome(folder=folder.path, results=_placed(results, folder.path), stored=False)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One execution of one experiment in one folder."""

    experiment: Experiment
    data: Dataset
    folder: RunFolder
    device: torch.device
    log: Reporter

    def run(self, values: Json) -> Json:
        rows = {model.label: self._row(model) for model in self.experiment.rows}
        own = rows[self.experiment.models[0].label][1]
        measured = [f"{name}@{k}" for k in sorted(self.experiment.options.top_k) for name in self.experiment.metrics]
        results = {
            "schema": SCHEMA,
            "seed": self.experiment.options.seed,
            "preset": self.experiment.options.preset,
            "data": data_facts(self.data),
            "rec_ids": own["rec_ids"],
            "decoding": own["decoding"],
            "results": [_in_order(row, measured) for _, meta in rows.values() for row in meta["results"]],
            "definitions": {name: own["definitions"][name] for name in self.experiment.metrics},
        }
        for label, (tensors, _) in rows.items():
            if tensors["weights"]:
                self.folder.write(f"{WEIGHTS}/{slug(label)}.safetensors", tensor_bytes(tensors["weights"]))
        self.folder.write(REC_IDS, rec_id_parquet(self.data, rows["mmgrec"][0]["rec_ids"]["token"]))
        self.folder.write(HEALTH, json_bytes(own["health"]))
        self.folder.write(PER_USER, per_user_parquet({label: tensors for label, (tensors, _) in rows.items()}, SPLITS))
        self.folder.write(RUN, json_bytes(self._facts(values)))
        self.folder.write(INSIGHT, insight_bytes({label: meta.get("insight") for label, (_, meta) in rows.items()}))
        self.folder.write(RESULTS, json_bytes(results))
        written_page(self.folder.path, self.log)
        return results

    def _row(self, model: Model) -> tuple[Tensors, Json]:
        """Fit and evaluate one model, or take what an earlier attempt put away."""
        done = self.folder.checkpoints / slug(model.label) / "row"
        if done.is_dir():
            try:
                return load_folder(done)
            except RunError as error:
                self.log.warn(f"{model.label}: made again, since {error}")
        self.log.note(f"{model.label}: fitting")
        context = Context(
            seed=self.experiment.options.seed,
            device=self.device,
            reporter=self.log,
            checkpoints=self.folder.checkpoints / slug(model.label) / "fit",
        )
        started = time.perf_counter()
        fitted = checked_fitted(model.recommender.fit(self.data, context), model.recommender)
        fit_seconds = time.perf_counter() - started
        reports = {split: self._evaluated(fitted, split) for split in SPLITS if self._has(split)}
        others = ", ".join(map(str, third_parties(model.recommender)))
        who = f"{model.label} ({others})" if others else model.label
        for told in list_warnings(
            fitted, self.data, {split: vars(report.defects) for split, report in reports.items()}
        ):
            self.log.warn(f"{who}: {told}")
        if not reports:
            raise DataError("the data have neither a test nor a validation item", remedy="choose another split")
        tensors: Tensors = {split: {"user": report.user, **report.per_user} for split, report in reports.items()}
        tensors["weights"] = {}
        last = next(iter(reports.values()))  # of the test part, where there is one
        meta: Json = {
            "results": [_result(model, report, fit_seconds) for report in reports.values()],
            "definitions": dict(last.definitions),
            "insight": told_by(fitted, self.data, last, self.log),
        }
        if isinstance(fitted, FittedMMGRec):
            tensors["weights"] = fitted.state()
            tensors["rec_ids"] = {"token": fitted.rec_ids.token}
            meta |= self._generative(fitted, last, context)
        save_folder(done, tensors=tensors, meta=meta)
        return tensors, meta

    def _has(self, split: Split) -> bool:
        part = self.data.test if split == "test" else self.data.valid
        return len(part) > 0

    def _evaluated(self, fitted: FittedRecommender, split: Split) -> Report:
        options = self.experiment.options
        return evaluate(
            fitted, self.data, split=split, metrics=self.experiment.metrics, top_k=options.top_k, mask=options.mask
        )

    def _generative(self, fitted: FittedMMGRec, report: Report, context: Context) -> Json:
        """What only a generator has: the health of its Rec-IDs and its gap to the exact decoder."""
        told = health_report(fitted.codes, fitted.rec_ids, vectors=fitted.representations.item)
        for alarm in told.alarms:
            self.log.warn(alarm)
        order = torch.randperm(report.num_users, generator=context.generator("oracle"))
        sample = report.user[order[: self.experiment.options.oracle_users]].sort().values
        gap = recall_of_exact(fitted, self.data, users=sample, mask=report.mask) if sample.numel() else None
        if sample.numel() and gap is None:
            self.log.warn("the gap to exact search is not measured: the decoder 'exact' cannot be loaded")
        facts = told.as_dict()
        return {
            "health": facts,
            "rec_ids": {name: facts[name] for name in _REC_ID_FACTS},
            "decoding": {
                "users": report.num_users,
                **dataclasses.asdict(report.defects),
                "beam_recall_of_exact@10": gap,
                "oracle_users": sample.numel(),
            },
        }

    def _facts(self, values: Json) -> Json:
        registry = Registry.discover()
        parts = {
            f"{model.label}/{part}": registry.find(part, name)
            for model in self.experiment.models
            for part, name in model.parts.items()
        }
        return {
            "schema": SCHEMA,
            "seed": self.experiment.options.seed,
            "identity": identity(values, self.data.fingerprint),
            "data": data_facts(self.data),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "processors": os.cpu_count(),
            "versions": recorded_versions(),
            "plugins": {key: f"{one.name} of {one.distribution} {one.version}" for key, one in parts.items()},
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }


def _in_order(row: Json, measured: list[str]) -> Json:
    """A result with its metrics in the order in which they were asked for, whether it comes from memory or the disk."""
    keys = ("model", "split", "mask", "metrics", "num_users", "seconds")
    return {**{key: row[key] for key in keys}, "metrics": {name: row["metrics"][name] for name in measured}}


def _result(model: Model, report: Report, fit_seconds: float) -> Json:
    return {
        "model": model.label,
        "split": report.split,
        "mask": report.mask,
        "metrics": dict(report.metrics),
        "num_users": report.num_users,
        "seconds": {"fit": round(fit_seconds, 3), "recommend": round(report.seconds, 3)},
    }


def _portable(values: Json) -> Json:
    """Settings without this machine's paths: the data's folder as seen from here, or its name alone."""
    path = values["data"].get("path")
    if not path:
        return values
    here, there = Path.cwd(), Path(path).resolve()
    shared = os.path.commonpath([here, there])
    near = os.path.relpath(there, here) if shared not in ("/", "/home", "/Users") else there.name
    return {**values, "data": {**values["data"], "path": Path(near).as_posix()}}


def _placed(results: Json, folder: Path) -> Json:
    """Results with the folder they are in, which is not written into it."""
    return {"schema": results["schema"], "run": folder.as_posix(), **results}


def circumstances(experiment: Experiment, device: torch.device | None = None) -> Json:
    """What may change the last bits of a result and is no setting: a run that goes on under others says so."""
    parts = [one for model in experiment.rows for one in third_parties(model.recommender)]
    parts += [one for part in (experiment.data, *experiment.metrics.values()) for one in third_parties(part)]
    return {
        "threads": torch.get_num_threads(),
        "device": (device or torch.device("cpu")).type,
        "python": platform.python_version(),
        "versions": recorded_versions() | {one.distribution: one.version for one in parts},
    }


def _refuse_equal_slugs(experiment: Experiment) -> None:
    """Two rows with one slug would share a folder of checkpoints, and one would be given the other's result."""
    labels: dict[str, str] = {}
    for row in experiment.rows:
        other = labels.setdefault(slug(row.label), row.label)
        if other != row.label:
            raise SettingsError([f"the names {other!r} and {row.label!r} are too much alike"], remedy="rename one")
