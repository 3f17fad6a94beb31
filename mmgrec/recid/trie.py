"""The trie of Rec-IDs that exist: sorted flat arrays, no tree of objects."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mmgrec.recid.table import RecIDTable

__all__ = ["Trie"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trie:
    """The prefix tree of a RecIDTable, as flat integer arrays.

    Sort the Rec-IDs: a *leaf* is a place in that order, a node is an interval of leaves. The nodes of a level are
    numbered in sorted order, so the children of a node are a contiguous run. Level 0's nodes are the children of the
    root; the nodes of the last level are the leaves. Beyond the sorted table itself (token, leaf_item) it holds at most
    eight bytes an item.
    """

    token: tuple[Tensor, ...]  # per level [num_items] the smallest type: token of each leaf (the sorted table)
    leaf_item: Tensor  # [num_items] int32: the item of each leaf (the sorted table)
    item_leaf: Tensor  # [num_items] int32: the leaf of each item
    #: per level but the last [num_nodes + 1] int32: node v holds the leaves first_leaf[v] .. first_leaf[v + 1]
    first_leaf: tuple[Tensor, ...]
    #: per level but the last [num_nodes + 1] int32: where the children of each node begin among the next level's nodes
    first_child: tuple[Tensor, ...]
    level_sizes: tuple[int, ...]

    @classmethod
    def of(cls, table: RecIDTable) -> Trie:
        """Sort the table and find the boundaries of its prefixes.

        Raises:
            ValueError: for a table without items, or with more than int32 can number.

        >>> table = RecIDTable(token=torch.tensor([[1, 0], [0, 1], [1, 1]]), level_sizes=(2, 2))
        >>> Trie.of(table).leaf_item.tolist(), Trie.of(table).first_child[0].tolist()
        ([1, 0, 2], [0, 1, 3])
        """
        num_items = table.num_items
        if not 0 < num_items < 2**31:
            raise ValueError(f"a trie holds 1 to {2**31 - 1} items, got {num_items}")
        key, order = torch.sort(table.key)
        leaf_item = order.to(torch.int32)
        item_leaf = torch.empty_like(leaf_item)
        item_leaf.scatter_(0, order, torch.arange(num_items, dtype=torch.int32))
        token, first_leaf = _levels(key.numpy(), table.bits, table.level_sizes)
        first_child = [
            torch.searchsorted(finer, coarser, out_int32=True) for coarser, finer in itertools.pairwise(first_leaf)
        ]
        return cls(
            token=tuple(token),
            leaf_item=leaf_item,
            item_leaf=item_leaf,
            first_leaf=tuple(first_leaf),
            first_child=(*first_child, *first_leaf[-1:]),  # the children of the last inner level are the leaves
            level_sizes=table.level_sizes,
        )

    @property
    def num_items(self) -> int:
        return self.leaf_item.numel()

    @property
    def num_levels(self) -> int:
        return len(self.token)

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays; a tensor that two fields share counts once."""
        fields = (*self.token, self.leaf_item, self.item_leaf, *self.first_leaf, *self.first_child)
        return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in fields}.values())

    def to(self, device: torch.device | str) -> Trie:
        """The same trie on another device."""
        moved: dict[int, Tensor] = {}

        def move(tensor: Tensor) -> Tensor:
            return moved.setdefault(id(tensor), tensor.to(device))

        return Trie(
            token=tuple(map(move, self.token)),
            leaf_item=move(self.leaf_item),
            item_leaf=move(self.item_leaf),
            first_leaf=tuple(map(move, self.first_leaf)),
            first_child=tuple(map(move, self.first_child)),
            level_sizes=self.level_sizes,
        )

    def num_nodes(self, level: int) -> int:
        """Nodes of a level; level -1 holds the root alone."""
        if level == -1:
            return 1
        return self.num_items if self._is_last(level) else self.first_leaf[level].numel() - 1

    def node_token(self, level: int) -> Tensor:
        """``[num_nodes]`` int64: the token by which each node of a level is reached."""
        token = self.token[level]
        return token.long() if self._is_last(level) else token[self.first_leaf[level][:-1].long()].long()

    def leaf_interval(self, level: int) -> tuple[Tensor, Tensor]:
        """Start and end ``[num_nodes]`` int32 of the leaves of each node of a level (-1: the root); end excluded."""
        offsets = self._leaf_offsets(level)
        return offsets[:-1], offsets[1:]

    def child_offsets(self, level: int) -> Tensor:
        """``[num_nodes + 1]`` int32: where the children of each node of a level (-1: the root) begin in the next."""
        if level == -1:
            return self._root
        self._is_last(level)
        return self.first_child[level]

    def node_of_leaf(self, level: int) -> Tensor:
        """``[num_items]`` int64: the node of a level (-1: the root) in which each leaf lies."""
        offsets = self._leaf_offsets(level)
        nodes = torch.arange(offsets.numel() - 1, device=offsets.device)
        return nodes.repeat_interleave(offsets.diff().long(), output_size=self.num_items)

    def node_of_item(self, level: int) -> Tensor:
        """``[num_items]`` int64: the node of a level (-1: the root) on the way to each item."""
        return self.node_of_leaf(level)[self.item_leaf.long()]

    def parent(self, level: int) -> Tensor:
        """``[num_nodes]`` int64: the parent of each node of a level, as a node of the level above."""
        offsets = self.child_offsets(level - 1)
        nodes = torch.arange(offsets.numel() - 1, device=offsets.device)
        return nodes.repeat_interleave(offsets.diff().long(), output_size=self.num_nodes(level))

    def children(self, level: int, node: Tensor) -> tuple[Tensor, Tensor]:
        """The children of some nodes, side by side.

        Args:
            level: the nodes' level; -1: the root, whose node is 0.
            node: ``[N]`` integers.

        Returns:
            row ``[M]`` int64, the place in `node`, ascending; child ``[M]`` int64, a node of the next level, ascending
            within a row.
        """
        offsets = self.child_offsets(level)
        start, end = offsets[node.long()].long(), offsets[node.long() + 1].long()
        count = end - start
        row = torch.arange(node.numel(), device=node.device).repeat_interleave(count)
        before = count.cumsum(0) - count
        return row, torch.arange(row.numel(), device=node.device) + (start - before)[row]

    @cached_property
    def _root(self) -> Tensor:
        """The root's entry of `child_offsets`; kept, as making it on a GPU takes a copy from the host."""
        return self.leaf_item.new_tensor([0, self.num_nodes(0)])

    def _leaf_offsets(self, level: int) -> Tensor:
        """``[num_nodes + 1]`` int32: where the leaves of each node of a level begin."""
        if level == -1:
            return self.leaf_item.new_tensor([0, self.num_items])
        if self._is_last(level):
            return torch.arange(self.num_items + 1, dtype=torch.int32, device=self.leaf_item.device)
        return self.first_leaf[level]

    def _is_last(self, level: int) -> bool:
        if not 0 <= level < self.num_levels:
            raise ValueError(f"level {level} of a trie with levels 0 … {self.num_levels - 1}")
        return level == self.num_levels - 1


def _levels(key: np.ndarray, bits: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """Takes sorted keys ``[N]`` apart, in blocks that stay in the processor's cache.

    Returns:
        Per level the tokens ``[N]``; per level but the last where its nodes begin, ``[num_nodes + 1]`` int32.
    """
    num_items, block = len(key), 1 << 16
    shifts = list(itertools.accumulate(bits[:0:-1], initial=0))[::-1]
    token = [np.empty(num_items, _smallest_dtype(size)) for size in sizes]
    starts: list[list[np.ndarray]] = [[np.zeros(1, np.int32)] for _ in shifts[:-1]]
    for begin in range(0, num_items, block):
        part = key[begin : begin + block]
        for column, shift, width in zip(token, shifts, bits, strict=True):
            narrow = column[begin : begin + block]
            narrow[:] = part >> shift  # wraps around where it is too narrow; the mask mends that
            narrow &= (1 << width) - 1
        first, end = max(begin, 1), begin + len(part)
        change = key[first:end] ^ key[first - 1 : end - 1]  # highest bit: where they part
        for pieces, shift in zip(starts, shifts, strict=False):
            pieces.append((np.flatnonzero(change >= 1 << shift) + first).astype(np.int32))
    ends = [np.full(1, num_items, np.int32)]
    return [torch.from_numpy(column) for column in token], [
        torch.from_numpy(np.concatenate([*pieces, *ends])) for pieces in starts
    ]


def _smallest_dtype(size: int) -> type[np.unsignedinteger] | type[np.signedinteger]:
    """The smallest integer type, known to torch as well, that holds the tokens of a level."""
    if size <= 2**8:
        return np.uint8
    if size <= 2**15:
        return np.int16
    return np.int32 if size <= 2**31 else np.int64
