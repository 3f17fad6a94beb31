"""The Transformer's settings and layers: encoder layer, decoder layer, their attentions, sinusoidal positions.

The self-attention of the encoder comes from a positional scheme; the decoder's is plain. How layers become a network
is in `mmgrec.generator.network`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmgrec.interfaces import PositionalScheme

__all__ = ["DecoderLayer", "EncoderLayer", "NetworkSettings", "sinusoidal_positions"]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The Transformer's shape."""

    dim: Annotated[int, Ge(1)] = 64
    num_encoder_layers: Annotated[int, Ge(0)] = 1
    num_decoder_layers: Annotated[int, Ge(1)] = 1
    num_heads: Annotated[int, Ge(1)] = 4
    head_dim: Annotated[int, Ge(1)] = 16
    feedforward_dim: Annotated[int, Ge(1)] = 128
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # a teacher's targets are exact, and there is no end of them
    norm: Literal["pre", "post"] = "pre"
    head: Literal["tree", "tokens"] = "tree"  # see mmgrec.generator.heads
    moment_axes: Annotated[int, Ge(0)] = 64  # along which a node of head `tree` knows how its items differ
    item_input: Literal["representations", "learnt"] = "representations"  # learnt: the paper's "Emb w/o"
    user_input: Literal["representation", "history"] = "representation"
    history_length: Annotated[int, Ge(1)] = 64  # T, items; longer histories are subsampled
    shared_vocabulary: bool = False  # True: token 5 is the same at all levels (the released code; head `tokens`)
    train_norms: bool = True  # False: layer norms keep their first weights (the released code)


class EncoderLayer(nn.Module):
    """Attention among the items of a history, by the positional scheme, then a feed-forward network."""

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


class DecoderLayer(nn.Module):
    """Attention to the tokens before, attention to the history, then a feed-forward network.

    `mix` and `finish` are its halves, for all tokens at once (training); `step` is `mix` for the newest token of each
    beam (search).
    """

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
    """``x`` plus what `part` makes of it, normalised before (pre-norm) or after (post-norm)."""
    if pre:
        return x + drop(part(norm(x)))  # type: ignore[no-any-return]
    return norm(x + drop(part(x)))  # type: ignore[no-any-return]


def sinusoidal_positions(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """The usual absolute encoding ``[length, dim]``: sine in even, cosine in odd dimensions."""
    position = torch.arange(length, device=device)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10_000.0) / dim))
    table = torch.zeros(length, dim, device=device)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: dim // 2])
    return table
