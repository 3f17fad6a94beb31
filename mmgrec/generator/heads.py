"""Output heads: the last piece of the network, which says how probable each next token of a Rec-ID is.

The decoder network has read a history and the tokens written so far: a *prefix*, which is a node of the trie. It gives
one vector, and from that a head makes its *state* h. What may follow are the node's *children*, and the head gives each
of them a log-probability. An item is a leaf; its score is the sum along the path from the root to it. There are two:

`tokens`, the paper's. A linear layer gives a logit for each token of the level's vocabulary, and a softmax over all of
them makes probabilities. Tokens with which no Rec-ID goes on are left out afterwards; what they were given is lost.

`tree`, the default. Every node of the trie has a vector and a bias; a child's logit is h times its vector plus its
bias, and the softmax is over the children that exist, so nothing is lost. Written out, for a child v with token c::

    logit of v = h . (N_v + E_c)  +  b_c + log n_v  +  sum over k of M_vk (h . a_k)^2

- N_v starts as the mean of the vectors of the items below v, and E_c and b_c, which all nodes of a level with token c
  share, start at zero: before it is trained, the head ranks as a search down a tree of means does.
- n_v is the number of items below v: of two nodes that fit equally well, the fuller one is more probable.
- The sum is for nodes whose items differ. Their mean may fit a user badly although one of the items fits well, so a
  node gets more where its items spread along h. The a_k are the `moment_axes` directions in which all items differ
  most, and M_vk starts as half the variance of v's items along a_k.

(The exact sum over the items x_i below v is ``log sum_i exp(h . x_i) = log n + h . mean + h' Cov h / 2 + ...``; the
three points are its first three terms. As the last is linear in the squares ``(h . a_k)^2``, these are appended to the
state and M to the vectors, and whoever searches sees one inner product.)

A third head is a subclass of `Head`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.generator.ragged import ragged_dot
from mmgrec.interfaces import NodeScores, TokenScores
from mmgrec.recid import Trie

__all__ = ["Children", "Head", "Sources", "TokensHead", "TreeHead", "principal_axes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Children:
    """Children of M prefixes of one level, side by side (ragged)."""

    row: Tensor  # [R] int64, number of the child's prefix among the M, ascending
    node: Tensor  # [R] int64, the child as a node of `level`
    level: int  # of the children
    num_rows: int  # M


class Head(nn.Module, ABC):
    """What the training task and the stepper ask of an output head."""

    @abstractmethod
    def state(self, decoded: Tensor, user: Tensor) -> Tensor:
        """``[B, N, D]``, from the decoder network's output ``[B, N, dim]`` and the user's vector ``[B, user_dim]``."""

    @abstractmethod
    def log_prob(self, state: Tensor, children: Children) -> Tensor:
        """``[R]``: log-probability of each child after its prefix, whose state is a row of ``[M, D]``."""

    @abstractmethod
    def scores(self, level: int, state: Tensor) -> TokenScores | NodeScores:
        """What a Decoder needs to choose among the children of beams with states ``[B, W, D]``."""

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring up to date, in place, what `scores` caches between calls. By default a head caches nothing.

        To be called before a recording is made or replayed, as a replay looks at no tensor's version.
        """


class TokensHead(Head):
    """Logits over the vocabulary of a level; with `shared`, over one vocabulary for all levels."""

    def __init__(self, *, trie: Trie, state_dim: int, shared: bool = False) -> None:
        super().__init__()
        for_all = nn.Linear(state_dim, max(trie.level_sizes)) if shared else None
        self.logits = nn.ModuleList([for_all or nn.Linear(state_dim, size) for size in trie.level_sizes])
        for level in range(trie.num_levels):
            self.register_buffer(f"token{level}", trie.node_token(level), persistent=False)

    def state(self, decoded: Tensor, user: Tensor) -> Tensor:
        return decoded

    def log_prob(self, state: Tensor, children: Children) -> Tensor:
        log_p = F.log_softmax(self.logits[children.level](state), dim=-1)  # [M, V], over the whole vocabulary
        token = self.get_buffer(f"token{children.level}")[children.node]
        return log_p.flatten().index_select(0, children.row * log_p.shape[1] + token)

    def scores(self, level: int, state: Tensor) -> TokenScores:
        return TokenScores(logits=self.logits[level](state))


class Sources:
    """Remembers which tensors a cached table was made from, and sees whether they were changed or replaced since.

    Their memory is held, so that no other tensor can get the same address. A change in place counts up a tensor's
    version, but not one by ``Tensor.data`` or by a fused optimizer: `TreeHead` caches nothing in training mode.
    """

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tuple(x.detach() for x in tensors)
        self.versions = tuple(x._version for x in tensors)

    def unchanged(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether these lie in the same memory, and nothing was written there since."""
        return self.versions == tuple(x._version for x in tensors) and all(
            a.data_ptr() == b.data_ptr() and a.dtype == b.dtype for a, b in zip(self.tensors, tensors, strict=True)
        )

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Copied, it is None: the copy's tensors count from zero again."""
        return type(None), ()


class TreeHead(Head):
    """One vector per trie node, softmax over existing children.

    The vectors of inner nodes are trained; the leaves' are the items' own and stay (O(num_items x D) memory). The state
    is ``h = W_s x_u * g + W_o decoded``, with W_s = I, W_o = 0 and g = `gain` at the start, and after it the squares of
    h along the axes. So the untrained head ranks by the user's vector x_u alone.

    Out of training and without gradients `scores` caches each level's vectors, which cost O(num_nodes x D) to make,
    until a parameter changes; they are then written anew into the same memory, where a recorded search reads them.
    """

    def __init__(self, *, trie: Trie, item_vectors: Tensor, state_dim: int, gain: float, moment_axes: int = 0) -> None:
        super().__init__()
        dim, self.num_levels = item_vectors.shape[1], trie.num_levels
        leaves = item_vectors[trie.leaf_item.long()]
        sums = _prefix_sums(leaves)
        self.inner, self.moments = nn.ParameterList(), nn.ParameterList()
        centred = leaves.double() - leaves.double().mean(0)
        axes = principal_axes(centred, moment_axes).to(leaves.dtype).contiguous()  # [D, K]; strides as when restored
        squares = _prefix_sums((leaves @ axes).square())
        for level in range(self.num_levels):
            start, end = (edge.long() for edge in trie.leaf_interval(level))
            count = end - start
            self.register_buffer(f"token{level}", trie.node_token(level), persistent=False)
            self.register_buffer(f"log_count{level}", count.to(leaves.dtype).log(), persistent=False)
            self.register_buffer(f"cached_vectors{level}", None, persistent=False)
            self.register_buffer(f"cached_bias{level}", None, persistent=False)
            if level < self.num_levels - 1:
                centroid = (sums[end] - sums[start]) / count[:, None]
                self.inner.append(nn.Parameter(centroid.to(leaves.dtype)))
                variance = (squares[end] - squares[start]) / count[:, None] - (centroid @ axes.double()).square()
                self.moments.append(nn.Parameter((variance / 2).to(leaves.dtype)))
        self.axes = nn.Parameter(axes)
        self._sources: list[Sources | None] = [None] * self.num_levels  # of each level's cached vectors
        self.register_buffer("leaves", leaves, persistent=False)
        self.codeword = nn.ParameterList([nn.Parameter(torch.zeros(size, dim)) for size in trie.level_sizes])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(size)) for size in trie.level_sizes])
        self.from_user = nn.Linear(dim, dim, bias=False)
        nn.init.eye_(self.from_user.weight)
        self.gain = nn.Parameter(torch.full((dim,), gain))
        self.from_decoder = nn.Linear(state_dim, dim)
        nn.init.zeros_(self.from_decoder.weight)
        nn.init.zeros_(self.from_decoder.bias)

    def state(self, decoded: Tensor, user: Tensor) -> Tensor:
        h: Tensor = (self.from_user(user) * self.gain)[:, None] + self.from_decoder(decoded)
        return torch.cat([h, (h @ self.axes).square()], dim=-1)

    def vectors(self, level: int) -> tuple[Tensor, Tensor]:
        """Vector ``[num_nodes, D + K]`` (of leaves ``[num_items, D]``) and bias ``[num_nodes]`` of a level's nodes."""
        nodes, codeword, bias, token, log_count, *moments = self._parts(level)
        vectors = torch.cat([nodes + F.embedding(token, codeword), *moments], dim=1)
        return vectors, F.embedding(token, bias[:, None])[:, 0] + log_count

    def _parts(self, level: int) -> tuple[Tensor, ...]:
        """All that a level's vectors are made from."""
        nodes = self.inner[level] if level < self.num_levels - 1 else self.get_buffer("leaves")
        fixed = self.get_buffer(f"token{level}"), self.get_buffer(f"log_count{level}")
        moments = self.moments[level : level + 1]
        return nodes, self.codeword[level], self.bias[level], *fixed, *moments

    def log_prob(self, state: Tensor, children: Children) -> Tensor:
        vectors, bias = self.vectors(children.level)
        state = state[:, : vectors.shape[1]]
        if children.level == 0:  # every prefix is the root: the same children for all
            return F.log_softmax(state @ vectors.T + bias, dim=1).flatten()
        row, node = children.row, children.node
        logit = ragged_dot(state, vectors, row, node) + bias.index_select(0, node)
        highest = logit.detach().new_full((children.num_rows,), -torch.inf)
        highest = highest.scatter_reduce(0, row, logit.detach(), "amax")
        logit = logit - highest[row]
        total = logit.new_zeros(children.num_rows).index_add(0, row, logit.exp())
        return logit - total.log().index_select(0, row)

    def scores(self, level: int, state: Tensor) -> NodeScores:
        if self.training or torch.is_grad_enabled():
            vectors, bias = self.vectors(level)
        else:
            vectors, bias = self._cached(level)
        return NodeScores(state=state[..., : vectors.shape[1]], vectors=vectors, bias=bias)

    def train(self, mode: bool = True) -> Self:
        """As of every module; and what was cached before or in training mode is made anew."""
        if mode or self.training:
            self._sources = [None] * self.num_levels
        return super().train(mode)

    @torch.no_grad()
    def refresh(self) -> None:
        for level in range(self.num_levels):
            self._cached(level)

    def _cached(self, level: int) -> tuple[Tensor, Tensor]:
        """`vectors`, made only where something changed since the last time."""
        parts, sources = self._parts(level), self._sources[level]
        names = f"cached_vectors{level}", f"cached_bias{level}"
        if any(part.is_inference() for part in parts):  # their changes are not counted
            return self.vectors(level)
        if sources is None or not sources.unchanged(parts):
            # Not in inference mode, so that it can be written outside that mode later
            with torch.inference_mode(mode=False), torch.no_grad():
                for name, fresh in zip(names, self.vectors(level), strict=True):
                    buffer = getattr(self, name)
                    if buffer is not None and _like(buffer, fresh):
                        buffer.copy_(fresh)
                    else:
                        setattr(self, name, fresh)
            self._sources[level] = Sources(parts)
        return self.get_buffer(names[0]), self.get_buffer(names[1])


def _prefix_sums(x: Tensor) -> Tensor:
    """``[N + 1, D]`` float64: row n is the sum of the first n rows of ``x [N, D]``."""
    return torch.cat([x.new_zeros(1, x.shape[1], dtype=torch.float64), x.double().cumsum(0)])


def _like(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)


def principal_axes(centred: Tensor, count: int) -> Tensor:
    """``[D, min(count, D)]`` float64: the axes along which rows ``[N, D]`` of mean zero differ most, the first most."""
    _, axes = torch.linalg.eigh(centred.T.double() @ centred.double())  # ascending
    last: Tensor = axes[:, axes.shape[1] - min(count, axes.shape[1]) :]
    return last.flip(1)
