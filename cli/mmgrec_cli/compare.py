"""``mmgrec compare``: stored runs against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["compare"]

RunPaths = Annotated[list[Path], typer.Argument(help="Finished runs' folders.", metavar="RUN...", show_default=False)]


def compare(
    runs: RunPaths,
    metric: Annotated[str, typer.Option("--metric", help="What is compared.")] = "recall@10",
    split: Annotated[str, typer.Option("--split", help="test or valid.")] = "test",
    json: options.Json = False,
) -> None:
    """Test the first run's model against all others, paired over users (t-test, corrected by Holm)."""
    from mmgrec.evaluation import SPLITS
    from mmgrec.runs import StoredRun
    from mmgrec.runs import compare as tested

    part = options.one_of("--split", split, SPLITS)
    rows = tested([StoredRun.open(path) for path in runs], metric=metric, split=part)
    if json:
        render.as_json([row.as_dict() for row in rows])
    else:
        render.comparison(rows)
