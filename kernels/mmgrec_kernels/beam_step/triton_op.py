"""The beam step on the Triton kernels: two launches, static shapes, no host synchronisation, fit for CUDA graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_kernels.beam_step import triton_kernels as kernels
from mmgrec_kernels.beam_step.sizes import plan
from mmgrec_kernels.beam_step.values import Beams, Bonus, Forbidden, Level
from mmgrec_kernels.chips import capability

__all__ = ["beam_step_tokens", "beam_step_tree"]


def beam_step_tokens(
    logits: Tensor,
    beam_score: Tensor,
    beam_node: Tensor,
    level: Level,
    forbidden: Forbidden,
    bonus: Bonus | None,
    num_beams: int,
) -> Beams:
    """See `mmgrec_kernels.beam_step.beam_step_tokens`; computes in float32."""
    return _launch(logits, None, None, beam_score, beam_node, level, forbidden, bonus, num_beams)


def beam_step_tree(
    state: Tensor,
    vectors: Tensor,
    bias: Tensor,
    beam_score: Tensor,
    beam_node: Tensor,
    level: Level,
    forbidden: Forbidden,
    bonus: Bonus | None,
    num_beams: int,
) -> Beams:
    """See `mmgrec_kernels.beam_step.beam_step_tree`; computes in float32."""
    return _launch(state, vectors, bias, beam_score, beam_node, level, forbidden, bonus, num_beams)


def _launch(
    numbers: Tensor,
    vectors: Tensor | None,
    bias: Tensor | None,
    beam_score: Tensor,
    beam_node: Tensor,
    level: Level,
    forbidden: Forbidden,
    bonus: Bonus | None,
    num_beams: int,
) -> Beams:
    """Both kernels, one after the other; without vectors and bias it is head `tokens`."""
    num_users, num_parents, width = numbers.shape
    seen, before = forbidden.seen, forbidden.allowed_before
    num_seen = 0 if seen is None else seen.shape[1]
    num_touched = 0 if bonus is None else bonus.node.shape[1]
    chosen = plan(
        num_beams=num_beams,
        num_parents=num_parents,
        width=width,
        num_seen=num_seen,
        num_touched=num_touched,
        tree=vectors is not None,
        chip=capability(numbers.device),
    )
    numbers, beam_node = numbers.contiguous(), beam_node.contiguous()
    first_child = level.first_child.contiguous()
    first_leaf = None if level.first_leaf is None else level.first_leaf.contiguous()
    token = level.token.contiguous()
    shared = {
        "LAST": first_leaf is None,
        "PARENTS": chosen.parents,
        "LOG_KEEP": chosen.log_keep,
    }
    # A pointer that is not read still has to be one: the keys stand in for it
    keys = beam_node.new_empty(num_users, num_parents * chosen.keep)
    kernels.expand[(num_users * num_parents,)](
        numbers,
        keys if vectors is None else vectors.contiguous(),
        keys if bias is None else bias.contiguous(),
        beam_score.float().contiguous(),
        beam_node,
        first_child,
        keys if first_leaf is None else first_leaf,
        token,
        keys if before is None else before.contiguous(),
        keys if seen is None or num_seen == 0 else seen.contiguous(),
        keys if bonus is None or num_touched == 0 else bonus.node.contiguous(),
        keys if bonus is None or num_touched == 0 else bonus.value.contiguous(),
        keys,
        num_parents,
        width,
        num_seen,
        num_touched,
        TREE=vectors is not None,
        HAS_BEFORE=before is not None,
        HAS_SEEN=num_seen > 0,
        HAS_BONUS=num_touched > 0,
        STEPS=chosen.steps,
        BONUS_STEPS=chosen.bonus_steps,
        LOG_BLOCK=chosen.log_block,
        DIM=chosen.dim,
        num_warps=chosen.warps,
        num_stages=1,
        **shared,
    )
    score = torch.empty(num_users, num_beams, device=numbers.device)
    parent, out_token, node = (beam_node.new_empty(num_users, num_beams) for _ in range(3))
    kernels.choose[(num_users,)](
        keys,
        beam_node,
        first_child,
        keys if first_leaf is None else first_leaf,
        token,
        score,
        parent,
        out_token,
        node,
        num_parents,
        num_beams,
        LOG_CHUNK=chosen.log_chunk,
        num_warps=chosen.choose_warps,
        num_stages=1,
        **shared,
    )
    return Beams(score, parent, out_token, node)
