"""Output heads: from the decoder network's state to log-probabilities of the children of a prefix.

`tokens` (the paper's): logits over a level's vocabulary, log-softmax over all of it, masked to existing children after.
`tree`: one vector per trie node. Child v of a prefix has the logit ``h . (E[token of v] + N_v) + b[token of v] + log
n_v``, softmax over existing children only, in training as in decoding. ``E + N`` starts as the centroid of the node's
items: the untrained head ranks as the tree of centroids does, and n_v (items below v) is its prior. A centroid
undervalues a node whose items differ, as ``log sum_i exp(h . x_i) = log n + h . mean + h' Cov h / 2 + ...``; along
`moment_axes` principal axes a_k the last term is part of the logit, ``sum_k M_vk (h . a_k)^2``, linear in the squares,
which therefore are part of the state.

Either way a leaf's score is the sum along its path. Knows the trie, and nothing of users or histories.
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

__all__ = ["Children", "Head", "TokensHead", "TreeHead", "principal_axes"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Children:
    """Children of M prefixes of one level, side by side (ragged)."""

    row: Tensor  # [R] int64, the prefix's place, ascending
    node: Tensor  # [R] int64, the child as a node of `level`
    level: int  # of the children
    num_rows: int  # M


class Head(nn.Module, ABC):
    """What all heads can do."""

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
        """Bring up to date, in place, what `scores` keeps between calls. By default a head keeps nothing.

        To be called before a recording is made or replayed, as a replay looks at no tensor's version.
        """


class TokensHead(Head):
    """Logits over the vocabulary of a level; with `shared`, over one vocabulary for all levels."""

    def __init__(self, *, trie: Trie, state_dim: int, shared: bool = False) -> None:
        super().__init__()
        one = nn.Linear(state_dim, max(trie.level_sizes)) if shared else None
        self.logits = nn.ModuleList([one or nn.Linear(state_dim, size) for size in trie.level_sizes])
        for level in range(trie.num_levels):
            self.register_buffer(f"token{level}", trie.node_token(level), persistent=False)

    def state(self, decoded: Tensor, user: Tensor) -> Tensor:
        return decoded

    def log_prob(self, state: Tensor, children: Children) -> Tensor:
        every = F.log_softmax(self.logits[children.level](state), dim=-1)  # [M, V], over the whole vocabulary
        token = self.get_buffer(f"token{children.level}")[children.node]
        return every.flatten().index_select(0, children.row * every.shape[1] + token)

    def scores(self, level: int, state: Tensor) -> TokenScores:
        return TokenScores(logits=self.logits[level](state))


class _Sources:
    """What a kept table was made from, and in which state: the memory is held, so that no other can take its place.

    A change in place counts up a tensor's version, but not one by ``Tensor.data`` or by a fused optimizer: `TreeHead`
    keeps nothing in training mode.
    """

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tuple(x.detach() for x in tensors)
        self.versions = tuple(x._version for x in tensors)

    def still(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether these are the same places, and nothing was written there since."""
        return self.versions == tuple(x._version for x in tensors) and all(
            a.data_ptr() == b.data_ptr() and a.dtype == b.dtype for a, b in zip(self.tensors, tensors, strict=True)
        )

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Copied, it is None: the copy's tensors count from zero again."""
        return type(None), ()


class TreeHead(Head):
    """One vector per trie node, softmax over existing children.

    The vectors of inner nodes are trained; the leaves' are the items' own and stay (O(num_items x D) memory). The state
    is ``h = W_s x_u * g + W_o decoded`` with W_s = I, W_o = 0 and g = `gain` at the start, then its squares.

    Out of training and without gradients `scores` keeps each level's vectors, which cost O(num_nodes x D) to make,
    until a parameter changes; they are then written anew in the same place, where a recorded search reads them.
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
            self.register_buffer(f"kept_vectors{level}", None, persistent=False)
            self.register_buffer(f"kept_bias{level}", None, persistent=False)
            if level < self.num_levels - 1:
                centroid = (sums[end] - sums[start]) / count[:, None]
                self.inner.append(nn.Parameter(centroid.to(leaves.dtype)))
                variance = (squares[end] - squares[start]) / count[:, None] - (centroid @ axes.double()).square()
                self.moments.append(nn.Parameter((variance / 2).to(leaves.dtype)))
        self.axes = nn.Parameter(axes)
        self._sources: list[_Sources | None] = [None] * self.num_levels  # of each level's kept vectors
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
            vectors, bias = self._kept(level)
        return NodeScores(state=state[..., : vectors.shape[1]], vectors=vectors, bias=bias)

    def train(self, mode: bool = True) -> Self:
        """Whatever is done in training mode, afterwards all is made anew."""
        if mode or self.training:
            self._sources = [None] * self.num_levels
        return super().train(mode)

    @torch.no_grad()
    def refresh(self) -> None:
        for level in range(self.num_levels):
            self._kept(level)

    def _kept(self, level: int) -> tuple[Tensor, Tensor]:
        """`vectors`, made only where something changed since the last time."""
        parts, sources = self._parts(level), self._sources[level]
        names = f"kept_vectors{level}", f"kept_bias{level}"
        if any(part.is_inference() for part in parts):  # their changes are not counted
            return self.vectors(level)
        if sources is None or not sources.still(parts):
            # Not in inference mode, so that it can be written outside that mode later
            with torch.inference_mode(mode=False), torch.no_grad():
                for name, made in zip(names, self.vectors(level), strict=True):
                    place = getattr(self, name)
                    if place is not None and _like(place, made):
                        place.copy_(made)
                    else:
                        setattr(self, name, made)
            self._sources[level] = _Sources(parts)
        return self.get_buffer(names[0]), self.get_buffer(names[1])


def _prefix_sums(x: Tensor) -> Tensor:
    """``[N + 1, D]`` float64."""
    return torch.cat([x.new_zeros(1, x.shape[1], dtype=torch.float64), x.double().cumsum(0)])


def _like(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)


def principal_axes(centred: Tensor, count: int) -> Tensor:
    """``[D, min(count, D)]`` float64: the axes along which rows ``[N, D]`` of mean zero differ most, the first most."""
    _, axes = torch.linalg.eigh(centred.T.double() @ centred.double())  # ascending
    kept = min(count, axes.shape[1])
    first: Tensor = axes[:, axes.shape[1] - kept :].flip(1)
    return first
