"""Whether a form of the beam step is right, held against the definition in float64.

Used by the tests on every machine and by the benchmarks before they time anything; any form can be handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mmgrec_kernels.beam_step import reference
from mmgrec_kernels.beam_step.op import beam_step_tokens, beam_step_tree
from mmgrec_kernels.beam_step.values import Beams, Bonus, Forbidden, Level

__all__ = ["Case", "draw_case", "problems", "run"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """The inputs of one step; with `vectors` and `bias` of head `tree`, without of head `tokens`."""

    numbers: Tensor  # [B, W, V] logits, or [B, W, D] states
    vectors: Tensor | None = None  # [num_nodes, D]
    bias: Tensor | None = None  # [num_nodes]
    beam_score: Tensor  # [B, W]
    beam_node: Tensor  # [B, W]
    level: Level
    forbidden: Forbidden
    bonus: Bonus | None = None
    num_beams: int

    def to(self, where: torch.dtype | torch.device) -> Case:
        """The same numbers in another dtype, or everything on another device."""

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(where)

        moved = replace(self, numbers=self.numbers.to(where), vectors=move(self.vectors), bias=move(self.bias))
        if isinstance(where, torch.dtype):
            return replace(moved, beam_score=self.beam_score.to(where) if where == torch.float64 else self.beam_score)
        level, forbidden, bonus = self.level, self.forbidden, self.bonus
        return replace(
            moved,
            beam_score=self.beam_score.to(where),
            beam_node=self.beam_node.to(where),
            level=Level(
                first_child=level.first_child.to(where), first_leaf=move(level.first_leaf), token=level.token.to(where)
            ),
            forbidden=Forbidden(seen=move(forbidden.seen), allowed_before=move(forbidden.allowed_before)),
            bonus=None if bonus is None else Bonus(node=bonus.node.to(where), value=bonus.value.to(where)),
        )


def run(case: Case, *, impl: str = "auto") -> Beams:
    """One step by the public operation of the case's head."""
    common = {"num_beams": case.num_beams, "forbidden": case.forbidden, "bonus": case.bonus, "impl": impl}
    if case.vectors is None or case.bias is None:
        return beam_step_tokens(case.numbers, case.beam_score, case.beam_node, case.level, **common)  # type: ignore[arg-type]
    return beam_step_tree(
        case.numbers, case.vectors, case.bias, case.beam_score, case.beam_node, case.level, **common  # type: ignore[arg-type]
    )  # fmt: skip


def draw_case(
    *,
    head: str,
    num_users: int,
    num_parents: int,
    children: list[int],
    width: int,
    num_beams: int,
    generator: torch.Generator,
    last: bool = False,
    dead: float = 0.0,
    seen: float = 0.0,
    allowed: float = 1.0,
    touched: float | None = None,
    coarse: bool = False,
) -> Case:
    """A random step.

    Args:
        head: ``"tokens"`` or ``"tree"``.
        num_users: B.
        num_parents: W, at most as many as there are parents.
        children: of each parent, as many; with head `tokens` at most `width`.
        width: size of the vocabulary, or of the state.
        num_beams: W'.
        generator: of all randomness.
        last: whether it goes down to the last level.
        dead: share of dead beams.
        seen: share of the leaves that each user has seen; every third node is then seen wholly by user 0.
        allowed: share of the leaves that anybody may reach.
        touched: share of the nodes that have a bonus, some of them written several times and a fifth of the users
            without any; None: there is no bonus.
        coarse: few different numbers, so that many scores are equal.
    """
    count = torch.tensor(children)
    num_nodes = int(count.sum())
    vocabulary = width if head == "tokens" else max(children)
    token = torch.cat([torch.randperm(vocabulary, generator=generator)[:size].sort().values for size in children])
    leaves = torch.ones_like(token) if last else torch.randint(1, 4, (num_nodes,), generator=generator)
    num_leaves = int(leaves.sum())
    node = torch.stack([torch.randperm(len(children), generator=generator)[:num_parents] for _ in range(num_users)])
    is_dead = torch.rand(node.shape, generator=generator) < dead
    may = torch.rand(num_leaves, generator=generator) < allowed
    known = torch.rand(num_users, num_leaves, generator=generator) < seen
    if seen:
        known[0] |= torch.arange(num_nodes).repeat_interleave(leaves) % 3 == 0
    known &= may
    leaf = torch.arange(num_leaves).expand_as(known).masked_fill(~known, num_leaves).sort(1).values

    def numbers(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator)
        return drawn.round() if coarse else drawn

    def offsets(sizes: Tensor) -> Tensor:
        return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).to(torch.int32)

    case = Case(
        numbers=numbers(num_users, num_parents, width),
        vectors=numbers(num_nodes, width) if head == "tree" else None,
        bias=numbers(num_nodes) if head == "tree" else None,
        beam_score=numbers(num_users, num_parents).masked_fill(is_dead, -torch.inf),
        beam_node=node.masked_fill(is_dead, -1),
        level=Level(
            first_child=offsets(count),
            first_leaf=None if last else offsets(leaves),
            token=token.repeat_interleave(leaves).to(torch.int16),
        ),
        forbidden=Forbidden(
            seen=leaf[:, : max(1, int(known.sum(1).max()))].contiguous() if seen else None,
            allowed_before=offsets(may.long()) if allowed < 1 else None,
        ),
        num_beams=num_beams,
    )
    if touched is None:
        return case
    has = torch.rand(num_users, num_nodes, generator=generator) < touched
    has &= torch.rand(num_users, 1, generator=generator) < 0.8
    copies = torch.randint(1, 4, has.shape, generator=generator) * has  # of each node
    slot = (torch.arange(3) < copies.unsqueeze(2)).flatten(1)  # [B, 3 * num_nodes]
    of_slot = torch.arange(num_nodes).repeat_interleave(3)
    length = int(slot.sum(1).max())
    at = of_slot.expand_as(slot).masked_fill(~slot, num_nodes).sort(1).values[:, :length].contiguous()
    value = F.pad(numbers(num_users, num_nodes), (0, 1), value=100.0)  # what fills up counts for nothing
    return replace(case, bonus=Bonus(node=at, value=value.gather(1, at)))


def problems(form: Callable[[Case], Beams], case: Case) -> list[str]:
    """What is wrong with a form, in words; empty when nothing is.

    A score may err by twice what the definition errs in float32, plus a rounding step. Beams are held against the
    float64 scores of all candidates, so that rounding may change places of beams only where it must.
    """
    beams = form(case)
    exact = _all_candidates(case.to(torch.float64))
    score, node = beams.score.double(), beams.node
    live = node >= 0
    said = []
    if [tuple(part.shape) for part in beams] != [(*case.beam_node.shape[:1], case.num_beams)] * 4:
        return [f"shapes are {[tuple(part.shape) for part in beams]}"]
    if (node >= case.level.num_nodes).any() or (node < -1).any():
        return ["nodes are out of range"]
    if (beams.parent < 0).any() or (beams.parent >= case.beam_node.shape[1]).any():
        return ["parents are out of range"]
    truth = exact.gather(1, node.clamp(min=0)).masked_fill(~live, -torch.inf)
    if (live & (truth == -torch.inf)).any():
        said.append("a beam stands where none may")
    wanted = (exact > -torch.inf).sum(1).clamp(max=case.num_beams)
    if not torch.equal(live.sum(1), wanted):
        said.append(f"{live.sum(1).tolist()} beams live instead of {wanted.tolist()}")
    ordered = node.masked_fill(~live, -1).sort(dim=1).values
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        said.append("a node is taken twice")
    if said:
        return said

    allowance = _allowance(case, exact)
    error = (score - truth).masked_fill(~live, 0).abs().max().item() if live.any() else 0.0
    if not error <= allowance:
        said.append(f"scores err by {error:.2g}, allowed are {allowance:.2g}")
    steps = score.diff(dim=1).nan_to_num(0.0, neginf=-1.0)
    if (steps > 0).any():
        said.append("beams are not in the order of their scores")
    if ((steps == 0) & live[:, 1:] & (node.diff(dim=1) < 0)).any():
        said.append("equal scores do not go to the lower node")
    nowhere = case.level.num_nodes
    left_out = F.pad(exact, (0, 1), value=-torch.inf).scatter(1, node.masked_fill(~live, nowhere), -torch.inf)
    worst = score.masked_fill(~live, torch.inf).amin(1)
    if (left_out.amax(1) > worst + 2 * allowance).any():
        said.append("a better candidate is left out")
    parent_node = case.beam_node.gather(1, beams.parent)
    first = case.level.first_child.long()
    inside = (first[parent_node.clamp(min=0)] <= node) & (node < first[parent_node.clamp(min=0) + 1])
    if (live & ~(inside & (parent_node >= 0))).any():
        said.append("a parent is not the node's")
    if (live & (beams.token != case.level.token_of(node.clamp(min=0)))).any():
        said.append("a token is not the node's")
    if (~live & ((beams.parent != 0) | (beams.token != 0) | (beams.score != -torch.inf))).any():
        said.append("a dead beam carries something")
    return said


def _all_candidates(case: Case) -> Tensor:
    """``[B, num_nodes]``: the score of each node, -inf where it cannot be reached; by the definition."""
    beams = _definition(replace(case, num_beams=case.level.num_nodes))
    score = beams.score.new_full((beams.score.shape[0], case.level.num_nodes + 1), -torch.inf)
    return score.scatter(1, beams.node.masked_fill(beams.node < 0, case.level.num_nodes), beams.score)[:, :-1]


def _allowance(case: Case, exact: Tensor) -> float:
    """Twice what the definition errs in float32, plus a rounding step of the largest number on the way."""
    reachable = exact > -torch.inf
    if not reachable.any():
        return 0.0
    twin = _all_candidates(case.to(torch.float32)).double()
    error = (twin - exact)[reachable].abs().max()
    largest = torch.stack([exact[reachable].abs().max(), _largest_logit(case), _largest_bonus(case)]).max()
    return float(2 * error + torch.finfo(torch.float32).eps * largest)


def _largest_logit(case: Case) -> Tensor:
    numbers = case.numbers.double().abs().nan_to_num(0.0, posinf=0.0)
    if case.vectors is None or case.bias is None:
        return numbers.max()
    return (numbers.amax((0, 1)) * case.vectors.double().abs().amax(0)).sum() + case.bias.double().abs().max()


def _largest_bonus(case: Case) -> Tensor:
    if case.bonus is None:
        return torch.zeros((), dtype=torch.float64, device=case.numbers.device)
    counts = case.bonus.value.double().abs().masked_fill(case.bonus.node == case.level.num_nodes, 0)
    return F.pad(counts.flatten(), (0, 1)).max()


def _definition(case: Case) -> Beams:
    common = (case.beam_score, case.beam_node, case.level, case.forbidden, case.bonus, case.num_beams)
    if case.vectors is None or case.bias is None:
        return reference.beam_step_tokens(case.numbers, *common)
    return reference.beam_step_tree(case.numbers, case.vectors, case.bias, *common)
