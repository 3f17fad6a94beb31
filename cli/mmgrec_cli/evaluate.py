"""``mmgrec evaluate``: a stored model, by another rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmgrec_cli import options as given
from mmgrec_cli import render

if TYPE_CHECKING:
    pass
from mmgrec_cli.recommend import Label

__all__ = ["evaluate"]


def evaluate(
    run: given.RunPath,
    split: Annotated[str, typer.Option("--split", help="test or valid.")] = "test",
    mask: Annotated[str, typer.Option("--mask", help="train+valid or train; the run's own by default.")] = "",
    top_k: Annotated[
        list[int], typer.Option("-k", "--top-k", help="Lengths of the lists; the run's own.", min=1, max=given.LONGEST)
    ] = [],  # noqa: B006
    model: Label = "mmgrec",
    data: given.Data = "",
    device: given.Device = "cpu",
    json: given.Json = False,
) -> None:
    """Evaluate a stored model again, perhaps on another part, at other lengths or with another mask."""
    from mmgrec.evaluation import MASKS, SPLITS
    from mmgrec.runs import StoredRun

    part = given.one_of("--split", split, SPLITS)
    masked = given.one_of("--mask", mask, MASKS) if mask else None
    chosen = given.device_of(device)
    opened = StoredRun.open(run, data_path=data or None)
    report = opened.evaluated(model, split=part, mask=masked, top_k=tuple(top_k), device=chosen)
    if json:
        render.as_json({"run": run.as_posix(), "model": model, **report.as_dict()})
    else:
        render.evaluation(model, report)
