"""The definition of a beam step, in plain torch: children padded to the widest node, one operation a line."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_kernels.beam_step.values import Beams, Bonus, Forbidden, Level

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
    """See `mmgrec_kernels.beam_step.beam_step_tokens`; computes in the dtype of its inputs."""
    child, exists = _children(beam_node, level)  # [B, W, C]
    log_p = logits.log_softmax(-1)  # over the whole vocabulary
    step = log_p.gather(2, level.token_of(child))
    score = _with_bonus(beam_score.unsqueeze(2) + step, child, bonus)
    return _select(score, child, exists, level, forbidden, num_beams)


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
    """See `mmgrec_kernels.beam_step.beam_step_tree`; computes in the dtype of its inputs."""
    child, exists = _children(beam_node, level)  # [B, W, C]
    logit = torch.einsum("bwd,bwcd->bwc", state, vectors[child]) + bias[child]
    logit = logit.masked_fill(~exists, -torch.inf)
    log_p = logit.log_softmax(-1)  # over the existing children
    score = _with_bonus(beam_score.unsqueeze(2) + log_p, child, bonus)
    return _select(score, child, exists, level, forbidden, num_beams)


def _children(beam_node: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """The children of each beam ``[B, W, C]``, C the most that any has, and which of the places hold one."""
    node = beam_node.clamp(min=0)
    start, end = level.first_child[node].long(), level.first_child[node + 1].long()
    end = torch.where(beam_node >= 0, end, start)  # a dead beam has no children
    width = max(1, int((end - start).max()))
    child = start.unsqueeze(2) + torch.arange(width, device=node.device)
    exists = child < end.unsqueeze(2)
    return torch.where(exists, child, 0), exists


def _with_bonus(score: Tensor, child: Tensor, bonus: Bonus | None) -> Tensor:
    """The scores of the children ``[B, W, C]``, and what is added to each."""
    if bonus is None:
        return score
    return score + bonus.of(child.flatten(1)).view_as(child).to(score.dtype)


def _select(score: Tensor, child: Tensor, exists: Tensor, level: Level, forbidden: Forbidden, num_beams: int) -> Beams:
    """The best ``num_beams`` of the candidates ``[B, W, C]`` of each user."""
    num_users, _, width = score.shape
    possible = exists & ~_is_forbidden(child, level, forbidden)
    score = score.masked_fill(~possible, -torch.inf).flatten(1)
    node = child.masked_fill(~possible, level.num_nodes).flatten(1)
    by_node = node.argsort(dim=1, stable=True)
    by_score = score.gather(1, by_node).argsort(dim=1, descending=True, stable=True)  # ties: the lower node first
    best = by_node.gather(1, by_score)[:, :num_beams]
    score, node, parent = score.gather(1, best), node.gather(1, best), best // width
    missing = num_beams - best.shape[1]
    if missing > 0:
        score = torch.cat([score, score.new_full((num_users, missing), -torch.inf)], 1)
        node = torch.cat([node, node.new_zeros(num_users, missing)], 1)
        parent = torch.cat([parent, parent.new_zeros(num_users, missing)], 1)
    dead = score == -torch.inf
    token = level.token_of(node.masked_fill(dead, 0))
    return Beams(score, parent.masked_fill(dead, 0), token.masked_fill(dead, 0), node.masked_fill(dead, -1))


def _is_forbidden(child: Tensor, level: Level, forbidden: Forbidden) -> Tensor:
    """``[B, W, C]`` bool: True where none of the child's leaves is both allowed and unseen."""
    start, end = level.leaf_start(child), level.leaf_start(child + 1)
    if forbidden.allowed_before is None:
        left = end - start
    else:
        left = (forbidden.allowed_before[end] - forbidden.allowed_before[start]).long()
    if forbidden.seen is not None:
        seen_below = torch.searchsorted(forbidden.seen, start.flatten(1)).view_as(start)
        seen_to_end = torch.searchsorted(forbidden.seen, end.flatten(1)).view_as(end)
        left = left - (seen_to_end - seen_below)
    return left == 0
