"""``mmgrec ids``: how healthy a run's Rec-IDs are."""

from __future__ import annotations

from mmgrec_cli import options, render

__all__ = ["ids"]


def ids(run: options.RunPath, json: options.Json = False) -> None:
    """Show the health of a run's Rec-IDs, level by level."""
    from mmgrec.runs import StoredRun

    health = StoredRun.open(run).health
    if json:
        render.as_json(health)
    else:
        render.health(health)
