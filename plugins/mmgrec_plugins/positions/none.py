"""Plain multi-head attention over a set: no positions, no relations."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.interfaces import PositionalScheme

__all__ = ["NoPosition", "PlainAttention"]


class PlainAttention(nn.Module):
    """``softmax(Q K^T / sqrt(K)) V`` per head, padding keys masked."""

    def __init__(self, *, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim)
        self.out = nn.Linear(num_heads * head_dim, dim)

    def forward(self, x: Tensor, user: Tensor, keep: Tensor) -> Tensor:
        """x ``[B, T, dim]``, user unused, keep ``[B, T]`` bool -> ``[B, T, dim]``."""
        B, T, _ = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, K] each
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :])
        return self.out(mixed.transpose(1, 2).reshape(B, T, -1))  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class NoPosition(PositionalScheme):
    """The history is a set, and nothing tells its items' places or relations (the ablation "w/o PE")."""

    def attention(self, *, dim: int, num_heads: int, head_dim: int, user_dim: int) -> nn.Module:
        return PlainAttention(dim=dim, num_heads=num_heads, head_dim=head_dim)
