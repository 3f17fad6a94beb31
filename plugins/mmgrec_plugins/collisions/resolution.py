"""What both collision resolvers share: rank the items of each group, and keep groups below the cap.

A resolver of one's own needs nothing but an order of preference among items: `resolve` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from mmgrec.errors import UserError
from mmgrec.interfaces import Reporter
from mmgrec.recid import Codes, RecIDTable

__all__ = ["Overflow", "Resolution", "resolve"]

Overflow = Literal["error", "reassign"]

_MOST_PLACES = 1 << 24  # tuples looked at when items are moved
_NAMED = 10  # items named in a message


@dataclass(frozen=True, kw_only=True, eq=False)
class Resolution:
    """Unique Rec-IDs, and what it took to keep groups below the cap."""

    rec_ids: RecIDTable
    moved: Tensor  # [M] int64, items that were given other semantic tokens, ascending


def resolve(codes: Codes, preference: Tensor, *, max_group: int, overflow: Overflow, reporter: Reporter) -> Resolution:
    """Append the rank within the group of equal semantic tokens (Eqs. 11, 12).

    Args:
        codes: tokens of all items.
        preference: ``[num_items]`` int64, all items, those that come first in their group first.
        max_group: the most items of a group, hence the largest vocabulary of the last token.
        overflow: above the cap, ``"error"`` refuses; ``"reassign"`` moves the surplus, least preferred first, to the
            emptiest tuples that share as many tokens as possible.
        reporter: hears which items were moved.

    Raises:
        UserError: if a group is larger than the cap and may not be, or cannot be, made smaller.
    """
    if prod(codes.level_sizes) >= 1 << 62:
        raise UserError(
            f"levels of {codes.level_sizes} are too many tuples to tell apart",
            where="collisions",
            code="collisions.too-many-tuples",
        )
    token = codes.token
    key = _pack(token, codes.level_sizes)
    rank = _ranks(key, preference)
    moved = preference[rank[preference] >= max_group]  # most preferred first
    if moved.numel():
        key = _reassigned(codes, key, rank, moved, max_group, overflow)
        token, rank = _unpack(key, codes.level_sizes), _ranks(key, preference)
        reporter.warn(
            f"collisions: {moved.numel()} items were above the cap of {max_group} items with equal semantic tokens "
            f"and got the tokens of neighbours: {_names(moved.sort().values)}"
        )
    size = int(rank.max()) + 1 if rank.numel() else 1
    table = RecIDTable(token=torch.cat([token, rank[:, None]], dim=1), level_sizes=(*codes.level_sizes, size))
    return Resolution(rec_ids=table, moved=moved.sort().values)


def _ranks(key: Tensor, preference: Tensor) -> Tensor:
    """``[N]``: place of each item among those of equal key, in the order of preference."""
    order = preference[torch.argsort(key[preference], stable=True)]
    ordered = key[order]
    rank = torch.empty_like(key)
    rank[order] = torch.arange(key.numel()) - torch.searchsorted(ordered, ordered)
    return rank


def _reassigned(codes: Codes, key: Tensor, rank: Tensor, moved: Tensor, max_group: int, overflow: Overflow) -> Tensor:
    """The keys with the items `moved` put into tuples with room, sharing the longest prefix that has room."""
    if overflow == "error":
        raise _too_large(codes, key, rank, max_group)
    if prod(codes.level_sizes) * max_group < codes.num_items:
        raise _too_large(codes, key, rank, max_group)
    key = key.clone()
    stays = torch.ones(key.numel(), dtype=torch.bool)
    stays[moved] = False
    for shared in reversed(range(codes.num_levels)):  # how many tokens the new tuple has in common with the old
        width = prod(codes.level_sizes[shared:])
        prefix, group = torch.unique(key[moved] // width, return_inverse=True)
        if prefix.numel() * width > _MOST_PLACES:
            raise _too_large(codes, key, rank, max_group)
        group, order = group.sort(stable=True)
        moved = moved[order]
        goes, home = _places(key[stays], prefix, width, torch.bincount(group), max_group)
        within = torch.arange(moved.numel()) - torch.searchsorted(group, group)
        start = torch.searchsorted(home, group)
        fits = start + within < torch.searchsorted(home, group, right=True)
        key[moved[fits]] = goes[(start + within)[fits]]
        stays[moved[fits]] = True
        moved = moved[~fits]
        if moved.numel() == 0:
            break
    return key


def _places(kept: Tensor, prefix: Tensor, width: int, wanted: Tensor, max_group: int) -> tuple[Tensor, Tensor]:
    """Free places under each prefix, emptiest tuple first, then by token.

    Returns:
        key ``[S]`` of each place and the number of its prefix ``[S]``, ascending.
    """
    under = torch.searchsorted(prefix, kept // width).clamp(max=prefix.numel() - 1)
    inside = prefix[under] == kept // width
    filled = torch.bincount(
        under[inside] * width + kept[inside] % width, minlength=prefix.numel() * width
    )  # [P * width] items of each tuple
    height = 1  # fill no tuple higher than needed
    while height < max_group:
        room = (height - filled).clamp(min=0).view(-1, width).sum(1)
        if bool((room >= wanted).all()):
            break
        height = min(2 * height, max_group)
    room = (height - filled).clamp(min=0)
    free = torch.repeat_interleave(torch.arange(filled.numel()), room)  # tuple of each free place
    floor = filled[free] + torch.arange(free.numel()) - torch.repeat_interleave(room.cumsum(0) - room, room)
    home = free // width
    order = torch.argsort(home * max_group + floor, stable=True)
    return prefix[home[order]] * width + free[order] % width, home[order]


def _too_large(codes: Codes, key: Tensor, rank: Tensor, max_group: int) -> UserError:
    item = int(rank.argmax())
    members = (key == key[item]).nonzero()[:, 0]
    groups = int((rank == max_group).sum())
    return UserError(
        f"{members.numel()} items have the semantic tokens {tuple(codes.token[item].tolist())} ({_names(members)}), "
        f"and {groups} group{'s are' if groups > 1 else ' is'} above the cap of {max_group}",
        where="collisions",
        remedy="raise collisions.max_group, give the quantizer more levels or codewords, or let "
        "collisions.overflow be 'reassign'",
        code="collisions.group-too-large",
    )


def _names(items: Tensor) -> str:
    text = ", ".join(map(str, items[:_NAMED].tolist()))
    return f"items {text}" + (f" and {items.numel() - _NAMED} more" if items.numel() > _NAMED else "")


def _pack(token: Tensor, level_sizes: tuple[int, ...]) -> Tensor:
    """``[N]`` int64: tuples as numbers, level 0 highest."""
    key = torch.zeros(token.shape[0], dtype=torch.int64)
    for level, size in enumerate(level_sizes):
        key = key * size + token[:, level]
    return key


def _unpack(key: Tensor, level_sizes: tuple[int, ...]) -> Tensor:
    tokens = []
    for size in reversed(level_sizes):
        tokens.append(key % size)
        key = key // size
    return torch.stack(tokens[::-1], dim=1)
