"""A study's results as Markdown, LaTeX and CSV. A figure is only formatted here, never computed anew."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from mmgrec.evaluation import SPLITS, best_places, main_metrics
from mmgrec.report import milliseconds_each
from mmgrec.runs import slug
from mmgrec.storage import json_bytes, write_atomically
from mmgrec.studies.layout import STUDY, TABLES
from mmgrec.studies.results import DatasetResults, ModelResults, StudyResults

__all__ = ["csv_table", "latex_table", "markdown_table", "table_rows", "write_tables"]

NONE = "—"


def write_tables(out: Path, study: StudyResults) -> None:
    """Write ``study.json``, and a table of each data set in three forms."""
    (out / TABLES).mkdir(parents=True, exist_ok=True)
    write_atomically(out / STUDY, json_bytes(study.to_json()))
    for data in study.data:
        forms = {"md": markdown_table(study, data), "tex": latex_table(study, data), "csv": csv_table(data)}
        for ending, text in forms.items():
            write_atomically(out / TABLES / f"{slug(data.name)}.{ending}", text.encode())


def table_rows(
    study: StudyResults, data: DatasetResults, mark: Mapping[int, str], *, plus: str = "±"
) -> list[list[str]]:
    """The cells of a table as text, heads first.

    Args:
        study: the whole study.
        data: one of its data sets.
        mark: place (0 best, 1 second) -> how a figure of that place is written, ``{}`` standing for it.
        plus: between mean and deviation.
    """
    names = main_metrics(study.metrics)
    tests = {test.against: test for test in data.tests.get(names[0], ())}
    heads = [
        "model",
        "seeds",
        *names,
        f"{study.against} − it ({names[0]})",
        "p (Holm)",
        "fit s",
        "ms/user",
        "parameters",
    ]
    places = best_places({model.model: model.test for model in data.models}, names)
    rows = [heads]
    for model in data.models:
        test = tests.get(model.model)
        seconds = model.seconds["fit"].mean
        rank_ms = milliseconds_each(model.seconds["test"].mean, sum(model.test_users))
        seeds = len(model.seeds)
        rows.append(
            [
                model.model,
                f"{seeds}" if seeds == len(study.seeds) else f"{seeds} of {len(study.seeds)}",
                *(_figure(model, name, places.get(model.model, {}).get(name), mark, plus) for name in names),
                NONE if test is None else f"{test.difference:+.4f}",
                NONE if test is None or test.p_holm is None else f"{test.p_holm:.1e}",
                NONE if seconds is None else f"{seconds:.1f}",
                NONE if rank_ms is None else f"{rank_ms:.2f}",
                NONE if model.parameters is None else f"{model.parameters:,}",
            ]
        )
    return rows


def _figure(model: ModelResults, name: str, place: int | None, mark: Mapping[int, str], plus: str) -> str:
    """Mean, marked by its place, and deviation of a metric on test."""
    figure = model.test.get(name)
    if figure is None or figure.mean is None:
        return NONE
    text = f"{figure.mean:.4f}"
    text = text if place is None else mark[place].format(text)
    return text if figure.deviation is None else f"{text} {plus} {figure.deviation:.4f}"


def markdown_table(study: StudyResults, data: DatasetResults) -> str:
    """Best bold, second best italic."""
    head, *rows = table_rows(study, data, {0: "**{}**", 1: "_{}_"})
    lines = [f"**{_inert(data.name)}**, test, {study.mask} masked", ""]
    lines.append("| " + " | ".join(head) + " |")
    lines.append("|" + "---|" * len(head))
    lines += ["| " + " | ".join(_inert(cell) for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *map(_inert, _footnotes(study, data))]) + "\n"


def _inert(text: str) -> str:
    """One line of Markdown in which names do nothing: no new cell, no HTML."""
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def latex_table(study: StudyResults, data: DatasetResults) -> str:
    """A ``tabular``; best bold, second best underlined."""
    head, *rows = table_rows(study, data, {0: r"\textbf{{{}}}", 1: r"\underline{{{}}}"}, plus=r"$\pm$")
    lines = [
        f"% {study.study}: {_one_line(data.name)}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\hline",
        " & ".join(_tex(cell) for cell in head) + r" \\",
        r"\hline",
        *(" & ".join([_tex(row[0]), *(_tex_signs(cell) for cell in row[1:])]) + r" \\" for row in rows),
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def csv_table(data: DatasetResults) -> str:
    """One line a model, split and metric, with all digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "model", "split", "metric", "mean", "deviation", "seeds", "values"])
    for model in data.models:
        for split in SPLITS:
            for name, figure in (model.test if split == "test" else model.valid).items():
                values = " ".join(map(repr, figure.values))
                row = [data.name, model.model, split, name, figure.mean, figure.deviation]
                writer.writerow([*row, len(figure.values), values])
    return out.getvalue()


def _footnotes(study: StudyResults, data: DatasetResults) -> list[str]:
    notes = []
    for model in data.models:
        if model.tuned and model.tuned.chosen is not None:
            chosen = ", ".join(f"{key} = {json.dumps(value)}" for key, value in model.tuned.chosen.items())
            notes.append(f"- {model.model}: {chosen}, best of {len(model.tuned.trials)} by {model.tuned.by}")
        if model.defects:
            notes.append(f"- {model.model}: {model.defects} places of its lists hold what they must not, or nothing")
        notes += [f"- {name} failed: {sentence}" for name, sentence in model.failed.items()]
    notes += [f"- left out: {reason}" for reason in study.absent]
    return notes


def _tex(text: str) -> str:
    text = _one_line(text)
    for sign in "\\&%$#_{}":
        text = text.replace(sign, f"\\{sign}" if sign != "\\" else r"\textbackslash ")
    return _tex_signs(text)


def _tex_signs(text: str) -> str:
    return text.replace("−", "$-$").replace("—", "--")
