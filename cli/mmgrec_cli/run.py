"""``mmgrec run``: one experiment, from data to page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["run"]


@options.spread
def run(
    given: options.Given,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of everything random [0].", min=0, max=2**63 - 1)
    ] = None,
    mask: options.Mask = "",
    out: Annotated[str, typer.Option("--out", help="The run folder.", metavar="DIR")] = "",
    threads: Annotated[
        int, typer.Option("--threads", help="CPU threads; 0: torch's choice.", min=0, max=options.MOST_THREADS)
    ] = 0,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Do the whole job: data in; Rec-IDs, a trained model, an evaluation and a run folder out.

    The same command again resumes a run that was stopped, or shows the stored result of one that ended.
    """
    experiment = options.experiment_of(given, seed=seed, mask=mask)
    from mmgrec.runs import execute
    from mmgrec_cli.progress import Watcher

    chosen = options.device_of(device)
    if threads:
        options.use_threads(threads)
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
