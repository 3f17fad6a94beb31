"""Joins finished runs of several seeds into one table per data set, with paired tests over users.

    python bench/summarise_runs.py --out docs/results/main.json RUN RUN …

Per model: mean and standard deviation over seeds. Per pair (mmgrec against each other model): each user's metric is
averaged over the seeds that both models have, then a paired t-test over users, corrected by Holm. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
from scipy import stats

from mmgrec.evaluation import PairedTest, holm

METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
Json = dict[str, Any]  # Any: JSON


def read(run: Path) -> Json:
    """A finished run: its results, versions and per-user values."""
    results = json.loads((run / "results.json").read_text())
    facts = json.loads((run / "run.json").read_text())
    users = pl.read_parquet(run / "per_user.parquet")
    return {"name": run.name, "results": results, "facts": facts, "users": users}


def table(runs: list[Json], split: str) -> list[Json]:
    """One row a model: figures over seeds."""
    found: dict[str, list[Json]] = defaultdict(list)
    for run in runs:
        for row in run["results"]["results"]:
            if row["split"] == split:
                found[row["model"]].append(row)
    return [
        {
            "model": model,
            "seeds": len(rows),
            "fit_seconds": round(statistics.mean(row["seconds"]["fit"] for row in rows), 1),
            **{metric: spread([row["metrics"][metric] for row in rows]) for metric in METRICS},
        }
        for model, rows in found.items()
    ]


def spread(values: list[float]) -> Json:
    """Mean and sample deviation (0 for a single value)."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.mean(values), 5), "deviation": round(deviation, 5)}


def tests(runs: list[Json], metric: str, split: str, own: str) -> list[Json]:
    """The model `own` against all others, paired over users."""
    frames = [run["users"].filter(pl.col("split") == split).with_columns(seed=pl.lit(i)) for i, run in enumerate(runs)]
    every = pl.concat(frames, how="diagonal").select("model", "seed", "user", metric)
    out = []
    for other in every["model"].unique(maintain_order=True):
        if other == own:
            continue
        both = every.filter(pl.col("model") == own).join(
            every.filter(pl.col("model") == other), on=["seed", "user"], suffix="_other"
        )
        means = both.group_by("user").agg(pl.col(metric).mean(), pl.col(f"{metric}_other").mean()).sort("user")
        difference = (means[metric] - means[f"{metric}_other"]).to_numpy()
        test = stats.ttest_1samp(difference, 0.0)
        out.append(
            {
                "against": other,
                "metric": metric,
                "seeds": both["seed"].n_unique(),
                "users": len(difference),
                "difference": float(difference.mean()),
                "t": float(test.statistic),
                "p": float(test.pvalue),
            }
        )
    made = [
        PairedTest(metric=metric, difference=one["difference"], t=one["t"], p=one["p"], num_users=one["users"])
        for one in out
    ]
    return [{**one, "p_holm": test.p_holm} for one, test in zip(out, holm(made), strict=True)]


def markdown(name: str, rows: list[Json], against: list[Json], split: str) -> str:
    by_model = {test["against"]: test for test in against}
    lines = [
        f"**{name}**, {split}",
        "",
        "| model | seeds | R@10 | N@10 | R@20 | N@20 | mmgrec − model (R@10) | p (Holm) | fit s |",
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda one: -one["recall@10"]["mean"]):
        figures = [f"{row[m]['mean']:.4f} ± {row[m]['deviation']:.4f}" for m in METRICS]
        test = by_model.get(row["model"])
        gap = "—" if test is None else f"{test['difference']:+.4f} (t = {test['t']:.1f})"
        p = "—" if test is None else f"{test['p_holm']:.1e}"
        lines.append(
            f"| {row['model']} | {row['seeds']} | {' | '.join(figures)} | {gap} | {p} | {row['fit_seconds']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--own", default="mmgrec")
    options = parser.parse_args()
    groups: dict[str, list[Json]] = defaultdict(list)
    for path in options.runs:
        run = read(path)
        groups[run["results"]["data"]["name"]].append(run)
    out: Json = {}
    for name, runs in groups.items():
        out[name] = {
            "data": runs[0]["results"]["data"],
            "runs": [
                {
                    "seed": run["results"]["seed"],
                    "written": run["facts"]["written"],
                    "versions": run["facts"]["versions"],
                    "threads": run["facts"]["threads"],
                    "decoding": run["results"]["decoding"],
                    "rec_ids": run["results"]["rec_ids"],
                }
                for run in runs
            ],
        }
        for split in ("test", "valid"):
            rows = table(runs, split)
            against = [test for metric in ("recall@10", "ndcg@10") for test in tests(runs, metric, split, options.own)]
            out[name][split] = {"models": rows, "tests": against}
            print(markdown(name, rows, [test for test in against if test["metric"] == "recall@10"], split), "\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
