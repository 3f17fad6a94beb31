"""The figures of the report page, as plotly takes them: plain dicts of traces and layout, with fixed names.

Here are those that compare all models; `mmgrec.report.model_figures` has those of one model. Colours of text and lines
come from the page's theme; only the models have colours of their own, the same in all figures. Strings of the data are
made inert: plotly reads markup in labels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mmgrec.insight import CountRange, GroupAccuracy, short
from mmgrec.report.facts import Measurement, ModelRow
from mmgrec.storage import Json

__all__ = [
    "COLOURS", "Plot", "Shown", "accuracy_by_group", "axes", "bars", "colour", "coverage", "inert", "popularity",
    "span", "stroke", "visible",
]  # fmt: skip

#: Readable on white and on black; neighbours differ in lightness too. The own model has the first.
COLOURS = (
    "#2f7fd6", "#d9772b", "#2e9d6d", "#b655a8", "#a3891f", "#17a2b0", "#cf4d57", "#7b68d8", "#7c8a3a", "#8a7f78",
)  # fmt: skip
_DASHES = ("solid", "dash", "dot", "dashdot")
_LETTERS = 24  # of a label on an axis
_SIGNS = dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�")


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure of the page."""

    name: str  # its place in the page, unique
    title: str
    aid: str  # one sentence: how to read it
    height: int  # pixels, known before it is drawn: nothing moves
    traces: Sequence[Json]
    layout: Json

    def as_json(self) -> Json:
        return {"id": self.name, "data": list(self.traces), "layout": self.layout}


class Shown(Protocol):
    """Puts figures on the page; those that could not be drawn are left out."""

    def __call__(self, *plots: Plot | None) -> list[Plot]: ...


def visible(text: object, letters: int | None = None) -> str:
    """A string of the data on one line: signs that command a terminal or turn the text are shown as �.

    >>> visible("a" + chr(27) + "[31mb"), visible("long title", 6)
    ('a�[31mb', 'long …')
    """
    line = str(text).translate(_SIGNS)
    return line if letters is None or len(line) <= letters else f"{line[: letters - 1]}…"


def inert(text: object, letters: int = _LETTERS) -> str:
    """For plotly, which reads markup in labels."""
    return html.escape(visible(text, letters), quote=False)


def colour(place: int) -> str:
    """Of a model, by its place."""
    return COLOURS[place % len(COLOURS)]


def stroke(place: int) -> Json:
    """How the line of a model, or of another series, is drawn."""
    dash = _DASHES[place // len(COLOURS) % len(_DASHES)]
    return {"color": colour(place), "dash": dash, "width": 3 if place == 0 else 1.75}


def axes(x: str, y: str, **more: Json) -> Json:
    """Two axes with their titles."""
    both: dict[str, Json] = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}, "automargin": True}}
    return {name: {**axis, **more.get(name, {})} for name, axis in both.items()}


# --------------------------------------------------------------------------- all models


def bars(name: str, metric: str, models: Sequence[ModelRow], *, seeds: int) -> Plot | None:
    """One bar for each model."""
    values = {place: model.figures[metric] for place, model in enumerate(models) if metric in model.figures}
    if not values:
        return None
    whiskers = any(value.deviation is not None for value in values.values())
    aid = "A longer bar is better" if metric != "popularity-bias" else "A shorter bar is less biased"
    aid += f"; whiskers are one standard deviation over {seeds} seeds." if whiskers else "; one seed, so no whiskers."
    return _bars(name, metric, aid, models, values, whiskers)


def coverage(name: str, models: Sequence[ModelRow]) -> Plot | None:
    """Share of the catalogue in the shorter lists."""
    values = {}
    for place, model in enumerate(models):
        shares = [insight.coverage[min(insight.coverage)] for insight in model.insights if insight.coverage]
        if shares:
            values[place] = Measurement(mean=sum(shares) / len(shares))
    length = _length(models)
    aid = (
        f"The share of all items that at least one user finds among their first {length}; a short bar means that a few "
    )
    aid += "items are given to everybody."
    return _bars(name, f"coverage@{length}", aid, models, values, False) if values else None


def _length(models: Sequence[ModelRow]) -> int:
    """Of the lists that insights are about."""
    return next((insight.top_k for model in models for insight in model.insights), 10)


def _bars(
    name: str, metric: str, aid: str, models: Sequence[ModelRow], values: Mapping[int, Measurement], whiskers: bool
) -> Plot:
    """Bars of the models at these places."""
    labels = [inert(models[place].label) for place in values]
    trace: Json = {
        "type": "bar",
        "orientation": "h",
        "x": [short(value.mean) for value in values.values()],
        "y": list(range(len(values))),
        "customdata": labels,
        "marker": {"color": [colour(place) for place in values]},
        "hovertemplate": "%{customdata}: %{x:.4f}<extra></extra>",
    }
    if whiskers:
        deviation = [short(value.deviation or 0.0) for value in values.values()]
        trace["error_x"] = {"type": "data", "array": deviation, "thickness": 1.5, "width": 4}
    ticks = {"tickmode": "array", "tickvals": list(range(len(values))), "ticktext": labels, "autorange": "reversed"}
    layout = axes(f"{metric} (0 to 1)", "", xaxis={"rangemode": "tozero"}, yaxis={**ticks, "showgrid": False})
    return Plot(
        name=name, title=metric, aid=aid, height=90 + 27 * len(values), traces=[trace],
        layout={**layout, "bargap": 0.35},
    )  # fmt: skip


def accuracy_by_group(
    name: str, models: Sequence[ModelRow], by: Literal["popularity", "history"], metric: Literal["recall", "ndcg"]
) -> Plot | None:
    """Accuracy in groups of items or users, all models overlaid; means over the seeds."""
    traces = []
    for place, model in enumerate(models):
        seeds = [insight.by_popularity if by == "popularity" else insight.by_history for insight in model.insights]
        means = _means(seeds, metric)
        if means:
            traces.append(_overlaid(model, place, [span(counts) for counts, _ in means], [mean for _, mean in means]))
    if not traces:
        return None
    shown = f"{metric}@{_length(models)}"
    what, axis = {
        "popularity": ("popularity of the liked item", "training interactions of the item"),
        "history": ("length of the history", "items in the user's history"),
    }[by]
    aid = {
        "popularity": "Left: items that few users have; a model that lives on bestsellers rises to the right only.",
        "history": "Left: users of whom little is known; a model that needs long histories starts low.",
    }[by]
    return Plot(
        name=name, title=f"{shown} by {what}", aid=aid, height=330, traces=traces,
        layout=axes(axis, f"{shown} (0 to 1)", xaxis={"type": "category"}, yaxis={"rangemode": "tozero"}),
    )  # fmt: skip


def popularity(name: str, models: Sequence[ModelRow]) -> Plot | None:
    """What is recommended against what is liked, by popularity."""
    first = next((model.insights[0].popularity for model in models if model.insights), None)
    if first is None:
        return None
    spans = [span(counts) for counts in first.groups]
    traces: list[Json] = [
        {
            "type": "bar", "name": label, "x": spans, "y": list(shares), "meta": {"theme": theme},
            "marker": {"color": "#888"}, "hovertemplate": "%{fullData.name}: %{y:.1%}<extra></extra>",
        }
        for shares, label, theme in ((first.catalogue, "all items", "faint"), (first.liked, "liked items", "strong"))
    ]  # fmt: skip
    for place, model in enumerate(models):
        seeds = [insight.popularity.recommended for insight in model.insights]
        if seeds:
            mean = [short(sum(group) / len(group)) for group in zip(*seeds, strict=True)]
            traces.append(_overlaid(model, place, spans, mean, unit=".1%"))
    aid = (
        "Light bars: all items; dark bars: what users liked afterwards. A line above the dark bars recommends items of "
    )
    aid += "that popularity too often."
    layout = axes(
        "training interactions of the item",
        "share",
        xaxis={"type": "category"},
        yaxis={"tickformat": ".0%", "rangemode": "tozero"},
    )
    return Plot(
        name=name, title="Popularity of recommended and of liked items", aid=aid, height=380, traces=traces,
        layout={**layout, "barmode": "group", "bargap": 0.3},
    )  # fmt: skip


def _overlaid(model: ModelRow, place: int, x: Sequence[object], y: Sequence[object], unit: str = ".4f") -> Json:
    """A model's line in a figure that has one for each model."""
    return {
        "type": "scatter", "mode": "lines+markers", "name": inert(model.label), "x": list(x), "y": list(y),
        "line": stroke(place), "marker": {"size": 7 if place == 0 else 5}, "meta": {"model": place},
        "hovertemplate": f"%{{fullData.name}}: %{{y:{unit}}}<extra></extra>",
    }  # fmt: skip


def _means(
    seeds: Sequence[Sequence[GroupAccuracy]], metric: Literal["recall", "ndcg"]
) -> list[tuple[CountRange, float]]:
    """Each group's mean over the seeds; groups are of the data alone, so they are the same for all seeds."""
    means = []
    for rows in zip(*seeds, strict=False):
        values = [row.recall if metric == "recall" else row.ndcg for row in rows]
        means.append((rows[0].counts, short(sum(values) / len(values))))
    return means


def span(counts: CountRange) -> str:
    """The bounds of a group.

    >>> span(CountRange(low=2, high=3)), span(CountRange(low=1, high=1))
    ('2–3', '1')
    """
    return str(counts.low) if counts.low == counts.high else f"{counts.low}–{counts.high}"
