"""How the Rec-IDs use their tokens, and how many items share a prefix. Part of `mmgrec.insight`."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec.insight.bins import doubling, short
from mmgrec.insight.values import CodewordUse, PrefixGroup, PrefixLevel
from mmgrec.recid import Codes, RecIDTable, Trie

__all__ = ["codewords", "prefixes"]

_RANKS = 200  # points of a curve at most


def codewords(codes: Codes, rec_ids: RecIDTable) -> tuple[CodewordUse, ...]:
    """Level by level, the collision token last: how many items have each token, most used first.

    Args:
        codes: tokens before collisions were resolved.
        rec_ids: the same items' Rec-IDs.
    """
    columns = [*codes.token.unbind(1), rec_ids.token[:, -1]]
    sizes = (*codes.level_sizes, rec_ids.level_sizes[-1])
    return tuple(
        _usage(column, size, level=level, collision=level == codes.num_levels)
        for level, (column, size) in enumerate(zip(columns, sizes, strict=True))
    )


def _usage(token: Tensor, size: int, *, level: int, collision: bool) -> CodewordUse:
    count = torch.bincount(token, minlength=size).sort(descending=True).values
    share = count[count > 0].double() / max(token.numel(), 1)
    rank = torch.linspace(0, size - 1, min(size, _RANKS)).round().long()
    return CodewordUse(
        level=level,
        collision=collision,
        size=size,
        used=int((count > 0).sum()),
        perplexity=short(float((-(share * share.log()).sum()).exp())),
        rank=tuple((rank + 1).tolist()),
        items=tuple(count[rank].tolist()),
    )


def prefixes(trie: Trie) -> tuple[PrefixLevel, ...]:
    """For prefixes of each length but the whole: how many there are with 1, 2–3, 4–7 … items."""
    levels = []
    for level in range(trie.num_levels - 1):
        start, end = (edge.long().cpu() for edge in trie.leaf_interval(level))
        size = end - start
        group, bounds = doubling(size)
        number = torch.bincount(group, minlength=len(bounds))
        total = torch.zeros(len(bounds), dtype=torch.int64).index_add_(0, group, size)
        sizes = tuple(
            PrefixGroup(counts=counts, prefixes=prefixes, items=items)
            for counts, prefixes, items in zip(bounds, number.tolist(), total.tolist(), strict=True)
        )
        largest = int(size.max())
        levels.append(PrefixLevel(tokens=level + 1, prefixes=size.numel(), largest=largest, sizes=sizes))
    return tuple(levels)
