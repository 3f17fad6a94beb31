"""Settings that earlier versions wrote, said as this one says them.

At first there was no item memory, and candidates could be ranked anew after the search (``rescoring``). A
configuration with that table means a generator without a memory, and a stage 1 whose choices are all trained to their
ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgrec.errors import Problem
from mmgrec.settings import Settings

__all__ = ["is_earlier", "upgraded"]

_GONE = "rescoring"


def is_earlier(config: Settings) -> bool:
    """Whether the settings of a run were written by an earlier version."""
    return _GONE in config


def upgraded(config: Settings, problems: list[Problem]) -> dict[str, Any]:  # Any: TOML
    """The configuration without tables that are gone; what cannot be said any more becomes a problem.

    Args:
        config: keys of `Options`, tables of parts; a table ``compare`` may hold more of the same.
        problems: is appended to.
    """
    table = _without(config, "", problems)
    compared = table.get("compare")
    if isinstance(compared, Mapping):
        table["compare"] = {
            name: _without(one, f"compare.{name}.", problems) if isinstance(one, Mapping) else one
            for name, one in compared.items()
        }
    return table


def _without(config: Settings, where: str, problems: list[Problem]) -> dict[str, Any]:  # Any: TOML
    table: dict[str, Any] = dict(config)
    rescoring = table.pop(_GONE, None)
    if rescoring is None:
        return table
    weights = [rescoring.get(name, ()) for name in ("weight", "item_weight")] if isinstance(rescoring, Mapping) else [1]
    if any(value for weight in weights for value in (weight if isinstance(weight, list | tuple) else [weight])):
        problems.append(
            Problem(
                f"{where}{_GONE}: there is no ranking after the search any more; set memory.name=ease instead, or open "
                "it with the version that wrote it",
                "runs.rescoring-is-gone",
            )
        )
    table.setdefault("memory", {"name": "none"})
    quantizer = table.get("quantizer")
    graph = quantizer.get("graph") if isinstance(quantizer, Mapping) else None
    if isinstance(quantizer, Mapping) and isinstance(graph, Mapping):
        table["quantizer"] = {**quantizer, "graph": {"rungs": [], **graph}}
    return table
