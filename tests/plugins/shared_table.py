"""A network that is written down, for tests of decoders: a score for every prefix, and the likelihood of every item."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from mmgrec.interfaces import NodeScores, Stepper, TokenScores
from mmgrec.recid import RecIDTable, Trie

ROWS = [(2, 0, 0), (0, 1, 0), (0, 1, 1), (2, 3, 0), (0, 0, 0), (1, 2, 0), (2, 0, 1), (2, 0, 2)]
SIZES = (3, 4, 3)


class Table(Stepper):
    """Scores of every prefix, dead or alive, written down beforehand: ``[B, prefixes of the level, width]``."""

    def __init__(
        self, trie: Trie, head: str, generator: torch.Generator, num_users: int = 1, scale: float = 1.0
    ) -> None:
        self.num_users = num_users
        self.trie, self.head = trie, head
        self.prefixes = [math.prod(trie.level_sizes[:level]) for level in range(trie.num_levels)]
        self.numbers = [
            scale * torch.randn(num_users, prefixes, size if head == "tokens" else 4, generator=generator)
            for prefixes, size in zip(self.prefixes, trie.level_sizes, strict=True)
        ]
        self.vectors = [torch.randn(trie.num_nodes(level), 4, generator=generator) for level in range(trie.num_levels)]
        self.bias = [torch.randn(trie.num_nodes(level), generator=generator) for level in range(trie.num_levels)]

    def start(self) -> TokenScores | NodeScores:
        self.level, self.prefix = 0, torch.zeros(self.num_users, 1, dtype=torch.int64)
        return self._scores()

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        assert parent.shape == token.shape
        self.prefix = self.prefix.gather(1, parent) * self.trie.level_sizes[self.level] + token
        self.level += 1
        return self._scores()

    def _scores(self) -> TokenScores | NodeScores:
        numbers = self.numbers[self.level].gather(
            1, self.prefix.unsqueeze(2).expand(-1, -1, self.numbers[self.level].shape[2])
        )
        if self.head == "tokens":
            return TokenScores(logits=numbers)
        return NodeScores(state=numbers, vectors=self.vectors[self.level], bias=self.bias[self.level])

    def log_likelihood(self, user: int, row: tuple[int, ...], rows: list[tuple[int, ...]]) -> float:
        """By the definition, one prefix at a time, in float64."""
        total = 0.0
        for level, (prefix, token) in enumerate(
            zip(itertools.accumulate(((), *row), lambda p, t: (*p, t)), row, strict=False)
        ):
            at = 0
            for size, chosen in zip(self.trie.level_sizes, prefix, strict=False):
                at = at * size + chosen
            numbers = self.numbers[level][user, at].double()
            if self.head == "tokens":
                total += float(numbers.log_softmax(0)[token])
                continue
            nodes = sorted({other[: level + 1] for other in rows})
            children = [node for node, path in enumerate(nodes) if path[:-1] == prefix]
            logit = self.vectors[level][children].double() @ numbers + self.bias[level][children]
            total += float(logit.log_softmax(0)[[nodes[child][-1] for child in children].index(token)])
        return total


def trie_of(rows: list[tuple[int, ...]] = ROWS, sizes: tuple[int, ...] = SIZES) -> Trie:
    return Trie.of(RecIDTable(token=torch.tensor(rows), level_sizes=sizes))


def table_of(trie: Trie, head: str = "tokens", num_users: int = 1, seed: int = 0) -> Table:
    return Table(trie, head, torch.Generator().manual_seed(seed), num_users)
