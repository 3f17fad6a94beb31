"""Relation-aware attention by torch's fused attention: the relation scores and the padding travel as its float mask."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["relation_attention"]


def relation_attention(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """The same result as ``reference``; shapes as in the public function."""
    alive = keep.any(dim=1)  # [B]
    mask = keep | ~alive[:, None]  # [B, T]
    scaled = rq * (s_qk / math.sqrt(q.shape[-1]))[:, None, None]  # [B, T, K]
    bias = (scaled @ rk.transpose(-1, -2)).masked_fill(~mask[:, None, :], float("-inf"))  # [B, T, T]
    values = v + (rv * s_v[:, None, None])[:, None]  # [B, H, T, K]
    out = scaled_dot_product_attention(q, k, values, attn_mask=bias[:, None])
    return out.masked_fill(~alive[:, None, None, None], 0.0)
