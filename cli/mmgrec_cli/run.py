"""``mmgrec run``: one experiment, from data to page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options as given
from mmgrec_cli import render

__all__ = ["run"]


def run(
    quantizer: given.QuantizerName = "",
    collisions: given.Collisions = "",
    position: given.Position = "",
    decoder: given.DecoderName = "",
    data: given.Data = "",
    baselines: given.Baselines = "",
    preset: given.Preset = [],  # noqa: B006  # typer's way to say "none given"
    sets: given.Sets = [],  # noqa: B006
    config: given.Config = "",
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything random [0].", min=0, max=2**63 - 1)
    ] = None,
    mask: given.Mask = "",
    out: Annotated[str, typer.Option("--out", help="The run folder.", metavar="DIR")] = "",
    threads: Annotated[
        int, typer.Option("--threads", help="CPU threads; 0: torch's choice.", min=0, max=given.MOST_THREADS)
    ] = 0,
    device: given.Device = "cpu",
    json: given.Json = False,
) -> None:
    """Do the whole job: data in; Rec-IDs, a trained model, an evaluation and a run folder out.

    The same command again resumes a run that was stopped, or shows the stored result of one that ended.
    """
    experiment = given.experiment_of(
        quantizer=quantizer,
        collisions=collisions,
        position=position,
        decoder=decoder,
        data=data,
        baselines=baselines,
        preset=preset,
        sets=sets,
        config=config,
        seed=seed,
        mask=mask,
    )
    from mmgrec.runs import execute
    from mmgrec_cli.progress import Watcher

    chosen = given.device_of(device)
    if threads:
        given.use_threads(threads)
    watcher = Watcher()
    try:
        outcome = execute(experiment, out=Path(out) if out else None, reporter=watcher, device=chosen)
    finally:
        watcher.close()
    if outcome.stored:
        render.note(f"{outcome.folder} is finished: this is its stored result")
    if json:
        render.as_json(outcome.to_json())
    else:
        render.results(outcome)
        render.page(outcome.folder)
