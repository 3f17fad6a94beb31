"""What there is to do in a study: its cells, their folders, which of them are done, which grid point was chosen.

The runner asks a `Plan` what can be begun next; ``mmgrec study --plan`` shows it. It only reads the study's folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmgrec.recommender import MMGRec
from mmgrec.runs import Model, RunFolder
from mmgrec.storage import Json, read_record
from mmgrec.studies.cache import cache_key, with_cached_stage_1
from mmgrec.studies.cell import CACHE_VERSIONS, Cell
from mmgrec.studies.layout import CELLS, FAILED, TRIAL
from mmgrec.studies.results import TrialResult
from mmgrec.studies.study import Study
from mmgrec.studies.tuning import best_index
from mmgrec.studies.values import Row, StudyData, model_values

__all__ = ["CellJob", "Plan", "shared_keys"]


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """A cell that is to be made, as far as its validation or as a whole."""

    cell: Cell
    data: StudyData
    folder: Path
    test: bool
    order: tuple[int, ...]  # earlier ones are begun first
    row: str
    point: int | None = None  # of the row's grid
    whole: tuple[str, ...] = ()  # names of what it may share with other cells: its stage 1, its trained network
    parts: tuple[str, ...] = ()  # of what is inside its stage 1
    number: int = 0  # in the study, from 1
    total: int = 0  # cells of the study

    @property
    def name(self) -> str:
        """What people call it."""
        trial = "" if self.test or self.point is None else f", grid point {self.point + 1}"
        return f"{self.data.name}, {self.row}, seed {self.cell.seed}{trial}"

    @property
    def done(self) -> bool:
        """Whether it is made as far as is wanted."""
        return RunFolder(path=self.folder).finished or (not self.test and (self.folder / TRIAL).is_file())


@dataclass(kw_only=True)
class Plan:
    """The cells of a study, as far as they are known: those behind a choice are known when the grid is done."""

    study: Study
    out: Path
    fingerprints: dict[str, str]
    failed: dict[str, str] = field(default_factory=dict)  # folder's name -> sentence
    _known: dict[tuple[object, ...], CellJob] = field(default_factory=dict)

    def trials(self, data: StudyData, row: Row) -> list[CellJob]:
        """The points of a row's grid on one data set, with the first seed."""
        seed = self.study.options.seeds[0]
        return [
            self._job(data, row, point.model, seed, test=False, order=(-1, *self._at(data, row), index), point=index)
            for index, point in enumerate(row.points)
        ]

    def chosen(self, data: StudyData, row: Row) -> int | None:
        """The index of the point that validation chose; None while its grid is not done, or if all of it failed."""
        trials = self.trials(data, row)
        if not all(job.done or job.folder.name in self.failed for job in trials):
            return None
        return best_index([self.score(job) for job in trials])

    def trial(self, job: CellJob) -> TrialResult:
        """What a fit was judged on validation.

        Raises:
            RunError: if that is not there, or cannot be read.
        """
        return read_record(TrialResult, job.folder / TRIAL, remedy=RunFolder.again)

    def score(self, job: CellJob) -> float | None:
        """What a trial has on validation; None where it has nothing."""
        if not (job.folder / TRIAL).is_file():
            return None
        valid = self.trial(job).valid
        return None if valid is None else valid.metrics[self.study.options.tune_by]

    def final(self, data: StudyData, row: Row) -> list[CellJob] | None:
        """A row's cells on one data set, one a seed; None while its grid is not done."""
        model, point = row.model, None
        if row.points:
            point = self.chosen(data, row)
            if point is None:
                return None
            model = row.points[point].model
        return [
            self._job(data, row, model, seed, test=True, order=(index, *self._at(data, row)), point=point)
            for index, seed in enumerate(self.study.options.seeds)
        ]

    def ready(self) -> list[CellJob]:
        """What can be made now and is not yet, failed cells left out."""
        jobs = [job for _, _, trials, final in self._rows() for job in (trials if final is None else final)]
        return sorted(
            (job for job in jobs if not job.done and job.folder.name not in self.failed), key=lambda job: job.order
        )

    def described(self) -> list[Json]:
        """Every cell, and whether it is done; those behind a choice that is not made yet have no folder."""
        cells: list[Json] = []
        for data, row, trials, final in self._rows():
            for job in [*trials, *(final or ())]:
                state = "left to do" if not (job.folder / FAILED).is_file() else "failed"
                cells.append({"cell": job.name, "folder": job.folder.name, "done": job.done, "state": state})
            if final is None:
                cells += [
                    {"cell": f"{data.name}, {row.label}, seed {seed}", "folder": "", "done": False,
                     "state": "after tuning"}
                    for seed in self.study.options.seeds
                ]  # fmt: skip
        return cells

    def counts(self) -> tuple[int, int]:
        """All cells, those that are done."""
        total = done = 0
        for _, _, trials, final in self._rows():
            total += len(self.study.options.seeds) + len(trials)
            done += sum(job.done for job in trials) + sum(job.done for job in final or ())
        return total, done

    def _rows(self) -> Iterator[tuple[StudyData, Row, list[CellJob], list[CellJob] | None]]:
        """Each row on each data set with its trials, and its cells; None while its grid is not done."""
        for data in self.study.data:
            for row in self.study.rows:
                yield data, row, self.trials(data, row), self.final(data, row)

    def _at(self, data: StudyData, row: Row) -> tuple[int, int]:
        """Where a data set and a row stand in the study, by which cells are put in order."""
        return self.study.data.index(data), self.study.rows.index(row)

    def _job(
        self,
        data: StudyData,
        row: Row,
        model: Model,
        seed: int,
        *,
        test: bool,
        order: tuple[int, ...],
        point: int | None,
    ) -> CellJob:
        """The cell of these; asked twice it is the same object."""
        key = (data.name, row.label, point, seed, test)
        if key in self._known:
            return self._known[key]
        options = self.study.options
        cell = Cell(
            label=row.label,
            model=model_values(model),
            seed=seed,
            mask=options.mask,
            top_k=options.top_k,
            metrics=options.metrics,
            data_name=data.name,
            fingerprint=self.fingerprints[data.name],
        )
        whole, parts = shared_keys(model, cell)
        job = CellJob(
            cell=cell,
            data=data,
            folder=self.out / CELLS / cell.slug,
            test=test,
            order=order,
            row=row.label,
            point=point,
            whole=whole,
            parts=parts,
        )
        self._known[key] = job
        return job


def shared_keys(model: Model, cell: Cell) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keys of a model's stage 1 and trained network, and of the parts inside its quantizer.

    Another recommender has parts that a quantizer may have too (`stage-1`: the graph).
    """
    outer: Any = model.recommender
    whole: tuple[str, ...] = ()
    key = partial(cache_key, seed=cell.seed, fingerprint=cell.fingerprint, versions=CACHE_VERSIONS)
    if isinstance(model.recommender, MMGRec):
        outer = model.recommender.quantizer
        whole = key(outer, ("quantizer",)), key(with_cached_stage_1(model.recommender).generator, ())
    inside = filter(dataclasses.is_dataclass, (getattr(outer, field.name) for field in dataclasses.fields(outer)))
    return whole, tuple(key(part, ("quantizer",)) for part in inside)
