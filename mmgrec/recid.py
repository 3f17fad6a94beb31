"""Tokens of items: Codes (may collide), RecIDTable (unique, proved), Trie (flat integer arrays).

Knows nothing of networks, users or how the tokens were made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Codes", "RecIDTable", "Trie"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Codes:
    """Semantic tokens of all items before collisions are resolved."""

    token: Tensor  # [num_items, num_levels] int64
    level_sizes: tuple[int, ...]  # vocabulary of each level; the vocabularies of two levels are disjoint
    codebooks: tuple[Tensor, ...] | None = None  # per level [level_size, dim], where tokens have vectors in item space

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
        key = self.key
        if torch.unique(key).numel() != key.numel():
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
        """``[num_items]`` int64: the tokens packed side by side, level 0 highest, so that order of keys = order of Rec-IDs."""
        if sum(self.bits) > 62:
            raise ValueError(f"levels of {self.level_sizes} need {sum(self.bits)} bits; 62 is the most")
        key = torch.zeros(self.num_items, dtype=torch.int64)
        for level, bits in enumerate(self.bits):
            key = (key << bits) | self.token[:, level]
        return key

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the tokens and level sizes."""
        digest = hashlib.sha256(",".join(map(str, self.level_sizes)).encode())
        digest.update(self.token.contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Trie:
    """The prefix tree of a RecIDTable, as flat integer arrays.

    Sort the Rec-IDs: a *leaf* is a place in that order, a node is an interval of leaves. The nodes of a level are
    numbered in sorted order, so the children of a node are a contiguous run. Level 0's nodes are the children of the
    root; the nodes of the last level are the leaves. Beyond the sorted table itself (token, leaf_item) it holds at most
    eight bytes an item.
    """

    token: tuple[
        Tensor, ...
    ]  # per level [num_items]: the level's token of each leaf, in sorted order (the sorted table)
    leaf_item: Tensor  # [num_items] int32: the item of each leaf (the sorted table)
    item_leaf: Tensor  # [num_items] int32: the leaf of each item
    first_leaf: tuple[
        Tensor, ...
    ]  # per level but the last [num_nodes + 1] int32: node v holds leaves first[v] .. first[v+1]
    first_child: tuple[
        Tensor, ...
    ]  # per level but the last [num_nodes + 1] int32: its children, as nodes of the next level
    level_sizes: tuple[int, ...]

    @classmethod
    def of(cls, table: RecIDTable) -> Trie:
        """Sort the table and find the boundaries of its prefixes."""
        raise NotImplementedError


def _check_tokens(token: Tensor, level_sizes: tuple[int, ...]) -> None:
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
