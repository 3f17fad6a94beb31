"""The facts of a study's page, from its folder; and of any folder's, a run's or a study's."""

from __future__ import annotations

from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.evaluation import best_places, main_metrics
from mmgrec.report import DatasetSection, ModelRow, PageFacts, TuningFacts, measurements, milliseconds_each
from mmgrec.runs import INSIGHT, RESULTS, run_facts
from mmgrec.storage import json_if_there, read_record
from mmgrec.studies.layout import CELL, CELLS, STUDY
from mmgrec.studies.results import CellResult, DatasetResults, ModelResults, StudyResults, StudyTest, Tuning

__all__ = ["read_folder"]


def read_folder(folder: Path) -> PageFacts:
    """The facts of a folder.

    Raises:
        RunError: if it holds neither a study nor a run that has results, or a file of it cannot be read.
    """
    if (folder / STUDY).is_file():
        return _study(folder)
    if (folder / RESULTS).is_file():
        return run_facts(folder)
    raise RunError(
        "there are no results in this folder",
        where=str(folder),
        remedy="name the folder of a finished run or of a study",
        code="studies.no-results",
    )


def _study(folder: Path) -> PageFacts:
    study = StudyResults.read(folder / STUDY)
    machines: set[str] = set()
    sections = []
    for data in study.data:
        firsts = {model.model: _first_cell(folder, model) for model in data.models}
        machines |= {cell.machine for cell in firsts.values() if cell is not None}
        sections.append(_section(folder, study, data, firsts))
    failed = [f"{name} failed: {sentence}" for name, sentence in study.failed.items()]
    return PageFacts(
        kind="study",
        name=study.study,
        title=study.title,
        written=study.written,
        mask=study.mask,
        seeds=study.seeds,
        seeds_wanted=len(study.seeds),
        metrics=study.metrics,
        definitions=study.definitions,
        versions=study.versions,
        machine={
            f"machine {number}" if number > 1 else "machine": machine
            for number, machine in enumerate(sorted(machines), start=1)
        },
        sheets=sections,
        notes=[*failed, *(f"left out: {reason}" for reason in study.absent)],
    )


def _first_cell(folder: Path, model: ModelResults) -> CellResult | None:
    """The cell of a row's first seed; None where there is none yet."""
    paths = [folder / CELLS / name / CELL for name in model.cells[:1]]
    return next((read_record(CellResult, path) for path in paths if path.is_file()), None)


def _section(
    folder: Path, study: StudyResults, data: DatasetResults, firsts: dict[str, CellResult | None]
) -> DatasetSection:
    tests = {test.against: test for test in data.tests.get(main_metrics(study.metrics)[0], ())}
    places = best_places({model.model: model.test for model in data.models}, study.metrics)
    rows = [
        _row(folder, model, firsts[model.model], tests.get(model.model), places.get(model.model, {}))
        for model in data.models
    ]
    return DatasetSection(name=data.name, facts=data.counts, first=study.against, lines=rows)


def _row(
    folder: Path, model: ModelResults, first: CellResult | None, test: StudyTest | None, places: dict[str, int]
) -> ModelRow:
    found = [json_if_there(folder / CELLS / name / INSIGHT) for name in model.cells]
    return ModelRow(
        label=model.model,
        plugin=model.plugin,
        seeds=len(model.seeds),
        figures=measurements(model.test, places),
        valid=measurements(model.valid, {}),
        difference=None if test is None else test.difference,
        p=None if test is None else test.p_holm,
        fit_seconds=model.seconds["fit"].mean,
        rank_ms=milliseconds_each(model.seconds["test"].mean, sum(model.test_users)),
        parameters=model.parameters,
        memory_mib=model.peak_memory_mib,
        defects=model.defects,
        tuning=_tuning(model.tuned),
        insights=[insight for insight in found if insight],
        stages=() if first is None else first.history,
    )


def _tuning(tuned: Tuning | None) -> TuningFacts | None:
    return None if tuned is None else TuningFacts(by=tuned.by, chosen=tuned.chosen, tried=len(tuned.trials))
