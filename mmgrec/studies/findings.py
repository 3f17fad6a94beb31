"""From finished cells to what ``study.json`` holds: means over seeds, paired tests over users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmgrec.evaluation import SPLITS, Defects, Report, Split, Spread, holm, paired_test
from mmgrec.runs import PER_USER, now, recorded_versions
from mmgrec.storage import read_record
from mmgrec.studies.layout import CELL
from mmgrec.studies.results import (
    CellResult,
    DatasetResults,
    MaskedMetrics,
    ModelResults,
    StudyResults,
    StudyTest,
    Tuning,
)  # fmt: skip
from mmgrec.studies.study import Study
from mmgrec.studies.values import model_values

__all__ = ["RowFindings", "gather"]


@dataclass(frozen=True, kw_only=True)
class RowFindings:
    """What there is of one model on one data set."""

    data: str
    label: str
    cells: tuple[Path, ...]  # finished ones, one a seed
    tuned: Tuning | None = None
    failed: Mapping[str, str] = field(default_factory=dict)  # cell -> sentence


def gather(study: Study, findings: Sequence[RowFindings]) -> StudyResults:
    """All that a study has found so far, from the finished cells of its rows on its data sets."""
    options = study.options
    return StudyResults(
        study=study.name,
        title=options.title,
        seeds=options.seeds,
        mask=options.mask,
        metrics=tuple(_measured(study)),
        definitions={name: metric.definition for name, metric in study.metrics.items()},
        against=study.first,
        absent=study.absent,
        versions=recorded_versions(),
        written=now(),
        data=tuple(
            _data_set(study, data.name, [row for row in findings if row.data == data.name]) for data in study.data
        ),
        failed={name: sentence for row in findings for name, sentence in row.failed.items()},
    )


def _measured(study: Study) -> list[str]:
    return [f"{name}@{k}" for k in sorted(study.options.top_k) for name in study.options.metrics]


def _data_set(study: Study, name: str, rows: Sequence[RowFindings]) -> DatasetResults:
    cells = {row.label: [read_record(CellResult, path / CELL) for path in row.cells] for row in rows}
    facts = next((cell.data for several in cells.values() for cell in several), None)
    known = {} if facts is None else {key: value for key, value in vars(facts).items() if key != "name"}
    ordered = sorted(rows, key=lambda row: _index(study, row.label))
    models = tuple(_model(study, row, cells[row.label]) for row in ordered)
    return DatasetResults(name=name, **known, models=models, tests=_tests(study, rows, cells))


def _index(study: Study, label: str) -> int:
    return [row.label for row in study.rows].index(label)


def _model(study: Study, row: RowFindings, cells: Sequence[CellResult]) -> ModelResults:
    own = study.rows[_index(study, row.label)].model
    tests = [result for cell in cells for result in [cell.find("test")] if result is not None]
    return ModelResults(
        model=row.label,
        plugin=own.plugin,
        settings=cells[0].model if cells else model_values(own),
        seeds=tuple(cell.seed for cell in cells),
        cells=tuple(path.name for path in row.cells),
        **{split: _spreads(cells, split) for split in SPLITS},
        otherwise=_otherwise(cells),
        defects=sum(result.defects for result in tests),
        seconds={
            key: Spread.of(value for cell in cells if (value := getattr(cell.seconds, key)) is not None)
            for key in ("fit", "stage1", "valid", "test")
        },
        test_users=tuple(result.num_users for result in tests[:1]),
        parameters=cells[0].parameters if cells else None,
        peak_memory_mib=max((cell.peak_memory_mib for cell in cells if cell.peak_memory_mib is not None), default=None),
        threads=tuple(sorted({cell.threads for cell in cells})),
        versions=tuple(dict(items) for items in {tuple(cell.versions.items()) for cell in cells}),
        written=tuple(cell.written for cell in cells),
        tuned=row.tuned,
        failed=dict(row.failed),
    )


def _spreads(cells: Sequence[CellResult], split: Split) -> dict[str, Spread]:
    """Metric -> its values over the seeds, on one part."""
    results = [result for cell in cells for result in [cell.find(split)] if result is not None]
    names = results[0].metrics if results else {}
    return {name: Spread.of(result.metrics[name] for result in results) for name in names}


def _otherwise(cells: Sequence[CellResult]) -> MaskedMetrics | None:
    """The test part under the other mask, in cells that know it."""
    known = [cell.otherwise for cell in cells if cell.otherwise is not None]
    if not known:
        return None
    figures = {name: Spread.of(other.metrics[name] for other in known) for name in known[0].metrics}
    return MaskedMetrics(mask=known[0].mask, metrics=figures)


def _tests(
    study: Study, rows: Sequence[RowFindings], cells: Mapping[str, Sequence[CellResult]]
) -> dict[str, tuple[StudyTest, ...]]:
    """Metric -> the first model against each other one, corrected by Holm for all of them."""
    frames = {row.label: _frames(row.cells, cells[row.label]) for row in rows}
    mine = frames.get(study.first, {})
    tests_of: dict[str, tuple[StudyTest, ...]] = {}
    for metric in _measured(study):
        tests, labels = [], []
        for row in rows:
            shared = sorted(mine.keys() & frames[row.label].keys())
            if row.label == study.first or not shared or metric not in mine[shared[0]].columns:
                continue
            first, second = (_mean([several[seed] for seed in shared], metric) for several in (mine, frames[row.label]))
            tests.append(paired_test(first, second, metric))
            labels.append((row.label, shared))
        if tests:
            tests_of[metric] = tuple(
                StudyTest.of(label, seeds, test) for (label, seeds), test in zip(labels, holm(tests), strict=True)
            )
    return tests_of


def _frames(
    paths: Sequence[Path], cells: Sequence[CellResult]
) -> dict[int, Any]:  # Any: polars.DataFrame, imported late
    """seed -> the values of each user on test."""
    import polars

    return {
        cell.seed: polars.read_parquet(path / PER_USER).sort("user")
        for path, cell in zip(paths, cells, strict=True)
        if (path / PER_USER).is_file()
    }


def _mean(frames: Sequence[Any], metric: str) -> Report:  # Any: polars.DataFrame
    """A report whose per-user values are means over seeds."""
    user = torch.from_numpy(frames[0]["user"].to_numpy().copy())
    values = torch.stack([torch.from_numpy(frame[metric].to_numpy().copy()) for frame in frames]).mean(0)
    return Report(
        metrics={metric: float(values.mean())},
        per_user={metric: values},
        definitions={},
        user=user,
        item=torch.empty(user.numel(), 0, dtype=torch.int64),
        defects=Defects(),
        split="test",
        mask="train+valid",
        seconds=0.0,
    )
