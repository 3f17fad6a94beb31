"""What a part is given beside the data: seed, device, who listens, where checkpoints and shared results lie.

Read this when you write a plugin that draws random numbers, takes long, or gives results that others can share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["CachedResult", "Context", "Reporter", "ResultCache", "Silent"]


class Reporter(Protocol):
    """Hears what goes on. The command line draws it; a run writes it to its log; by default nobody listens."""

    def begin(self, stage: str, total: int) -> None: ...
    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None: ...
    def end(self, stage: str, facts: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class Silent:
    """A `Reporter` that says nothing."""

    def begin(self, stage: str, total: int) -> None: ...
    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None: ...
    def end(self, stage: str, facts: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


#: A result that can be cached: tensors in groups, and what JSON can hold beside them.
CachedResult = tuple[Mapping[str, Mapping[str, Tensor]], Mapping[str, Any]]


class ResultCache(Protocol):
    """Where results that several models share are looked up."""

    def get_or_make(self, part: object, context: Context, make: Callable[[], CachedResult]) -> CachedResult:
        """What `make` returns, or returned for an equal part in an equal place with equal seed and data."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where, with which seed and under whose eyes a part works. All randomness comes from `generator`."""

    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    reporter: Reporter = field(default_factory=Silent)
    checkpoints: Path | None = None  # a folder of this part's own for checkpoints; None: keep none
    path: tuple[str, ...] = ()  # the names of the parts on the way here; separates their random streams
    cache: ResultCache | None = None  # None: everything is computed

    def generator(self, *names: str | int) -> torch.Generator:
        """A CPU generator of its own for each use: it depends on the seed and the names alone, not on what ran before.

        >>> Context(seed=1).generator("a").initial_seed() == Context(seed=1).generator("a").initial_seed()
        True
        """
        text = "/".join([str(self.seed), *self.path, *map(str, names)])
        value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        return torch.Generator().manual_seed(value)

    def get_or_make(self, part: object, make: Callable[[], CachedResult]) -> CachedResult:
        """``make()``, or what it gave before for an equal part, where several models share results.

        For work whose result depends on `part`, the data and this context alone: stage 1, a trained network.
        """
        return make() if self.cache is None else self.cache.get_or_make(part, self, make)

    kept = get_or_make  # its name before 0.2

    def within(self, name: str) -> Context:
        """The context of a part inside this one: own random streams, own checkpoint folder."""
        folder = None if self.checkpoints is None else self.checkpoints / name
        return replace(self, path=(*self.path, name), checkpoints=folder)
