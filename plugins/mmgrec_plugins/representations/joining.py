"""Several representations joined into one, in inner-product form, and made small and well-scaled.

Members are put side by side, so that scores add, and folded to the best fit of the score matrix of a given rank; the
weight of each is chosen by validation recall of what remains. `mmgrec.training.calibrated` then makes the scores
log-probabilities.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmgrec.interfaces import Representations
from mmgrec.training import ValidationRecall, score_deviation

__all__ = ["folded", "joined"]

_WEIGHTS = (0.0, 0.5, 1.0)  # the greatest is always one: only proportions matter


def joined(
    members: Sequence[Representations], recall: ValidationRecall, *, rank: int
) -> tuple[Representations, tuple[float, ...]]:
    """``x_u = concat(a_k x_u^k / sd_k)``, ``x_i = concat(x_i^k)``, folded; sd_k is the deviation of a user's scores.

    Args:
        members: side by side.
        recall: chooses the weights a_k, each judged after folding; equal ones without validation items.
        rank: see `folded`.

    Returns:
        The representations, at most `rank` dimensions, and the weights.
    """
    if len(members) == 1:
        return folded(members[0], rank), (1.0,)
    scaled = [Representations(user=member.user / score_deviation(member), item=member.item) for member in members]
    every = tuple(1.0 for _ in members)
    if not len(recall):
        return folded(_concat(scaled, every), rank), every
    candidates = [weights for weights in itertools.product(_WEIGHTS, repeat=len(members)) if max(weights) == 1.0]
    best, chosen, value = None, every, -1.0
    for weights in candidates:
        candidate = folded(_concat(scaled, weights), rank)
        score = recall.of_scores(_scorer(candidate))
        if score > value:
            best, chosen, value = candidate, weights, score
    assert best is not None
    return best, chosen


def folded(full: Representations, rank: int) -> Representations:
    """The best fit of rank `rank` to the centred score matrix, without ever forming that matrix."""
    item = full.item - full.item.mean(0)
    if rank >= full.dim:
        return Representations(user=full.user, item=item)
    second_moment = full.user.double().T @ full.user.double() / full.user.shape[0]
    ridge = 1e-8 * second_moment.diagonal().mean() * torch.eye(full.dim, dtype=torch.float64)
    lower = torch.linalg.cholesky(second_moment + ridge)  # X_u' X_u / U = L L'
    _, _, right = torch.linalg.svd(item.double() @ lower, full_matrices=False)
    basis = right[:rank].T  # Q_r
    user = torch.linalg.solve_triangular(lower.T, basis, upper=True)  # L'^-1 Q_r
    return Representations(user=(full.user.double() @ user).float(), item=(item.double() @ lower @ basis).float())


def _concat(members: Sequence[Representations], weights: Sequence[float]) -> Representations:
    pairs = [(weight, member) for weight, member in zip(weights, members, strict=True) if weight]
    return Representations(
        user=torch.cat([weight * member.user for weight, member in pairs], dim=1),
        item=torch.cat([member.item for _, member in pairs], dim=1),
    )


def _scorer(given: Representations) -> Callable[[Tensor], Tensor]:
    return lambda users: given.user[users] @ given.item.T
