"""``mmgrec recommend``: lists for users, from a stored model."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmgrec_cli import options, render

if TYPE_CHECKING:
    from torch import Tensor

    from mmgrec.interfaces import Recommendations

__all__ = ["recommend"]


Label = Annotated[str, typer.Option("--model", help="Which of the run's models.", metavar="NAME")]


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
    model: Label = "mmgrec",
    data: options.Data = "",
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Write recommendations for users: user, rank, item, score, in the data's own ids.

    A folder gets several Parquet files and a manifest, the last to be written; stopped, the same command goes on.
    """
    from mmgrec import serving
    from mmgrec.evaluation import KNOWN
    from mmgrec.guards import contained
    from mmgrec.runs import StoredRun

    excluded = options.one_of("--exclude", exclude, KNOWN)
    sharded = serving.format_of(out) is None
    chosen = options.device_of(device)
    opened = StoredRun.open(run, data_path=data or None)
    dataset = opened.data()
    numbers = serving.user_numbers(serving.read_ids(users, "user"), dataset, where=str(users))
    allowed = serving.allowed_items(Path(allow), dataset) if allow else None
    fitted = opened.fitted(model, device=chosen)

    def answer(part: Tensor) -> Iterator[Recommendations]:
        return serving.recommend(fitted, dataset, part, top_k=top_k, exclude=excluded, allowed=allowed)

    with contained():
        if sharded:
            asked = {
                "run": opened.results.data.fingerprint,
                "weights": opened.digest(model),
                "model": model,
                "top_k": top_k,
                "exclude": excluded,
                "allow": "" if allowed is None else sha256(allowed.numpy().tobytes()).hexdigest(),
            }
            shards = serving.Shards(path=out, size=shard_size)
            rows = shards.write_users(numbers, dataset, answer, asked=asked, note=render.note)
        else:
            rows = serving.write(out, answer(numbers), dataset)
    facts = {"run": run.as_posix(), "model": model, "users": numbers.numel(), "rows": rows, "out": out.as_posix()}
    if json:
        render.as_json(facts)
    else:
        render.text(f"{rows} recommendations for {numbers.numel()} users are in {out}")
