"""The public operations: they check their inputs and choose the form that runs."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_kernels.beam_step import reference, sizes, torch_form
from mmgrec_kernels.beam_step.values import Beams, Bonus, Forbidden, Level
from mmgrec_kernels.implementations import Impl, use_triton

__all__ = ["beam_step_tokens", "beam_step_tree"]

_NOTHING = Forbidden()


@torch.no_grad()
def beam_step_tokens(
    logits: Tensor,
    beam_score: Tensor,
    beam_node: Tensor,
    level: Level,
    *,
    num_beams: int,
    forbidden: Forbidden = _NOTHING,
    bonus: Bonus | None = None,
    impl: Impl = "auto",
) -> Beams:
    """One level of beam search with a score for every token of the level.

    ``log p(child) = log_softmax(logits over the whole vocabulary)[token of the child]``; tokens that lead nowhere keep
    their share of the probability, but are never taken. Exclusion comes after: it does not change scores.

    Args:
        logits: ``[B, W, V]``, floating point.
        beam_score: ``[B, W]`` log-probability of each beam.
        beam_node: ``[B, W]`` int64, the parent node at which each beam stands, -1 for a dead beam; live beams of a user
            stand at different nodes.
        level: the level to go down to.
        num_beams: how many to keep, W'.
        forbidden: leaves that may not be reached.
        bonus: what is added to the scores of some children; the softmax does not know it, and `Beams.score` has it:
            for the next level take ``bonus.of(beams.node)`` off again, unless it is to last.
        impl: ``"auto"``, ``"triton"`` or ``"reference"``; only ``"auto"`` may choose.

    Returns:
        `Beams` ``[B, W']``, best first, score in float32 (``"reference"``: in the inputs' dtype).

    Raises:
        ValueError: if shapes or devices do not fit together.
    """
    if logits.ndim != 3 or logits.shape[:2] != beam_node.shape:
        raise ValueError(f"logits [B, W, V] for beams {tuple(beam_node.shape)} expected, got {tuple(logits.shape)}")
    _check(beam_score, beam_node, num_beams, forbidden, bonus)
    if impl == "reference":
        return reference.beam_step_tokens(logits, beam_score, beam_node, level, forbidden, bonus, num_beams)
    if use_triton(impl, logits.device, unsupported=_unsupported(logits, beam_node, num_beams)):
        from mmgrec_kernels.beam_step import triton_op  # late: triton is heavy, and not on every machine

        return triton_op.beam_step_tokens(logits, beam_score, beam_node, level, forbidden, bonus, num_beams)
    return torch_form.beam_step_tokens(logits, beam_score, beam_node, level, forbidden, bonus, num_beams)


@torch.no_grad()
def beam_step_tree(
    state: Tensor,
    vectors: Tensor,
    bias: Tensor,
    beam_score: Tensor,
    beam_node: Tensor,
    level: Level,
    *,
    num_beams: int,
    forbidden: Forbidden = _NOTHING,
    bonus: Bonus | None = None,
    impl: Impl = "auto",
) -> Beams:
    """One level of beam search with a vector for every node of the level.

    Child v of a beam has the logit ``state . vectors[v] + bias[v]``; the log-softmax is over the beam's existing
    children, so that an only child costs nothing. Exclusion comes after: it does not change scores.

    Args:
        state: ``[B, W, D]``, floating point.
        vectors: ``[num_nodes, D]`` of the level to go down to.
        bias: ``[num_nodes]``.
        beam_score: ``[B, W]`` log-probability of each beam.
        beam_node: ``[B, W]`` int64, the parent node at which each beam stands, -1 for a dead beam; live beams of a user
            stand at different nodes.
        level: the level to go down to.
        num_beams: how many to keep, W'.
        forbidden: leaves that may not be reached.
        bonus: what is added to the scores of some children; the softmax does not know it, and `Beams.score` has it:
            for the next level take ``bonus.of(beams.node)`` off again, unless it is to last.
        impl: ``"auto"``, ``"triton"`` or ``"reference"``; only ``"auto"`` may choose.

    Returns:
        `Beams` ``[B, W']``, best first, score in float32 (``"reference"``: in the inputs' dtype).

    Raises:
        ValueError: if shapes or devices do not fit together.
    """
    if state.ndim != 3 or state.shape[:2] != beam_node.shape:
        raise ValueError(f"state [B, W, D] for beams {tuple(beam_node.shape)} expected, got {tuple(state.shape)}")
    if vectors.shape != (level.num_nodes, state.shape[2]) or bias.shape != (level.num_nodes,):
        raise ValueError(
            f"vectors [{level.num_nodes}, {state.shape[2]}] and bias [{level.num_nodes}] expected, "
            f"got {tuple(vectors.shape)} and {tuple(bias.shape)}"
        )
    _check(beam_score, beam_node, num_beams, forbidden, bonus)
    if impl == "reference":
        return reference.beam_step_tree(state, vectors, bias, beam_score, beam_node, level, forbidden, bonus, num_beams)
    if use_triton(impl, state.device, unsupported=_unsupported(state, beam_node, num_beams)):
        from mmgrec_kernels.beam_step import triton_op  # late: triton is heavy, and not on every machine

        return triton_op.beam_step_tree(state, vectors, bias, beam_score, beam_node, level, forbidden, bonus, num_beams)
    return torch_form.beam_step_tree(state, vectors, bias, beam_score, beam_node, level, forbidden, bonus, num_beams)


def _unsupported(numbers: Tensor, beam_node: Tensor, num_beams: int) -> str:
    if numbers.numel() == 0:
        return f"there is nothing to score in {list(numbers.shape)}"
    return sizes.unsupported(num_beams=num_beams, num_parents=beam_node.shape[1], dtype=numbers.dtype)


def _check(beam_score: Tensor, beam_node: Tensor, num_beams: int, forbidden: Forbidden, bonus: Bonus | None) -> None:
    if beam_node.ndim != 2 or beam_score.shape != beam_node.shape:
        raise ValueError(
            f"beam_score and beam_node must be [B, W] alike, got {tuple(beam_score.shape)} and {tuple(beam_node.shape)}"
        )
    if num_beams < 1:
        raise ValueError(f"num_beams must be positive, got {num_beams}")
    if forbidden.seen is not None and (forbidden.seen.ndim != 2 or forbidden.seen.shape[0] != beam_node.shape[0]):
        raise ValueError(
            f"seen [{beam_node.shape[0]}, S] leaves expected, got {tuple(forbidden.seen.shape)}: one row for each user"
        )
    if bonus is not None and (bonus.node.ndim != 2 or bonus.node.shape[0] != beam_node.shape[0]):
        raise ValueError(
            f"bonus.node [{beam_node.shape[0]}, S] expected, got {tuple(bonus.node.shape)}: one row for each user"
        )
    if bonus is not None and bonus.value.shape != bonus.node.shape:
        raise ValueError(
            f"bonus.value {tuple(bonus.node.shape)} expected, got {tuple(bonus.value.shape)}: one for each bonus.node"
        )
