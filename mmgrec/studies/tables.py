"""A study's results as Markdown, LaTeX and CSV. A figure is only formatted here, never computed anew."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from mmgrec.evaluation import ranks, shown
from mmgrec.runs import slug
from mmgrec.storage import Json, write_atomically

__all__ = ["STUDY", "csv_table", "latex_table", "markdown_table", "write_tables"]

STUDY, TABLES = "study.json", "tables"


def write_tables(out: Path, told: Json) -> None:
    """Write ``study.json``, and a table of each data set in three forms."""
    (out / TABLES).mkdir(parents=True, exist_ok=True)
    write_atomically(out / STUDY, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
    for one in told["data"]:
        forms = {"md": markdown_table(told, one), "tex": latex_table(told, one), "csv": csv_table(told, one)}
        for ending, text in forms.items():
            write_atomically(out / TABLES / f"{slug(one['name'])}.{ending}", text.encode())


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
