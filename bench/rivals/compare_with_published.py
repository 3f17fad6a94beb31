"""Holds the baselines of finished studies against figures that others published on the same data.

    python bench/rivals/compare_with_published.py --out docs/results/published.json docs/results/overall.json

A study is its folder, or a file that `bench/tables/study_tables.py` kept of it.

Ours are means over seeds of the test part, counted under the mask of the source. A figure is reached from 95 % of it
on. Where our copy of a set lacks the features that a model reads, the figure is shown and nothing is claimed; there a
model has to pass popularity and MF, as its paper says it does. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

Json = dict[str, Any]  # Any: JSON
PUBLISHED = Path(__file__).parent / "published.toml"
ENOUGH = 0.95  # of a published figure


def read_study(path: Path) -> Json:
    """A study by its folder, or what was kept of one by its file."""
    study: Json = json.loads((path / "study.json" if path.is_dir() else path).read_text())
    return study


def measured(studies: list[Path]) -> dict[tuple[str, str], Json]:
    """(data set, model) -> that model's entry of a study."""
    entries = {}
    for path in studies:
        for data in read_study(path)["data"]:
            for model in data["models"]:
                if model["seeds"] and model.get("otherwise"):
                    entries[data["name"], model["model"]] = model
    return entries


def under(model: Json, mask: str, metric: str) -> float:
    """Mean over seeds on test; a study counts under two masks, its own and the other."""
    other = model["otherwise"]
    return float((other if other["mask"] == mask else model["test"])[metric]["mean"])


def compared(entries: dict[tuple[str, str], Json]) -> list[Json]:
    """One row for each published figure whose model and data set were measured."""
    rows = []
    for table in tomllib.loads(PUBLISHED.read_text()).values():
        for data, models in ((key, value) for key, value in table.items() if isinstance(value, dict)):
            for name, figure in models.items():
                ours = entries.get((data, name))
                if ours is None:
                    continue
                metrics = {f"recall@{figure['k']}": figure["recall"], f"ndcg@{figure['k']}": figure["ndcg"]}
                values = {metric: under(ours, table["mask"], metric) for metric in metrics}
                weaker = [
                    entries[data, rival] for rival in ("popularity", "mf") if (data, rival) in entries and rival != name
                ]
                first = next(iter(metrics))
                rows.append(
                    {
                        "data": data,
                        "model": name,
                        "seeds": len(ours["seeds"]),
                        "source": table["source"],
                        "split": table["split"],
                        "mask": table["mask"],
                        "comparable": not figure.get("features", False),
                        "published": metrics,
                        "ours": {metric: round(value, 5) for metric, value in values.items()},
                        "ratio": round(min(values[metric] / metrics[metric] for metric in metrics), 3),
                        "reached": all(values[metric] >= ENOUGH * metrics[metric] for metric in metrics),
                        "passes popularity and mf": all(
                            values[first] >= under(rival, table["mask"], first) for rival in weaker
                        ),
                    }
                )
    return rows


def markdown(rows: list[Json]) -> str:
    """A table with a row for each published figure."""
    lines = [
        "| set | model | seeds | published R / N | ours R / N | least ratio | reached "
        "| passes popularity and MF | source |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        pairs = [" / ".join(f"{value:.4f}" for value in row[side].values()) for side in ("published", "ours")]
        reached = ("yes" if row["reached"] else "no") + ("" if row["comparable"] else " (other features)")
        passes = "yes" if row["passes popularity and mf"] else "no"
        source = f"{row['source'].split(',')[0]}, {row['split']}" + (" split" if row["split"] == "the same" else "")
        lines.append(
            f"| {row['data']} | {row['model']} | {row['seeds']} | {pairs[0]} | {pairs[1]} | {row['ratio']:.2f} "
            f"| {reached} | {passes} | {source} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = compared(measured(options.studies))
    print(markdown(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
