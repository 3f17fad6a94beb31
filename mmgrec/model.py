"""The Transformer: an encoder over a set of items, a decoder network over a Rec-ID (Sec. 3.3 of the paper).

Decisions:

- Encoder input: representations of the history's items (or learnt vectors, the ablation "Emb w/o"), a learnt token, and
  with ``user_input="representation"`` the user's representation. The attention comes from the positional scheme.
- With ``user_input="history"`` nothing of the user is read but the items in the input: the user's vector is their sum
  over the root of their number. A user's own representation has seen the targets; it may be read only where a teacher
  supplies them.
- Decoder network: plain causal attention over at most L tokens, sinusoidal positions, cross-attention to the memory,
  whose keys and values are computed once per user and never copied per beam.
- Pre- or post-norm. Vocabularies of different levels are disjoint.

The output heads are in `mmgrec.heads`. Knows no plugin and no data set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmgrec.heads import Head, TokensHead, TreeHead
from mmgrec.interfaces import NodeScores, PositionalScheme, Representations, Stepper, TokenScores
from mmgrec.recid import RecIDTable, Trie

__all__ = ["Memory", "Network", "NetworkSettings", "NetworkStepper", "sinusoidal_positions"]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The Transformer's shape."""

    dim: Annotated[int, Ge(1)] = 64
    num_encoder_layers: Annotated[int, Ge(0)] = 1
    num_decoder_layers: Annotated[int, Ge(1)] = 1
    num_heads: Annotated[int, Ge(1)] = 4
    head_dim: Annotated[int, Ge(1)] = 16
    feedforward_dim: Annotated[int, Ge(1)] = 128
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    norm: Literal["pre", "post"] = "pre"
    head: Literal["tree", "tokens"] = "tree"  # see mmgrec.heads
    item_input: Literal["representations", "learnt"] = "representations"  # learnt: the paper's "Emb w/o"
    user_input: Literal["representation", "history"] = "representation"
    history_length: Annotated[int, Ge(1)] = 64  # T, items; longer histories are subsampled


@dataclass(frozen=True, kw_only=True, eq=False)
class Memory:
    """What the encoder says of a batch of users, ready for cross-attention."""

    key: list[Tensor]  # per decoder layer [B, H, S, K]
    value: list[Tensor]  # per decoder layer [B, H, S, K]
    keep: Tensor  # [B, 1, 1, S] bool, True = real
    user: Tensor  # [B, user_dim], standardised


class Network(nn.Module):
    """Encoder, decoder network and output head."""

    user_vectors: Tensor
    item_vectors: Tensor
    level_offset: Tensor
    places: Tensor

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        representations: Representations,
        rec_ids: RecIDTable,
        trie: Trie,
        position: PositionalScheme,
    ) -> None:
        super().__init__()
        self.settings, self.position = settings, position
        self.num_levels = rec_ids.num_levels
        dim, user_dim = settings.dim, representations.dim
        user_scale, item_scale = (float(x.std().clamp_min(1e-6)) for x in (representations.user, representations.item))
        self.register_buffer("user_vectors", representations.user / user_scale, persistent=False)  # [U, user_dim]
        self.register_buffer("item_vectors", representations.item / item_scale, persistent=False)  # [I, user_dim]
        if settings.item_input == "learnt":
            self.learnt_items = nn.Embedding(rec_ids.num_items, user_dim)
        self.project_item = nn.Linear(user_dim, dim)
        if settings.user_input == "representation":
            self.project_user = nn.Linear(user_dim, dim)
        self.learnt_token = nn.Parameter(torch.randn(dim) * 0.02)
        self.encoder = nn.ModuleList(
            [_EncoderLayer(settings, position, user_dim) for _ in range(settings.num_encoder_layers)]
        )
        self.encoder_norm = nn.LayerNorm(dim) if settings.norm == "pre" else nn.Identity()

        offsets = torch.tensor([0, *rec_ids.level_sizes]).cumsum(0)
        self.register_buffer(
            "level_offset", offsets[:-1], persistent=False
        )  # token 5 of level 0 is not token 5 of level 1
        self.token_table = nn.Embedding(int(offsets[-1]), dim)
        nn.init.normal_(self.token_table.weight, std=0.02)
        self.begin = nn.Parameter(torch.randn(dim) * 0.02)
        self.begin_from_user = nn.Linear(user_dim, dim, bias=False)  # the first token knows for whom it writes
        self.register_buffer("places", sinusoidal_positions(self.num_levels, dim), persistent=False)
        self.decoder = nn.ModuleList([_DecoderLayer(settings) for _ in range(settings.num_decoder_layers)])
        self.decoder_norm = nn.LayerNorm(dim) if settings.norm == "pre" else nn.Identity()
        self.head: Head
        if settings.head == "tree":
            self.head = TreeHead(
                trie=trie,
                item_vectors=self.item_vectors,
                state_dim=dim,
                gain=user_scale * item_scale if settings.user_input == "representation" else 0.05,
            )
        else:
            self.head = TokensHead(trie=trie, state_dim=dim)

    @property
    def _decoder_layers(self) -> list[_DecoderLayer]:
        return cast(list[_DecoderLayer], list(self.decoder))

    # ----------------------------------------------------------------- encoder

    def encode(self, users: Tensor, history: Tensor) -> Memory:
        """Read the histories of a batch.

        Args:
            users: ``[B]`` int64.
            history: ``[B, T]`` int64 items, filled up with -1.
        """
        keep = history >= 0
        item = history.clamp_min(0)
        given = F.embedding(item, self.item_vectors)  # [B, T, user_dim]
        if self.settings.user_input == "representation":
            user = F.embedding(users, self.user_vectors)
        else:
            count = keep.sum(1, keepdim=True).clamp_min(1)
            user = (given * keep[..., None]).sum(1) / count.sqrt()
        x = self.project_item(self.learnt_items(item) if self.settings.item_input == "learnt" else given)
        x = self.position.encode(x)
        extra = [self.learnt_token.expand(x.shape[0], 1, -1)]
        if self.settings.user_input == "representation":
            extra.append(self.project_user(user)[:, None])
        x = torch.cat([*extra, x], dim=1)  # [B, S, dim]
        keep = torch.cat([keep.new_ones(x.shape[0], len(extra)), keep], dim=1)
        for layer in self.encoder:
            x = layer(x, user, keep)
        x = self.encoder_norm(x)
        pairs = [layer.cross.memory(x) for layer in self._decoder_layers]
        return Memory(key=[k for k, _ in pairs], value=[v for _, v in pairs], keep=keep[:, None, None, :], user=user)

    # ----------------------------------------------------------------- decoder network

    def decode(self, memory: Memory, tokens: Tensor, wanted: Tensor) -> Tensor:
        """The head's states at wanted places along given Rec-IDs, all at once (training).

        Args:
            memory: of B users.
            tokens: ``[B, P, L]`` int64, P Rec-IDs for each user.
            wanted: ``[B, N]`` int64, places in ``P * L``: ``p * L + l`` scores level l after the tokens before it.

        Returns:
            ``[B, N, D]``.
        """
        B, P, L = tokens.shape
        begin = (self.begin + self.begin_from_user(memory.user))[:, None, None].expand(B, P, 1, -1)
        x = torch.cat([begin, self.token_table(tokens[..., :-1] + self.level_offset[: L - 1])], dim=2) + self.places
        x = x.reshape(B * P, L, -1)
        *inner, last = self._decoder_layers
        for index, layer in enumerate(inner):
            x = layer.mix(x)
            x = layer.finish(x.view(B, P * L, -1), memory.key[index], memory.value[index], memory.keep).view(x.shape)
        x = last.mix(x).view(B * P * L, -1)
        place = wanted + torch.arange(B, device=wanted.device)[:, None] * (P * L)
        x = F.embedding(place, x)  # from here on, only what is wanted
        x = last.finish(x, memory.key[-1], memory.value[-1], memory.keep)
        return self.head.state(self.decoder_norm(x), memory.user)

    def stepper(self, memory: Memory) -> NetworkStepper:
        """The same network, one level at a time for many beams."""
        return NetworkStepper(self, memory)


class NetworkStepper(Stepper):
    """Advances all beams of a batch by one level; keys and values of earlier levels follow their beams by ancestry."""

    def __init__(self, network: Network, memory: Memory) -> None:
        self.network, self.memory = network, memory
        self.num_users = memory.user.shape[0]
        self._level = 0
        self._past: list[tuple[Tensor, Tensor]] = []  # per layer: keys, values [B, W, level, H * K]

    def start(self) -> TokenScores | NodeScores:
        self._level, self._past = 0, []
        x = self.network.begin + self.network.begin_from_user(self.memory.user)
        return self._step(x[:, None])

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        network = self.network
        rows = (
            torch.arange(self.num_users, device=parent.device)[:, None] * self._past[0][0].shape[1] + parent
        ).flatten()
        self._past = [
            tuple(past.flatten(0, 1).index_select(0, rows).view(*parent.shape, *past.shape[2:]) for past in pair)  # type: ignore[misc]
            for pair in self._past
        ]
        x = network.token_table(token + network.level_offset[self._level - 1])
        return self._step(x)

    def _step(self, x: Tensor) -> TokenScores | NodeScores:
        """x: ``[B, W, dim]``, the newest token of each beam."""
        network, level = self.network, self._level
        x = x + network.places[level]
        now = []
        for index, layer in enumerate(network._decoder_layers):
            x, pair = layer.step(x, self._past[index] if self._past else None)
            x = layer.finish(x, self.memory.key[index], self.memory.value[index], self.memory.keep)
            now.append(pair)
        self._past = now
        self._level = level + 1
        return network.head.scores(level, network.head.state(network.decoder_norm(x), self.memory.user))


# --------------------------------------------------------------------------- layers


class _EncoderLayer(nn.Module):
    def __init__(self, settings: NetworkSettings, position: PositionalScheme, user_dim: int) -> None:
        super().__init__()
        self.pre = settings.norm == "pre"
        self.attention = position.attention(
            dim=settings.dim, num_heads=settings.num_heads, head_dim=settings.head_dim, user_dim=user_dim
        )
        self.feedforward = _feedforward(settings)
        self.norms = nn.ModuleList([nn.LayerNorm(settings.dim) for _ in range(2)])
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, user: Tensor, keep: Tensor) -> Tensor:
        def attend(y: Tensor) -> Tensor:
            return self.attention(y, user, keep)  # type: ignore[no-any-return]

        x = _residual(x, attend, self.norms[0], self.drop, pre=self.pre)
        return _residual(x, self.feedforward, self.norms[1], self.drop, pre=self.pre)


class _DecoderLayer(nn.Module):
    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.pre = settings.norm == "pre"
        self.itself, self.cross = _CausalAttention(settings), _CrossAttention(settings)
        self.feedforward = _feedforward(settings)
        self.norms = nn.ModuleList([nn.LayerNorm(settings.dim) for _ in range(3)])
        self.drop = nn.Dropout(settings.dropout)

    def mix(self, x: Tensor) -> Tensor:
        """Self-attention along Rec-IDs ``[N, L, dim]``."""
        return _residual(x, self.itself, self.norms[0], self.drop, pre=self.pre)

    def step(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """`mix` for one new token of each beam: x ``[B, W, dim]``, past ``[B, W, level, H * K]`` each."""
        mixed, pair = self.itself.step(self.norms[0](x) if self.pre else x, past)
        return (x + mixed if self.pre else self.norms[0](x + mixed)), pair

    def finish(self, x: Tensor, key: Tensor, value: Tensor, keep: Tensor) -> Tensor:
        """Cross-attention and feed-forward of any tokens: x ``[B, N, dim]``; key, value ``[B, H, S, K]``."""

        def cross(y: Tensor) -> Tensor:
            return self.cross(y, key, value, keep)  # type: ignore[no-any-return]

        x = _residual(x, cross, self.norms[1], self.drop, pre=self.pre)
        return _residual(x, self.feedforward, self.norms[2], self.drop, pre=self.pre)


class _CausalAttention(nn.Module):
    """Plain multi-head attention of a token to the tokens before it and itself."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.num_heads, inner = settings.num_heads, settings.num_heads * settings.head_dim
        self.qkv = nn.Linear(settings.dim, 3 * inner)
        self.out = nn.Linear(inner, settings.dim)

    def forward(self, x: Tensor) -> Tensor:
        N, L, _ = x.shape
        q, k, v = self.qkv(x).view(N, L, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # [N, H, L, K] each
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(N, L, -1))  # type: ignore[no-any-return]

    def step(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        B, W, _ = x.shape
        q, k, v = self.qkv(x).view(B, W, 3, 1, -1).unbind(2)  # [B, W, 1, H * K]
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        heads = [y.reshape(B * W, y.shape[2], self.num_heads, -1).transpose(1, 2) for y in (q, k, v)]
        mixed = F.scaled_dot_product_attention(*heads)  # [B * W, H, 1, K]
        return self.out(mixed.reshape(B, W, -1)), (k, v)


class _CrossAttention(nn.Module):
    """Attention of tokens to the encoder's memory."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.num_heads, inner = settings.num_heads, settings.num_heads * settings.head_dim
        self.q, self.kv = nn.Linear(settings.dim, inner), nn.Linear(settings.dim, 2 * inner)
        self.out = nn.Linear(inner, settings.dim)

    def memory(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, H, S, K]`` of the encoder's output ``[B, S, dim]``."""
        B, S, _ = x.shape
        k, v = self.kv(x).view(B, S, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return k, v

    def forward(self, x: Tensor, key: Tensor, value: Tensor, keep: Tensor) -> Tensor:
        """x: ``[B, N, dim]``, any tokens of each user."""
        B, N, _ = x.shape
        q = self.q(x).view(B, N, self.num_heads, -1).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, key, value, attn_mask=keep)
        return self.out(mixed.transpose(1, 2).reshape(B, N, -1))  # type: ignore[no-any-return]


def _feedforward(settings: NetworkSettings) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(settings.dim, settings.feedforward_dim),
        nn.GELU(),
        nn.Dropout(settings.dropout),
        nn.Linear(settings.feedforward_dim, settings.dim),
    )


def _residual(x: Tensor, part: Callable[[Tensor], Tensor], norm: nn.Module, drop: nn.Module, *, pre: bool) -> Tensor:
    if pre:
        return x + drop(part(norm(x)))  # type: ignore[no-any-return]
    return norm(x + drop(part(x)))  # type: ignore[no-any-return]


def sinusoidal_positions(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """The usual absolute encoding ``[length, dim]``: sine on even, cosine on odd places."""
    place = torch.arange(length, device=device)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000.0) / dim))
    table = torch.zeros(length, dim, device=device)
    table[:, 0::2] = torch.sin(place * rate)
    table[:, 1::2] = torch.cos(place * rate[: dim // 2])
    return table
