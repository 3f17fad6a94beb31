"""Measures the simple baselines on the real sets and holds them against the sanity table of REFERENCE_NUMBERS.md.

    python bench/tables/sanity_table.py --data FOLDER --out docs/results/sanity.json

A figure agrees if it is within 0.0005 of the reference, or if it belongs to popularity and the reference lies between
the worst and the best that the order of equally popular items can give. Ours is the lower item first; the reference
names no order. Needs the sets and the table in FOLDER; proves that loader, splits, masks and metrics are right.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import Report, evaluate
from mmgrec.folder import load_folder
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations
from mmgrec.ranking import rank_items
from mmgrec_plugins.recommenders.simple.ease import EASE
from mmgrec_plugins.recommenders.simple.itemknn import ItemKNN
from mmgrec_plugins.recommenders.simple.popularity import Popularity

TOLERANCE = 0.0005
COLUMNS = ("recall@5", "ndcg@5", "recall@10", "ndcg@10", "recall@20", "ndcg@20")
SPLITS = {"given split": "given", "random 80/10/10": "random", "leave-one-out": "leave-one-out"}
METHODS = {
    "EASE": EASE(),
    "ItemKNN": ItemKNN(),
    "popularity": Popularity(),
    "popularity, test counted too": Popularity(),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """One row of the table."""

    name: str
    protocol: str
    sizes: tuple[int, int, int]  # interactions in train, valid, test
    num_users: int
    mask: str
    method: str
    value: tuple[float, ...]  # as COLUMNS


@dataclass(frozen=True, kw_only=True, eq=False)
class Nudged(FittedRecommender):
    """Popularity with the ties of relevant items broken for or against them."""

    popularity: Tensor  # [num_items]
    relevant: Interactions
    nudge: float

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = self.popularity.double().repeat(users.numel(), 1)
        row, item = self.relevant.items_of(users)
        scores[row, item] += self.nudge
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)


def references(table: Path) -> list[Reference]:
    """The rows of the sanity table."""
    rows = []
    for line in table.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 + len(COLUMNS) or cells[4] not in METHODS:
            continue
        match = re.fullmatch(r"(.*) \(([\d,]+) / ([\d,]+) / ([\d,]+)\)", cells[1])
        assert match, cells[1]
        train, valid, test = (int(match[group].replace(",", "")) for group in (2, 3, 4))
        rows.append(
            Reference(
                name=cells[0],
                protocol=match[1],
                sizes=(train, valid, test),
                num_users=int(cells[2].replace(",", "")),
                mask=cells[3],
                method=cells[4],
                value=tuple(float(cell) for cell in cells[5:]),
            )
        )
    return rows


def measure(folder: Path, name: str, protocol: str) -> list[dict[str, Any]]:
    """Measure all rows of one set and protocol."""
    wanted = [
        row for row in references(folder / "REFERENCE_NUMBERS.md") if (row.name, row.protocol) == (name, protocol)
    ]
    data = load_folder(folder / name, split=SPLITS[protocol], split_seed=0, modalities=[])  # type: ignore[arg-type]
    fitted: dict[str, FittedRecommender] = {}
    rows = []
    for reference in wanted:
        learnt_from = data
        if reference.method == "popularity, test counted too":
            learnt_from = replace(data, train=data.train.merged(data.valid).merged(data.test))
        if reference.method not in fitted:
            fitted[reference.method] = METHODS[reference.method].fit(learnt_from, Context())
        report = _report(fitted[reference.method], data, reference)
        rows.append(_row(reference, data, report, _tie_range(learnt_from, data, reference)))
    return rows


def _report(fitted: FittedRecommender, data: Dataset, reference: Reference) -> Report:
    return evaluate(fitted, data, top_k=(5, 10, 20), mask=reference.mask)  # type: ignore[arg-type]


def _tie_range(learnt_from: Dataset, data: Dataset, reference: Reference) -> list[tuple[float, float]] | None:
    """Per column the worst and the best that an order of ties can give; only popularity has many."""
    if not reference.method.startswith("popularity"):
        return None
    ends = [
        _report(Nudged(popularity=learnt_from.train.item_degree, relevant=data.test, nudge=nudge), data, reference)
        for nudge in (-0.5, 0.5)
    ]
    return [(ends[0].metrics[column], ends[1].metrics[column]) for column in COLUMNS]


def _row(reference: Reference, data: Dataset, report: Report, ties: list[tuple[float, float]] | None) -> dict[str, Any]:
    """What was measured beside what was published, and whether they agree but for the order of ties."""
    measured = [round(report.metrics[column], 4) for column in COLUMNS]
    difference = [round(ours - theirs, 4) for ours, theirs in zip(measured, reference.value, strict=True)]
    outside = [column for column, value in enumerate(difference) if abs(value) > TOLERANCE + 1e-9]
    rounding = 0.00005
    by_ties = [
        column
        for column in outside
        if ties and ties[column][0] - rounding <= reference.value[column] <= ties[column][1] + rounding
    ]
    return {
        "set": reference.name,
        "protocol": reference.protocol,
        "mask": reference.mask,
        "method": reference.method,
        "num_users": report.num_users,
        "sizes": [len(data.train), len(data.valid), len(data.test)],
        "sizes_agree": reference.sizes == (len(data.train), len(data.valid), len(data.test))
        and reference.num_users == report.num_users,
        "measured": dict(zip(COLUMNS, measured, strict=True)),
        "reference": dict(zip(COLUMNS, reference.value, strict=True)),
        "largest_difference": max(map(abs, difference)),
        "agrees": outside == by_ties,
        "explained_by_ties": {COLUMNS[column]: [round(end, 4) for end in ties[column]] for column in by_ties}
        if ties
        else {},
        "defects": vars(report.defects),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets and REFERENCE_NUMBERS.md")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    published = references(settings.data / "REFERENCE_NUMBERS.md")
    rows: list[dict[str, Any]] = []
    for name, protocol in dict.fromkeys((row.name, row.protocol) for row in published):
        for row in measure(settings.data, name, protocol):
            rows.append(row)
            verdict = "agrees" if row["agrees"] else "DIFFERS"
            facts = " ".join(f"{value:.4f}" for value in row["measured"].values())
            print(f"{name:14} {protocol:16} {row['mask']:12} {row['method']:29} {facts}  {verdict}", flush=True)
    summary = {
        "rows": len(rows),
        "figures": len(rows) * len(COLUMNS),
        "rows_that_agree": sum(row["agrees"] for row in rows),
        "figures_explained_by_ties_alone": sum(len(row["explained_by_ties"]) for row in rows),
        "tolerance": TOLERANCE,
    }
    settings.out.write_text(json.dumps({"summary": summary, "rows": rows}, indent=1) + "\n")
    print(summary)


if __name__ == "__main__":
    main()
