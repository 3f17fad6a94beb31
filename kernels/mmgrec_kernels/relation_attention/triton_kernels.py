"""Triton kernels of relation-aware attention over short histories: a program owns one user, forward and backward.

It has all rows and keys in registers and loops over the heads: the relation map is made once and serves them all, its
gradient is summed over them, softmax needs no second pass, and no two programs write the same place. Scores are in base
2 (``exp2``). Long histories: `triton_blocked`. Knows nothing of torch.

``WIDEN`` multiplies in float32 whatever the inputs' dtype: the interpreter multiplies the raw bits of a bfloat16.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["backward", "forward"]

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _operand(x, like_ptr, WIDEN: tl.constexpr):
    """``x`` as an operand of a matrix product: in the inputs' dtype, or float32 for the interpreter."""
    if WIDEN:
        return x.to(tl.float32)
    return x.to(like_ptr.dtype.element_ty)


@triton.jit
def _product(a, b, PRECISION: tl.constexpr):
    return tl.dot(a, b, input_precision=PRECISION, out_dtype=tl.float32)


@triton.jit
def _load(ptr, start, rows, dims, stride_row, ok_rows):
    """Some rows of a matrix that begins at ``start``, zeros beyond its last; ``[rows, dims]``."""
    return tl.load(ptr + start + rows[:, None] * stride_row + dims[None, :], mask=ok_rows[:, None], other=0.0)


@triton.jit
def _values(v, rv, s_v, like_ptr, WIDEN: tl.constexpr):
    """What the weights average: the head's values and the user's share of the relation's; an operand."""
    return _operand(v.to(tl.float32) + rv.to(tl.float32) * s_v, like_ptr, WIDEN)


@triton.jit
def _averaged(out, top, total):
    """Rows of the output and their log-sum-exp from sums of weights; without a real key zeros and +infinity."""
    alive = total > 0
    total = tl.where(alive, total, 1.0)
    return out / total[:, None], tl.where(alive, top + tl.log2(total), float("inf"))


@triton.jit
def _weights(scores, keep, lse):
    """The softmax again, from what the forward kept of it; ``keep`` and ``lse`` along the axes of the scores."""
    return tl.exp2(tl.where(keep, scores - lse, float("-inf")))


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
    rq = _load(rq_ptr, shared, rows, dims, SIZE, ok_rows)  # [ROWS, SIZE]
    rk = _load(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
    s_qk = tl.load(s_qk_ptr + user).to(tl.float32)
    s_v = tl.load(s_v_ptr + user).to(tl.float32)
    keep = tl.load(keep_ptr + user * length + keys, mask=ok_keys, other=0) != 0  # [KEYS]

    factor = scale * LOG2_E
    relation = _product(_operand(rq, rq_ptr, WIDEN), tl.trans(_operand(rk, rq_ptr, WIDEN)), PRECISION)  # [ROWS, KEYS]
    bias = tl.where(keep[None, :], relation * (s_qk * factor), float("-inf"))

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        here_rows = base + rows[:, None] * stride_row + dims[None, :]
        q = _load(q_ptr, base, rows, dims, stride_row, ok_rows)  # [ROWS, SIZE]
        k = _load(k_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        v = _load(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        rv = _load(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # cached; frees registers
        scores = _product(_operand(q, q_ptr, WIDEN), tl.trans(_operand(k, q_ptr, WIDEN)), PRECISION) * factor + bias
        top = tl.max(scores, axis=1)
        top = tl.where(top == float("-inf"), 0.0, top)  # a user without a real key
        weights = tl.exp2(scores - top[:, None])  # [ROWS, KEYS]
        total = tl.sum(weights, axis=1)
        values = _values(v, rv, s_v, q_ptr, WIDEN)
        out, lse = _averaged(_product(_operand(weights, q_ptr, WIDEN), values, PRECISION), top, total)
        tl.store(out_ptr + here_rows, out.to(out_ptr.dtype.element_ty), mask=ok_rows[:, None])
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
    rq = _load(rq_ptr, shared, rows, dims, SIZE, ok_rows)  # [ROWS, SIZE]
    rk = _load(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
    s_qk = tl.load(s_qk_ptr + user).to(tl.float32)
    s_v = tl.load(s_v_ptr + user).to(tl.float32)
    keep = tl.load(keep_ptr + user * length + keys, mask=ok_keys, other=0) != 0  # [KEYS]

    factor = scale * LOG2_E
    relation = _product(_operand(rq, rq_ptr, WIDEN), tl.trans(_operand(rk, rq_ptr, WIDEN)), PRECISION)  # [ROWS, KEYS]
    d_map = tl.zeros([ROWS, KEYS], tl.float32)  # of the relation scores, summed over the heads
    d_shared = tl.zeros([KEYS, SIZE], tl.float32)  # of the relation values, summed over the heads

    for head in tl.range(HEADS):
        base = user * stride_user + head * stride_head
        here_rows = base + rows[:, None] * stride_row + dims[None, :]
        here_keys = base + keys[:, None] * stride_row + dims[None, :]
        q = _load(q_ptr, base, rows, dims, stride_row, ok_rows)  # [ROWS, SIZE]
        k = _load(k_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        v = _load(v_ptr, base, keys, dims, stride_row, ok_keys)  # [KEYS, SIZE]
        rv = _load(rv_ptr, shared, keys, dims, SIZE, ok_keys)  # cached; frees registers
        d_out = _load(d_out_ptr, base, rows, dims, stride_row, ok_rows)  # [ROWS, SIZE]
        at_stats = (user * HEADS + head) * length + rows
        lse = tl.load(lse_ptr + at_stats, mask=ok_rows, other=float("inf"))  # [ROWS]
        q_op = _operand(q, q_ptr, WIDEN)
        k_op = _operand(k, q_ptr, WIDEN)
        d_out_op = _operand(d_out, q_ptr, WIDEN)
        values = _values(v, rv, s_v, q_ptr, WIDEN)
        scores = (_product(q_op, tl.trans(k_op), PRECISION) + relation * s_qk) * factor
        weights = _weights(scores, keep[None, :], lse[:, None])  # [ROWS, KEYS]
        d_weights = _product(d_out_op, tl.trans(values), PRECISION)  # [ROWS, KEYS]
        delta = tl.sum(weights * d_weights, axis=1)  # [ROWS]
        d_scores = weights * (d_weights - delta[:, None]) * scale  # [ROWS, KEYS], of the unscaled scores
        d_map += d_scores
        d_scores_op = _operand(d_scores, q_ptr, WIDEN)
        dq = _product(d_scores_op, k_op, PRECISION)
        tl.store(dq_ptr + here_rows, dq.to(dq_ptr.dtype.element_ty), mask=ok_rows[:, None])
        dk = _product(tl.trans(d_scores_op), q_op, PRECISION)
        dv = _product(tl.trans(_operand(weights, q_ptr, WIDEN)), d_out_op, PRECISION)
        tl.store(dk_ptr + here_keys, dk.to(dk_ptr.dtype.element_ty), mask=ok_keys[:, None])
        tl.store(dv_ptr + here_keys, dv.to(dv_ptr.dtype.element_ty), mask=ok_keys[:, None])
        d_shared += dv

    tl.store(ds_qk_ptr + user, tl.sum(d_map * relation))
    d_map_op = _operand(d_map * s_qk, q_ptr, WIDEN)
    rk = _load(rk_ptr, shared, keys, dims, SIZE, ok_keys)  # [KEYS, SIZE]
    drq = _product(d_map_op, _operand(rk, rk_ptr, WIDEN), PRECISION)
    tl.store(drq_ptr + shared + at_rows, drq.to(drq_ptr.dtype.element_ty), mask=ok_rows[:, None])
    rq = _load(rq_ptr, shared, rows, dims, SIZE, ok_rows)  # [ROWS, SIZE]
    rv = _load(rv_ptr, shared, keys, dims, SIZE, ok_keys).to(tl.float32)  # [KEYS, SIZE]
    drk = _product(tl.trans(d_map_op), _operand(rq, rq_ptr, WIDEN), PRECISION)
    tl.store(drk_ptr + shared + at_keys, drk.to(drk_ptr.dtype.element_ty), mask=ok_keys[:, None])
    tl.store(drv_ptr + shared + at_keys, (d_shared * s_v).to(drv_ptr.dtype.element_ty), mask=ok_keys[:, None])
    tl.store(ds_v_ptr + user, tl.sum(d_shared * rv))
