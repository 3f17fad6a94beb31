"""The figures of the report page, as plotly takes them: plain dicts of traces and layout, with fixed names.

Colours of text and lines come from the page's theme; only the models have colours of their own, the same in all
figures. Strings of the data are made inert: plotly reads markup in labels. Does not know where facts come from.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmgrec.insight import short
from mmgrec.report.facts import Measurement, ModelRow
from mmgrec.storage import Json

__all__ = [
    "COLOURS",
    "Plot",
    "axes",
    "bars",
    "colour",
    "coverage",
    "groups",
    "inert",
    "popularity",
    "span",
    "stroke",
    "visible",
]


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


def bars(name: str, metric: str, lines: Sequence[ModelRow], *, seeds: int) -> Plot | None:
    """One bar for each model."""
    found = {place: line.figures[metric] for place, line in enumerate(lines) if metric in line.figures}
    if not found:
        return None
    whiskers = any(one.deviation is not None for one in found.values())
    aid = "A longer bar is better" if metric != "popularity-bias" else "A shorter bar is less biased"
    aid += f"; whiskers are one standard deviation over {seeds} seeds." if whiskers else "; one seed, so no whiskers."
    return _bars(name, metric, aid, lines, found, whiskers)


def coverage(name: str, lines: Sequence[ModelRow]) -> Plot | None:
    """Share of the catalogue in the lists."""
    found = {}
    for place, line in enumerate(lines):
        shares = [dict(one["coverage"]) for one in line.insights]
        if shares:
            key = min(shares[0], key=int)
            found[place] = Measurement(mean=sum(one[key] for one in shares) / len(shares))
    length = next((one["top_k"] for line in lines for one in line.insights), 10)
    aid = f"The share of all items that at least one user finds among his first {length}; a short bar means that a few "
    aid += "items are given to everybody."
    return _bars(name, f"coverage@{length}", aid, lines, found, False) if found else None


def _bars(
    name: str, metric: str, aid: str, lines: Sequence[ModelRow], found: Mapping[int, Measurement], whiskers: bool
) -> Plot:
    labels = [inert(lines[place].label) for place in found]
    trace: Json = {
        "type": "bar",
        "orientation": "h",
        "x": [short(one.mean) for one in found.values()],
        "y": list(range(len(found))),
        "customdata": labels,
        "marker": {"color": [colour(place) for place in found]},
        "hovertemplate": "%{customdata}: %{x:.4f}<extra></extra>",
    }
    if whiskers:
        deviation = [short(one.deviation or 0.0) for one in found.values()]
        trace["error_x"] = {"type": "data", "array": deviation, "thickness": 1.5, "width": 4}
    ticks = {"tickmode": "array", "tickvals": list(range(len(found))), "ticktext": labels, "autorange": "reversed"}
    layout = axes(f"{metric} (0 to 1)", "", xaxis={"rangemode": "tozero"}, yaxis={**ticks, "showgrid": False})
    return Plot(
        name=name, title=metric, aid=aid, height=90 + 27 * len(found), traces=[trace], layout={**layout, "bargap": 0.35}
    )


def groups(name: str, lines: Sequence[ModelRow], by: str, metric: str) -> Plot | None:
    """Accuracy in groups of items or users, all models overlaid; means over the seeds."""
    traces = []
    for place, line in enumerate(lines):
        rows = _mean_rows([one["accuracy"][by] for one in line.insights], metric)
        if rows:
            traces.append(_overlaid(line, place, [span(one) for one in rows], [one[metric] for one in rows]))
    if not traces:
        return None
    length = next(one["top_k"] for line in lines for one in line.insights)
    shown = f"{metric}@{length}"
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


def popularity(name: str, lines: Sequence[ModelRow]) -> Plot | None:
    """What is recommended against what is liked, by popularity."""
    first = next((line.insights[0]["popularity"] for line in lines if line.insights), None)
    if first is None:
        return None
    spans = [span(one) for one in first["groups"]]
    traces: list[Json] = [
        {
            "type": "bar", "name": told, "x": spans, "y": first[key], "meta": {"theme": theme},
            "marker": {"color": "#888"}, "hovertemplate": "%{fullData.name}: %{y:.1%}<extra></extra>",
        }
        for key, told, theme in (("catalogue", "all items", "faint"), ("liked", "liked items", "strong"))
    ]  # fmt: skip
    for place, line in enumerate(lines):
        shares = [one["popularity"]["recommended"] for one in line.insights]
        if shares:
            mean = [short(sum(column) / len(column)) for column in zip(*shares, strict=True)]
            traces.append(_overlaid(line, place, spans, mean, unit=".1%"))
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


def _overlaid(line: ModelRow, place: int, x: Sequence[object], y: Sequence[object], unit: str = ".4f") -> Json:
    label = inert(line.label)
    return {
        "type": "scatter", "mode": "lines+markers", "name": label, "x": list(x), "y": list(y),
        "line": stroke(place), "marker": {"size": 7 if place == 0 else 5}, "meta": {"model": place},
        "hovertemplate": f"%{{fullData.name}}: %{{y:{unit}}}<extra></extra>",
    }  # fmt: skip


def _mean_rows(seeds: Sequence[Sequence[Json]], metric: str) -> list[Json]:
    """Groups are of the data alone, so they are the same for all seeds."""
    return [
        {**rows[0], metric: short(sum(one[metric] for one in rows) / len(rows))} for rows in zip(*seeds, strict=False)
    ]


def span(one: Mapping[str, int]) -> str:
    """The bounds of a group."""
    return str(one["from"]) if one["from"] == one["to"] else f"{one['from']}–{one['to']}"
