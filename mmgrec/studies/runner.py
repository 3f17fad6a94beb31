"""Carries a Study out: its cells in worker processes, tuning first where there are grids, then tables.

`run_study` is what ``mmgrec study`` calls, and any other program that wants a study made; it is heard through a
`StudyObserver`. `plan_study` says what a study would do. A finished cell is never made again; one that failed is tried
again by the next run.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from mmgrec.runs import RunFolder, slug
from mmgrec.settings import plain, read_toml, toml_text
from mmgrec.storage import SealedFolder, json_bytes, record_json, write_atomically
from mmgrec.studies.cell import CellTask, DataTask, load_study_data
from mmgrec.studies.findings import RowFindings, gather
from mmgrec.studies.layout import CACHE, CELLS, FAILED, MARK, TUNE
from mmgrec.studies.page import write_page
from mmgrec.studies.plan import CellJob, Plan
from mmgrec.studies.pool import Pool, Worker, WorkerEvent, pool
from mmgrec.studies.results import FailedCell, StudyResults, TrialOutcome, Tuning
from mmgrec.studies.study import Study
from mmgrec.studies.tables import write_tables
from mmgrec.studies.tuning import best_index, tell_journal
from mmgrec.studies.values import Row, StudyData

__all__ = ["StudyObserver", "plan_study", "run_study"]

_BETWEEN_TABLES = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class StudyFolder(SealedFolder):
    """A study's folder; its cells seal themselves, the whole grows with every seed that is asked for."""

    kind = "study"
    mark = MARK
    beside = (CELLS,)
    may_link = True
    again = "choose another folder with --out"

    def read_mark(self) -> Mapping[str, Any]:
        return read_toml(self.path / MARK)

    def mark_bytes(self, wanted: Mapping[str, Any]) -> bytes:
        return toml_text(wanted).encode()

    def refusal(self, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str] | None:
        if there.get("study") == wanted["study"]:
            return None
        return f"the folder holds the study {there.get('study')!r}, not {wanted['study']!r}", self.again


class StudyObserver(Protocol):
    """Hears how a study goes on."""

    def planned(self, cells: int, done: int) -> None: ...
    def begun(self, job: CellJob) -> None: ...
    def progress(self, job: CellJob, stage: str, done: int, total: int) -> None: ...
    def ended(self, job: CellJob, seconds: float, problem: str, left: float | None) -> None: ...
    def note(self, text: str) -> None: ...


def plan_study(study: Study, out: Path) -> Plan:
    """What there is to do; loads the data once, to know them by their fingerprints.

    Raises:
        RunError: if the folder belongs to another study.
    """
    StudyFolder(path=out).settle({"study": study.name})
    return Plan(
        study=study, out=out, fingerprints={data.name: load_study_data(data).fingerprint for data in study.data}
    )


def run_study(
    study: Study, out: Path, *, jobs: int = 1, threads: int = 1, device: str = "cpu", watch: StudyObserver | None = None
) -> StudyResults:
    """Make what is missing, then the tables.

    Args:
        study: what to do.
        out: its folder.
        jobs: cells made at the same time, each in a process of its own.
        threads: of each process.
        device: where their tensors live, by torch's name.
        watch: who watches.

    Returns:
        What was found, as ``study.json`` holds it.

    Raises:
        RunError: if the folder belongs to another study, or another process is at it.
    """
    folder = StudyFolder(path=out)
    folder.settle({"study": study.name})
    with folder.claimed({"study": study.name}):
        (out / CELLS).mkdir(exist_ok=True)
        plan = plan_study(study, out)
        runner = StudyRunner(plan=plan, jobs=jobs, threads=threads, device=device, observer=watch or _Silent())
        try:
            runner.run()
        finally:  # stopped, the tables tell what is finished
            results = runner.tables()
        return results


@dataclass(kw_only=True)
class StudyRunner:
    """One attempt at a study: hands cells to workers, hears how they end, keeps count and writes tables."""

    plan: Plan
    jobs: int  # cells made at the same time
    threads: int  # of each of their processes
    device: str
    observer: StudyObserver
    running: dict[Worker, tuple[CellJob, float]] = field(default_factory=dict)  # worker -> its cell, when it began
    done: int = 0  # cells
    total: int = 0
    spent: list[tuple[str, str, float]] = field(default_factory=list)  # row, data, seconds
    tables_at: float = 0.0  # when tables were last written

    def run(self) -> None:
        """Make all cells that can be made; one that fails is left out."""
        self.total, self.done = self.plan.counts()
        self.observer.planned(self.total, self.done)
        self.tables_at = time.monotonic()
        with pool(self.jobs, self.threads) as workers:
            self._start_all(workers)
            while self.running:
                worker, event = workers.events.get()
                busy = worker in self.running  # if not: "ready", or the end of one that had nothing to do
                if busy and self._hear(workers, worker, event):
                    self._start_all(workers)

    def _start_all(self, workers: Pool) -> None:
        """Begin cells while there is one that can be begun, and a worker for it."""
        while (ready := self._startable()) and (worker := workers.free()) is not None:
            self._start(worker, ready[0])

    def _hear(self, workers: Pool, worker: Worker, event: WorkerEvent) -> bool:
        """Pass on what a worker says; True where its cell has come to an end."""
        job, began = self.running[worker]
        if event.event == "progress":
            self.observer.progress(job, event.stage, event.done, event.total)
        elif event.event == "warning":
            self.observer.note(f"warning: {job.name}: {event.text}")
        elif event.event in ("done", "failed", "ended"):
            del self.running[worker]
            (workers.lost if event.event == "ended" else workers.rest)(worker)
            self._ended(job, time.monotonic() - began, event.text)
            return True
        return False

    def _startable(self) -> list[CellJob]:
        """The cells that can be begun now.

        Left out is a cell that is running, or whose stage 1 or network a running cell is just making. A cell that would
        only have to wait for a part of its stage 1 (its graph) comes last: by then the part may be there.
        """
        busy = {job.folder for job, _ in self.running.values()}
        running = [job for job, _ in self.running.values()]
        whole = {name for job in running for name in job.whole if not self._cached(name)}
        making = [job for job in running if not (job.whole and self._cached(job.whole[0]))]
        parts = {name for job in making for name in job.parts if not self._cached(name)}
        free = [job for job in self.plan.ready() if job.folder not in busy and not whole & set(job.whole)]
        return sorted(free, key=lambda job: bool(parts & set(job.parts)))

    def _cached(self, name: str) -> bool:
        return (self.plan.out / CACHE / name).is_dir()

    def _start(self, worker: Worker, job: CellJob) -> None:
        job = dataclasses.replace(job, number=self.done + len(self.running) + 1, total=self.total)
        self.running[worker] = (job, time.monotonic())
        self.observer.begun(job)
        worker.give(
            CellTask(
                cell=job.cell,
                data=DataTask(
                    name=job.data.name,
                    plugin=job.data.plugin,
                    values=plain(job.data.values),
                    share=job.data.share,
                ),
                folder=str(job.folder),
                cache=str(self.plan.out / CACHE),
                test=job.test,
                keep_weights=job.cell.seed == self.plan.study.options.seeds[0],
                threads=self.threads,
                device=self.device,
            )
        )

    def _ended(self, job: CellJob, seconds: float, problem: str) -> None:
        self.done += 1
        self.spent.append((job.row, job.data.name, seconds))
        if problem:
            self.plan.failed[job.folder.name] = problem
            if job.folder.is_dir() and not (job.folder / FAILED).is_file():  # the process died before it could tell
                write_atomically(job.folder / FAILED, json_bytes(record_json(FailedCell(what=problem, users=False))))
        if job.point is not None and not job.test:
            self._tuned(job, problem)
        self.observer.ended(job, seconds, problem, self._left())
        if time.monotonic() - self.tables_at > _BETWEEN_TABLES:
            self.tables()
            self.tables_at = time.monotonic()

    def _tuned(self, job: CellJob, problem: str) -> None:
        """Tell the journal; of the trials that are done only the best one keeps its checkpoints."""
        row = next(row for row in self.plan.study.rows if row.label == job.row)
        trials = self.plan.trials(job.data, row)
        assert job.point is not None
        tell_journal(
            self.plan.out / TUNE / f"{slug(job.data.name)}-{slug(job.row)}.journal",
            "-".join([job.data.name, job.row, job.cell.fingerprint[:8], trials[0].cell.slug[-10:]]),
            [point.settings for point in row.points],
            job.point,
            None if problem else self.plan.score(job),
        )
        best = best_index([self.plan.score(trial) for trial in trials])
        for index, trial in enumerate(trials):
            if index != best and trial.done:
                shutil.rmtree(RunFolder(path=trial.folder).checkpoints, ignore_errors=True)

    def _left(self) -> float | None:
        """Seconds that are left at most, by the cells of the same rows that were made in this run."""
        jobs = self.plan.ready()
        if not self.spent:
            return None
        overall = sum(seconds for _, _, seconds in self.spent) / len(self.spent)
        known: dict[tuple[str, ...], list[float]] = {}
        for row, data, seconds in self.spent:
            for key in ((row, data), (row,)):
                known.setdefault(key, []).append(seconds)
        total = 0.0
        for job in jobs:
            like = known.get((job.row, job.data.name)) or known.get((job.row,)) or [overall]
            total += sum(like) / len(like)
        hidden = self.total - self.done - len(jobs)
        return (total + max(hidden, 0) * overall) / self.jobs

    def tables(self) -> StudyResults:
        """Tables from all cells that are finished now."""
        study = self.plan.study
        results = gather(study, [_row_findings(self.plan, data, row) for data in study.data for row in study.rows])
        write_tables(self.plan.out, results)
        self._page()
        return results

    def _page(self) -> None:
        """The report page, where there is one; a fault of it costs no result."""
        try:
            write_page(self.plan.out)
        except Exception as error:
            self.observer.note(f"warning: no page: {type(error).__name__}: {error}")


def _row_findings(plan: Plan, data: StudyData, row: Row) -> RowFindings:
    """What is finished of a row on one data set, and what failed."""
    final = plan.final(data, row)
    trials = plan.trials(data, row)
    left = [job for job in [*trials, *(final or ())] if not job.done]
    failed = {job.name: plan.failed[job.folder.name] for job in left if job.folder.name in plan.failed}
    cells = [job.folder for job in final or () if job.done]
    tuned = _tuning(plan, data, row, trials) if trials else None
    return RowFindings(data=data.name, label=row.label, cells=tuple(cells), tuned=tuned, failed=failed)


def _tuning(plan: Plan, data: StudyData, row: Row, trials: Sequence[CellJob]) -> Tuning:
    """How far the grid of a row is on one data set: what each point scored, and which was chosen."""
    options = plan.study.options
    index = plan.chosen(data, row)
    return Tuning(
        by=f"{options.tune_by} on validation, seed {options.seeds[0]}",
        chosen=None if index is None else dict(row.points[index].settings),
        trials=tuple(
            TrialOutcome(
                settings=dict(row.points[trial.point or 0].settings),
                score=plan.score(trial),
                seconds=plan.trial(trial).seconds if trial.done else None,
                problem=plan.failed.get(trial.folder.name, ""),
            )
            for trial in trials
        ),
    )


class _Silent:
    """A `StudyObserver` that says nothing."""

    def planned(self, cells: int, done: int) -> None: ...
    def begun(self, job: CellJob) -> None: ...
    def progress(self, job: CellJob, stage: str, done: int, total: int) -> None: ...
    def ended(self, job: CellJob, seconds: float, problem: str, left: float | None) -> None: ...
    def note(self, text: str) -> None: ...
