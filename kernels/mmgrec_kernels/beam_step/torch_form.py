"""The beam step that CPUs use: work proportional to the existing children, whatever the width of the widest node.

Candidates of all beams lie side by side in one ragged array, and few passes are made over it. Three things save most:
dot products with existing children only are a matrix product sampled at a sparsity pattern; what is known of a user's
leaves or nodes (seen, a bonus) is looked up once for each beam, whose children are an interval, not for each candidate;
ties are looked at only where they change the outcome.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mmgrec_kernels.beam_step.values import Beams, Bonus, Forbidden, Level
from mmgrec_kernels.csr import sampled_products

__all__ = ["beam_step_tokens", "beam_step_tree"]

_LARGEST = 2**31 - 1


class _Candidates(NamedTuple):
    """The children of all beams, side by side; beams count through all users, N = B * W."""

    child: Tensor  # [M] int64
    row: Tensor  # [M] int64: the beam that each belongs to, ascending
    num_children: Tensor  # [N] int64: of each beam
    offset: Tensor  # [N + 1] int64: where each beam's children begin
    start: Tensor  # [N] int64: the first child of each beam


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
    candidates = _children(beam_node, level)
    logits = logits.float()
    offset = (beam_score.float() - logits.logsumexp(-1)).flatten()  # softmax is over the whole vocabulary
    index = candidates.row * logits.shape[2]
    index += level.token_of(candidates.child)
    score = logits.reshape(-1).index_select(0, index)
    score += offset.index_select(0, candidates.row)
    return _select(score, candidates, beam_node, level, forbidden, bonus, num_beams)


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
    candidates = _children(beam_node, level)
    if candidates.child.numel() == 0:
        return _no_beams(beam_node, num_beams)
    score = sampled_products(candidates.offset, candidates.child, state.flatten(0, 1).float(), vectors.float())
    score += bias.float().index_select(0, candidates.child)
    highest = torch.segment_reduce(score, "max", lengths=candidates.num_children)  # -inf for a beam without children
    score -= highest.index_select(0, candidates.row)
    total = torch.segment_reduce(score.exp(), "sum", lengths=candidates.num_children, initial=0)
    # Of an only child the score is now 0 and so is the logarithm: it costs exactly nothing
    score += (beam_score.float().flatten() - total.log()).index_select(0, candidates.row)
    return _select(score, candidates, beam_node, level, forbidden, bonus, num_beams)


def _children(beam_node: Tensor, level: Level) -> _Candidates:
    node = beam_node.flatten()
    at = node.clamp(min=0)
    start = level.first_child.index_select(0, at).long()
    end = level.first_child.index_select(0, at + 1).long()
    num_children = (end - start).masked_fill(node < 0, 0)
    offset = torch.cat([num_children.new_zeros(1), num_children.cumsum(0)])
    row = torch.arange(node.numel(), device=node.device).repeat_interleave(num_children)
    child = torch.arange(row.numel(), device=node.device)
    child += (start - offset[:-1]).index_select(0, row)
    return _Candidates(child, row, num_children, offset, start)


def _select(
    score: Tensor,
    candidates: _Candidates,
    beam_node: Tensor,
    level: Level,
    forbidden: Forbidden,
    bonus: Bonus | None,
    num_beams: int,
) -> Beams:
    """The best ``num_beams`` of the candidates of each user, by their scores ``[M]``."""
    num_parents = beam_node.shape[1]
    if score.numel() == 0:
        return _no_beams(beam_node, num_beams)
    if bonus is not None and bonus.node.numel():
        place, value = _places_of_bonus(candidates, bonus)
        more = score.index_select(0, place) + value
        score.scatter_(0, place, more)  # where a node stands twice, the same is written twice
    if forbidden.allowed_before is not None:
        score.masked_fill_(_allowed_leaves(candidates.child, level, forbidden.allowed_before) == 0, -torch.inf)
    if forbidden.seen is not None and forbidden.seen.numel():
        score[_places_of_seen(candidates, level, forbidden)] = -torch.inf

    begin = candidates.offset[:-1:num_parents]  # [B]: where each user's candidates begin
    size = candidates.offset[num_parents::num_parents] - begin
    padded = pad_sequence(list(torch.split(score, size.tolist())), batch_first=True, padding_value=-torch.inf)
    # One more than wanted: where the one left out equals the last one kept, nodes decide
    best, at = padded.topk(min(num_beams + 1, padded.shape[1]), dim=1)
    if best.shape[1] > num_beams:
        tied = (best[:, -1] == best[:, -2]) & (best[:, -1] > -torch.inf)
        if bool(tied.any()):
            most = int(((padded >= best[:, -1:]).sum(1) * tied).max())
            best, at = padded.topk(most, dim=1)
    index = (at + begin.unsqueeze(1)).masked_fill(best == -torch.inf, 0)
    order = _sort_key(best, candidates.child[index]).argsort(dim=1, descending=True)[:, :num_beams]
    best, index = best.gather(1, order), index.gather(1, order)

    dead = best == -torch.inf
    node = candidates.child[index].masked_fill(dead, -1)
    token = level.token_of(node.clamp(min=0).flatten()).view_as(node).masked_fill(dead, 0)
    parent = (candidates.row[index] % num_parents).masked_fill(dead, 0)
    missing = num_beams - best.shape[1]
    if missing <= 0:
        return Beams(best, parent, token, node)
    return Beams(
        F.pad(best, (0, missing), value=-torch.inf), F.pad(parent, (0, missing)), F.pad(token, (0, missing)),
        F.pad(node, (0, missing), value=-1),
    )  # fmt: skip


def _sort_key(score: Tensor, node: Tensor) -> Tensor:
    """int64 that orders by score, then by lower node."""
    bits = (score + 0.0).view(torch.int32)  # + 0.0: there is only one zero
    ordered = torch.where(bits < 0, bits ^ _LARGEST, bits)  # floats order as sign and magnitude, integers do not
    return (ordered.long() << 32) | (_LARGEST - node)


def _places_of_bonus(candidates: _Candidates, bonus: Bonus) -> tuple[Tensor, Tensor]:
    """Places ``[E]`` among the candidates of nodes that have a value, and the values ``[E]``."""
    start = candidates.start
    beam, at = _between(bonus.node, start, start + candidates.num_children)
    node = bonus.node.flatten().index_select(0, at)
    return _places(candidates, beam, node), bonus.value.flatten().index_select(0, at)


def _places_of_seen(candidates: _Candidates, level: Level, forbidden: Forbidden) -> Tensor:
    """Places ``[F]`` among the candidates of nodes whose allowed leaves the user has all seen."""
    assert forbidden.seen is not None
    start = candidates.start
    low, high = level.leaf_start(start), level.leaf_start(start + candidates.num_children)
    beam, at = _between(forbidden.seen, low.long(), high.long())
    leaf = forbidden.seen.flatten().index_select(0, at)
    if level.first_leaf is None:
        node = leaf
    else:
        node = torch.searchsorted(level.first_leaf, leaf.to(level.first_leaf.dtype), right=True) - 1
    place, num_seen = torch.unique_consecutive(_places(candidates, beam, node), return_counts=True)
    node = candidates.child.index_select(0, place)
    gone: Tensor = place[num_seen == _allowed_leaves(node, level, forbidden.allowed_before)]
    return gone


def _between(rows: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """What stands in each user's row ``[B, S]``, ascending, from ``low`` to ``high`` ``[N]`` of each of its beams.

    Returns the beams ``[E]``, ascending, and the places ``[E]`` in the flat rows.
    """
    num_users, length = rows.shape
    bounds = torch.cat([low.view(num_users, -1), high.view(num_users, -1)], 1)
    first = torch.arange(num_users, device=rows.device).repeat_interleave(bounds.shape[1]) * length
    begin, end = _below(rows.flatten(), first, length, bounds.flatten()).view(num_users, 2, -1).unbind(1)  # [B, W]
    size = (end - begin).flatten()
    beam = torch.arange(size.numel(), device=size.device).repeat_interleave(size)
    at = torch.arange(beam.numel(), device=size.device)
    at += (begin.flatten() - (size.cumsum(0) - size)).index_select(0, beam)
    return beam, at


def _below(rows: Tensor, first: Tensor, length: int, bound: Tensor) -> Tensor:
    """``first`` and how many of the ``length`` ascending numbers from there lie below each bound.

    All bounds are halved at once: twice as fast as torch's search, which guesses a branch at every halving.
    """
    at = first.clone()
    while length > 1:
        half = length // 2
        at.add_(rows[half - 1 :].index_select(0, at) < bound, alpha=half)
        length -= half
    return at.add_(rows.index_select(0, at) < bound)


def _places(candidates: _Candidates, beam: Tensor, node: Tensor) -> Tensor:
    """Where children stand among the candidates, by the beams that they belong to."""
    return node + (candidates.offset[:-1] - candidates.start).index_select(0, beam)


def _allowed_leaves(node: Tensor, level: Level, allowed_before: Tensor | None) -> Tensor:
    """How many leaves of each node are allowed to anybody."""
    start, end = level.leaf_start(node), level.leaf_start(node + 1)
    if allowed_before is None:
        return end - start
    return allowed_before.index_select(0, end) - allowed_before.index_select(0, start)


def _no_beams(beam_node: Tensor, num_beams: int) -> Beams:
    shape = (beam_node.shape[0], num_beams)
    nothing = torch.zeros(shape, dtype=torch.int64, device=beam_node.device)
    return Beams(torch.full(shape, -torch.inf, device=beam_node.device), nothing, nothing, nothing - 1)
