"""Commands that use a finished run: recommend, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options as given
from mmgrec_cli import render

__all__ = ["evaluate", "recommend"]

Label = Annotated[str, typer.Option("--model", help="Which of the run's models.", metavar="NAME")]


def recommend(
    run: given.RunPath,
    users: Annotated[Path, typer.Option("--users", help="User ids: text, .jsonl or .parquet.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", help="Where to: .parquet or .jsonl.", metavar="FILE")],
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="Items for each user.", min=1)] = 10,
    allow: Annotated[str, typer.Option("--allow", help="Only these items: a file of ids.", metavar="FILE")] = "",
    exclude: Annotated[
        str, typer.Option("--exclude", help="Never again what is in: train, train+valid or all.")
    ] = "train+valid",
    model: Label = "mmgrec",
    data: given.Data = "",
    json: given.Json = False,
) -> None:
    """Write recommendations for users: user, rank, item, score, in the data's own ids."""
    from mmgrec import serving
    from mmgrec.runs import Run

    known = given.one_of("--exclude", exclude, serving.KNOWN)
    serving.format_of(out)
    opened = Run.open(run, data_path=data or None)
    dataset = opened.data()
    wanted = serving.user_numbers(serving.read_ids(users, "user"), dataset, where=str(users))
    allowed = serving.allowed_items(Path(allow), dataset) if allow else None
    fitted = opened.fitted(model)
    batches = serving.recommend(fitted, dataset, wanted, top_k=top_k, known=known, allowed=allowed)
    rows = serving.write(out, batches, dataset)
    facts = {"run": run.as_posix(), "model": model, "users": wanted.numel(), "rows": rows, "out": out.as_posix()}
    if json:
        render.as_json(facts)
    else:
        render.text(f"{rows} recommendations for {wanted.numel()} users are in {out}")


def evaluate(
    run: given.RunPath,
    split: Annotated[str, typer.Option("--split", help="test or valid.")] = "test",
    mask: Annotated[str, typer.Option("--mask", help="train+valid or train; the run's own by default.")] = "",
    top_k: Annotated[list[int], typer.Option("-k", "--top-k", help="Lengths of the lists; the run's own.")] = [],  # noqa: B006
    model: Label = "mmgrec",
    data: given.Data = "",
    json: given.Json = False,
) -> None:
    """Evaluate a stored model again, perhaps on another part, at other lengths or with another mask."""
    from mmgrec.execution import SPLITS
    from mmgrec.runs import MASKS, Run

    part = given.one_of("--split", split, SPLITS)
    masked = given.one_of("--mask", mask, MASKS) if mask else None
    report = Run.open(run, data_path=data or None).evaluated(model, split=part, mask=masked, top_k=tuple(top_k))
    if json:
        render.as_json({"run": run.as_posix(), "model": model, **report.as_dict()})
    else:
        render.evaluation(model, report.as_dict())
