"""Relation-aware attention as a ``torch.library`` operation on the Triton kernels, with gradient and fake form."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmgrec_kernels._chips import capability
from mmgrec_kernels._impl import interpreting
from mmgrec_kernels.relation_attention import triton_kernels as kernels
from mmgrec_kernels.relation_attention.sizes import Plan, plan

__all__ = ["relation_attention"]


def relation_attention(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """The same result as ``reference``; shapes as in the public function."""
    out: Tensor = torch.ops.mmgrec.relation_attention(q, k, v, rq, rk, rv, s_qk, s_v, keep)[0]
    return out


def _like(q: Tensor, x: Tensor | None = None) -> Tensor:
    """``x``, or room for it, laid out as ``q``: heads outside rows, or inside (a projection split into heads)."""
    users, heads, length, size = q.shape
    inside = not q.is_contiguous() and q.transpose(1, 2).is_contiguous()
    if x is not None:
        return x.transpose(1, 2).contiguous().transpose(1, 2) if inside else x.contiguous()
    if inside:
        return q.new_empty(users, length, heads, size).transpose(1, 2)
    return q.new_empty(users, heads, length, size)


def _plan(q: Tensor) -> Plan:
    return plan(length=q.shape[2], size=q.shape[3], dtype=q.dtype, chip=capability(q.device))


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@torch.library.custom_op(
    "mmgrec::relation_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor rq, Tensor rk, Tensor rv, Tensor s_qk, Tensor s_v, Tensor keep)"
    " -> (Tensor, Tensor)",
)
def _forward(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    users, heads, length, size = q.shape
    blocks = _plan(q).forward
    out = _like(q)
    lse = q.new_empty(users, heads, length, dtype=torch.float32)
    q_ = _like(q, q)
    kernels.forward[(users, _ceil(length, blocks.rows))](
        q_,
        _like(q, k),
        _like(q, v),
        rq.contiguous(),
        rk.contiguous(),
        rv.contiguous(),
        s_qk.contiguous(),
        s_v.contiguous(),
        keep.contiguous().view(torch.uint8),
        out,
        lse,
        *q_.stride()[:3],
        length,
        1 / math.sqrt(size),
        HEADS=heads,
        SIZE=size,
        ROWS=blocks.rows,
        KEYS=blocks.keys,
        PRECISION=_plan(q).precision,
        WIDEN=interpreting(),
        num_warps=blocks.warps,
        num_stages=blocks.stages,
    )
    return out, lse


@_forward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    return _like(q), q.new_empty(q.shape[:3], dtype=torch.float32)


_GRADIENTS = ", ".join(["Tensor"] * 8)


@torch.library.custom_op(
    "mmgrec::relation_attention_backward",
    mutates_args=(),
    schema="(Tensor d_out, Tensor q, Tensor k, Tensor v, Tensor rq, Tensor rk, Tensor rv, Tensor s_qk, Tensor s_v,"
    f" Tensor keep, Tensor lse) -> ({_GRADIENTS})",
)
def _backward(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rq: Tensor,
    rk: Tensor,
    rv: Tensor,
    s_qk: Tensor,
    s_v: Tensor,
    keep: Tensor,
    lse: Tensor,
) -> tuple[Tensor, ...]:
    users, heads, length, size = q.shape
    chosen = _plan(q)
    q_ = _like(q, q)
    shared = [x.contiguous() for x in (rq, rk, rv, s_qk, s_v)]
    inputs = [q_, _like(q, k), _like(q, v), *shared, keep.contiguous().view(torch.uint8), _like(q, d_out), lse]
    dq, dk, dv = _like(q), _like(q), _like(q)
    drq, drk, drv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (rq, rk, rv))
    row_blocks = _ceil(length, chosen.rows.rows)
    key_blocks = 1 if chosen.columns is None else _ceil(length, chosen.columns.keys)
    ds_qk = q.new_empty(users, row_blocks, dtype=torch.float32)  # each block's part: summed in order, never by atomics
    ds_v = q.new_empty(users, key_blocks, dtype=torch.float32)
    delta = lse if chosen.columns is None else torch.empty_like(lse)
    rest = [*q_.stride()[:3], length, 1 / math.sqrt(size)]
    common = {"HEADS": heads, "SIZE": size, "PRECISION": chosen.precision, "WIDEN": interpreting()}
    kernels.backward_rows[(users, row_blocks)](
        *inputs,
        *(dq, dk, dv, drq, drk, drv, ds_qk, ds_v, delta),
        *rest,
        **common,
        ROWS=chosen.rows.rows,
        KEYS=chosen.rows.keys,
        WHOLE=chosen.columns is None,
        num_warps=chosen.rows.warps,
        num_stages=chosen.rows.stages,
    )
    if chosen.columns is not None:
        kernels.backward_columns[(users, key_blocks)](
            *inputs,
            *(delta, dk, dv, drk, drv, ds_v),
            *rest,
            **common,
            ROWS=chosen.columns.rows,
            KEYS=chosen.columns.keys,
            num_warps=chosen.columns.warps,
            num_stages=chosen.columns.stages,
        )
    return dq, dk, dv, drq, drk, drv, ds_qk.sum(dim=1).to(s_qk.dtype), ds_v.sum(dim=1).to(s_v.dtype)


@_backward.register_fake
def _(
    d_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rq: Tensor,
    rk: Tensor,
    rv: Tensor,
    s_qk: Tensor,
    s_v: Tensor,
    keep: Tensor,
    lse: Tensor,
) -> tuple[Tensor, ...]:
    wide = [_like(q) for _ in range(3)]
    narrow = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (rq, rk, rv, s_qk, s_v)]
    return (*wide, *narrow)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:  # torch types no context
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(True)


def _gradients(ctx: Any, d_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.mmgrec.relation_attention_backward(d_out, *ctx.saved_tensors)
    return (*found, None)


_forward.register_autograd(_gradients, setup_context=_save)
