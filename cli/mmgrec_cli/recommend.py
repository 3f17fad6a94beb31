"""``mmgrec recommend``: lists for users, from a stored model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["recommend"]


def recommend(
    run: options.RunPath,
    users: Annotated[Path, typer.Option("--users", help="User ids: text, .jsonl or .parquet.", metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", help="A .parquet or .jsonl file; or a folder.", metavar="FILE|DIR")],
    top_k: Annotated[int, typer.Option("-k", "--top-k", help="Items for each user.", min=1, max=options.LONGEST)] = 10,
    allow: Annotated[str, typer.Option("--allow", help="Only these items: a file of ids.", metavar="FILE")] = "",
    exclude: Annotated[
        str, typer.Option("--exclude", help="Never again what is in: train, train+valid or all.")
    ] = "train+valid",
    shard_size: Annotated[
        int, typer.Option("--shard-size", help="Users a file, where --out is a folder.", min=1, max=10**9)
    ] = 100_000,
    model: options.Label = "mmgrec",
    data: options.Data = "",
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Write recommendations for users: user, rank, item, score, in the data's own ids.

    A folder gets several Parquet files and a manifest, the last to be written; stopped, the same command goes on.
    """
    from mmgrec.evaluation import KNOWN
    from mmgrec.guards import contained
    from mmgrec.serving import Question, Session, format_of

    excluded = options.one_of("--exclude", exclude, KNOWN)
    format_of(out)  # a name that asks for no known format is refused before anything is read
    session = Session.open(run, model=model, data_path=data or None, device=options.device_of(device))
    numbers = session.users(users)
    allowed = session.items(Path(allow)) if allow else None
    question = Question(top_k=top_k, exclude=excluded, allowed=allowed)
    with contained():
        rows = session.write(out, numbers, question, shard_size=shard_size, note=render.note)
    facts = {"run": run.as_posix(), "model": model, "users": numbers.numel(), "rows": rows, "out": out.as_posix()}
    if json:
        render.as_json(facts)
    else:
        render.text(f"{rows} recommendations for {numbers.numel()} users are in {out}")
