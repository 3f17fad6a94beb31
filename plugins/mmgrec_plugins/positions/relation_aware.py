"""Relation-aware self-attention: pairwise relations between items, tuned by the user (Eqs. 14-19)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from mmgrec.interfaces import PositionalScheme
from mmgrec_kernels import relation_attention

__all__ = ["RelationAttention", "RelationAware"]


class RelationAttention(nn.Module):
    """``S_h = (Q_h K_h^T + R^Q R^K^T) / sqrt(K)``; ``O_h = softmax(S_h) (V_h + R^V)``; the heads of a layer share R.

    With scalar gains ``R^Q = g_Q(u) X U^Q`` and so on: all users have the same relation map, each at a volume of
    their own. With vector gains each dimension has a volume of its own, so the map itself is the user's.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        head_dim: int,
        user_dim: int,
        gain: Literal["scalar", "vector"],
        gain_hidden: int,
    ) -> None:
        super().__init__()
        self.num_heads, self.gain = num_heads, gain
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim)
        self.relation = nn.Linear(dim, 3 * head_dim, bias=False)  # U^Q, U^K, U^V
        width = 1 if gain == "scalar" else head_dim
        self.gains = nn.Sequential(
            nn.Linear(user_dim, gain_hidden), nn.ReLU(), nn.Linear(gain_hidden, 3 * width)
        )  # Eq. 18
        last = self.gains[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # gains start at one: the relations are there from the first step
        nn.init.ones_(last.bias)
        self.out = nn.Linear(num_heads * head_dim, dim)

    def forward(self, x: Tensor, user: Tensor, keep: Tensor) -> Tensor:
        """x ``[B, T, dim]``, user ``[B, user_dim]``, keep ``[B, T]`` bool -> ``[B, T, dim]``."""
        B, T, _ = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # [B, H, T, K] each
        rq, rk, rv = self.relation(x).view(B, T, 3, -1).unbind(2)  # [B, T, K] each
        g_q, g_k, g_v = self.gains(user).view(B, 3, -1).unbind(1)  # [B, 1] or [B, K] each
        if self.gain == "scalar":
            s_qk, s_v = (g_q * g_k)[:, 0], g_v[:, 0]
        else:
            rq, rk, rv = rq * g_q[:, None], rk * g_k[:, None], rv * g_v[:, None]
            s_qk = s_v = torch.ones(B, dtype=x.dtype, device=x.device)
        mixed = relation_attention(q, k, v, rq, rk, rv, s_qk, s_v, keep)  # [B, H, T, K]
        return self.out(mixed.transpose(1, 2).reshape(B, T, -1))  # type: ignore[no-any-return]

    def user_gains(self, user: Tensor) -> Tensor:
        """g_Q, g_K, g_V ``[B, 3, W]`` of users ``[B, user_dim]``; W is 1 for scalar gains, head_dim for vectors."""
        return self.gains(user).view(user.shape[0], 3, -1)  # type: ignore[no-any-return]

    def score_parts(self, x: Tensor, user: Tensor) -> tuple[Tensor, Tensor]:
        """The two parts of S: ``Q_h K_h^T / sqrt(K)`` ``[B, H, T, T]`` and ``R^Q R^K^T / sqrt(K)`` ``[B, T, T]``."""
        B, T, _ = x.shape
        q, k, _ = self.qkv(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        rq, rk, _ = self.relation(x).view(B, T, 3, -1).unbind(2)
        g_q, g_k, _ = self.user_gains(user)[:, :, None].unbind(1)  # [B, 1, W] each
        scale = q.shape[-1] ** -0.5
        return q @ k.mT * scale, (rq * g_q) @ (rk * g_k).mT * scale


@dataclass(frozen=True, kw_only=True)
class RelationAware(PositionalScheme):
    """The paper's scheme: relations between items under the supervision of the user; equivariant to permutation."""

    gain: Literal["scalar", "vector"] = "scalar"  # one factor for each user (the paper), or one for each dimension
    gain_hidden: Annotated[int, Ge(1)] = 32  # hidden width of the gains' two-layer MLPs

    def attention(self, *, dim: int, num_heads: int, head_dim: int, user_dim: int) -> nn.Module:
        return RelationAttention(
            dim=dim,
            num_heads=num_heads,
            head_dim=head_dim,
            user_dim=user_dim,
            gain=self.gain,
            gain_hidden=self.gain_hidden,
        )
