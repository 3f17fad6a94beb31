"""What a data set is: interactions in three parts, features of items, names.

Every source of data ends in a `Dataset`, and everything else begins with one. Values only: `mmgrec.folder` and
`mmgrec.synthetic` make them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["Bag", "Dataset", "Interactions"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """Pairs of user and item, sorted by (user, item), each pair once.

    Build with `Interactions.of`, which sorts; the constructor only checks shapes.
    """

    user: Tensor  # [N] int64
    item: Tensor  # [N] int64
    num_users: int
    num_items: int
    time: Tensor | None = None  # [N] int64, orders the items of one user; None: their order is not known

    def __post_init__(self) -> None:
        if self.user.shape != self.item.shape or self.user.ndim != 1:
            raise ValueError(f"user and item must be [N] alike, got {self.user.shape} and {self.item.shape}")
        if self.time is not None and self.time.shape != self.user.shape:
            raise ValueError(f"time must be [N] as user, got {self.time.shape} and {self.user.shape}")

    @classmethod
    def of(
        cls, user: Tensor, item: Tensor, *, num_users: int, num_items: int, time: Tensor | None = None
    ) -> Interactions:
        """Sort pairs by (user, item); equal pairs are kept once, at their earliest time."""
        pair = user.long() * num_items + item.long()
        key, index = torch.unique(pair, return_inverse=True)
        if time is not None:
            latest = time.new_full(key.shape, torch.iinfo(time.dtype).max)
            time = latest.scatter_reduce(0, index, time, "amin").long()
        return cls(user=key // num_items, item=key % num_items, num_users=num_users, num_items=num_items, time=time)

    def __len__(self) -> int:
        return self.user.numel()

    @cached_property
    def offsets(self) -> Tensor:
        """``[num_users + 1]`` int64: user u's items are ``item[offsets[u]:offsets[u + 1]]``."""
        return torch.searchsorted(self.user, torch.arange(self.num_users + 1))

    @cached_property
    def user_degree(self) -> Tensor:
        """``[num_users]`` int64: items of each user."""
        return torch.bincount(self.user, minlength=self.num_users)

    @cached_property
    def item_degree(self) -> Tensor:
        """``[num_items]`` int64: users of each item, its popularity."""
        return torch.bincount(self.item, minlength=self.num_items)

    @cached_property
    def in_order(self) -> Tensor:
        """``[N]`` int64: places of the interactions, user by user, oldest first; without times, as they are."""
        if self.time is None:
            return torch.arange(len(self))
        by_time = self.time.argsort(stable=True)
        return by_time[self.user[by_time].argsort(stable=True)]

    @cached_property
    def age(self) -> Tensor:
        """``[N]`` int64: how many items of the same user are newer than each; 0 where the order is not known."""
        age = torch.zeros(len(self), dtype=torch.int64)
        if self.time is not None:
            order = self.in_order
            age[order] = self.offsets[self.user[order] + 1] - 1 - torch.arange(len(self))
        return age

    def items_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The items of some users, side by side.

        Args:
            users: ``[B]`` int64.

        Returns:
            row ``[M]`` int64, the place in `users`, ascending; item ``[M]`` int64, ascending within a row.
        """
        count = self.user_degree[users]
        row = torch.repeat_interleave(torch.arange(users.numel()), count)
        within = torch.arange(row.numel()) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return row, self.item[self.offsets[users][row] + within]

    def padded(self, users: Tensor, *, fill: int = -1) -> Tensor:
        """``[B, most]`` int64: the users' items, ascending, filled up on the right with `fill`."""
        row, item = self.items_of(users)
        count = self.user_degree[users]
        width = int(count.max()) if count.numel() else 0
        within = torch.arange(row.numel()) - torch.repeat_interleave(count.cumsum(0) - count, count)
        out = torch.full((users.numel(), width), fill, dtype=torch.int64)
        out[row, within] = item
        return out

    def sequences(self, users: Tensor, length: int) -> Tensor:
        """``[B, T]`` int64: the users' last items in the order of their time, the newest rightmost, -1 on the left.

        Args:
            users: ``[B]`` int64.
            length: T, most items of a user.

        Raises:
            ValueError: if the order is not known.
        """
        if self.time is None:
            raise ValueError("these interactions have no time, so their order is not known")
        row, item = self.items_of(users)
        count = self.user_degree[users]
        first = torch.repeat_interleave(count.cumsum(0) - count, count)
        time = self.time[self.offsets[users][row] + torch.arange(row.numel()) - first]
        order = time.argsort(stable=True)
        order = order[row[order].argsort(stable=True)]  # by row, then by time
        column = length - count[row] + torch.arange(row.numel()) - first
        out = torch.full((users.numel(), length), -1, dtype=torch.int64)
        fits = column >= 0
        out[row[fits], column[fits]] = item[order][fits]
        return out

    def merged(self, other: Interactions) -> Interactions:
        """The union of both; without times where one part has none."""
        both = None if self.time is None or other.time is None else torch.cat([self.time, other.time])
        return Interactions.of(
            torch.cat([self.user, other.user]),
            torch.cat([self.item, other.item]),
            num_users=self.num_users,
            num_items=self.num_items,
            time=both,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Bag:
    """A sparse modality: words of each item with weights (tags, or the words of a title). Each word once an item."""

    offsets: Tensor  # [num_items + 1] int64: item i has word[offsets[i]:offsets[i + 1]]; none = the modality is missing
    word: Tensor  # [N] int64, ascending within an item
    weight: Tensor  # [N] float32, positive
    num_words: int

    def __post_init__(self) -> None:
        if self.word.shape != self.weight.shape or self.word.ndim != 1 or int(self.offsets[-1]) != self.word.numel():
            raise ValueError(
                f"word [N], weight [N] and offsets ending in N expected, got {tuple(self.word.shape)}, "
                f"{tuple(self.weight.shape)} and {int(self.offsets[-1])}"
            )

    @classmethod
    def of(cls, item: Tensor, word: Tensor, weight: Tensor, *, num_items: int, num_words: int) -> Bag:
        """From triples in any order; weights of the same word of the same item are added."""
        key, index = torch.unique(item.long() * num_words + word.long(), return_inverse=True)
        total = torch.zeros(key.numel(), dtype=torch.float64).index_add_(0, index, weight.double())
        offsets = torch.searchsorted(key // num_words, torch.arange(num_items + 1))
        return cls(offsets=offsets, word=key % num_words, weight=total.float(), num_words=num_words)

    @property
    def num_items(self) -> int:
        return self.offsets.numel() - 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Everything a run needs to know of its data. All tensors live on the CPU."""

    name: str
    train: Interactions
    valid: Interactions
    test: Interactions
    #: modality -> [num_items, dim] float32; a row of zeros: the item lacks it
    features: Mapping[str, Tensor] = field(default_factory=dict)
    graphs: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [num_items, k] int64 nearest items, given
    bags: Mapping[str, Bag] = field(default_factory=dict)  # sparse modalities, beside `features`
    user_ids: Sequence[str] | None = None  # the data's own names; None: the row numbers are the names
    item_ids: Sequence[str] | None = None
    item_titles: Sequence[str] | None = None
    ordered: bool = False  # True: train, valid and test follow in time, so valid is history at test time
    latent: Mapping[str, Tensor] = field(default_factory=dict)  # known answers of planted data, for tests only

    def __post_init__(self) -> None:
        parts = (self.train, self.valid, self.test)
        if len({(part.num_users, part.num_items) for part in parts}) != 1:
            raise ValueError("train, valid and test must agree on the numbers of users and items")
        for name, table in {**self.features, **self.graphs}.items():
            if table.ndim != 2 or table.shape[0] != self.num_items:
                raise ValueError(f"{name}: {tuple(table.shape)} is not one row for each of {self.num_items} items")
        for name, bag in self.bags.items():
            if bag.num_items != self.num_items or name in self.features:
                raise ValueError(f"{name}: {bag.num_items} bags for {self.num_items} items, or a feature of that name")
        for name in ("features", "graphs", "bags", "latent"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def num_users(self) -> int:
        return self.train.num_users

    @property
    def num_items(self) -> int:
        return self.train.num_items

    @property
    def num_interactions(self) -> int:
        return len(self.train) + len(self.valid) + len(self.test)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of all modalities: the dense ones, then the sparse ones."""
        return (*self.features, *self.bags)

    def has_feature(self, modality: str) -> Tensor:
        """``[num_items]`` bool: True where the item has this modality; an all-zero row, or no word: it is missing."""
        if modality in self.bags:
            return self.bags[modality].offsets.diff() > 0
        return self.features[modality].ne(0).any(dim=1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all numbers a model can see; the same data give the same fingerprint, wherever they lie."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            digest.update(f"{part.num_users},{part.num_items},{len(part)};".encode())
            digest.update(part.user.numpy().tobytes())
            digest.update(part.item.numpy().tobytes())
            if part.time is not None:
                digest.update(part.time.numpy().tobytes())
        for kind in (self.features, self.graphs):
            for name in sorted(kind):
                table = kind[name].contiguous()
                digest.update(f"{name},{tuple(table.shape)},{table.dtype};".encode())
                digest.update(table.numpy().tobytes())
        for name in sorted(self.bags):
            bag = self.bags[name]
            digest.update(f"bag {name},{bag.num_words},{bag.word.numel()};".encode())
            for array in (bag.offsets, bag.word, bag.weight):
                digest.update(array.numpy().tobytes())
        return digest.hexdigest()

    def user_id(self, user: int) -> str:
        """The name of a user in the data."""
        return str(user) if self.user_ids is None else self.user_ids[user]

    def item_id(self, item: int) -> str:
        """The name of an item in the data."""
        return str(item) if self.item_ids is None else self.item_ids[item]

    def without_test(self) -> Dataset:
        """The same data, the test part empty: all that a fit is given."""
        none = torch.empty(0, dtype=torch.int64)
        empty = Interactions(user=none, item=none, num_users=self.num_users, num_items=self.num_items)
        return replace(self, test=empty)
