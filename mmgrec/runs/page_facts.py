"""The facts of a run's page, from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.evaluation import best_places, main_metrics
from mmgrec.insight import ModelInsight
from mmgrec.report import (
    DatasetSection,
    ModelRow,
    PageFacts,
    TrainingStage,
    data_counts,
    measurements,
    milliseconds_each,
)
from mmgrec.runs.layout import INSIGHT, LOG, RESULTS, RUN
from mmgrec.runs.log import log_stages
from mmgrec.storage import Json, json_if_there, read_json

__all__ = ["run_facts"]


def run_facts(folder: Path) -> PageFacts:
    told, facts = read_json(folder / RESULTS), json_if_there(folder / RUN)
    insight = json_if_there(folder / INSIGHT).get("models", {})
    labels = list(dict.fromkeys(row["model"] for row in told["results"]))
    stages = log_stages(folder / LOG, labels)
    tests = _tests(folder, told, labels)
    rows = {(row["model"], row["split"]): row for row in told["results"]}
    metrics = list(told["results"][0]["metrics"])
    shown: dict[str, dict[str, Json]] = {
        split: {
            label: {
                name: {"mean": value, "deviation": None}
                for name, value in rows.get((label, split), {"metrics": {}})["metrics"].items()
            }
            for label in labels
        }
        for split in ("test", "valid")
    }
    places = best_places(shown["test"], metrics)
    plugins = {key.split("/")[0]: name.split(" of ")[0] for key, name in facts.get("plugins", {}).items()}
    lines = []
    for label in labels:
        row = rows.get((label, "test")) or rows[label, "valid"]
        where = f"{folder / INSIGHT}, model {label!r}"
        mine = [ModelInsight.of_json(insight[label], where=where)] if insight.get(label) else []
        lines.append(
            ModelRow(
                label=label,
                plugin=plugins.get(label, ""),
                figures=measurements(shown["test"][label], places.get(label, {})),
                valid=measurements(shown["valid"][label], {}),
                difference=tests.get(label, (None, None))[0],
                p=tests.get(label, (None, None))[1],
                fit_seconds=row["seconds"]["fit"],
                rank_ms=milliseconds_each(row["seconds"]["recommend"], row["num_users"]),
                parameters=mine[0].parameters if mine else None,
                insights=mine,
                stages=[TrainingStage.of_json(stage) for stage in stages.get(label, [])],
            )
        )
    data = told["data"]
    return PageFacts(
        kind="run",
        name=data["name"],
        title=f"preset {told['preset']}",
        written=facts.get("written", ""),
        mask=next((row["mask"] for row in told["results"] if row["split"] == "test"), "train"),
        seeds=[told["seed"]],
        metrics=metrics,
        definitions=told["definitions"],
        versions=facts.get("versions", {}),
        machine=_machine(facts),
        sheets=[DatasetSection(name=data["name"], facts=data_counts(data), first=labels[0], lines=lines)],
        notes=[],
    )


def _machine(facts: Json) -> dict[str, str]:
    if not facts:
        return {}
    return {
        "machine": f"{facts['system']}, {facts['processors']} processors, Python {facts['python']}, "
        f"{facts['device']}, {facts['threads']} threads"
    }


def _tests(folder: Path, told: Json, labels: Sequence[str]) -> dict[str, tuple[float, float | None]]:
    """Label -> difference of the first model from it, and its p; none where nothing can be compared."""
    from mmgrec.runs.comparison import compare
    from mmgrec.runs.folder import RunFolder
    from mmgrec.runs.stored import StoredRun

    metric = main_metrics(list(told["results"][0]["metrics"]))[0]
    if len(labels) < 2 or not (folder / "per_user.parquet").is_file():
        return {}
    try:
        found = compare([StoredRun(folder=RunFolder(path=folder))], metric=metric)
    except RunError:  # no test part, or a metric that no user has
        return {}
    return {one.second: (one.test.difference, one.test.p_holm) for one in found}
