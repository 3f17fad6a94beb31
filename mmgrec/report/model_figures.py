"""Figures of one model on the report page: its training, its Rec-IDs, the relations of its users.

As in `mmgrec.report.figures`, plain dicts for plotly with fixed names.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from mmgrec.insight import CodewordUse, CountRange, LayerGains, PrefixLevel, RelationMap, short
from mmgrec.report.facts import ModelRow
from mmgrec.report.figures import Plot, axes, colour, inert, span, stroke, visible
from mmgrec.storage import Json

__all__ = ["codewords", "curves", "gains", "heat_maps", "level_name", "prefixes"]


def curves(name: str, model: ModelRow, what: Literal["loss", "score"], *, stages: int, points: int) -> Plot | None:
    """Loss or validation score of the last so many stages of training, with so many points of each at most."""
    traces = []
    for number, stage in enumerate(model.stages[-stages:]):
        curve = stage.curve(what)
        if not curve or (what == "loss" and not curve[0][1]):
            continue
        scale = curve[0][1] if what == "loss" else 1.0
        drawn = _thinned(curve, points)
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers" if len(drawn) < 12 else "lines",
                "name": inert(stage.stage, 30), "x": [int(epoch) for epoch, _ in drawn],
                "y": [short(value / scale, 4) for _, value in drawn], "line": stroke(number),
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
        name=name, title=f"{title}: {visible(model.label, 40)}", aid=aid, height=300 + 20 * ((len(traces) + 1) // 2),
        traces=traces, layout={**axes("epoch", axis), "showlegend": True},
    )  # fmt: skip


def _thinned(curve: Sequence[tuple[float, float]], points: int) -> list[tuple[float, float]]:
    """At most so many of the points, evenly spread, the first and the last among them."""
    if len(curve) <= points:
        return list(curve)
    places = sorted({round(number * (len(curve) - 1) / (points - 1)) for number in range(points)})
    return [curve[place] for place in places]


def level_name(use: CodewordUse) -> str:
    """Of a level of the Rec-IDs."""
    return "collision token" if use.collision else f"level {use.level}"


def codewords(name: str, levels: Sequence[CodewordUse]) -> Plot:
    """Items of each token, most used first."""
    traces: list[Json] = [
        {
            "type": "scatter", "mode": "lines+markers", "marker": {"size": 4},
            "line": {**stroke(place), "shape": "hv", "width": 2},
            "name": f"{level_name(use)} ({use.used} of {use.size}, perplexity {use.perplexity:.1f})",
            "x": list(use.rank), "y": [items or None for items in use.items],
            "hovertemplate": "token of rank %{x}: %{y} items<extra></extra>",
        }
        for place, use in enumerate(levels)
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


def prefixes(name: str, levels: Sequence[PrefixLevel], items: int) -> Plot:
    """How many of the `items` share a prefix with how many others."""
    spans = sorted({(group.counts.low, group.counts.high) for level in levels for group in level.sizes})
    traces = [
        {
            "type": "bar", "name": f"first {level.tokens}: {level.prefixes} prefixes",
            "x": [span(CountRange(low=low, high=high)) for low, high in spans],
            "y": [
                short(sum(group.items for group in level.sizes if group.counts.low == low) / max(items, 1))
                for low, _ in spans
            ],
            "marker": {"color": colour(place)}, "hovertemplate": "%{y:.1%} of the items<extra></extra>",
        }
        for place, level in enumerate(levels)
    ]  # fmt: skip
    aid = "After all tokens but the last, most items should stand in the left group: alone under their prefix."
    layout = axes(
        "items under the same prefix", "share of the items", xaxis={"type": "category"}, yaxis={"tickformat": ".0%"}
    )
    return Plot(
        name=name, title="Items per prefix", aid=aid, height=340 + 20 * ((len(levels) + 1) // 2), traces=traces,
        layout={**layout, "showlegend": True},
    )  # fmt: skip


def gains(name: str, layer: LayerGains) -> Plot:
    """How the gains of the relation map spread over the users."""
    middle = [short((low + high) / 2) for low, high in itertools.pairwise(layer.edges)]
    spreads = (("g_Q", "query", layer.query), ("g_K", "key", layer.key), ("g_V", "value", layer.value))
    traces = [
        {
            "type": "scatter", "mode": "lines", "fill": "tozeroy",
            "line": {**stroke(place), "shape": "hvh", "width": 2},
            "name": f"{sign} of the {role}: {spread.mean:.3g} ± {spread.deviation:.2g}",
            "x": middle, "y": list(spread.share), "opacity": 0.8,
            "hovertemplate": "%{x:.3g}: %{y:.1%}<extra></extra>",
        }
        for place, (sign, role, spread) in enumerate(spreads)
    ]  # fmt: skip
    aid = "A narrow peak means that all users read the relations alike; a wide one that each has a volume of their own."
    layout = axes("gain (no unit; 1 at the start of training)", "share of users", yaxis={"tickformat": ".0%"})
    return Plot(
        name=name, title=f"User gains, encoder layer {layer.layer + 1}", aid=aid, height=370, traces=traces,
        layout={**layout, "showlegend": True},
    )  # fmt: skip


def heat_maps(prefix: str, scores: RelationMap) -> list[Plot]:
    """The parts of a user's map; names begin with `prefix`."""
    content = "What the items' own vectors say of each other, before the softmax."
    relation = "What the relation map adds, at this user's volume."
    attention = "The weights that follow from both; the rest of a row goes to no item."
    return [
        _heat(f"{prefix}-content-{scores.layer}", scores.content, "Content", content, signed=True),
        _heat(f"{prefix}-relation-{scores.layer}", scores.relation, "Relation", relation, signed=True),
        _heat(f"{prefix}-attention-{scores.layer}", scores.attention, "Attention", attention, signed=False),
    ]


def _heat(name: str, values: Sequence[Sequence[float]], title: str, aid: str, *, signed: bool) -> Plot:
    """``[T, T]``: scores around 0, or weights from 0 upward."""
    numbers = list(range(1, len(values) + 1))
    most = max((abs(value) for row in values for value in row), default=0.0) or 1.0
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
