"""Relation-aware attention as a ``torch.library`` operation on the Triton kernels, with gradient and fake form."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmgrec_kernels.chips import capability
from mmgrec_kernels.implementations import interpreting
from mmgrec_kernels.relation_attention import triton_blocked as blocked
from mmgrec_kernels.relation_attention import triton_kernels as kernels
from mmgrec_kernels.relation_attention.sizes import Blocks, Plan, plan

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


def _inputs(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> list[Tensor]:
    """The nine inputs as the kernels want them."""
    shared = [x.contiguous() for x in (rq, rk, rv, s_qk, s_v)]
    return [_like(q, q), _like(q, k), _like(q, v), *shared, keep.contiguous().view(torch.uint8)]


def _rest(q: Tensor) -> tuple[float, ...]:
    """The kernels' numbers: strides of users, heads and rows, the length, the scale."""
    return (*q.stride()[:3], q.shape[2], 1 / math.sqrt(q.shape[3]))


def _constants(q: Tensor, chosen: Plan, blocks: Blocks, passing: int) -> dict[str, Any]:
    """What the kernels are compiled for; ``passing`` blocks go by in the loop of a blocked one."""
    return {
        "HEADS": q.shape[1],
        "SIZE": q.shape[3],
        "ROWS": blocks.rows,
        "KEYS": blocks.keys,
        "PRECISION": chosen.precision,
        "WIDEN": interpreting(),
        "num_warps": blocks.warps,
        "num_stages": blocks.stages,
    } | ({"BLOCKS": passing} if chosen.way == "blocked" else {})


@torch.library.custom_op(
    "mmgrec::relation_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor rq, Tensor rk, Tensor rv, Tensor s_qk, Tensor s_v, Tensor keep)"
    " -> (Tensor, Tensor)",
)
def _forward(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """Output, and the log-sum-exp of each row of scores (base 2), which the backward needs."""
    users, heads, length, _ = q.shape
    chosen = _plan(q)
    blocks = chosen.forward
    out = _like(q)
    lse = q.new_empty(users, heads, length, dtype=torch.float32)
    inputs = _inputs(q, k, v, rq, rk, rv, s_qk, s_v, keep)
    kernel = blocked.forward_blocked if chosen.way == "blocked" else kernels.forward
    kernel[(users, _ceil(length, blocks.rows))](
        *inputs,
        *(out, lse),
        *_rest(inputs[0]),
        **_constants(q, chosen, blocks, _ceil(length, blocks.keys)),
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
    f" Tensor keep, Tensor out, Tensor lse) -> ({_GRADIENTS})",
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
    out: Tensor,
    lse: Tensor,
) -> tuple[Tensor, ...]:
    """Gradients of the eight float inputs, in their order."""
    users, _, length, _ = q.shape
    chosen = _plan(q)
    rows, columns = chosen.rows, chosen.columns
    inputs = [*_inputs(q, k, v, rq, rk, rv, s_qk, s_v, keep), _like(q, d_out), lse]
    dq, dk, dv = _like(q), _like(q), _like(q)
    drq, drk, drv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (rq, rk, rv))
    row_blocks, key_blocks = _ceil(length, rows.rows), _ceil(length, columns.keys)
    ds_qk = q.new_empty(users, row_blocks, dtype=torch.float32)  # each block's part: summed in order, never by atomics
    ds_v = q.new_empty(users, key_blocks, dtype=torch.float32)
    rest = _rest(inputs[0])
    if chosen.way == "whole":
        kernels.backward[(users,)](
            *inputs, *(dq, dk, dv, drq, drk, drv, ds_qk, ds_v), *rest, **_constants(q, chosen, rows, 1)
        )
    else:
        delta = (d_out.float() * out.float()).sum(dim=-1)  # [B, H, T], each row's sum of weight x its gradient
        blocked.backward_rows_blocked[(users, row_blocks)](
            *inputs, *(delta, dq, drq, ds_qk), *rest, **_constants(q, chosen, rows, _ceil(length, rows.keys))
        )
        blocked.backward_columns_blocked[(users, key_blocks)](
            *inputs,
            *(delta, dk, dv, drk, drv, ds_v),
            *rest,
            **_constants(q, chosen, columns, _ceil(length, columns.rows)),
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
    out: Tensor,
    lse: Tensor,
) -> tuple[Tensor, ...]:
    wide = [_like(q) for _ in range(3)]
    narrow = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in (rq, rk, rv, s_qk, s_v)]
    return (*wide, *narrow)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:  # torch types no context
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(True)


def _gradients(ctx: Any, d_out: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.mmgrec.relation_attention_backward(d_out, *ctx.saved_tensors)
    return (*gradients, None)


_forward.register_autograd(_gradients, setup_context=_save)
