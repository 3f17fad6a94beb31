"""The facts of a study's page, from its folder."""

from __future__ import annotations

from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.evaluation import best_places, main_metrics
from mmgrec.insight import ModelInsight
from mmgrec.report import (
    DatasetSection,
    ModelRow,
    PageFacts,
    TrainingStage,
    TunedSettings,
    data_counts,
    measurements,
    milliseconds_each,
)
from mmgrec.runs import INSIGHT, RESULTS, run_facts
from mmgrec.storage import Json, json_if_there, read_json

__all__ = ["read_folder"]


STUDY, CELLS = "study.json", "cells"


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
    )


# --------------------------------------------------------------------------- a study


def _study(folder: Path) -> PageFacts:
    told = read_json(folder / STUDY)
    sheets = [_study_sheet(folder, told, data) for data in told["data"]]
    machines = {
        f"{cell.get('system', '')}, {cell.get('processors', '?')} processors, Python {cell.get('python', '?')}, "
        f"{cell.get('device', 'cpu')}, {cell.get('threads', 1)} threads a cell"
        for data in told["data"]
        for model in data["models"]
        for cell in [json_if_there(folder / CELLS / name / "cell.json") for name in model["cells"][:1]]
        if cell
    }
    failed = [f"{name} failed: {sentence}" for name, sentence in told["failed"].items()]
    return PageFacts(
        kind="study",
        name=told["study"],
        title=told["title"],
        written=told["written"],
        mask=told["mask"],
        seeds=told["seeds"],
        seeds_wanted=len(told["seeds"]),
        metrics=told["metrics"],
        definitions=told["definitions"],
        versions=told["versions"],
        machine={f"machine {place}" if place > 1 else "machine": one for place, one in enumerate(sorted(machines), 1)},
        sheets=sheets,
        notes=[*failed, *(f"left out: {one}" for one in told["absent"])],
    )


def _study_sheet(folder: Path, told: Json, data: Json) -> DatasetSection:
    tests = {one["against"]: one for one in data["tests"].get(main_metrics(told["metrics"])[0], [])}
    places = best_places({one["model"]: one["test"] for one in data["models"]}, told["metrics"])
    lines = []
    for one in data["models"]:
        cells = [folder / CELLS / name for name in one["cells"]]
        test = tests.get(one["model"], {})
        files = [cell / INSIGHT for cell in cells]
        insights = [ModelInsight.of_json(read_json(file), where=str(file)) for file in files if file.is_file()]
        history = (json_if_there(cells[0] / "cell.json").get("history") or []) if cells else []
        lines.append(
            ModelRow(
                label=one["model"],
                plugin=one["plugin"],
                seeds=len(one["seeds"]),
                figures=measurements(one["test"], places.get(one["model"], {})),
                valid=measurements(one["valid"], {}),
                difference=test.get("difference"),
                p=test.get("p_holm"),
                fit_seconds=one["seconds"]["fit"]["mean"],
                rank_ms=milliseconds_each(
                    one["seconds"]["test"]["mean"], one["test_users"][0] if one["test_users"] else 0
                ),
                parameters=one["parameters"],
                memory_mib=one["peak_memory_mib"],
                defects=one["defects"],
                tuned=TunedSettings.of_json(one["tuned"]) if one["tuned"] else None,
                insights=insights,
                stages=[TrainingStage.of_json(stage) for stage in history],
            )
        )
    return DatasetSection(name=data["name"], facts=data_counts(data), first=told["against"], lines=lines)
