"""Triton kernels of the beam step, for both heads: what `triton_op` launches.

`expand` gives each beam a program: it walks the beam's children block by block, however many there are, and keeps the
best of them. `choose` gives each user a program: it merges what the beams kept. A beam's keys are written right after
those of the beams before it, so that beams with few children cost little; no shape depends on the data.

A candidate is one 64-bit key, its score above its node: the largest key is the best score and, among equal scores, the
lowest node. Keys of a beam are made of plain logits; the softmax's normaliser is added when the walk is over.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"
from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["choose", "expand"]

NOTHING = tl.constexpr(-(2**63))  # the key of no candidate
LOW = tl.constexpr(0x7FFFFFFF)


@triton.jit
def _pack(score, node):
    """The key of a score and a node, int64."""
    bits = tl.where(score == 0.0, 0.0, score).to(tl.int32, bitcast=True)  # there is only one zero
    ordered = tl.where(bits < 0, bits ^ LOW, bits)  # floats order as sign and magnitude, integers do not
    return (ordered.to(tl.int64) << 32) | (node ^ LOW).to(tl.int64)


@triton.jit
def _unpack(key):
    """Score and node of a key."""
    ordered = (key >> 32).to(tl.int32)
    score = tl.where(ordered < 0, ordered ^ LOW, ordered).to(tl.float32, bitcast=True)
    return score, (key & LOW).to(tl.int32) ^ LOW


@triton.jit
def _settle(x, N: tl.constexpr, LOG: tl.constexpr, RUN: tl.constexpr, ASCENDING: tl.constexpr):
    """Sorts bitonic runs of ``1 << LOG``: descending where the index has no bit ``RUN``, ascending where it has."""
    index = tl.arange(0, N)
    falls = ((index & RUN) != 0) == ASCENDING
    for step in tl.static_range(LOG):
        other = tl.gather(x, index ^ (1 << (LOG - 1 - step)), 0)
        wants_larger = ((index & (1 << (LOG - 1 - step))) == 0) == falls
        x = tl.where((other > x) == wants_larger, other, x)
    return x


@triton.jit
def _top(x, N: tl.constexpr, LOG_N: tl.constexpr, LOG_KEEP: tl.constexpr):
    """The ``KEEP`` largest of ``N``, ascending: bitonic sort of runs of ``KEEP``, then the better half of two runs."""
    KEEP: tl.constexpr = 1 << LOG_KEEP
    for stage in tl.static_range(1, LOG_KEEP + 1):
        x = _settle(x, N, stage, 1 << stage, stage == LOG_N)
    for halving in tl.static_range(1, LOG_N - LOG_KEEP + 1):
        x = tl.reshape(tl.max(tl.reshape(x, [N >> halving >> LOG_KEEP, 2, KEEP]), axis=1), [N >> halving])
        x = _settle(x, N >> halving, LOG_KEEP, KEEP, halving == LOG_N - LOG_KEEP)
    return x


@triton.jit
def _merge(best, keys, N: tl.constexpr, LOG_N: tl.constexpr, LOG_KEEP: tl.constexpr):
    """The ``KEEP`` largest of ``best``, which is descending, and of ``N`` keys; descending."""
    best = tl.maximum(best, _top(keys, N, LOG_N, LOG_KEEP))  # bitonic, and holds the best of both
    return _settle(best, 1 << LOG_KEEP, LOG_KEEP, 1 << LOG_KEEP, False)


@triton.jit
def _below(ascending_ptr, count, bound, STEPS: tl.constexpr):
    """How many of ``count`` ascending numbers lie below each bound: a binary search."""
    low = tl.zeros_like(bound)
    high = low + count
    for _ in tl.static_range(STEPS):
        open = low < high
        middle = (low + high) // 2
        less = tl.load(ascending_ptr + middle, mask=open, other=0) < bound
        low = tl.where(open & less, middle + 1, low)
        high = tl.where(open & (less == 0), middle, high)
    return low


@triton.jit
def _possible(
    child, leaf, ok, first_leaf_ptr, before_ptr, seen_ptr, num_seen,
    LAST: tl.constexpr, HAS_BEFORE: tl.constexpr, HAS_SEEN: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """Whether a leaf under each child is both allowed and unseen."""
    if LAST:
        end = child + 1
    else:
        end = tl.load(first_leaf_ptr + child + 1, mask=ok, other=0)
    if HAS_BEFORE:
        left = tl.load(before_ptr + end, mask=ok, other=0) - tl.load(before_ptr + leaf, mask=ok, other=0)
    else:
        left = end - leaf
    if HAS_SEEN:
        left -= _below(seen_ptr, num_seen, end, STEPS) - _below(seen_ptr, num_seen, leaf, STEPS)
    return ok & (left > 0)


@triton.jit
def _bonus(child, touched_ptr, value_ptr, num_touched, STEPS: tl.constexpr):
    """What is added to the score of each child, by the user's ascending nodes and their values; to most nothing is."""
    at = _below(touched_ptr, num_touched, child, STEPS)
    there = tl.load(touched_ptr + at, mask=at < num_touched, other=-1) == child
    return tl.load(value_ptr + at, mask=there, other=0.0)


@triton.jit
def _children(node_ptr, first_child_ptr, beams, ok_beams):
    """First child and end of the children of some beams; a dead beam has none."""
    node = tl.load(node_ptr + beams, mask=ok_beams, other=-1)
    live = node >= 0
    start = tl.load(first_child_ptr + node, mask=live, other=0)
    return start, tl.load(first_child_ptr + node + 1, mask=live, other=0)


@triton.jit
def expand(
    numbers_ptr,
    vectors_ptr,
    bias_ptr,
    score_ptr,
    node_ptr,
    first_child_ptr,
    first_leaf_ptr,
    token_ptr,
    before_ptr,
    seen_ptr,
    touched_ptr,
    value_ptr,
    keys_ptr,
    num_parents,
    width,
    num_seen,
    num_touched,
    TREE: tl.constexpr,
    LAST: tl.constexpr,
    HAS_BEFORE: tl.constexpr,
    HAS_SEEN: tl.constexpr,
    HAS_BONUS: tl.constexpr,
    STEPS: tl.constexpr,
    BONUS_STEPS: tl.constexpr,
    PARENTS: tl.constexpr,
    LOG_KEEP: tl.constexpr,
    LOG_BLOCK: tl.constexpr,
    DIM: tl.constexpr,
):
    """The best ``KEEP`` children of one beam, as keys.

    ``numbers`` are the logits ``[B, W, width]`` of all tokens or, with ``TREE``, the states ``[B, W, width]``.
    """
    KEEP: tl.constexpr = 1 << LOG_KEEP
    BLOCK: tl.constexpr = 1 << LOG_BLOCK
    beam = tl.program_id(0).to(tl.int64)
    user = beam // num_parents
    others = tl.arange(0, PARENTS)  # the user's beams: those before this one decide where it writes
    starts, ends = _children(node_ptr + user * num_parents, first_child_ptr, others, others < num_parents)
    before_me = others < beam - user * num_parents
    offset = tl.sum(tl.where(before_me, tl.minimum(ends - starts, KEEP), 0), axis=0)
    start, end = _children(node_ptr, first_child_ptr, beam, True)

    highest = tl.full([], float("-inf"), tl.float32)  # of the logits that the softmax is over
    total = tl.full([], 0.0, tl.float32)
    dims = tl.arange(0, DIM)
    if not TREE:
        at = 0
        while at < width:
            ok = at + dims < width
            logits = tl.load(numbers_ptr + beam * width + at + dims, mask=ok, other=float("-inf")).to(tl.float32)
            higher = tl.maximum(highest, tl.max(logits, axis=0))
            shift = tl.where(higher == float("-inf"), 0.0, higher)
            total = total * tl.exp(highest - shift) + tl.sum(tl.exp(logits - shift), axis=0)
            highest = higher
            at += DIM

    best = tl.full([KEEP], NOTHING, tl.int64)
    at = start
    while at < end:
        child = at + tl.arange(0, BLOCK)
        ok = child < end
        if LAST:
            leaf = child
        else:
            leaf = tl.load(first_leaf_ptr + child, mask=ok, other=0)
        if TREE:
            logit = tl.load(bias_ptr + child, mask=ok, other=0.0).to(tl.float32)  # [BLOCK]
            block_ptr = vectors_ptr + at.to(tl.int64) * width
            from_dim = 0
            while from_dim < width:
                ok_dims = from_dim + dims < width
                state = tl.load(numbers_ptr + beam * width + from_dim + dims, mask=ok_dims, other=0.0).to(tl.float32)
                vectors = tl.load(
                    block_ptr + tl.arange(0, BLOCK)[:, None] * width + (from_dim + dims)[None, :],
                    mask=ok[:, None] & ok_dims[None, :],
                    other=0.0,
                ).to(tl.float32)  # [BLOCK, DIM]
                logit += tl.sum(vectors * state[None, :], axis=1)
                from_dim += DIM
            logit = tl.where(ok, logit, float("-inf"))
            higher = tl.maximum(highest, tl.max(logit, axis=0))
            shift = tl.where(higher == float("-inf"), 0.0, higher)
            total = total * tl.exp(highest - shift) + tl.sum(tl.exp(logit - shift), axis=0)
            highest = higher
        else:
            token = tl.load(token_ptr + leaf, mask=ok, other=0).to(tl.int32)
            logit = tl.load(numbers_ptr + beam * width + token, mask=ok, other=float("-inf")).to(tl.float32)
        possible = _possible(
            child, leaf, ok, first_leaf_ptr, before_ptr, seen_ptr + user * num_seen, num_seen,
            LAST, HAS_BEFORE, HAS_SEEN, STEPS,
        )  # fmt: skip
        if HAS_BONUS:  # the softmax does not know it
            row = user * num_touched
            logit += _bonus(child, touched_ptr + row, value_ptr + row, num_touched, BONUS_STEPS)
        keys = tl.where(possible & (logit != float("-inf")), _pack(logit, child), NOTHING)
        best = _merge(best, keys, BLOCK, LOG_BLOCK, LOG_KEEP)
        at += BLOCK

    # log p = logit - highest - log(total): of an only child in the tree exactly 0
    logit, child = _unpack(best)
    total = tl.where(total > 0, total, 1.0)  # a beam without children
    score = (logit - highest) - tl.log(total) + tl.load(score_ptr + beam)
    best = tl.where((best == NOTHING) | (score == float("-inf")), NOTHING, _pack(score, child))
    ranks = tl.arange(0, KEEP)
    mine = keys_ptr + user * num_parents * KEEP + offset + ranks
    tl.store(mine, best, mask=ranks < tl.minimum(end - start, KEEP))


@triton.jit
def choose(
    keys_ptr,
    node_ptr,
    first_child_ptr,
    first_leaf_ptr,
    token_ptr,
    out_score_ptr,
    out_parent_ptr,
    out_token_ptr,
    out_node_ptr,
    num_parents,
    num_beams,
    LAST: tl.constexpr,
    PARENTS: tl.constexpr,
    LOG_KEEP: tl.constexpr,
    LOG_CHUNK: tl.constexpr,
):
    """The best ``num_beams`` of what a user's beams kept."""
    KEEP: tl.constexpr = 1 << LOG_KEEP
    CHUNK: tl.constexpr = 1 << LOG_CHUNK
    user = tl.program_id(0).to(tl.int64)
    beams = tl.arange(0, PARENTS)
    starts, ends = _children(node_ptr + user * num_parents, first_child_ptr, beams, beams < num_parents)
    num_keys = tl.sum(tl.minimum(ends - starts, KEEP), axis=0)
    best = tl.full([KEEP], NOTHING, tl.int64)
    at = 0
    while at < num_keys:
        rows = at + tl.arange(0, CHUNK)
        keys = tl.load(keys_ptr + user * num_parents * KEEP + rows, mask=rows < num_keys, other=NOTHING)
        best = _merge(best, keys, CHUNK, LOG_CHUNK, LOG_KEEP)
        at += CHUNK

    score, node = _unpack(best)
    live = best != NOTHING
    parent = tl.zeros([KEEP], tl.int32)
    for first in tl.range(0, PARENTS, 16):  # whose children is it among?
        some = first + tl.arange(0, 16)
        low, high = _children(node_ptr + user * num_parents, first_child_ptr, some, some < num_parents)
        inside = (low[None, :] <= node[:, None]) & (node[:, None] < high[None, :])  # [KEEP, 16]
        parent += tl.sum(tl.where(inside, some[None, :], 0), axis=1)
    if LAST:
        leaf = node
    else:
        leaf = tl.load(first_leaf_ptr + node, mask=live, other=0)
    token = tl.load(token_ptr + leaf, mask=live, other=0)

    ranks = tl.arange(0, KEEP)
    ok = ranks < num_beams
    out = user * num_beams + ranks
    tl.store(out_score_ptr + out, tl.where(live, score, float("-inf")), mask=ok)
    tl.store(out_parent_ptr + out, tl.where(live, parent, 0).to(tl.int64), mask=ok)
    tl.store(out_token_ptr + out, token.to(tl.int64), mask=ok)
    tl.store(out_node_ptr + out, tl.where(live, node, -1).to(tl.int64), mask=ok)
