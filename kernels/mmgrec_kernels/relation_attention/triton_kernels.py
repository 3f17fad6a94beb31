"""Triton kernels of relation-aware attention over short histories: a program owns one user, forward and backward.

It has all rows and keys in registers and loops over the heads: the relation map is made once and serves them all, its
gradient is summed over them, softmax needs no second pass, and no two programs write the same place. Long histories:
`triton_blocked`; what both share: `triton_shared`.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from __future__ import annotations

import triton
import triton.language as tl

from mmgrec_kernels.relation_attention.triton_shared import (
    LOG2_E,
    attended_values,
    averaged,
    gains,
    load_rows,
    operand,
    product,
    real_keys,
    softmax_again,
    store_rows,
)

__all__ = ["backward", "forward"]


@triton.jit
def forward(
    q_ptr,
    k_ptr,
    v_ptr,
    rq_ptr,
    rk_ptr,
    rv_ptr,
    s_qk_ptr,
    s_v_ptr,
    keep_ptr,
    out_ptr,
    lse_ptr,
    stride_user,
    stride_head,
    stride_row,
    length,
    scale,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """The output of one user, and the log-sum-exp of their scores (base 2) for the backward."""
    user = tl.program_id(0).to(tl.int64)
    rows = tl.arange(0, ROWS)
    keys = tl.arange(0, KEYS)
    dims = tl.arange(0, SIZE)
    ok_rows = rows < length
    ok_keys = keys < length
    shared = user * length * SIZE
    rq = load_rows(rq_ptr, shared, rows, dims, SIZE, ok_rows)  # [ROWS, SIZE]
    rk = load_rows(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
    s_qk, s_v = gains(s_qk_ptr, s_v_ptr, user)
    keep = real_keys(keep_ptr, user, length, keys, ok_keys)  # [KEYS]

    factor = scale * LOG2_E
    relation = product(operand(rq, rq_ptr, WIDEN), tl.trans(operand(rk, rq_ptr, WIDEN)), PRECISION)  # [ROWS, KEYS]
    bias = tl.where(keep[None, :], relation * (s_qk * factor), float("-inf"))

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        here_rows = base + rows[:, None] * stride_row + dims[None, :]
        q = load_rows(q_ptr, base, rows, dims, stride_row, ok_rows)  # [ROWS, SIZE]
        k = load_rows(k_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        v = load_rows(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # cached; frees registers
        scores = product(operand(q, q_ptr, WIDEN), tl.trans(operand(k, q_ptr, WIDEN)), PRECISION) * factor + bias
        top = tl.max(scores, axis=1)
        top = tl.where(top == float("-inf"), 0.0, top)  # a user without a real key
        weights = tl.exp2(scores - top[:, None])  # [ROWS, KEYS]
        total = tl.sum(weights, axis=1)
        values = attended_values(v, rv, s_v, q_ptr, WIDEN)
        out, lse = averaged(product(operand(weights, q_ptr, WIDEN), values, PRECISION), top, total)
        store_rows(out_ptr, here_rows, out, ok_rows)
        tl.store(lse_ptr + (user * HEADS + head) * length + rows, lse, mask=ok_rows)


@triton.jit
def backward(
    q_ptr,
    k_ptr,
    v_ptr,
    rq_ptr,
    rk_ptr,
    rv_ptr,
    s_qk_ptr,
    s_v_ptr,
    keep_ptr,
    d_out_ptr,
    lse_ptr,
    dq_ptr,
    dk_ptr,
    dv_ptr,
    drq_ptr,
    drk_ptr,
    drv_ptr,
    ds_qk_ptr,
    ds_v_ptr,
    stride_user,
    stride_head,
    stride_row,
    length,
    scale,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """All gradients of one user."""
    user = tl.program_id(0).to(tl.int64)
    rows = tl.arange(0, ROWS)
    keys = tl.arange(0, KEYS)
    dims = tl.arange(0, SIZE)
    ok_rows = rows < length
    ok_keys = keys < length
    shared = user * length * SIZE
    at_rows = rows[:, None] * SIZE + dims[None, :]
    at_keys = keys[:, None] * SIZE + dims[None, :]
    rq = load_rows(rq_ptr, shared, rows, dims, SIZE, ok_rows)  # [ROWS, SIZE]
    rk = load_rows(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
    s_qk, s_v = gains(s_qk_ptr, s_v_ptr, user)
    keep = real_keys(keep_ptr, user, length, keys, ok_keys)  # [KEYS]

    factor = scale * LOG2_E
    relation = product(operand(rq, rq_ptr, WIDEN), tl.trans(operand(rk, rq_ptr, WIDEN)), PRECISION)  # [ROWS, KEYS]
    d_map = tl.zeros([ROWS, KEYS], tl.float32)  # of the relation scores, summed over the heads
    d_shared = tl.zeros([KEYS, SIZE], tl.float32)  # of the relation values, summed over the heads

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        here_rows = base + rows[:, None] * stride_row + dims[None, :]
        here_keys = base + keys[:, None] * stride_row + dims[None, :]
        q = load_rows(q_ptr, base, rows, dims, stride_row, ok_rows)  # [ROWS, SIZE]
        k = load_rows(k_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        v = load_rows(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # cached; frees registers
        d_out = load_rows(d_out_ptr, base, rows, dims, stride_row, ok_rows)  # [ROWS, SIZE]
        at_stats = (user * HEADS + head) * length + rows
        lse = tl.load(lse_ptr + at_stats, mask=ok_rows, other=float("inf"))  # [ROWS]
        q_op = operand(q, q_ptr, WIDEN)
        k_op = operand(k, q_ptr, WIDEN)
        d_out_op = operand(d_out, q_ptr, WIDEN)
        values = attended_values(v, rv, s_v, q_ptr, WIDEN)
        scores = (product(q_op, tl.trans(k_op), PRECISION) + relation * s_qk) * factor
        weights = softmax_again(scores, keep[None, :], lse[:, None])  # [ROWS, KEYS]
        d_weights = product(d_out_op, tl.trans(values), PRECISION)  # [ROWS, KEYS]
        delta = tl.sum(weights * d_weights, axis=1)  # [ROWS]
        d_scores = weights * (d_weights - delta[:, None]) * scale  # [ROWS, KEYS], of the unscaled scores
        d_map += d_scores
        d_scores_op = operand(d_scores, q_ptr, WIDEN)
        dq = product(d_scores_op, k_op, PRECISION)
        store_rows(dq_ptr, here_rows, dq, ok_rows)
        dk = product(tl.trans(d_scores_op), q_op, PRECISION)
        dv = product(tl.trans(operand(weights, q_ptr, WIDEN)), d_out_op, PRECISION)
        store_rows(dk_ptr, here_keys, dk, ok_keys)
        store_rows(dv_ptr, here_keys, dv, ok_keys)
        d_shared += dv

    tl.store(ds_qk_ptr + user, tl.sum(d_map * relation))
    d_map_op = operand(d_map * s_qk, q_ptr, WIDEN)
    rk = load_rows(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
    drq = product(d_map_op, operand(rk, rk_ptr, WIDEN), PRECISION)
    store_rows(drq_ptr + shared, at_rows, drq, ok_rows)
    rq = load_rows(rq_ptr, shared, rows, dims, SIZE, ok_rows)  # [ROWS, SIZE]
    rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys).to(tl.float32)  # [KEYS, SIZE]
    drk = product(tl.trans(d_map_op), operand(rq, rq_ptr, WIDEN), PRECISION)
    store_rows(drk_ptr + shared, at_keys, drk, ok_keys)
    store_rows(drv_ptr + shared, at_keys, d_shared * s_v, ok_keys)
    tl.store(ds_v_ptr + user, tl.sum(d_shared * rv))
