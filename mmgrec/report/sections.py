"""What stands where on the report page: tables, figures and sentences, as the template takes them.

A part whose facts are missing is empty, and the template leaves it out. All text is plain: the template escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from mmgrec import __version__
from mmgrec.evaluation import main_metrics
from mmgrec.insight import CodewordUse, NamedItem, OneUser, PathLevel, TokenChoice
from mmgrec.report.facts import DatasetSection, Measurement, ModelRow, PageFacts
from mmgrec.report.figures import Plot, accuracy_by_group, bars, colour, coverage, popularity, visible
from mmgrec.report.model_figures import codewords, curves, gains, heat_maps, level_name, prefixes
from mmgrec.storage import Json

__all__ = ["page_and_plots"]

_STAGES, _POINTS = 500, 2000  # drawn of all models, and of all models' curves of one stage: the page stays small
_NAME = 80  # letters of an item's id or title
_SURE = 0.05  # below this, a difference is called one
_MARKS = {0: "best", 1: "second", None: ""}

Column = tuple[str, Callable[[ModelRow], Json]]  # its head, and the cell of a model


class _Shown(Protocol):
    """Puts figures on the page; those that could not be drawn are left out."""

    def __call__(self, *plots: Plot | None) -> list[Plot]: ...


def page_and_plots(facts: PageFacts) -> tuple[Json, list[Json]]:
    """The page for the template, and all figures for plotly."""
    plots: list[Json] = []
    sheets = [_sheet(facts, section, f"data-{number}", plots) for number, section in enumerate(facts.sheets, 1)]
    seeds = ", ".join(map(str, facts.seeds))
    top = [
        ("made", facts.written.replace("T", " ").replace("Z", " UTC")),
        ("seed" if len(facts.seeds) == 1 else "seeds", seeds),
        ("data", ", ".join(visible(section.name) for section in facts.sheets)),
        ("left out on test", "training items" if facts.mask == "train" else "training and validation items"),
        ("mmgrec", facts.versions.get("mmgrec", "")),
    ]  # fmt: skip
    installed = [(name, version) for name, version in facts.versions.items() if version != "absent"]
    page = {
        "title": f"{facts.kind.capitalize()}: {visible(facts.name, 120)}",
        "subtitle": visible(facts.title, 300),
        "facts": [(name, visible(value)) for name, value in top if value],
        "versions": [(visible(name), visible(value)) for name, value in [*facts.machine.items(), *installed]],
        "definitions": [(visible(name), visible(value)) for name, value in facts.definitions.items()],
        "several": len(facts.seeds) > 1,
        "sheets": sheets,
        "notes": [visible(note) for note in facts.notes],
        "version": __version__,
    }
    return page, plots


def _sheet(facts: PageFacts, section: DatasetSection, anchor: str, plots: list[Json]) -> Json:
    """One data set; its figures are added to `plots`."""

    def shown(*drawn: Plot | None) -> list[Plot]:
        real = [plot for plot in drawn if plot is not None]
        plots.extend({**plot.as_json(), "sheet": anchor} for plot in real)
        return real

    models, main = section.lines, main_metrics(facts.metrics)
    measured = any(model.figures for model in models)
    return {
        "anchor": anchor,
        "name": visible(section.name),
        "facts": ", ".join(f"{number:,} {name}" for name, number in section.facts.items()),
        "reading": _reading(facts, section),
        "results": _results(facts, section, main if measured else []),
        "more": _more(facts, section, main),
        "bars": shown(
            *(bars(f"{anchor}-bars-{place}", name, models, seeds=len(facts.seeds)) for place, name in enumerate(main)),
            coverage(f"{anchor}-coverage", models),
        ),
        "models": [
            {"place": place, "label": visible(model.label), "colour": colour(place)}
            for place, model in enumerate(models)
            if model.insights
        ],
        "served_wide": shown(popularity(f"{anchor}-popularity", models)),
        "served": shown(
            accuracy_by_group(f"{anchor}-popularity-recall", models, "popularity", "recall"),
            accuracy_by_group(f"{anchor}-popularity-ndcg", models, "popularity", "ndcg"),
            accuracy_by_group(f"{anchor}-history-recall", models, "history", "recall"),
            accuracy_by_group(f"{anchor}-history-ndcg", models, "history", "ndcg"),
        ),
        **_training(models, anchor, shown, total=sum(len(each.lines) for each in facts.sheets)),
        **_generators(models, anchor, shown),
    }


def _training(models: Sequence[ModelRow], anchor: str, shown: _Shown, *, total: int) -> Json:
    """The curves of each model; fewer stages and points of each, the more models (`total`) the whole page has."""
    stages, points = max(3, min(8, _STAGES // total)), max(12, min(60, _POINTS // total))
    training = []
    for place, model in enumerate(models):
        drawn = shown(
            curves(f"{anchor}-loss-{place}", model, "loss", stages=stages, points=points),
            curves(f"{anchor}-score-{place}", model, "score", stages=stages, points=points),
        )
        if drawn:
            training.append({"label": visible(model.label), "plots": drawn})
    return {"stages": stages if any(len(model.stages) > stages for model in models) else 0, "training": training}


def _generators(models: Sequence[ModelRow], anchor: str, shown: _Shown) -> Json:
    """What only MMGRec models have, of the first seed: Rec-IDs of all, gains and a user of the first that has them."""
    insights = [(model, model.insights[0]) for model in models if model.insights]
    own = [(model, insight.items, insight.generator) for model, insight in insights if insight.generator]
    loud = next(((model, generator.gains) for model, _, generator in own if generator.gains), None)
    known = next(((model, generator.user) for model, _, generator in own if generator.user), None)
    return {
        "levels": _levels([(model.label, generator.codewords) for model, _, generator in own]),
        "tokens": [
            {
                "label": visible(model.label),
                "plots": shown(
                    codewords(f"{anchor}-codewords-{place}", generator.codewords),
                    prefixes(f"{anchor}-prefixes-{place}", generator.prefixes, items),
                ),
            }
            for place, (model, items, generator) in enumerate(own)
        ],
        "generator": visible(loud[0].label) if loud else "",
        "gains": shown(*(gains(f"{anchor}-gains-{layer.layer}", layer) for layer in loud[1])) if loud else [],
        "user": _user(*known, anchor=anchor, shown=shown) if known else None,
    }


# --------------------------------------------------------------------------- tables


def _reading(facts: PageFacts, section: DatasetSection) -> str:
    """How to read the main table."""
    part = "Test part" if any(model.figures for model in section.lines) else "There is no test part"
    seeds = f", mean ± standard deviation over {len(facts.seeds)} seeds" if len(facts.seeds) > 1 else ", one seed"
    sentences = f"{part}{seeds}; best bold, second best underlined."
    if any(model.p is not None for model in section.lines):
        sentences += (
            f" Difference: {visible(section.first)} minus the model, by {main_metrics(facts.metrics)[0]}; "
            f"p of a paired t-test over users, corrected by Holm; * where p < {_SURE}."
        )
    return sentences


def _results(facts: PageFacts, section: DatasetSection, metrics: Sequence[str]) -> Json:
    """The main table; a column that would be empty is left out."""
    columns = [_test_column(metric) for metric in metrics]
    columns += [
        ("difference", _difference),
        ("p", lambda model: _cell(None if model.p is None else f"{model.p:.2g}")),
        ("fit (s)", lambda model: _cell(None if model.fit_seconds is None else f"{model.fit_seconds:,.1f}")),
        ("ms per user", lambda model: _cell(None if model.rank_ms is None else f"{model.rank_ms:,.2f}")),
        ("parameters", lambda model: _cell(None if model.parameters is None else f"{model.parameters:,}")),
        ("memory (MiB)", lambda model: _cell(None if model.memory_mib is None else f"{model.memory_mib:,.0f}")),
        ("defects", lambda model: _cell(str(model.defects) if model.defects else None)),
    ]
    if any(model.seeds != len(facts.seeds) for model in section.lines):
        columns.insert(0, ("seeds", lambda model: _cell(f"{model.seeds} of {facts.seeds_wanted}")))
    return _table(f"Results on {visible(section.name)}", section, columns)


def _more(facts: PageFacts, section: DatasetSection, main: Sequence[str]) -> list[Json]:
    """The tables that are folded away: other metrics, the validation part, tuned settings."""
    rest = [metric for metric in facts.metrics if metric not in main]
    tables = []
    if rest and any(model.figures for model in section.lines):
        tables.append(_table("All other metrics", section, [_test_column(metric) for metric in rest]))
    if any(model.valid for model in section.lines):
        tables.append(_table("Validation part", section, [_valid_column(metric) for metric in facts.metrics]))
    tuned = [(model.label, model.tuned) for model in section.lines if model.tuned]
    if tuned:
        tables.append(
            {
                "name": "Chosen settings",
                "head": ["model", "settings", "points tried", "chosen by"],
                "left": [1],
                "rows": [
                    {
                        "label": visible(label),
                        "own": False,
                        "colour": "",
                        "cells": [
                            {**_cell(_settings(choice.chosen)), "text_column": True},
                            _cell(str(choice.trials)),
                            _cell(visible(choice.by)),
                        ],
                    }
                    for label, choice in tuned
                ],
            }
        )
    return tables


def _test_column(metric: str) -> Column:
    return metric, lambda model: _measured(model.figures.get(metric))


def _valid_column(metric: str) -> Column:
    return metric, lambda model: _measured(model.valid.get(metric))


def _settings(chosen: Mapping[str, Any] | None) -> str:
    return visible(", ".join(f"{name} = {value}" for name, value in chosen.items())) if chosen else "none could be"


def _table(name: str, section: DatasetSection, columns: Sequence[Column]) -> Json:
    """One row for each model; columns without any value are left out."""
    filled = [(head, [cell_of(model) for model in section.lines]) for head, cell_of in columns]
    filled = [(head, cells) for head, cells in filled if any(cell["text"] != "–" for cell in cells)]
    return {
        "name": name,
        "head": ["model", *(head for head, _ in filled)],
        "left": [],
        "rows": [
            {
                "label": visible(model.label),
                "own": model.label == section.first,
                "colour": colour(place),
                "cells": [cells[place] for _, cells in filled],
            }
            for place, model in enumerate(section.lines)
        ],
    }


def _cell(text: str | None, mark: str = "", more: str = "") -> Json:
    return {"text": "–" if text is None else text, "mark": mark, "more": more, "text_column": False}


def _measured(value: Measurement | None) -> Json:
    if value is None:
        return _cell(None)
    more = "" if value.deviation is None else f"± {value.deviation:.4f}"
    return _cell(f"{value.mean:.4f}", _MARKS.get(value.place, ""), more)


def _difference(model: ModelRow) -> Json:
    if model.difference is None:
        return _cell(None)
    sure = model.p is not None and model.p < _SURE
    return _cell(f"{model.difference:+.4f}{'*' if sure else ''}".replace("-", "−"))


def _levels(models: Sequence[tuple[str, Sequence[CodewordUse]]]) -> Json:
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
                    {**_cell(level_name(use)), "text_column": True},
                    _cell(f"{use.size:,}"),
                    _cell(f"{use.used:,}", more=f"{use.used / max(use.size, 1):.0%}"),
                    _cell(f"{use.perplexity:.1f}"),
                ],
            }
            for label, levels in models
            for place, use in enumerate(levels)
        ],
    }


# --------------------------------------------------------------------------- one user


def _user(model: ModelRow, user: OneUser, *, anchor: str, shown: _Shown) -> Json:
    """An example of a user, and why an item was recommended to them."""
    maps = [
        {
            "title": f"Encoder layer {scores.layer + 1}: scores between the items of the history, mean over the heads",
            "plots": shown(*heat_maps(anchor, scores)),
        }
        for scores in user.layers
    ]
    hits = f"{user.hits} of their first {user.list} recommendations are items that they liked afterwards"
    text = (
        f"User {visible(user.user, 40)}, seen through {visible(model.label)}: {hits}. They are an example chosen for "
        f"a short history and many hits, not an average. What the model read of them, by number:"
    )
    liked = "which they did like" if user.liked else "which they are not known to like"
    why = (
        f"{_named(user.item)} is recommendation {user.place} of this user, {liked}. Each box is one token of its "
        f"Rec-ID: the probability of the token taken and of its best rivals, each with the most popular item behind "
        f"it; tokens that lead only to items they know are left out. The product over all boxes is the item's "
        f"probability, {_percent(math.exp(user.log_probability))}."
    )
    steps = [
        {
            "title": f"Token {step.level + 1}: {step.taken.token}",
            "text": _rank_of(step),
            "choices": [_choice(step.taken, taken=True), *(_choice(other, taken=False) for other in step.others)],
        }
        for step in user.path
    ]
    return {"text": text, "history": [_named(item) for item in user.items], "maps": maps, "why": why, "steps": steps}


def _rank_of(step: PathLevel) -> str:
    """How the token taken compares with the others."""
    rank = f"choice {step.rank} of {step.open} that hold something new to them"
    return f"{rank} ({step.children} in all); {_items(step.taken.items)} under the prefix"


def _choice(choice: TokenChoice, *, taken: bool) -> Json:
    new = "" if choice.new == choice.items else f", {choice.new} new to them"
    behind = f"{_items(choice.items)}{new}: {_named(choice.example)}"
    return {
        "taken": taken,
        "text": f"{choice.token} · {behind}",
        "title": behind,
        "percent": _percent(choice.probability),
        "width": f"{100 * min(max(choice.probability, 0.0), 1.0):.1f}",
    }


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _named(item: NamedItem) -> str:
    title, name = visible(item.title, _NAME), visible(item.id, _NAME)
    return f"{title} [{name}]" if item.title and item.title != item.id else name


def _percent(probability: float) -> str:
    return f"{probability:.1%}" if probability >= 0.001 else f"{probability:.1e}"
