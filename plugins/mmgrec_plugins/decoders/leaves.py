"""What both decoders share: levels and exclusions in terms of leaves, and the order of the final list."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

from mmgrec.interfaces import Exclusion, ItemScores
from mmgrec.recid import Trie
from mmgrec_kernels.beam_step import Bonus, Forbidden, Level

# A trie's leaves -> the last allow-list and its prefix sums: batches share a list, and summing it costs O(num_items)
_LAST: MutableMapping[Tensor, tuple[Tensor, Tensor]] = WeakIdKeyDictionary()


def level_of(trie: Trie, level: int) -> Level:
    """One level of the trie as the kernel wants it."""
    last = level == trie.num_levels - 1
    return Level(
        first_child=trie.child_offsets(level - 1),
        first_leaf=None if last else trie.first_leaf[level],
        token=trie.token[level],
    )


def forbidden_leaves(trie: Trie, exclusion: Exclusion, *, static: bool = False) -> Forbidden:
    """Seen items as sorted leaves, each once and only such as are allowed; the allow-list as a prefix sum over leaves.

    With ``static`` no value is read by the host, and items are believed to be the trie's: it can be recorded.

    Raises:
        ValueError: if an item or the length of the allow-list does not belong to this trie.
    """
    device = trie.leaf_item.device
    allowed, allowed_before = exclusion.allowed, None
    if allowed is not None:
        if allowed.shape != (trie.num_items,):
            raise ValueError(f"allowed [{trie.num_items}] expected, got {tuple(allowed.shape)}")
        allowed = allowed.to(device)
        allowed_before = _allowed_before(trie, allowed) if static else _kept_allowed_before(trie, allowed)
    if exclusion.seen.numel() == 0:
        return Forbidden(allowed_before=allowed_before)
    seen = exclusion.seen.to(device)
    if not static and int(seen.max()) >= trie.num_items:
        raise ValueError(f"seen names item {int(seen.max())}, but the trie holds {trie.num_items}")
    counts = seen >= 0
    if allowed is not None:
        counts = counts & allowed[seen.clamp(min=0)]
    leaf = trie.item_leaf[seen.clamp(min=0)].long().masked_fill(~counts, trie.num_items).sort(dim=1).values
    again = torch.zeros_like(counts)
    again[:, 1:] = leaf[:, 1:] == leaf[:, :-1]
    if static or bool((again & (leaf < trie.num_items)).any()):
        leaf = leaf.masked_fill(again, trie.num_items).sort(dim=1).values
    return Forbidden(seen=leaf, allowed_before=allowed_before)


def leaf_bonus(trie: Trie, scores: ItemScores, forbidden: Forbidden) -> Bonus:
    """What is added to leaves: `scores` in the order of the leaves, without those that may not be reached.

    Its shapes are static, and no value is read by the host.
    """
    num_leaves = trie.num_items
    scores = scores.to(trie.leaf_item.device)
    leaf = trie.item_leaf[scores.item.clamp(min=0)].long()
    away = scores.item < 0
    if forbidden.allowed_before is not None:
        away = away | (forbidden.allowed_before[leaf + 1] == forbidden.allowed_before[leaf])
    if forbidden.seen is not None and forbidden.seen.shape[1]:
        at = torch.searchsorted(forbidden.seen, leaf).clamp(max=forbidden.seen.shape[1] - 1)
        away = away | (forbidden.seen.gather(1, at) == leaf)
    leaf, order = leaf.masked_fill(away, num_leaves).sort(dim=1, stable=True)
    return Bonus(node=leaf, value=scores.value.masked_fill(away, 0.0).gather(1, order))


def bonus_at(trie: Trie, level: int, leaves: Bonus) -> Bonus:
    """The bonus of a level's nodes: the greatest of the leaves below, which no leaf's total can exceed.

    With V of a node so, the score ``log p + V`` of a prefix bounds from above the score of every item below it, and a
    leaf's score is its own: what is added on the way is taken off again.
    """
    if level == trie.num_levels - 1 or not leaves.node.shape[1]:
        return leaves
    first_leaf = trie.first_leaf[level]
    below = leaves.node < trie.num_items
    node = torch.searchsorted(first_leaf, leaves.node.to(first_leaf.dtype), right=True) - 1
    node = node.masked_fill(~below, trie.num_nodes(level))
    run = F.pad((node[:, 1:] != node[:, :-1]).long().cumsum(1), (1, 0))  # leaves of one node side by side
    best = torch.zeros_like(leaves.value).scatter_reduce(1, run, leaves.value, "amax")  # 0: leaves that none speaks of
    return Bonus(node=node, value=best.gather(1, run))


def _allowed_before(trie: Trie, allowed: Tensor) -> Tensor:
    """``[num_items + 1]`` int32: how many leaves below each are allowed."""
    in_order = allowed.index_select(0, trie.leaf_item)
    return F.pad(in_order.cumsum(0, dtype=torch.int32), (1, 0))


def _kept_allowed_before(trie: Trie, allowed: Tensor) -> Tensor:
    """The same; not made anew for the list of the last call, which is told by its values."""
    last = _LAST.get(trie.leaf_item)
    if last is None or not torch.equal(last[0], allowed):
        _LAST[trie.leaf_item] = last = allowed.clone(), _allowed_before(trie, allowed)
    return last[1]


def best_items(trie: Trie, leaf: Tensor, score: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The list that is returned: by score, then by lower item, filled up with item -1 and score -inf.

    Args:
        trie: gives the item of a leaf.
        leaf: ``[B, M]`` int64; anything where the score is -inf.
        score: ``[B, M]`` float32.
        top_k: how many are returned, K.

    Returns:
        item ``[B, K]`` int64 and score ``[B, K]`` float32.
    """
    item = trie.leaf_item[leaf.clamp(min=0)].long()
    bits = (score + 0.0).view(torch.int32)  # + 0.0: there is only one zero
    ordered = torch.where(bits < 0, bits ^ (2**31 - 1), bits)  # floats as integers of the same order
    best = ((ordered.long() << 32) - item).topk(min(top_k, score.shape[1]), dim=1).indices
    item, score = item.gather(1, best), score.gather(1, best)
    item = item.masked_fill(score == -torch.inf, -1)
    missing = max(0, top_k - score.shape[1])
    return F.pad(item, (0, missing), value=-1), F.pad(score, (0, missing), value=-torch.inf)
