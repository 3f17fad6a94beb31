"""From finished cells to what ``study.json`` holds: means over seeds, paired tests over users."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmgrec.evaluation import Defects, Report, holm, paired_test, spread
from mmgrec.runs import recorded_versions
from mmgrec.storage import Json
from mmgrec.studies.study import Study
from mmgrec.studies.values import model_values

__all__ = ["Found", "gather"]


SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is of one model on one data set."""

    data: str
    label: str
    cells: tuple[Path, ...]  # finished ones, one a seed
    tuned: Mapping[str, Any] | None = None
    failed: Mapping[str, str] = field(default_factory=dict)  # cell -> sentence


def gather(study: Study, found: Sequence[Found]) -> Json:
    """Everything a study has found, as ``study.json`` holds it."""
    data = [_data_set(study, one.name, [row for row in found if row.data == one.name]) for one in study.data]
    return {
        "schema": SCHEMA,
        "study": study.name,
        "title": study.options.title,
        "seeds": list(study.options.seeds),
        "mask": study.options.mask,
        "metrics": [f"{name}@{k}" for k in sorted(study.options.top_k) for name in study.options.metrics],
        "definitions": {name: metric.definition for name, metric in study.metrics.items()},
        "against": study.first,
        "absent": list(study.absent),
        "versions": recorded_versions(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "data": data,
        "failed": {name: told for row in found for name, told in row.failed.items()},
    }


# --------------------------------------------------------------------------- figures


def _data_set(study: Study, name: str, rows: Sequence[Found]) -> Json:
    cells = {row.label: [json.loads((path / "cell.json").read_text()) for path in row.cells] for row in rows}
    facts = next((one["data"] for several in cells.values() for one in several), {"name": name})
    models = [_model(study, row, cells[row.label]) for row in sorted(rows, key=lambda row: _place(study, row.label))]
    return {**facts, "name": name, "models": models, "tests": _tests(study, rows)}


def _place(study: Study, label: str) -> int:
    return [row.label for row in study.rows].index(label)


def _model(study: Study, row: Found, cells: Sequence[Json]) -> Json:
    own = study.rows[_place(study, row.label)].model
    splits: Json = {}
    for split in ("test", "valid"):
        results = [one for cell in cells for one in cell["results"] if one["split"] == split]
        names = results[0]["metrics"] if results else {}
        splits[split] = {name: spread([one["metrics"][name] for one in results]) for name in names}
    defects = [
        sum(one[name] for name in asdict(Defects()))
        for cell in cells
        for one in cell["results"]
        if one["split"] == "test"
    ]
    return {
        "model": row.label,
        "plugin": own.plugin,
        "settings": cells[0]["model"] if cells else model_values(own),
        "seeds": [cell["seed"] for cell in cells],
        "cells": [path.name for path in row.cells],
        **splits,
        "otherwise": _otherwise(cells),
        "defects": sum(defects),
        "seconds": {
            key: spread([cell["seconds"][key] for cell in cells if cell["seconds"][key] is not None])
            for key in ("fit", "stage1", "valid", "test")
        },
        "test_users": [one["num_users"] for cell in cells for one in cell["results"] if one["split"] == "test"][:1],
        "parameters": cells[0]["parameters"] if cells else None,
        "peak_memory_mib": max((cell["peak_memory_mib"] for cell in cells), default=None),
        "threads": sorted({cell["threads"] for cell in cells}),
        "versions": [dict(one) for one in {tuple(cell["versions"].items()) for cell in cells}],
        "written": [cell["written"] for cell in cells],
        "tuned": None if row.tuned is None else dict(row.tuned),
        "failed": dict(row.failed),
    }


def _otherwise(cells: Sequence[Json]) -> Json | None:
    """The test part under the other mask, in cells that know it."""
    told = [cell["otherwise"] for cell in cells if cell.get("otherwise")]
    if not told:
        return None
    names = told[0]["metrics"]
    return {"mask": told[0]["mask"], **{name: spread([one["metrics"][name] for one in told]) for name in names}}


def _tests(study: Study, rows: Sequence[Found]) -> Json:
    """metric -> the first model against each other one: paired over users, each user's figure the mean over the seeds
    that both have; corrected by Holm for all models."""
    frames = {row.label: _frames(row.cells) for row in rows}
    mine = frames.get(study.first, {})
    out: Json = {}
    for metric in [f"{name}@{k}" for k in sorted(study.options.top_k) for name in study.options.metrics]:
        made, labels = [], []
        for row in rows:
            shared = sorted(mine.keys() & frames[row.label].keys())
            if row.label == study.first or not shared or metric not in mine[shared[0]].columns:
                continue
            first, second = (_mean([one[seed] for seed in shared], metric) for one in (mine, frames[row.label]))
            made.append(paired_test(first, second, metric))
            labels.append((row.label, shared))
        if made:
            out[metric] = [
                {"against": label, "seeds": seeds, **asdict(test)}
                for (label, seeds), test in zip(labels, holm(made), strict=True)
            ]
    return out


def _frames(cells: Sequence[Path]) -> dict[int, Any]:  # Any: polars.DataFrame, imported late
    """seed -> the values of each user on test."""
    import polars

    found = {}
    for path in cells:
        if (path / "per_user.parquet").is_file():
            seed = json.loads((path / "cell.json").read_text())["seed"]
            found[seed] = polars.read_parquet(path / "per_user.parquet").sort("user")
    return found


def _mean(frames: Sequence[Any], metric: str) -> Report:  # Any: polars.DataFrame
    """A report whose per-user values are means over seeds."""
    user = torch.from_numpy(frames[0]["user"].to_numpy().copy())
    values = torch.stack([torch.from_numpy(one[metric].to_numpy().copy()) for one in frames]).mean(0)
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
