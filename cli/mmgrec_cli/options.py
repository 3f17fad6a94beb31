"""Options that several commands share, and how they become one configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    import torch

    from mmgrec.errors import Problem
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
    "Given",
    "Json",
    "Label",
    "Mask",
    "MemoryName",
    "Position",
    "Preset",
    "QuantizerName",
    "RunPath",
    "Sets",
    "device_of",
    "experiment_of",
    "one_of",
    "spread",
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
MemoryName = Annotated[str, typer.Option("--memory", help="Item memory plugin.", rich_help_panel=_PARTS)]
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
Label = Annotated[str, typer.Option("--model", help="Which of the run's models.", metavar="NAME")]
RunPath = Annotated[Path, typer.Argument(help="A finished run's folder.", metavar="RUN", show_default=False)]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What an experiment is made of, as the command line gives it: each field is an option.

    A command that makes an experiment has a first parameter `given` of this class, and stands under `spread`.
    """

    quantizer: QuantizerName = ""
    collisions: Collisions = ""
    position: Position = ""
    memory: MemoryName = ""
    decoder: DecoderName = ""
    data: Data = ""
    baselines: Baselines = ""
    preset: Preset = field(default_factory=list)
    sets: Sets = field(default_factory=list)
    config: Config = ""


def spread(command: Callable[Concatenate[Given, ...], None]) -> Callable[..., None]:
    """The command as Typer can read it: in place of its parameter `given` the options of `Given`, then its others."""
    types = get_type_hints(Given, include_extras=True)
    default = Given()
    declared = [
        Parameter(
            option.name, Parameter.KEYWORD_ONLY, default=getattr(default, option.name), annotation=types[option.name]
        )
        for option in fields(Given)
    ]
    _, *others = signature(command, eval_str=True).parameters.values()
    declared += [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in others]

    @wraps(command)
    def spread_out(**values: Any) -> None:  # Any: as Typer has parsed them
        command(Given(**{name: values.pop(name) for name in types}), **values)

    spread_out.__signature__ = Signature(declared)  # type: ignore[attr-defined]
    spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in declared}
    return spread_out


def experiment_of(given: Given | None = None, *, seed: int | None = None, mask: str = "") -> Experiment:
    """Preset, then configuration, then ``--set``, then flags.

    Raises:
        SettingsError: with everything that is wrong.
    """
    from mmgrec.settings import apply_sets, merge, read_toml

    given = given or Given()
    base: dict[str, Any] = {}  # Any: TOML
    if given.config:
        path = Path(given.config)
        base = read_toml(path / "run.toml" if path.is_dir() else path)
        base.pop("fingerprint", None)
    from mmgrec.runs import SECTIONS, Experiment

    flags: dict[str, Any] = {}  # Any: TOML
    for part in ("quantizer", "collisions", "position", "memory", "decoder"):
        if name := getattr(given, part):
            flags[part] = {"name": name}
    if given.data:
        flags["data"] = {"name": "folder", "path": given.data}
        if base.get("data", {}).get("name", "folder") != "folder":
            base["data"] = {}
    if given.preset:
        first, *others = given.preset
        flags["preset"] = first
        flags["compare"] = {preset: {} for preset in others if preset != first}
    flags |= {key: value for key, value in (("seed", seed), ("mask", mask)) if value not in (None, "")}
    if given.baselines:
        labels = list(dict.fromkeys(label.strip() for label in given.baselines.split(",") if label.strip()))
        known = base.get("baselines", {})
        base["baselines"] = {label: known.get(label, {}) if isinstance(known, dict) else {} for label in labels}
    problems: list[Problem] = []
    over = merge(apply_sets(given.sets, parts=SECTIONS, problems=problems), flags)
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
            [f"--device {name}: not usable here ({str(error).splitlines()[0]})"],
            remedy="try --device cpu",
            code="cli.no-such-device",
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

    for choice in known:
        if choice == value:
            return choice
    raise SettingsError([f"{option} {value!r} is unknown; {near_miss(value, known)}"], code="cli.unknown-choice")
