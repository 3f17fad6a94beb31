"""From finished cells to tables: means and deviations over seeds, paired tests over users; Markdown, LaTeX, CSV, JSON.

Does not know how cells are made. A figure is only formatted here, never computed anew from a formatted one.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmgrec.checkpoint import write_atomically
from mmgrec.evaluation import Defects, Report, holm, paired_test
from mmgrec.execution import recorded_versions, slug
from mmgrec.study import Study, model_values

__all__ = ["STUDY", "Found", "csv_table", "gather", "latex_table", "markdown_table", "write_tables"]

SCHEMA = 1
STUDY, TABLES = "study.json", "tables"
LOWER_IS_BETTER = ("popularity-bias",)
_SHOWN = ("recall", "ndcg")  # the metrics of the printed tables, where they are measured

Json = dict[str, Any]  # Any: JSON


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


def write_tables(out: Path, told: Json) -> None:
    """Write ``study.json``, and a table of each data set in three forms."""
    (out / TABLES).mkdir(parents=True, exist_ok=True)
    write_atomically(out / STUDY, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
    for one in told["data"]:
        forms = {"md": markdown_table(told, one), "tex": latex_table(told, one), "csv": csv_table(told, one)}
        for ending, text in forms.items():
            write_atomically(out / TABLES / f"{slug(one['name'])}.{ending}", text.encode())


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


def spread(values: Sequence[float]) -> Json:
    """Mean, sample standard deviation (None for a single value) and the values themselves.

    >>> spread([1.0, 2.0, 4.0])["deviation"]
    1.5275252316519468
    """
    return {
        "mean": statistics.mean(values) if values else None,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


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
        mask="",
        seconds=0.0,
    )


# --------------------------------------------------------------------------- forms


def ranks(models: Sequence[Json], metric: str) -> dict[str, int]:
    """Label -> 0 for the best, 1 for the second best mean on test; equal figures share a place."""
    means = {one["model"]: one["test"][metric]["mean"] for one in models if metric in one["test"]}
    lower = metric.partition("@")[0] in LOWER_IS_BETTER
    order = sorted(set(means.values()), reverse=not lower)
    return {label: order.index(mean) for label, mean in means.items() if order.index(mean) < 2}


def shown(told: Json) -> list[str]:
    """The metrics of a printed table: recall and NDCG at all lengths, or all where neither is measured."""
    main = [name for name in told["metrics"] if name.partition("@")[0] in _SHOWN]
    return main or list(told["metrics"])


def table_rows(told: Json, data: Json, mark: Mapping[int, str], *, plus: str = "±") -> list[list[str]]:
    """The cells of a table as text, heads first.

    Args:
        told: the whole study.
        data: one of its data sets.
        mark: place (0 best, 1 second) -> how a figure of that place is written, ``{}`` standing for it.
        plus: between mean and deviation.
    """
    names = shown(told)
    tests = {test["against"]: test for test in data["tests"].get(names[0], [])}
    heads = [
        "model",
        "seeds",
        *names,
        f"{told['against']} − it ({names[0]})",
        "p (Holm)",
        "fit s",
        "ms/user",
        "parameters",
    ]
    rows = [heads]
    places = {name: ranks(data["models"], name) for name in names}
    for one in data["models"]:
        figures = []
        for name in names:
            if name not in one["test"]:
                figures.append("—")
                continue
            text = f"{one['test'][name]['mean']:.4f}"
            place = places[name].get(one["model"])
            text = mark[place].format(text) if place is not None else text
            deviation = one["test"][name]["deviation"]
            figures.append(text if deviation is None else f"{text} {plus} {deviation:.4f}")
        test = tests.get(one["model"])
        seconds = one["seconds"]["fit"]["mean"]
        rows.append(
            [
                one["model"],
                f"{len(one['seeds'])}"
                if len(one["seeds"]) == len(told["seeds"])
                else f"{len(one['seeds'])} of {len(told['seeds'])}",
                *figures,
                "—" if test is None else f"{test['difference']:+.4f}",
                "—" if test is None else f"{test['p_holm']:.1e}",
                "—" if seconds is None else f"{seconds:.1f}",
                _milliseconds(one),
                "—" if one["parameters"] is None else f"{one['parameters']:,}",
            ]
        )
    return rows


def _milliseconds(model: Json) -> str:
    """To recommend to a user of the test part."""
    seconds, users = model["seconds"]["test"]["mean"], model["test_users"]
    return "—" if seconds is None or not users else f"{1000 * seconds / users[0]:.2f}"


def markdown_table(told: Json, data: Json) -> str:
    """Best bold, second best italic."""
    head, *rows = table_rows(told, data, {0: "**{}**", 1: "_{}_"})
    lines = [f"**{_inert(data['name'])}**, test, {told['mask']} masked", ""]
    lines.append("| " + " | ".join(head) + " |")
    lines.append("|" + "---|" * len(head))
    lines += ["| " + " | ".join(_inert(one) for one in row) + " |" for row in rows]
    return "\n".join([*lines, "", *map(_inert, _footnotes(told, data))]) + "\n"


def _inert(text: str) -> str:
    """One line of Markdown in which names do nothing: no new cell, no HTML."""
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)


def latex_table(told: Json, data: Json) -> str:
    """A ``tabular``; best bold, second best underlined."""
    head, *rows = table_rows(told, data, {0: r"\textbf{{{}}}", 1: r"\underline{{{}}}"}, plus=r"$\pm$")
    lines = [
        f"% {told['study']}: {_one_line(data['name'])}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\hline",
        " & ".join(_tex(one) for one in head) + r" \\",
        r"\hline",
        *(" & ".join([_tex(row[0]), *(_tex_signs(one) for one in row[1:])]) + r" \\" for row in rows),
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def csv_table(told: Json, data: Json) -> str:
    """One line a model, split and metric, with all digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "model", "split", "metric", "mean", "deviation", "seeds", "values"])
    for one in data["models"]:
        for split in ("test", "valid"):
            for name, found in one[split].items():
                values = " ".join(map(repr, found["values"]))
                row = [data["name"], one["model"], split, name, found["mean"], found["deviation"]]
                writer.writerow([*row, len(found["values"]), values])
    return out.getvalue()


def _footnotes(told: Json, data: Json) -> list[str]:
    notes = []
    for one in data["models"]:
        if one["tuned"] and one["tuned"]["chosen"] is not None:
            chosen = ", ".join(f"{key} = {json.dumps(value)}" for key, value in one["tuned"]["chosen"].items())
            notes.append(f"- {one['model']}: {chosen}, best of {len(one['tuned']['trials'])} by {one['tuned']['by']}")
        if one["defects"]:
            notes.append(f"- {one['model']}: {one['defects']} places of its lists hold what they must not, or nothing")
        notes += [f"- {name} failed: {sentence}" for name, sentence in one["failed"].items()]
    notes += [f"- left out: {one}" for one in told["absent"]]
    return notes


def _tex(text: str) -> str:
    text = _one_line(text)
    for sign in "\\&%$#_{}":
        text = text.replace(sign, f"\\{sign}" if sign != "\\" else r"\textbackslash ")
    return _tex_signs(text)


def _tex_signs(text: str) -> str:
    return text.replace("−", "$-$").replace("—", "--")
