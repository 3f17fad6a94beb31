"""A small random decoder network and a random catalogue, for the benchmarks of decoding.

The same network is seen in two ways: step by step with a cache, all users and beams at once (`CachedStepper`), and as
one forward pass over one whole prefix (`Network.forward_one`), which is how published code walks a trie.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.interfaces import NodeScores, Stepper, TokenScores
from mmgrec.recid import RecIDTable, Trie

__all__ = ["CachedStepper", "Network", "random_table"]


def random_table(num_items: int, *, num_levels: int, codebook_size: int, generator: torch.Generator) -> RecIDTable:
    """Skewed codes, made unique by a last token that counts within each group of equal codes."""
    columns = []
    for _ in range(num_levels):
        weight = torch.randn(codebook_size, generator=generator).mul(0.5).exp()
        columns.append(torch.multinomial(weight, num_items, replacement=True, generator=generator))
    key = torch.zeros(num_items, dtype=torch.int64)
    for column in columns:
        key = key * codebook_size + column
    ordered, order = key.sort(stable=True)
    position = torch.arange(num_items)
    first = torch.ones(num_items, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    rank = torch.empty_like(position)
    rank[order] = position - position.masked_fill(~first, 0).cummax(0).values
    return RecIDTable(
        token=torch.stack([*columns, rank], 1), level_sizes=(*[codebook_size] * num_levels, int(rank.max()) + 1)
    )


class Network:
    """One post-norm decoder layer: self-attention over the prefix, cross-attention to the memory, feed-forward."""

    def __init__(
        self,
        trie: Trie,
        *,
        num_users: int,
        generator: torch.Generator,
        head: str = "tokens",
        dim: int = 64,
        num_heads: int = 4,
        history: int = 32,
    ) -> None:
        def random(*shape: int, scale: float | None = None) -> Tensor:
            return torch.randn(*shape, generator=generator) * (scale or shape[-1] ** -0.5)

        self.trie, self.head, self.dim, self.num_heads, self.num_users = trie, head, dim, num_heads, num_users
        self.begin = random(dim, scale=1.0)
        self.embedding = [random(size, dim, scale=1.0) for size in trie.level_sizes]
        self.position = random(trie.num_levels, dim, scale=1.0)
        self.weight = {name: random(dim, dim) for name in ("q", "k", "v", "o", "cross_q", "cross_o")}
        self.up, self.down = random(4 * dim, dim), random(dim, 4 * dim)
        memory = random(num_users, history, dim, scale=1.0)
        self.memory_key = self._heads(memory @ random(dim, dim).T)  # [B, H, S, K], once per user
        self.memory_value = self._heads(memory @ random(dim, dim).T)
        self.output = [random(size, dim, scale=2 * dim**-0.5) for size in trie.level_sizes]
        if head == "tree":
            self.vectors = [random(trie.num_nodes(level), dim, scale=2 * dim**-0.5) for level in range(trie.num_levels)]
            self.bias = [random(trie.num_nodes(level), scale=0.1) for level in range(trie.num_levels)]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    def input(self, level: int, token: Tensor) -> Tensor:
        """What stands at position `level`: the begin vector, or the token chosen at the level above."""
        if level == 0:
            return (self.begin + self.position[0]).expand(*token.shape, self.dim)
        return F.embedding(token, self.embedding[level - 1]) + self.position[level]

    def after_attention(self, x: Tensor, attended: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The rest of the layer, for queries ``[B, W, dim]`` of the users whose memory is given."""
        x = F.layer_norm(x + attended @ self.weight["o"].T, (self.dim,))
        query = self._heads(x @ self.weight["cross_q"].T)
        crossed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = F.layer_norm(x + crossed @ self.weight["cross_o"].T, (self.dim,))
        return F.layer_norm(x + F.relu(x @ self.up.T) @ self.down.T, (self.dim,))

    def scores(self, level: int, state: Tensor) -> TokenScores | NodeScores:
        if self.head == "tree":
            return NodeScores(state=state, vectors=self.vectors[level], bias=self.bias[level])
        return TokenScores(logits=state @ self.output[level].T)

    def forward_one(self, user: int, prefix: tuple[int, ...]) -> Tensor:
        """``[level size]``: log-probabilities of the token after one prefix of one user; no cache (head `tokens`)."""
        inputs = [self.input(0, torch.zeros(1, dtype=torch.int64))]
        inputs += [self.input(level, torch.tensor([token])) for level, token in enumerate(prefix, start=1)]
        x = torch.stack(inputs, 1)  # [1, T, dim]
        query, key, value = (self._heads(x @ self.weight[name].T) for name in "qkv")
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2).flatten(2)
        x = self.after_attention(x, attended, self.memory_key[user : user + 1], self.memory_value[user : user + 1])
        return (x[0, -1] @ self.output[len(prefix)].T).log_softmax(-1)


class CachedStepper(Stepper):
    """All users and beams at once; keys and values of the prefix are cached and follow the beams' ancestry."""

    def __init__(self, network: Network) -> None:
        self.network, self.num_users = network, network.num_users

    def start(self) -> TokenScores | NodeScores:
        self.level = 0
        self.key = self.value = torch.empty(self.num_users, 1, 0, self.network.dim)  # [B, W, tokens so far, dim]
        return self._step(torch.zeros(self.num_users, 1, dtype=torch.int64))

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        self.level += 1
        row = (parent + torch.arange(self.num_users).unsqueeze(1) * self.key.shape[1]).flatten()
        shape = (*parent.shape, *self.key.shape[2:])
        self.key = self.key.flatten(0, 1).index_select(0, row).view(shape)
        self.value = self.value.flatten(0, 1).index_select(0, row).view(shape)
        return self._step(token)

    def _step(self, token: Tensor) -> TokenScores | NodeScores:
        network = self.network
        x = network.input(self.level, token)  # [B, W, dim]
        query, key, value = (x @ network.weight[name].T for name in "qkv")
        self.key = torch.cat([self.key, key.unsqueeze(2)], 2)
        self.value = torch.cat([self.value, value.unsqueeze(2)], 2)
        heads = (network.num_heads, network.dim // network.num_heads)
        score = torch.einsum("bwhk,bwthk->bwht", query.unflatten(-1, heads), self.key.unflatten(-1, heads))
        share = (score / math.sqrt(heads[1])).softmax(-1)
        attended = torch.einsum("bwht,bwthk->bwhk", share, self.value.unflatten(-1, heads)).flatten(2)
        x = network.after_attention(x, attended, network.memory_key, network.memory_value)
        return network.scores(self.level, x)
