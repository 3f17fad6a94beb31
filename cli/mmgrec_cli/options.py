"""Options that several commands share, and how they become one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    import torch

    from mmgrec.runs import Experiment

__all__ = [
    "LONGEST",
    "MOST_THREADS",
    "Baselines",
    "Collisions",
    "Config",
    "Data",
    "DecoderName",
    "Device",
    "Json",
    "Mask",
    "Position",
    "Preset",
    "QuantizerName",
    "RunPath",
    "Sets",
    "device_of",
    "experiment_of",
    "one_of",
    "use_threads",
]

LONGEST = 100_000  # items of a list
MOST_THREADS = 4096

Choice = TypeVar("Choice", bound=str)

_PARTS = "Parts"
_HOW = "Settings"

QuantizerName = Annotated[str, typer.Option("--quantizer", help="Quantizer plugin.", rich_help_panel=_PARTS)]
Collisions = Annotated[str, typer.Option("--collisions", help="Collision resolver plugin.", rich_help_panel=_PARTS)]
Position = Annotated[str, typer.Option("--position", help="Positional scheme plugin.", rich_help_panel=_PARTS)]
DecoderName = Annotated[str, typer.Option("--decoder", help="Decoder plugin.", rich_help_panel=_PARTS)]
Data = Annotated[str, typer.Option("--data", help="Data folder; without it, the synthetic data.", metavar="PATH")]
Baselines = Annotated[str, typer.Option("--baselines", help="Recommender plugins to compare with.", metavar="A,B")]
Preset = Annotated[
    list[str],
    typer.Option("--preset", help="Settings to start from; a second one becomes a row of its own.", metavar="NAME"),
]
Sets = Annotated[
    list[str], typer.Option("--set", help="One setting; see `mmgrec config show`.", metavar="PART.FIELD=VALUE")
]
Config = Annotated[str, typer.Option("--config", help="A TOML file, or a run folder.", metavar="FILE")]
Mask = Annotated[
    str, typer.Option("--mask", help="Never recommended at test time: train+valid, or train.", metavar="PARTS")
]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunPath = Annotated[Path, typer.Argument(help="A finished run's folder.", metavar="RUN", show_default=False)]


def experiment_of(
    *,
    quantizer: str | None = None,
    collisions: str | None = None,
    position: str | None = None,
    decoder: str | None = None,
    data: str | None = None,
    baselines: str | None = None,
    preset: list[str] | None = None,
    sets: list[str] | None = None,
    config: str | None = None,
    seed: int | None = None,
    mask: str | None = None,
) -> Experiment:
    """Preset, then configuration, then ``--set``, then flags.

    Raises:
        SettingsError: with everything that is wrong.
    """
    from mmgrec.settings import apply_sets, merge, read_toml

    base: dict[str, Any] = {}  # Any: TOML
    if config:
        path = Path(config)
        base = read_toml(path / "run.toml" if path.is_dir() else path)
        base.pop("fingerprint", None)
    from mmgrec.runs import SECTIONS, Experiment

    flags: dict[str, Any] = {}  # Any: TOML
    names = {"quantizer": quantizer, "collisions": collisions, "position": position, "decoder": decoder}
    flags |= {part: {"name": name} for part, name in names.items() if name}
    if data:
        flags["data"] = {"name": "folder", "path": data}
        if base.get("data", {}).get("name", "folder") != "folder":
            base["data"] = {}
    if preset:
        flags["preset"] = preset[0]
        flags["compare"] = {one: {} for one in preset[1:] if one != preset[0]}
    flags |= {key: value for key, value in (("seed", seed), ("mask", mask)) if value not in (None, "")}
    if baselines:
        wanted = list(dict.fromkeys(one.strip() for one in baselines.split(",") if one.strip()))
        known = base.get("baselines", {})
        base["baselines"] = {one: known.get(one, {}) if isinstance(known, dict) else {} for one in wanted}
    problems: list[str] = []
    over = merge(apply_sets(sets or [], parts=SECTIONS, problems=problems), flags)
    return Experiment.of(base, over=over, problems=problems)


def device_of(name: str) -> torch.device:
    """A device by its name.

    Raises:
        SettingsError: if there is no such device here.
    """
    import torch

    from mmgrec.errors import SettingsError

    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("neither cpu nor cuda")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            [f"--device {name}: not usable here ({str(error).splitlines()[0]})"], remedy="try --device cpu"
        ) from None
    return device


def use_threads(count: int) -> None:
    """Let torch use so many CPU threads."""
    import torch

    torch.set_num_threads(count)


def one_of(option: str, value: str, known: tuple[Choice, ...]) -> Choice:
    """A value out of a few.

    Raises:
        SettingsError: for any other value.
    """
    from mmgrec.errors import SettingsError, near_miss

    for one in known:
        if one == value:
            return one
    raise SettingsError([f"{option} {value!r} is unknown; {near_miss(value, known)}"])
