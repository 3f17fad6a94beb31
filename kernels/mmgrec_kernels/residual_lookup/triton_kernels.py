"""Triton kernel of the residual look-up: all levels of a block of vectors in one program.

Each level is screened by matrix products of centred vectors and codewords, ``|c|^2 / 2 - r.c`` (below 16 dimensions by
plain multiply-adds), of which the three best scores are kept. Where the best two are nearer than the product's error
bound, float64 distances of the two decide; where the third is near as well, the block scans the whole level in float64.
The result is exact, and no scores ever reach memory.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["lookup"]

NONE = tl.constexpr(2147483647)


@triton.jit
def _smallest(scores, codes):
    """Smallest score of each row, its (lowest) code, and where it stands."""
    best = tl.min(scores, axis=1)
    code = tl.min(tl.where(scores == best[:, None], codes, NONE), axis=1)
    return best, code, codes == code[:, None]


@triton.jit
def _distance(rest, codeword):
    apart = rest.to(tl.float64) - codeword.to(tl.float64)
    return tl.sum(apart * apart, axis=1)


@triton.jit
def lookup(
    z_ptr,
    words_ptr,
    centred_ptr,
    half_norms_ptr,
    means_ptr,
    radii_ptr,
    counts_ptr,
    tokens_ptr,
    residuals_ptr,
    quantized_ptr,
    num_vectors,
    dim,
    unit,
    LEVELS: tl.constexpr,
    CODES: tl.constexpr,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    USE_DOT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Tokens, residuals and quantized vectors of ``ROWS`` vectors.

    Codebooks are padded to ``CODES`` codewords (half norms infinite) and ``DIM`` dimensions (zeros).
    """
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    dims = tl.arange(0, DIM)
    ok_rows = rows < num_vectors
    ok = ok_rows[:, None] & (dims < dim)[None, :]
    at = rows[:, None] * dim + dims[None, :]
    rest = tl.load(z_ptr + at, mask=ok, other=0.0).to(tl.float32)  # [ROWS, DIM]
    total = tl.zeros([ROWS, DIM], tl.float32)

    for level in tl.range(LEVELS):
        mean = tl.load(means_ptr + level * DIM + dims)  # [DIM]
        radius = tl.load(radii_ptr + level)
        count = tl.load(counts_ptr + level)
        centred = rest - mean[None, :]
        norm = tl.sqrt(tl.sum(centred * centred, axis=1))  # [ROWS]
        bound = unit * (norm + radius) * radius + 1e-37
        # Each column keeps the three best of the codewords that pass through it, ascending, and the best two's codes
        first = tl.full([ROWS, BLOCK], float("inf"), tl.float32)
        second = first
        third = first
        code_1 = tl.full([ROWS, BLOCK], NONE, tl.int32)
        code_2 = code_1

        for start in tl.range(0, CODES, BLOCK):
            codes = start + tl.arange(0, BLOCK)
            at_codes = level * CODES + codes
            scores = tl.load(half_norms_ptr + at_codes)[None, :]  # [1, BLOCK]
            if USE_DOT:
                words = tl.load(centred_ptr + at_codes[:, None] * DIM + dims[None, :])  # [BLOCK, DIM]
                scores = scores - tl.dot(centred, tl.trans(words), input_precision=PRECISION, out_dtype=tl.float32)
            else:
                for axis in tl.static_range(DIM):
                    column = tl.sum(tl.where(dims[None, :] == axis, centred, 0.0), axis=1)  # [ROWS]
                    scores = scores - column[:, None] * tl.load(centred_ptr + at_codes * DIM + axis)[None, :]
            best = scores < first  # [ROWS, BLOCK]; what ties keeps the lower code, which came before
            better = scores < second
            third = tl.minimum(third, tl.maximum(second, scores))
            code_2 = tl.where(best, code_1, tl.where(better, codes[None, :], code_2))
            second = tl.minimum(second, tl.maximum(first, scores))
            code_1 = tl.where(best, codes[None, :], code_1)
            first = tl.minimum(first, scores)

        # The three best of all columns: where the best stood, its column's next one moves up
        nearest, code, taken = _smallest(first, code_1)
        first = tl.where(taken, second, first)
        code_1 = tl.where(taken, code_2, code_1)
        second = tl.where(taken, third, second)
        next_one, runner, taken = _smallest(first, code_1)
        third_one = tl.min(tl.where(taken, second, first), axis=1)

        code = tl.minimum(code, count - 1)  # vectors that are not finite
        runner = tl.minimum(runner, count - 1)
        near = ok_rows & ((next_one - nearest > bound) == 0)  # a comparison with NaN is false
        if tl.max(near.to(tl.int32), axis=0) > 0:
            mine = tl.load(words_ptr + (level * CODES + code)[:, None] * DIM + dims[None, :])
            theirs = tl.load(words_ptr + (level * CODES + runner)[:, None] * DIM + dims[None, :])
            d_mine = _distance(rest, mine)
            d_theirs = _distance(rest, theirs)
            swaps = near & ((d_theirs < d_mine) | ((d_theirs == d_mine) & (runner < code)))
            code = tl.where(swaps, runner, code)
        crowded = ok_rows & ((third_one - nearest > bound) == 0) & (count > 2)
        if tl.max(crowded.to(tl.int32), axis=0) > 0:
            least = tl.full([ROWS], float("inf"), tl.float64)
            exact = tl.zeros([ROWS], tl.int32)
            for candidate in tl.range(CODES):
                word = tl.load(words_ptr + (level * CODES + candidate) * DIM + dims)  # [DIM]
                away = _distance(rest, word[None, :])
                closer = (away < least) & (candidate < count)
                least = tl.where(closer, away, least)
                exact = tl.where(closer, candidate, exact)
            code = tl.where(crowded, exact, code)

        chosen = tl.load(words_ptr + (level * CODES + code)[:, None] * DIM + dims[None, :])  # [ROWS, DIM]
        rest = rest - chosen
        total = total + chosen
        tl.store(tokens_ptr + rows * LEVELS + level, code.to(tl.int64), mask=ok_rows)

    tl.store(residuals_ptr + at, rest.to(residuals_ptr.dtype.element_ty), mask=ok)
    tl.store(quantized_ptr + at, total.to(quantized_ptr.dtype.element_ty), mask=ok)
