"""``mmgrec evaluate``: a stored model, by another rule."""

from __future__ import annotations

from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["evaluate"]


def evaluate(
    run: options.RunPath,
    split: Annotated[str, typer.Option("--split", help="test or valid.")] = "test",
    mask: Annotated[str, typer.Option("--mask", help="train+valid or train; the run's own by default.")] = "",
    top_k: Annotated[
        list[int],
        typer.Option("-k", "--top-k", help="Lengths of the lists; the run's own.", min=1, max=options.LONGEST),
    ] = [],  # noqa: B006
    model: options.Label = "mmgrec",
    data: options.Data = "",
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Evaluate a stored model again, perhaps on another part, at other lengths or with another mask."""
    from mmgrec.evaluation import MASKS, SPLITS
    from mmgrec.runs import StoredRun

    part = options.one_of("--split", split, SPLITS)
    masked = options.one_of("--mask", mask, MASKS) if mask else None
    chosen = options.device_of(device)
    opened = StoredRun.open(run, data_path=data or None)
    report = opened.evaluated(model, split=part, mask=masked, top_k=tuple(top_k), device=chosen)
    if json:
        render.as_json({"run": run.as_posix(), "model": model, **report.as_dict()})
    else:
        render.evaluation(model, report)
