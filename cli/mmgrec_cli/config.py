"""``mmgrec config show``: what can be set."""

from __future__ import annotations

from typing import Annotated

import typer

from mmgrec_cli import options as given
from mmgrec_cli import render

__all__ = ["config_show"]


def config_show(
    quantizer: given.QuantizerName = "",
    collisions: given.Collisions = "",
    position: given.Position = "",
    decoder: given.DecoderName = "",
    data: given.Data = "",
    baselines: given.Baselines = "",
    preset: given.Preset = [],  # noqa: B006
    sets: given.Sets = [],  # noqa: B006
    config: given.Config = "",
    toml: Annotated[bool, typer.Option("--toml", help="Print a file that --config takes.")] = False,
    json: given.Json = False,
) -> None:
    """Show every setting of a run, with its value, type and meaning."""
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
    )
    if json:
        render.as_json(experiment.values())
    elif toml:
        from mmgrec.settings import toml_text

        render.text(toml_text(experiment.values()).rstrip("\n"))
    else:
        render.settings(experiment.described())
