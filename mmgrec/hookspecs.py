"""One hook per extension point. This page is all that a plugin author has to implement.

Each hook gets ``register(name, target, *, summary="")`` and calls it as often as it likes; ``target`` is a class or,
better, ``"package.module:Class"``, which is imported only when the plugin is used. Commands are functions, and always
given as text.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import pluggy

__all__ = ["GROUP", "KINDS", "Kind", "Register", "hookimpl", "hookspec"]

GROUP = "mmgrec"  # the entry-point group, and pluggy's project name
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Register(Protocol):
    """Makes a plugin known under a kebab-case name."""

    def __call__(self, name: str, target: type | str, *, summary: str = "") -> None: ...


@hookspec
def mmgrec_quantizers(register: Register) -> None:
    """Quantizers: Dataset -> Representations and Codes (`mmgrec.interfaces.Quantizer`)."""


@hookspec
def mmgrec_collision_resolvers(register: Register) -> None:
    """Collision resolvers: Codes -> RecIDTable (`mmgrec.interfaces.CollisionResolver`)."""


@hookspec
def mmgrec_item_memories(register: Register) -> None:
    """Item memories: Dataset -> ItemWeights, read inside the search (`mmgrec.interfaces.ItemMemory`)."""


@hookspec
def mmgrec_positional_schemes(register: Register) -> None:
    """Positional schemes: encode positions, or supply attention (`mmgrec.interfaces.PositionalScheme`)."""


@hookspec
def mmgrec_decoders(register: Register) -> None:
    """Decoders: search the trie with a network (`mmgrec.interfaces.Decoder`)."""


@hookspec
def mmgrec_recommenders(register: Register) -> None:
    """Recommenders: fit a Dataset, rank items (`mmgrec.interfaces.Recommender`)."""


@hookspec
def mmgrec_datasets(register: Register) -> None:
    """Dataset sources: where a Dataset comes from (`mmgrec.interfaces.DatasetSource`)."""


@hookspec
def mmgrec_metrics(register: Register) -> None:
    """Metrics: judged recommendations -> numbers (`mmgrec.interfaces.Metric`)."""


@hookspec
def mmgrec_commands(register: Register) -> None:
    """Subcommands of ``mmgrec``: ``"package.module:name"`` of a function annotated in Typer's way, or a `typer.Typer`.

    A shipped command keeps its name, whoever else claims it.
    """


class Kind(NamedTuple):
    """What a hook registers."""

    hook: str
    interface: str | None  # the abstract class in mmgrec.interfaces; None: a function, that is a command


#: the kind's name, as `mmgrec plugins` lists it and `Registry.find` takes it -> its hook and interface
KINDS: dict[str, Kind] = {
    "quantizer": Kind("mmgrec_quantizers", "Quantizer"),
    "collisions": Kind("mmgrec_collision_resolvers", "CollisionResolver"),
    "memory": Kind("mmgrec_item_memories", "ItemMemory"),
    "position": Kind("mmgrec_positional_schemes", "PositionalScheme"),
    "decoder": Kind("mmgrec_decoders", "Decoder"),
    "recommender": Kind("mmgrec_recommenders", "Recommender"),
    "dataset": Kind("mmgrec_datasets", "DatasetSource"),
    "metric": Kind("mmgrec_metrics", "Metric"),
    "command": Kind("mmgrec_commands", None),
}
