"""Relation-aware attention as the paper writes it: the definition that every other form must equal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["relation_attention"]


def relation_attention(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """Eqs. 14-19, one operation a line; shapes as in the public function."""
    alive = keep.any(dim=1)  # [B]
    mask = keep | ~alive[:, None]  # [B, T]; a user without a real key is masked at the end, not here: softmax needs one
    content = q @ k.transpose(-1, -2)  # [B, H, T, T]
    relation = s_qk[:, None, None] * (rq @ rk.transpose(-1, -2))  # [B, T, T], shared by the heads
    scores = (content + relation[:, None]) / math.sqrt(q.shape[-1])  # Eqs. 16, 17, 19
    scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
    weights = torch.softmax(scores, dim=-1)
    values = v + (s_v[:, None, None] * rv)[:, None]  # Eq. 14: the user-specific position encoder
    out = weights @ values  # [B, H, T, K]
    return out.masked_fill(~alive[:, None, None, None], 0.0)
