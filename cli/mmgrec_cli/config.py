"""``mmgrec config show``: what can be set."""

from __future__ import annotations

from typing import Annotated

import typer

from mmgrec_cli import options, render

__all__ = ["config_show"]


@options.spread
def config_show(
    given: options.Given,
    toml: Annotated[bool, typer.Option("--toml", help="Print a file that --config takes.")] = False,
    json: options.Json = False,
) -> None:
    """Show every setting of a run, with its value, type and meaning."""
    experiment = options.experiment_of(given)
    if json:
        render.as_json(experiment.values())
    elif toml:
        from mmgrec.settings import toml_text

        render.text(toml_text(experiment.values()).rstrip("\n"))
    else:
        render.settings(experiment.described())
