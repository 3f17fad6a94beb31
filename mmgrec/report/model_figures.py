"""Figures of one model on the report page: its training, its Rec-IDs, the relations of its users.

As in `mmgrec.report.figures`, plain dicts for plotly with fixed names.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mmgrec.insight import short
from mmgrec.report.facts import ModelRow
from mmgrec.report.figures import Plot, axes, colour, inert, span, stroke, visible
from mmgrec.storage import Json

__all__ = ["codewords", "curves", "gains", "heat", "level_name", "prefixes"]


def curves(name: str, line: ModelRow, what: str, *, stages: int, points: int) -> Plot | None:
    """Loss or validation score of the last so many stages of training, with so many points of each at most."""
    traces = []
    for number, stage in enumerate(line.stages[-stages:]):
        rows = [(row["epoch"], row[what]) for row in stage.rows if row.get(what) is not None and "epoch" in row]
        if not rows or (what == "loss" and not rows[0][1]):
            continue
        scale = rows[0][1] if what == "loss" else 1.0
        kept = _thinned(rows, points)
        told = inert(stage.stage, 30)
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers" if len(kept) < 12 else "lines", "name": told,
                "x": [int(epoch) for epoch, _ in kept], "y": [short(value / scale, 4) for _, value in kept],
                "line": stroke(number),
            }
        )  # fmt: skip
    if not traces:
        return None
    if what == "loss":
        title, axis = "Training loss", "loss (first epoch = 1)"
        aid = "Each stage's loss as a share of its first epoch's, since units differ; lower is better within a stage."
    else:
        title, axis = "Validation", "recall@10 on validation (0 to 1)"
        aid = "How well each stage ranks the validation items as it trains; a stage ends when this rises no more."
    return Plot(
        name=name, title=f"{title}: {visible(line.label, 40)}", aid=aid, height=300 + 20 * ((len(traces) + 1) // 2),
        traces=traces, layout={**axes("epoch", axis), "showlegend": True},
    )  # fmt: skip


def _thinned(rows: Sequence[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    if len(rows) <= points:
        return list(rows)
    places = sorted({round(one * (len(rows) - 1) / (points - 1)) for one in range(points)})
    return [rows[place] for place in places]


def level_name(one: Json) -> str:
    """Of a level of the Rec-IDs."""
    return "collision token" if one["collision"] else f"level {one['level']}"


def codewords(name: str, levels: Sequence[Json]) -> Plot:
    """Items of each token, most used first."""
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "marker": {"size": 4},
            "line": {**stroke(place), "shape": "hv", "width": 2},
            "name": f"{level_name(one)} ({one['used']} of {one['size']}, perplexity {one['perplexity']:.1f})",
            "x": one["rank"], "y": [items or None for items in one["items"]],
            "hovertemplate": "token of rank %{x}: %{y} items<extra></extra>",
        }
        for place, one in enumerate(levels)
    ]  # fmt: skip
    aid = (
        "A flat line that reaches far right uses its whole vocabulary evenly; a steep one has collapsed to few tokens."
    )
    layout = axes(
        "token, by rank", "items with this token", xaxis={"type": "log", "dtick": 1}, yaxis={"type": "log", "dtick": 1}
    )
    return Plot(
        name=name, title="Use of the codewords", aid=aid, height=340 + 20 * len(traces), traces=traces,
        layout={**layout, "showlegend": True},
    )  # fmt: skip


def prefixes(name: str, rows: Sequence[Json], items: int) -> Plot:
    """How many items share a prefix with how many others."""
    spans = sorted({(one["from"], one["to"]) for row in rows for one in row["sizes"]})
    traces = [
        {
            "type": "bar", "name": f"first {row['tokens']}: {row['prefixes']} prefixes",
            "x": [span({"from": low, "to": high}) for low, high in spans],
            "y": [
                short(sum(one["items"] for one in row["sizes"] if one["from"] == low) / max(items, 1))
                for low, _ in spans
            ],
            "marker": {"color": colour(place)}, "hovertemplate": "%{y:.1%} of the items<extra></extra>",
        }
        for place, row in enumerate(rows)
    ]  # fmt: skip
    aid = "After all tokens but the last, most items should stand in the left group: alone under their prefix."
    layout = axes(
        "items under the same prefix", "share of the items", xaxis={"type": "category"}, yaxis={"tickformat": ".0%"}
    )
    return Plot(
        name=name, title="Items per prefix", aid=aid, height=340 + 20 * ((len(rows) + 1) // 2), traces=traces,
        layout={**layout, "showlegend": True},
    )  # fmt: skip


def gains(name: str, layer: Json) -> Plot:
    """How the gains of the relation map spread over the users."""
    edges = layer["edges"]
    middle = [short((low + high) / 2) for low, high in itertools.pairwise(edges)]
    traces = [
        {
            "type": "scatter", "mode": "lines", "fill": "tozeroy",
            "line": {**stroke(place), "shape": "hvh", "width": 2},
            "name": f"{sign} of the {told}: {layer[told]['mean']:.3g} ± {layer[told]['deviation']:.2g}",
            "x": middle, "y": layer[told]["share"], "opacity": 0.8,
            "hovertemplate": "%{x:.3g}: %{y:.1%}<extra></extra>",
        }
        for place, (told, sign) in enumerate((("query", "g_Q"), ("key", "g_K"), ("value", "g_V")))
    ]  # fmt: skip
    aid = "A narrow peak means that all users read the relations alike; a wide one that each has a volume of his own."
    layout = axes("gain (no unit; 1 at the start of training)", "share of users", yaxis={"tickformat": ".0%"})
    return Plot(
        name=name, title=f"User gains, encoder layer {layer['layer'] + 1}", aid=aid, height=370, traces=traces,
        layout={**layout, "showlegend": True},
    )  # fmt: skip


def heat(name: str, values: Sequence[Sequence[float]], part: str) -> Plot:
    """One part of a user's map."""
    numbers = list(range(1, len(values) + 1))
    title, aid, signed = {
        "content": ("Content", "What the items' own vectors say of each other, before the softmax.", True),
        "relation": ("Relation", "What the relation map adds, at this user's volume.", True),
        "attention": ("Attention", "The weights that follow from both; the rest of a row goes to no item.", False),
    }[part]
    most = max((abs(one) for row in values for one in row), default=0.0) or 1.0
    trace: Json = {
        "type": "heatmap", "x": numbers, "y": numbers, "z": values, "zmin": -most if signed else 0, "zmax": most,
        "colorbar": {"thickness": 10, "len": 0.9, "title": {"text": "score" if signed else "weight"}},
        "hovertemplate": "item %{y} looks at item %{x}: %{z:.3g}<extra></extra>",
        "meta": {"scale": "signed" if signed else "plain"},
    }  # fmt: skip
    ticks = {"dtick": max(1, len(values) // 8), "tick0": 1, "showgrid": False}
    layout = axes(
        "item looked at, by number", "item looking, by number", xaxis=ticks, yaxis={**ticks, "autorange": "reversed"}
    )
    return Plot(name=name, title=title, aid=aid, height=360, traces=[trace], layout=layout)
