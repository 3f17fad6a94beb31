"""What stands where on the report page: tables, figures and sentences, as the template takes them.

A part whose facts are missing is empty, and the template leaves it out. All text is plain: the template escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmgrec import __version__
from mmgrec.evaluation import main_metrics
from mmgrec.insight import CodewordUse, MemoryInsight
from mmgrec.report.facts import DatasetSection, Measurement, ModelRow, PageFacts
from mmgrec.report.figures import Plot, Shown, accuracy_by_group, bars, colour, coverage, popularity, visible
from mmgrec.report.model_figures import codewords, curves, gains, level_name, prefixes
from mmgrec.report.user_section import user_section
from mmgrec.storage import Json

__all__ = ["page_and_plots"]

_STAGES, _POINTS = 500, 2000  # drawn of all models, and of all models' curves of one stage: the page stays small
_SURE = 0.05  # below this, a difference is called one
_MARKS = {0: "best", 1: "second", None: ""}

Column = tuple[str, Callable[[ModelRow], Json]]  # its head, and the cell of a model


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


def _training(models: Sequence[ModelRow], anchor: str, shown: Shown, *, total: int) -> Json:
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


def _generators(models: Sequence[ModelRow], anchor: str, shown: Shown) -> Json:
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
        "memories": _memories([(model.label, generator.memory) for model, _, generator in own if generator.memory]),
        "user": user_section(*known, anchor=anchor, shown=shown) if known else None,
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


def _memories(models: Sequence[tuple[str, MemoryInsight]]) -> Json | None:
    """What each model's item memory keeps, and what it changes; None where no model has one."""
    if not models:
        return None
    head = [
        "model", "neighbours kept", "items spoken for", "KiB", "decay", "list places it changes",
        "list items it brings", "its share of a score",
    ]  # fmt: skip
    return {
        "name": "Item memories",
        "head": head,
        "left": [],
        "users": max(memory.users for _, memory in models),
        "top_k": max(memory.top_k for _, memory in models),
        "fades": any(memory.decay != 1.0 for _, memory in models),
        "rows": [
            {
                "label": visible(label),
                "own": False,
                "colour": "",
                "cells": [
                    _cell(f"{memory.neighbours:.1f}", more=f"of at most {memory.kept}"),
                    _cell(f"{memory.spoken_for:.1%}"),
                    _cell(f"{memory.bytes / 1024:,.0f}"),
                    _cell(f"{memory.decay:g}" if memory.decay != 1.0 else "none"),
                    _cell(f"{memory.other_places:.1%}"),
                    _cell(f"{memory.other_items:.1%}"),
                    _cell(f"{memory.share:.1%}"),
                ],
            }
            for label, memory in models
        ],
    }
