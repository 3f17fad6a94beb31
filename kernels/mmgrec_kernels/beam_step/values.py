"""What a beam step is given and returns. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Beams", "Bonus", "Forbidden", "Level"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """One level of a prefix tree as flat arrays: its nodes are numbered in sorted order, siblings side by side.

    The leaves of the whole tree are numbered likewise, so that every node is an interval of leaves.
    """

    first_child: Tensor  # [num_parents + 1] int32: parent p has the children first_child[p] .. first_child[p + 1]
    first_leaf: Tensor | None  # [num_nodes + 1] int32: node v has the leaves first_leaf[v] .. first_leaf[v + 1];
    #                            None at the last level, where node v is leaf v
    token: Tensor  # [num_leaves] any integer type: this level's token on the way to each leaf

    @property
    def num_nodes(self) -> int:
        return self.token.numel() if self.first_leaf is None else self.first_leaf.numel() - 1

    @property
    def num_leaves(self) -> int:
        return self.token.numel()

    def leaf_start(self, node: Tensor) -> Tensor:
        """The first leaf of each node, ``num_nodes`` included, whose first leaf is the number of leaves."""
        return node if self.first_leaf is None else _take(self.first_leaf, node)

    def token_of(self, node: Tensor) -> Tensor:
        """The token by which each node is reached, int64."""
        return _take(self.token, self.leaf_start(node)).long()


@dataclass(frozen=True, kw_only=True, eq=False)
class Forbidden:
    """Which leaves may not be reached. A node is forbidden exactly when all its leaves are."""

    seen: Tensor | None = None  # [B, S] int64: forbidden leaves of each user, ascending, each once and only such as
    #                             are allowed; filled up on the right with num_leaves
    allowed_before: Tensor | None = None  # [num_leaves + 1] int32: how many leaves below each are allowed to anybody


@dataclass(frozen=True, kw_only=True, eq=False)
class Bonus:
    """What is added to the scores of a few nodes of each user; to all others nothing is."""

    node: Tensor  # [B, S] int64: ascending in each row, filled up on the right with num_nodes; where a node stands
    #               several times it has one value
    value: Tensor  # [B, S] float32, finite

    def of(self, node: Tensor) -> Tensor:
        """The values of nodes ``[B, W]`` int64, float32; 0 where there is none, and for a dead beam's -1."""
        if self.node.shape[1] == 0:
            return torch.zeros(node.shape, device=node.device)
        at = torch.searchsorted(self.node.contiguous(), node.contiguous()).clamp(max=self.node.shape[1] - 1)
        return self.value.gather(1, at).masked_fill(self.node.gather(1, at) != node, 0.0)


class Beams(NamedTuple):
    """The best continuations of each user, best first; equal scores: the lower node first.

    Where fewer than asked for exist: score -inf, parent 0, token 0, node -1.
    """

    score: Tensor  # [B, W'] floating
    parent: Tensor  # [B, W'] int64: which of the previous beams it continues
    token: Tensor  # [B, W'] int64
    node: Tensor  # [B, W'] int64


def _take(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]``; index_select is several times faster on a CPU."""
    return values.index_select(0, index.flatten()).view_as(index)
