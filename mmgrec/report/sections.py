"""What stands where on the report page: tables, figures and sentences, as the template takes them.

A part whose facts are missing is empty, and the template leaves it out. All text is plain: the template escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmgrec import __version__
from mmgrec.evaluation import main_metrics
from mmgrec.report.facts import DatasetSection, Measurement, ModelRow, PageFacts
from mmgrec.report.figures import Plot, bars, colour, coverage, groups, popularity, visible
from mmgrec.report.model_figures import codewords, curves, gains, heat, level_name, prefixes
from mmgrec.storage import Json

__all__ = ["page_of"]


_STAGES, _POINTS = 500, 2000  # drawn of all models, and of all models' curves of one stage: the page stays small
_NAME = 80  # letters of an item's id or title
_SURE = 0.05  # below this, a difference is called one
_MARKS = {0: "best", 1: "second", None: ""}


def page_of(story: PageFacts) -> tuple[Json, list[Json]]:
    """The page for the template, and all figures for plotly."""
    plots: list[Json] = []
    sheets = [_sheet(story, one, f"data-{place}", plots) for place, one in enumerate(story.sheets, 1)]
    seeds = ", ".join(map(str, story.seeds))
    facts = [
        ("made", story.written.replace("T", " ").replace("Z", " UTC")),
        ("seed" if len(story.seeds) == 1 else "seeds", seeds),
        ("data", ", ".join(visible(one.name) for one in story.sheets)),
        ("left out on test", "training items" if story.mask == "train" else "training and validation items"),
        ("mmgrec", story.versions.get("mmgrec", "")),
    ]  # fmt: skip
    versions = [*story.machine.items(), *((name, one) for name, one in story.versions.items() if one != "absent")]
    page = {
        "title": f"{story.kind.capitalize()}: {visible(story.name, 120)}",
        "subtitle": visible(story.title, 300),
        "facts": [(name, visible(value)) for name, value in facts if value],
        "versions": [(visible(name), visible(value)) for name, value in versions],
        "definitions": [(visible(name), visible(value)) for name, value in story.definitions.items()],
        "several": len(story.seeds) > 1,
        "sheets": sheets,
        "notes": [visible(one) for one in story.notes],
        "version": __version__,
    }
    return page, plots


def _sheet(story: PageFacts, sheet: DatasetSection, anchor: str, plots: list[Json]) -> Json:
    def kept(*found: Plot | None) -> list[Plot]:
        real = [one for one in found if one is not None]
        plots.extend({**one.as_json(), "sheet": anchor} for one in real)
        return real

    lines, main = sheet.lines, main_metrics(story.metrics)
    models = sum(len(one.lines) for one in story.sheets)
    limits = {"stages": max(3, min(8, _STAGES // models)), "points": max(12, min(60, _POINTS // models))}
    generators = [(line, line.insights[0]) for line in lines if line.insights and line.insights[0].get("codewords")]
    loud = next(((line, one) for line, one in generators if one.get("gains")), None)
    known = next(((line, one["user"]) for line, one in generators if one.get("user")), None)
    measured = any(line.figures for line in lines)
    facts = ", ".join(f"{number:,} {name}" for name, number in sheet.facts.items())
    return {
        "anchor": anchor,
        "name": visible(sheet.name),
        "facts": facts,
        "reading": _reading(story, sheet),
        "results": _results(story, sheet, main if measured else []),
        "more": _more(story, sheet, main),
        "bars": kept(
            *(bars(f"{anchor}-bars-{place}", name, lines, seeds=len(story.seeds)) for place, name in enumerate(main)),
            coverage(f"{anchor}-coverage", lines),
        ),
        "models": [
            {"place": place, "label": visible(line.label), "colour": colour(place)}
            for place, line in enumerate(lines)
            if line.insights
        ],
        "served_wide": kept(popularity(f"{anchor}-popularity", lines)),
        "served": kept(
            *(
                groups(f"{anchor}-{by}-{metric}", lines, by, metric)
                for by in ("popularity", "history")
                for metric in ("recall", "ndcg")
            )
        ),
        "stages": limits["stages"] if any(len(line.stages) > limits["stages"] for line in lines) else 0,
        "training": [
            {"label": visible(line.label), "plots": found}
            for place, line in enumerate(lines)
            if (
                found := kept(*(curves(f"{anchor}-{what}-{place}", line, what, **limits) for what in ("loss", "score")))
            )
        ],
        "levels": _levels([(line.label, one["codewords"]) for line, one in generators]),
        "tokens": [
            {
                "label": visible(line.label),
                "plots": kept(
                    codewords(f"{anchor}-codewords-{place}", one["codewords"]),
                    prefixes(f"{anchor}-prefixes-{place}", one["prefixes"], one["items"]),
                ),
            }
            for place, (line, one) in enumerate(generators)
        ],
        "generator": visible(loud[0].label) if loud else "",
        "gains": kept(*(gains(f"{anchor}-gains-{one['layer']}", one) for one in loud[1]["gains"])) if loud else [],
        "user": _user(*known, anchor=anchor, kept=kept) if known else None,
    }


# --------------------------------------------------------------------------- tables


def _reading(story: PageFacts, sheet: DatasetSection) -> str:
    part = "Test part" if any(line.figures for line in sheet.lines) else "There is no test part"
    seeds = f", mean ± standard deviation over {len(story.seeds)} seeds" if len(story.seeds) > 1 else ", one seed"
    told = f"{part}{seeds}; best bold, second best underlined."
    if any(line.p is not None for line in sheet.lines):
        told += (
            f" Difference: {visible(sheet.first)} minus the model, by {main_metrics(story.metrics)[0]}; "
            f"p of a paired t-test over users, corrected by Holm; * where p < {_SURE}."
        )
    return told


def _results(story: PageFacts, sheet: DatasetSection, names: Sequence[str]) -> Json:
    """The main table; a column that would be empty is left out."""
    heads: list[tuple[str, Any]] = [(name, lambda line, name=name: _figure(line.figures.get(name))) for name in names]
    heads += [
        ("difference", lambda line: _difference(line)),
        ("p", lambda line: _cell(None if line.p is None else f"{line.p:.2g}")),
        ("fit (s)", lambda line: _cell(None if line.fit_seconds is None else f"{line.fit_seconds:,.1f}")),
        ("ms per user", lambda line: _cell(None if line.rank_ms is None else f"{line.rank_ms:,.2f}")),
        ("parameters", lambda line: _cell(None if line.parameters is None else f"{line.parameters:,}")),
        ("memory (MiB)", lambda line: _cell(None if line.memory_mib is None else f"{line.memory_mib:,.0f}")),
        ("defects", lambda line: _cell(str(line.defects) if line.defects else None)),
    ]
    if any(line.seeds != len(story.seeds) for line in sheet.lines):
        heads.insert(0, ("seeds", lambda line: _cell(f"{line.seeds} of {story.seeds_wanted}")))
    return _table(f"Results on {visible(sheet.name)}", sheet, heads)


def _more(story: PageFacts, sheet: DatasetSection, main: Sequence[str]) -> list[Json]:
    rest = [name for name in story.metrics if name not in main]
    tables = []
    if rest and any(line.figures for line in sheet.lines):
        heads = [(name, lambda line, name=name: _figure(line.figures.get(name))) for name in rest]
        tables.append(_table("All other metrics", sheet, heads))
    if any(line.valid for line in sheet.lines):
        heads = [(name, lambda line, name=name: _figure(line.valid.get(name))) for name in story.metrics]
        tables.append(_table("Validation part", sheet, heads))
    tuned = [(line, line.tuning) for line in sheet.lines if line.tuning]
    if tuned:
        tables.append(
            {
                "name": "Chosen settings",
                "head": ["model", "settings", "points tried", "chosen by"],
                "left": [1],
                "rows": [
                    {
                        "label": visible(line.label),
                        "own": False,
                        "colour": "",
                        "cells": [
                            {**_cell(_settings(tuning.chosen)), "text_column": True},
                            _cell(str(tuning.tried)),
                            _cell(visible(tuning.by)),
                        ],
                    }
                    for line, tuning in tuned
                ],
            }
        )
    return tables


def _settings(chosen: Mapping[str, Any] | None) -> str:
    return visible(", ".join(f"{name} = {value}" for name, value in chosen.items())) if chosen else "none could be"


def _table(name: str, sheet: DatasetSection, heads: Sequence[tuple[str, Any]]) -> Json:
    columns = [(head, [make(line) for line in sheet.lines]) for head, make in heads]
    columns = [(head, cells) for head, cells in columns if any(cell["text"] != "–" for cell in cells)]
    return {
        "name": name,
        "head": ["model", *(head for head, _ in columns)],
        "left": [],
        "rows": [
            {
                "label": visible(line.label),
                "own": line.label == sheet.first,
                "colour": colour(place),
                "cells": [cells[place] for _, cells in columns],
            }
            for place, line in enumerate(sheet.lines)
        ],
    }


def _cell(text: str | None, mark: str = "", more: str = "") -> Json:
    return {"text": "–" if text is None else text, "mark": mark, "more": more, "text_column": False}


def _figure(one: Measurement | None) -> Json:
    if one is None:
        return _cell(None)
    more = "" if one.deviation is None else f"± {one.deviation:.4f}"
    return _cell(f"{one.mean:.4f}", _MARKS.get(one.place, ""), more)


def _difference(line: ModelRow) -> Json:
    if line.difference is None:
        return _cell(None)
    sure = line.p is not None and line.p < _SURE
    return _cell(f"{line.difference:+.4f}{'*' if sure else ''}".replace("-", "−"))


def _levels(models: Sequence[tuple[str, Sequence[Json]]]) -> Json:
    """Vocabulary, use and perplexity of each level of each model."""
    return {
        "name": "Use of the vocabularies",
        "head": ["model", "level", "vocabulary", "tokens in use", "perplexity"],
        "left": [1],
        "rows": [
            {
                "label": visible(label) if place == 0 else "",
                "own": False,
                "colour": "",
                "cells": [
                    {**_cell(level_name(one)), "text_column": True},
                    _cell(f"{one['size']:,}"),
                    _cell(f"{one['used']:,}", more=f"{one['used'] / max(one['size'], 1):.0%}"),
                    _cell(f"{one['perplexity']:.1f}"),
                ],
            }
            for label, levels in models
            for place, one in enumerate(levels)
        ],
    }


# --------------------------------------------------------------------------- one user


def _user(line: ModelRow, user: Json, *, anchor: str, kept: Any) -> Json:
    history, item = user["items"], user["item"]
    maps = [
        {
            "title": f"Encoder layer {one['layer'] + 1}: scores between the items of his history, mean over the heads",
            "plots": kept(
                *(
                    heat(f"{anchor}-{part}-{one['layer']}", one[part], part)
                    for part in ("content", "relation", "attention")
                )
            ),
        }
        for one in user["layers"]
    ]
    hits = f"{user['hits']} of his first {user['list']} recommendations are items that he liked afterwards"
    text = (
        f"User {visible(user['user'], 40)}, seen through {visible(line.label)}: {hits}. He is an example chosen for a "
        f"short history and many hits, not an average. What the model read of him, by number:"
    )
    liked = "which he did like" if user["liked"] else "which he is not known to like"
    why = (
        f"{_named(item)} is recommendation {user['place']} of this user, {liked}. Each box is one token of its Rec-ID: "
        f"the probability of the token taken and of its best rivals, each with the most popular item behind it; tokens "
        f"that lead only to items he knows are left out. The "
        f"product over all boxes is the item's probability, {_percent(math.exp(user['log_probability']))}."
    )
    steps = [
        {
            "title": f"Token {step['level'] + 1}: {step['token']}",
            "text": _chosen(step),
            "choices": [_choice(one, place == 0) for place, one in enumerate([step, *step["others"]])],
        }
        for step in user["path"]
    ]
    return {"text": text, "history": [_named(one) for one in history], "maps": maps, "why": why, "steps": steps}


def _chosen(step: Json) -> str:
    told = f"choice {step['rank']} of {step['open']} that hold something new to him"
    return f"{told} ({step['children']} in all); {_items(step['items'])} under the prefix"


def _choice(one: Json, taken: bool) -> Json:
    new = "" if one["new"] == one["items"] else f", {one['new']} new to him"
    behind = f"{_items(one['items'])}{new}: {_named(one['example'])}"
    return {
        "taken": taken,
        "text": f"{one['token']} · {behind}",
        "title": behind,
        "percent": _percent(one["probability"]),
        "width": f"{100 * min(max(one['probability'], 0.0), 1.0):.1f}",
    }


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _named(item: Mapping[str, str]) -> str:
    title, name = visible(item["title"], _NAME), visible(item["id"], _NAME)
    return f"{title} [{name}]" if item["title"] and item["title"] != item["id"] else name


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.1e}"
