"""The usual absolute positions, added to the encoder's input; plain attention (the ablation "Default PE")."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mmgrec.generator import sinusoidal_positions
from mmgrec.interfaces import PositionalScheme
from mmgrec_plugins.positions.none import PlainAttention

__all__ = ["Sinusoidal"]


@dataclass(frozen=True, kw_only=True)
class Sinusoidal(PositionalScheme):
    """Place t of the history gets a sine and cosine code; a history without order gets a meaningless one."""

    def encode(self, x: Tensor) -> Tensor:
        return x + sinusoidal_positions(x.shape[1], x.shape[2], x.device).to(x.dtype)

    def attention(self, *, dim: int, num_heads: int, head_dim: int, user_dim: int) -> nn.Module:
        return PlainAttention(dim=dim, num_heads=num_heads, head_dim=head_dim)
