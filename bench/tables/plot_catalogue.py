"""Draws what ``bench_catalogue.py`` measured: a figure (SVG, both axes logarithmic) and a table (Markdown).

Run by itself it draws the kept outcome anew: ``python bench/tables/plot_catalogue.py``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["draw", "figure", "markdown"]

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 530, 50, 380  # of the field, in pixels
STYLES = {  # form -> colour, dashes
    "mmgrec generation, head tokens": ("#b3261e", ""),
    "mmgrec generation, head tree": ("#e07a5f", "6 3"),
    "MF, torch matmul + topk": ("#1d3557", ""),
    "MF, faiss flat": ("#457b9d", "6 3"),
    "MF, faiss IVF": ("#2a7f62", ""),
    "MF, faiss HNSW": ("#7b5ea7", ""),
}

Outcome = Mapping[str, Any]  # as bench_catalogue.py writes it


def _by_form(points: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Points of each form, the forms in the order of `STYLES`."""
    known = [form for form in STYLES if any(point["form"] == form for point in points)]
    return {form: [point for point in points if point["form"] == form] for form in known}


def figure(outcome: Outcome) -> str:
    """An SVG: milliseconds per user over items."""
    points = outcome["points"]
    decades_x = _decades([point["num_items"] for point in points])
    decades_y = _decades([point["ms_per_user"] for point in points])

    def x(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (math.log10(value) - decades_x[0]) / (decades_x[-1] - decades_x[0])

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(value) - decades_y[0]) / (decades_y[-1] - decades_y[0])

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13" role="img">',
        "<title>Time per user against the size of the catalogue</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="28" font-size="15" font-weight="bold">Time per user, milliseconds</text>',
    ]
    for power in decades_x:
        at = x(10.0**power)
        drawn.append(f'<path d="M{at:.1f} {TOP}V{BOTTOM}" stroke="#e3e3e3"/>')
        drawn.append(f'<text x="{at:.1f}" y="{BOTTOM + 20}" text-anchor="middle">{_power(power)}</text>')
    for power in decades_y:
        at = y(10.0**power)
        drawn.append(f'<path d="M{LEFT} {at:.1f}H{RIGHT}" stroke="#e3e3e3"/>')
        drawn.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    drawn.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 45}" text-anchor="middle">items</text>')
    for index, (form, line) in enumerate(_by_form(points).items()):
        colour, dashes = STYLES[form]
        at = [(x(point["num_items"]), y(point["ms_per_user"])) for point in line]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
        stroke = f'fill="none" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dashes or "none"}"'
        drawn.append(f'<polyline points="{path}" {stroke}/>')
        drawn += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in at]
        row = TOP + 12 + 40 * index
        drawn.append(f'<path d="M{RIGHT + 14} {row - 4}h22" {stroke}/>')
        drawn.append(f'<text x="{RIGHT + 42}" y="{row}" fill="{colour}">{form.removeprefix("mmgrec ")}</text>')
        recalls = [point["recall"] for point in line if point["recall"] is not None]
        caption = f"recall@10 {min(recalls):.2f}–{max(recalls):.2f}" if recalls and min(recalls) < 0.995 else ""
        caption = caption or ("exact" if recalls else line[0]["detail"])
        drawn.append(f'<text x="{RIGHT + 42}" y="{row + 15}" font-size="11" fill="#555555">{caption}</text>')
    return "\n".join([*drawn, "</svg>", ""])


def _decades(values: list[float]) -> list[int]:
    """Powers of ten around the values, two at least."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    return list(range(low, max(low + 1, math.ceil(math.log10(max(values)) - 1e-9)) + 1))


def _power(power: int) -> str:
    return f'10<tspan dy="-6" font-size="10">{power}</tspan>'


def markdown(outcome: Outcome) -> str:
    """A table: a row for each form, a column for each size."""
    sizes = sorted({point["num_items"] for point in outcome["points"]})
    machine, versions = outcome["hardware"], outcome["versions"]
    text = [
        "# Time per user against the size of the catalogue",
        "",
        "The paper's Fig. 5. Generation takes nearly the same time whatever the number of items; inner products with",
        "all of them take time in their number, an index takes less. Among few items generation is the slowest.",
        "",
        "![Time per user against the size of the catalogue](../figures/catalogue.svg)",
        "",
        f"Milliseconds per user, {outcome['users_per_call']} users a call; medians. {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['torch_threads']} thread(s), load average {outcome['load_average']:.1f}; "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}; {outcome['date']}.",
        "Written by `pytest --benchmark bench/timing/bench_catalogue.py`. Generation includes the encoder, has random",
        "weights, and ranks by a likelihood of its own: its recall of inner products has no meaning. An index is tuned",
        f"on other users to find {outcome.get('wanted_recall', 0.9):.0%} of the ten best items.",
        "",
        *_table(sizes, outcome["points"]),
        "",
        "Above, all forms of one size were timed by turns: a form that reads all items leaves the next one a cold",
        "cache, and minutes lie between two columns. Generation alone, all sizes by turns:",
        "",
        *_table(sizes, outcome["generation_alone"]),
    ]
    text += ["", "Not measured:", "", *(f"- {reason}" for reason in outcome["left_out"])]
    return "\n".join(text) + "\n"


def _table(sizes: list[int], points: list[dict[str, Any]]) -> list[str]:
    head = "| | " + " | ".join(f"{size:,}".replace(",", " ") + " items" for size in sizes) + " |"
    rows = []
    for form, line in _by_form(points).items():
        at = {point["num_items"]: point for point in line}
        rows.append(f"| {form} | " + " | ".join(_cell(at.get(size)) for size in sizes) + " |")
    return [head, "|---|" + "---:|" * len(sizes), *rows]


def _cell(point: Mapping[str, Any] | None) -> str:
    if point is None:
        return ""
    about = [] if point["build_seconds"] is None else [f"recall {point['recall']:.2f}", point["detail"]]
    about += [] if point["build_seconds"] is None else [f"built in {point['build_seconds']:.1f} s"]
    return f"{point['ms_per_user']:.3f}" + (f" ({', '.join(about)})" if about else "")


def draw(outcome: Outcome) -> None:
    """Write the page and its figure."""
    docs = Path(__file__).parents[2] / "docs"
    (docs / "figures").mkdir(exist_ok=True)
    (docs / "figures" / "catalogue.svg").write_text(figure(outcome))
    (docs / "results" / "catalogue.md").write_text(markdown(outcome))


if __name__ == "__main__":
    draw(json.loads((Path(__file__).parents[1] / "results" / "catalogue.json").read_text()))
