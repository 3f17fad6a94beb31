"""Pieces of the attention kernels that both ways share: loads, stores, products, and the softmax forth and back.

Read this first, then `triton_kernels` (a program holds a whole user) or `triton_blocked` (keys or rows pass in blocks).
Scores are in base 2 (``exp2``).

``WIDEN`` multiplies in float32 whatever the inputs' dtype: the interpreter multiplies the raw bits of a bfloat16.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "LOG2_E",
    "attended_values",
    "averaged",
    "gains",
    "load_operand",
    "load_rows",
    "operand",
    "product",
    "real_keys",
    "row_sums",
    "score_gradients",
    "softmax_again",
    "store_rows",
    "weights_again",
]

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def operand(x, like_ptr, WIDEN: tl.constexpr):
    """``x`` as an operand of a matrix product: in the inputs' dtype, or float32 for the interpreter."""
    if WIDEN:
        return x.to(tl.float32)
    return x.to(like_ptr.dtype.element_ty)


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """``a @ b`` in float32."""
    return tl.dot(a, b, input_precision=PRECISION, out_dtype=tl.float32)


@triton.jit
def load_rows(ptr, start, rows, dims, stride_row, ok_rows):
    """Some rows of a matrix that begins at ``start``, zeros beyond its last; ``[rows, dims]``."""
    return tl.load(ptr + start + rows[:, None] * stride_row + dims[None, :], mask=ok_rows[:, None], other=0.0)


@triton.jit
def load_operand(ptr, start, rows, dims, stride_row, ok_rows, like_ptr, WIDEN: tl.constexpr):
    """`load_rows` as an operand of a matrix product."""
    return operand(load_rows(ptr, start, rows, dims, stride_row, ok_rows), like_ptr, WIDEN)


@triton.jit
def store_rows(ptr, at, x, ok_rows):
    """Writes ``x [rows, dims]`` to the places ``at``, in the dtype that is stored there."""
    tl.store(ptr + at, x.to(ptr.dtype.element_ty), mask=ok_rows[:, None])


@triton.jit
def gains(s_qk_ptr, s_v_ptr, user):
    """The user's gains of the relation's scores and of its values."""
    return tl.load(s_qk_ptr + user).to(tl.float32), tl.load(s_v_ptr + user).to(tl.float32)


@triton.jit
def real_keys(keep_ptr, user, length, keys, ok_keys):
    """Which keys are real items of the user; none beyond the history's last. ``[keys]``"""
    return tl.load(keep_ptr + user * length + keys, mask=ok_keys, other=0) != 0


@triton.jit
def row_sums(lse_ptr, delta_ptr, at, ok_rows):
    """Of some rows the log-sum-exp, infinite beyond the last, and the sum of weight times its gradient, zero there."""
    lse = tl.load(lse_ptr + at, mask=ok_rows, other=float("inf"))
    return lse, tl.load(delta_ptr + at, mask=ok_rows, other=0.0)


@triton.jit
def attended_values(v, rv, s_v, like_ptr, WIDEN: tl.constexpr):
    """What the weights average: the head's values and the user's share of the relation's; an operand."""
    return operand(v.to(tl.float32) + rv.to(tl.float32) * s_v, like_ptr, WIDEN)


@triton.jit
def averaged(out, top, total):
    """Rows of the output and their log-sum-exp from sums of weights; without a real key zeros and +infinity."""
    alive = total > 0
    total = tl.where(alive, total, 1.0)
    return out / total[:, None], tl.where(alive, top + tl.log2(total), float("inf"))


@triton.jit
def softmax_again(scores, keep, lse):
    """The softmax again, from what the forward kept of it; ``keep`` and ``lse`` along the axes of the scores."""
    return tl.exp2(tl.where(keep, scores - lse, float("-inf")))


@triton.jit
def weights_again(a, b, relation_a, relation_b, s_qk, factor, keep, lse, PRECISION: tl.constexpr):
    """The weights of a block again: ``a`` and ``b`` are queries and keys, or keys and queries for the map transposed.

    Args:
        a, b: Operands ``[M, SIZE]`` and ``[N, SIZE]``.
        relation_a, relation_b: The relation's, likewise.
        s_qk: The gain of the relation.
        factor: Of the scores, base 2 included.
        keep: Real keys, ``[M, 1]`` or ``[1, N]``.
        lse: Log-sum-exp of the rows, along the other axis.

    Returns:
        ``[M, N]`` float32.
    """
    relation = product(relation_a, tl.trans(relation_b), PRECISION)
    scores = (product(a, tl.trans(b), PRECISION) + relation * s_qk) * factor
    return softmax_again(scores, keep, lse)


@triton.jit
def score_gradients(a, b, weights, delta, scale, like_ptr, PRECISION: tl.constexpr, WIDEN: tl.constexpr):
    """Gradients of a block of unscaled scores ``[M, N]``, an operand.

    ``a`` and ``b`` are the gradients of the output and the values, or the other way for the map transposed; ``delta``
    is each row's sum of weight times its gradient.
    """
    d_weights = product(a, tl.trans(b), PRECISION)
    return operand(weights * (d_weights - delta) * scale, like_ptr, WIDEN)
