"""Rivals of the trie-beam decoder: the same beam search over existing Rec-IDs, as others lay it out. No exclusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from network import Network
from torch import Tensor

from mmgrec.interfaces import Stepper, TokenScores
from mmgrec.recid import RecIDTable, Trie

__all__ = ["DenseMask", "DictTrie", "Found", "Padded", "differs", "walk"]

Found = tuple[Tensor, Tensor]  # item and score [B, K]
Step = Callable[[int, Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor, Tensor]]


def differs(found: Found, wanted: Found, *, least: float = 0.98) -> str:
    """What is wrong with a list, in words; rounding may change a place here and there, but ``least`` of them stay."""
    error = (found[1] - wanted[1]).abs().max().item()
    same = (found[0] == wanted[0]).float().mean().item()
    return "" if error < 1e-3 and same > least else f"scores differ by {error:.2g}, {same:.0%} of the items agree"


class DictTrie:
    """The published way: nested dictionaries, one user at a time, one forward pass for each beam."""

    def __init__(self, table: RecIDTable) -> None:
        self.root: dict[int, Any] = {}  # Any: a dictionary of dictionaries, down to items
        self.num_levels = table.num_levels
        for item, (*prefix, last) in enumerate(table.token.tolist()):
            node = self.root
            for token in prefix:
                node = node.setdefault(token, {})
            node[last] = item

    def decode(self, network: Network, users: range, num_beams: int, top_k: int) -> tuple[Tensor, Tensor]:
        rows = [self._best(network, user, num_beams)[:top_k] for user in users]
        item = torch.tensor([[item for item, _ in row] for row in rows])
        return item, torch.tensor([[score for _, score in row] for row in rows])

    def _best(self, network: Network, user: int, num_beams: int) -> list[tuple[int, float]]:
        beams: list[tuple[tuple[int, ...], Any, float]] = [((), self.root, 0.0)]
        for _ in range(self.num_levels):
            candidates = []
            for prefix, node, score in beams:
                log_p = network.forward_one(user, prefix).tolist()
                candidates += [((*prefix, token), child, score + log_p[token]) for token, child in node.items()]
            candidates.sort(key=lambda beam: -beam[2])
            beams = candidates[:num_beams]
        return [(item, score) for _, item, score in beams]


def walk(stepper: Stepper, trie: Trie, step: Step, num_beams: int, top_k: int) -> tuple[Tensor, Tensor]:
    """All users and beams at once; ``step`` chooses the best children (head `tokens`)."""
    device = trie.leaf_item.device
    score = torch.zeros(stepper.num_users, 1, device=device)
    node = torch.zeros(stepper.num_users, 1, dtype=torch.int64, device=device)
    scores = stepper.start()
    for level in range(trie.num_levels):
        assert isinstance(scores, TokenScores)
        width = min(num_beams, trie.num_nodes(level))
        score, parent, token, node = step(level, scores.logits.log_softmax(-1), score, node, width)
        if level < trie.num_levels - 1:
            scores = stepper.advance(parent, token)
    return trie.leaf_item[node].long()[:, :top_k], score[:, :top_k]


class DenseMask:
    """For each node a row over the whole vocabulary: the child that a token leads to, or -1."""

    def __init__(self, trie: Trie) -> None:
        self.child = []
        for level in range(trie.num_levels):
            device = trie.leaf_item.device
            rows = torch.full((trie.num_nodes(level - 1), trie.level_sizes[level]), -1, device=device)
            rows[trie.parent(level), trie.node_token(level)] = torch.arange(trie.num_nodes(level), device=device)
            self.child.append(rows)

    def step(
        self, level: int, log_p: Tensor, score: Tensor, node: Tensor, width: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        child = self.child[level][node]  # [B, W, V]
        total = (score.unsqueeze(2) + log_p).masked_fill(child < 0, -torch.inf).flatten(1)
        best, column = total.topk(width, dim=1)
        size = log_p.shape[2]
        return best, column // size, column % size, child.flatten(1).gather(1, column)


class Padded:
    """Children by offsets, each beam's padded to the widest branch of the level."""

    def __init__(self, trie: Trie) -> None:
        self.trie = trie
        self.tokens = [trie.node_token(level) for level in range(trie.num_levels)]
        self.offsets = [trie.child_offsets(level - 1).long() for level in range(trie.num_levels)]
        self.widest = [int(offsets.diff().max()) for offsets in self.offsets]

    def step(
        self, level: int, log_p: Tensor, score: Tensor, node: Tensor, width: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        offsets, tokens, widest = self.offsets[level], self.tokens[level], self.widest[level]
        child = offsets[node].unsqueeze(2) + torch.arange(widest, device=node.device)  # [B, W, widest]
        exists = child < offsets[node + 1].unsqueeze(2)
        child = child.masked_fill(~exists, 0)
        token = tokens[child]
        total = (score.unsqueeze(2) + log_p.gather(2, token)).masked_fill(~exists, -torch.inf).flatten(1)
        best, column = total.topk(width, dim=1)
        return best, column // widest, token.flatten(1).gather(1, column), child.flatten(1).gather(1, column)
