"""The facts of a run's page, from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.evaluation import SPLITS, Spread, best_places, main_metrics
from mmgrec.insight import ModelInsight
from mmgrec.report import DatasetSection, ModelRow, PageFacts, measurements, milliseconds_each
from mmgrec.runs.comparison import Comparison, compare
from mmgrec.runs.folder import RunFolder
from mmgrec.runs.layout import INSIGHT, LOG, PER_USER, RESULTS, RUN
from mmgrec.runs.log import log_stages
from mmgrec.runs.results import RunRecord, RunResults
from mmgrec.runs.stored import StoredRun
from mmgrec.storage import json_if_there, read_record

__all__ = ["run_facts"]


def run_facts(folder: Path) -> PageFacts:
    """What the page of a run shows.

    Raises:
        RunError: if the folder holds no results, or a file of it cannot be read.
    """
    results = RunResults.read(folder / RESULTS)
    record = read_record(RunRecord, folder / RUN) if (folder / RUN).is_file() else None
    plugins = {} if record is None else record.plugins
    names = {key.split("/")[0]: plugin.split(" of ")[0] for key, plugin in plugins.items()}
    lines = _lines(folder, results, names)
    data = results.data
    counts = {"users": data.num_users, "items": data.num_items, "interactions": data.num_interactions}
    return PageFacts(
        kind="run",
        name=data.name,
        title=f"preset {results.preset}",
        written="" if record is None else record.written,
        mask=next((result.mask for result in results.results if result.split == "test"), "train"),
        seeds=[results.seed],
        metrics=results.metrics,
        definitions=results.definitions,
        versions={} if record is None else record.versions,
        machine={} if record is None else {"machine": f"{record.sentence}, {record.threads} threads"},
        sheets=[DatasetSection(name=data.name, facts=counts, first=results.labels[0], lines=lines)],
        notes=[],
    )


def _lines(folder: Path, results: RunResults, plugins: Mapping[str, str]) -> list[ModelRow]:
    """One row of the page a model; `plugins` has the name of each model's plugin, where it is known."""
    stages = log_stages(folder / LOG, results.labels)
    insights = {
        label: ModelInsight.of_json(payload, where=f"{folder / INSIGHT}, model {label!r}")
        for label, payload in json_if_there(folder / INSIGHT).get("models", {}).items()
    }
    tests = _tests(folder, results)
    figures = {
        split: {
            label: {name: Spread.of([value]) for name, value in result.metrics.items()} if result else {}
            for label in results.labels
            for result in [results.find(label, split)]
        }
        for split in SPLITS
    }
    places = best_places(figures["test"], results.metrics)
    rows = []
    for label in results.labels:
        result = results.find(label, "test") or results.find(label, "valid")
        assert result is not None  # labels are those of results
        test = tests.get(label)
        insight = insights.get(label)
        rows.append(
            ModelRow(
                label=label,
                plugin=plugins.get(label, ""),
                figures=measurements(figures["test"][label], places.get(label, {})),
                valid=measurements(figures["valid"][label], {}),
                difference=None if test is None else test.test.difference,
                p=None if test is None else test.test.p_holm,
                fit_seconds=result.seconds.fit,
                rank_ms=milliseconds_each(result.seconds.recommend, result.num_users),
                parameters=insight.parameters if insight else None,
                insights=[insight] if insight else [],
                stages=stages.get(label, []),
            )
        )
    return rows


def _tests(folder: Path, results: RunResults) -> dict[str, Comparison]:
    """Label -> the first model against it; none where nothing can be compared."""
    if len(results.labels) < 2 or not (folder / PER_USER).is_file():
        return {}
    try:
        comparisons = compare([StoredRun(folder=RunFolder(path=folder))], metric=main_metrics(results.metrics)[0])
    except RunError:  # no test part, or a metric that no user has
        return {}
    return {comparison.second: comparison for comparison in comparisons}
