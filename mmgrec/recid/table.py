"""Tokens of items: `Codes`, as a quantizer gives them (two items may share theirs), and `RecIDTable`, unique by check.

A collision resolver makes the second out of the first; everything after it names items by Rec-IDs.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Codes", "RecIDTable"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Semantic tokens of all items before collisions are resolved."""

    token: Tensor  # [num_items, num_levels] int64
    level_sizes: tuple[int, ...]  # vocabulary of each level; the vocabularies of two levels are disjoint
    codebooks: tuple[Tensor, ...] | None = None  # per level [level_size, dim], where tokens have vectors in item space
    reconstruction: tuple[float, ...] | None = None  # share of the items' variance left after each level, where known

    def __post_init__(self) -> None:
        _check_tokens(self.token, self.level_sizes)

    @property
    def num_items(self) -> int:
        return self.token.shape[0]

    @property
    def num_levels(self) -> int:
        return self.token.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecIDTable:
    """The Rec-ID of every item: unique, checked on construction."""

    token: Tensor  # [num_items, num_levels] int64, the collision token last
    level_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_tokens(self.token, self.level_sizes)
        ordered = torch.sort(self.key).values
        if bool((ordered[1:] == ordered[:-1]).any()):
            raise ValueError("two items share a Rec-ID")

    @property
    def num_items(self) -> int:
        return self.token.shape[0]

    @property
    def num_levels(self) -> int:
        return self.token.shape[1]

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each level in `key`."""
        return tuple(max(1, (size - 1).bit_length()) for size in self.level_sizes)

    @cached_property
    def key(self) -> Tensor:
        """``[num_items]`` int64: the tokens packed side by side, level 0 highest: keys are ordered as Rec-IDs are."""
        if sum(self.bits) > 62:
            raise ValueError(f"levels of {self.level_sizes} need {sum(self.bits)} bits; 62 is the most")
        shifts = itertools.accumulate(self.bits[:0:-1], initial=0)  # of the last level first
        return self.token @ torch.tensor([1 << shift for shift in shifts]).flip(0)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the tokens and level sizes."""
        digest = hashlib.sha256(",".join(map(str, self.level_sizes)).encode())
        digest.update(self.token.contiguous().numpy().tobytes())
        return digest.hexdigest()


def _check_tokens(token: Tensor, level_sizes: tuple[int, ...]) -> None:
    """Refuse tokens of another shape or type, or outside their level's vocabulary."""
    if token.ndim != 2 or token.shape[1] != len(level_sizes) or token.dtype != torch.int64:
        raise ValueError(
            f"tokens must be int64 [num_items, {len(level_sizes)}], got {token.dtype} {tuple(token.shape)}"
        )
    if token.numel() == 0:
        return
    low, high = token.amin(0), token.amax(0)
    for level, size in enumerate(level_sizes):
        if low[level] < 0 or high[level] >= size:
            raise ValueError(
                f"level {level} has tokens {int(low[level])} … {int(high[level])}, but its vocabulary is {size}"
            )
