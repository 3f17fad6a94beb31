"""Triton kernels of relation-aware attention for histories whose rows of scores do not fit in registers.

Keys (or query rows) pass in blocks, softmax is accumulated on the way, and each head makes the relation scores of a
block again rather than hold the user's whole map. As in `triton_kernels`, each place has one writer; what both share is
in `triton_shared`.
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
    load_operand,
    load_rows,
    operand,
    product,
    real_keys,
    row_sums,
    score_gradients,
    store_rows,
    weights_again,
)

__all__ = ["backward_columns_blocked", "backward_rows_blocked", "forward_blocked"]


@triton.jit
def forward_blocked(
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
    BLOCKS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Output rows of one user, and the log-sum-exp of their scores; ``BLOCKS`` blocks of keys pass."""
    user = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    dims = tl.arange(0, SIZE)
    ok_rows = rows < length
    shared = user * length * SIZE
    s_qk, s_v = gains(s_qk_ptr, s_v_ptr, user)
    factor = scale * LOG2_E

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        rq = load_operand(rq_ptr, shared, rows, dims, SIZE, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
        q = load_operand(q_ptr, base, rows, dims, stride_row, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
        top = tl.full([ROWS], float("-inf"), tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        out = tl.zeros([ROWS, SIZE], tl.float32)
        for block in tl.range(BLOCKS):
            keys = block * KEYS + tl.arange(0, KEYS)
            ok_keys = keys < length
            keep = real_keys(keep_ptr, user, length, keys, ok_keys)  # [KEYS]
            k = load_rows(k_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
            v = load_rows(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
            rk = load_rows(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
            rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
            relation = product(rq, tl.trans(operand(rk, q_ptr, WIDEN)), PRECISION)
            scores = product(q, tl.trans(operand(k, q_ptr, WIDEN)), PRECISION) + relation * s_qk  # [ROWS, KEYS]
            scores = tl.where(keep[None, :], scores * factor, float("-inf"))
            new_top = tl.maximum(top, tl.max(scores, axis=1))
            level = tl.where(new_top == float("-inf"), 0.0, new_top)  # no real key so far
            weights = tl.exp2(scores - level[:, None])  # [ROWS, KEYS]
            shrink = tl.exp2(top - level)  # 0 at the first real key
            values = attended_values(v, rv, s_v, q_ptr, WIDEN)
            out = out * shrink[:, None] + product(operand(weights, q_ptr, WIDEN), values, PRECISION)
            total = total * shrink + tl.sum(weights, axis=1)
            top = new_top
        out, lse = averaged(out, top, total)
        here = base + rows[:, None] * stride_row + dims[None, :]
        store_rows(out_ptr, here, out, ok_rows)
        tl.store(lse_ptr + (user * HEADS + head) * length + rows, lse, mask=ok_rows)


@triton.jit
def backward_rows_blocked(
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
    delta_ptr,
    dq_ptr,
    drq_ptr,
    ds_qk_ptr,
    stride_user,
    stride_head,
    stride_row,
    length,
    scale,
    HEADS: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    BLOCKS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Gradients that belong to a block of query rows; ``BLOCKS`` blocks of keys pass."""
    user = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    rows = part * ROWS + tl.arange(0, ROWS)
    dims = tl.arange(0, SIZE)
    ok_rows = rows < length
    shared = user * length * SIZE
    s_qk, s_v = gains(s_qk_ptr, s_v_ptr, user)
    factor = scale * LOG2_E
    drq = tl.zeros([ROWS, SIZE], tl.float32)  # without the gain, summed over the heads

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        at_stats = (user * HEADS + head) * length + rows
        lse, delta = row_sums(lse_ptr, delta_ptr, at_stats, ok_rows)  # [ROWS] each
        dq = tl.zeros([ROWS, SIZE], tl.float32)
        for block in tl.range(BLOCKS):
            keys = block * KEYS + tl.arange(0, KEYS)
            ok_keys = keys < length
            keep = real_keys(keep_ptr, user, length, keys, ok_keys)  # [KEYS]
            rq = load_operand(rq_ptr, shared, rows, dims, SIZE, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
            q = load_operand(q_ptr, base, rows, dims, stride_row, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
            k = load_operand(k_ptr, base, keys, dims, stride_row, ok_keys, q_ptr, WIDEN)  # [KEYS, SIZE]
            rk = load_operand(rk_ptr, shared, keys, dims, SIZE, ok_keys, q_ptr, WIDEN)  # [KEYS, SIZE]
            weights = weights_again(q, k, rq, rk, s_qk, factor, keep[None, :], lse[:, None], PRECISION)  # [ROWS, KEYS]
            v = load_rows(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
            rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
            d_out = load_operand(d_out_ptr, base, rows, dims, stride_row, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
            values = attended_values(v, rv, s_v, q_ptr, WIDEN)
            d_scores = score_gradients(d_out, values, weights, delta[:, None], scale, q_ptr, PRECISION, WIDEN)
            dq += product(d_scores, k, PRECISION)
            drq += product(d_scores, rk, PRECISION)
        here = base + rows[:, None] * stride_row + dims[None, :]
        store_rows(dq_ptr, here, dq, ok_rows)

    rq = load_rows(rq_ptr, shared, rows, dims, SIZE, ok_rows).to(tl.float32)  # [ROWS, SIZE]
    tl.store(ds_qk_ptr + user * tl.num_programs(1) + part, tl.sum(drq * rq))
    at = shared + rows[:, None] * SIZE + dims[None, :]
    store_rows(drq_ptr, at, drq * s_qk, ok_rows)


@triton.jit
def backward_columns_blocked(
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
    delta_ptr,
    dk_ptr,
    dv_ptr,
    drk_ptr,
    drv_ptr,
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
    BLOCKS: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Gradients that belong to a block of keys; ``BLOCKS`` blocks of rows pass. Maps are ``[KEYS, ROWS]``."""
    user = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    keys = part * KEYS + tl.arange(0, KEYS)
    dims = tl.arange(0, SIZE)
    ok_keys = keys < length
    shared = user * length * SIZE
    s_qk, s_v = gains(s_qk_ptr, s_v_ptr, user)
    keep = real_keys(keep_ptr, user, length, keys, ok_keys)  # [KEYS]
    factor = scale * LOG2_E
    drk = tl.zeros([KEYS, SIZE], tl.float32)  # without the gain, summed over the heads
    d_shared = tl.zeros([KEYS, SIZE], tl.float32)

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        dk = tl.zeros([KEYS, SIZE], tl.float32)
        dv = tl.zeros([KEYS, SIZE], tl.float32)
        for block in tl.range(BLOCKS):
            rows = block * ROWS + tl.arange(0, ROWS)
            ok_rows = rows < length
            at_stats = (user * HEADS + head) * length + rows
            lse, delta = row_sums(lse_ptr, delta_ptr, at_stats, ok_rows)  # [ROWS] each
            q = load_operand(q_ptr, base, rows, dims, stride_row, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
            k = load_operand(k_ptr, base, keys, dims, stride_row, ok_keys, q_ptr, WIDEN)  # [KEYS, SIZE]
            rq = load_operand(rq_ptr, shared, rows, dims, SIZE, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
            rk = load_operand(rk_ptr, shared, keys, dims, SIZE, ok_keys, q_ptr, WIDEN)  # [KEYS, SIZE]
            weights = weights_again(k, q, rk, rq, s_qk, factor, keep[:, None], lse[None, :], PRECISION)  # [KEYS, ROWS]
            d_out = load_operand(d_out_ptr, base, rows, dims, stride_row, ok_rows, q_ptr, WIDEN)  # [ROWS, SIZE]
            dv += product(operand(weights, q_ptr, WIDEN), d_out, PRECISION)
            v = load_rows(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
            rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
            values = attended_values(v, rv, s_v, q_ptr, WIDEN)
            d_scores = score_gradients(values, d_out, weights, delta[None, :], scale, q_ptr, PRECISION, WIDEN)
            dk += product(d_scores, q, PRECISION)
            drk += product(d_scores, rq, PRECISION)
        here = base + keys[:, None] * stride_row + dims[None, :]
        store_rows(dk_ptr, here, dk, ok_keys)
        store_rows(dv_ptr, here, dv, ok_keys)
        d_shared += dv

    at = shared + keys[:, None] * SIZE + dims[None, :]
    rv = load_rows(rv_ptr, shared, keys, dims, SIZE, ok_keys).to(tl.float32)  # [KEYS, SIZE]
    store_rows(drk_ptr, at, drk * s_qk, ok_keys)
    store_rows(drv_ptr, at, d_shared * s_v, ok_keys)
    tl.store(ds_v_ptr + user * tl.num_programs(1) + part, tl.sum(d_shared * rv))
