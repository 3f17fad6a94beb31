"""Relation-aware attention in plain torch, the fastest way found for CPUs: batched products and a backward of its own.

The relation scores are made once per user and serve every head; the weights are kept for the backward, so nothing is
computed twice and no mask has a gradient. Without gradients, long histories go to torch's fused attention instead, with
the relation scores as its float mask. ``bench/timing/bench_attention.py`` measures the alternatives.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

__all__ = ["relation_attention"]

_FUSED_FROM = 64  # history length from which fused attention is faster when nothing is to be learnt


def relation_attention(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """The same result as ``reference``; shapes as in the public function."""
    floats = (q, k, v, rq, rk, rv, s_qk, s_v)
    if torch.is_grad_enabled() and any(x.requires_grad for x in floats):
        out: Tensor = _RelationAttention.apply(*floats, keep)  # type: ignore[no-untyped-call]
        return out
    bias, alive, _ = _bias(rq, rk, s_qk, keep)
    values = v + (rv * s_v[:, None, None])[:, None]  # [B, H, T, K]
    if q.shape[2] >= _FUSED_FROM:
        fused = scaled_dot_product_attention(q, k, values, attn_mask=bias[:, None])
        return fused.masked_fill_(~alive[:, None, None, None], 0.0)
    return _weights(q, k, bias, alive) @ values


def _bias(rq: Tensor, rk: Tensor, s_qk: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Relation scores [B, T, T], scaled and masked; users with a real item [B]; the scores before that [B, T, T]."""
    alive = keep.any(dim=1)
    relation = rq @ rk.transpose(-1, -2)
    bias = relation * (s_qk / math.sqrt(rq.shape[-1]))[:, None, None]
    return bias.masked_fill_(~(keep | ~alive[:, None])[:, None, :], float("-inf")), alive, relation


def _weights(q: Tensor, k: Tensor, bias: Tensor, alive: Tensor) -> Tensor:
    scores = (q @ k.transpose(-1, -2)).mul_(1 / math.sqrt(q.shape[-1])).add_(bias[:, None])
    return torch.softmax(scores, dim=-1).mul_(alive[:, None, None, None])


class _RelationAttention(torch.autograd.Function):
    """The forward of ``reference`` and its gradients by hand, with the head sums taken once."""

    @staticmethod
    def forward(
        ctx: Any,  # torch types no context
        q: Tensor,
        k: Tensor,
        v: Tensor,
        rq: Tensor,
        rk: Tensor,
        rv: Tensor,
        s_qk: Tensor,
        s_v: Tensor,
        keep: Tensor,
    ) -> Tensor:
        bias, alive, relation = _bias(rq, rk, s_qk, keep)
        weights = _weights(q, k, bias, alive)  # [B, H, T, T]
        values = v + (rv * s_v[:, None, None])[:, None]  # [B, H, T, K]
        ctx.save_for_backward(q, k, rq, rk, rv, s_qk, s_v, weights, values, relation)
        return weights @ values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        q, k, rq, rk, rv, s_qk, s_v, weights, values, relation = ctx.saved_tensors
        d_values = weights.transpose(-1, -2) @ d_out
        d_weights = d_out @ values.transpose(-1, -2)
        d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        d_scores.mul_(1 / math.sqrt(q.shape[-1]))  # [B, H, T, T], of the unscaled scores
        d_map = d_scores.sum(dim=1)  # [B, T, T], the heads share the relation map
        d_s_qk = (d_map * relation).sum(dim=(1, 2))
        d_map.mul_(s_qk[:, None, None])
        d_shared = d_values.sum(dim=1)  # [B, T, K]
        return (
            d_scores @ k,
            d_scores.transpose(-1, -2) @ q,
            d_values,
            d_map @ rk,
            d_map.transpose(-1, -2) @ rq,
            d_shared * s_v[:, None, None],
            d_s_qk,
            (d_shared * rv).sum(dim=(1, 2)),
            None,
        )
