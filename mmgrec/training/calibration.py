"""Inner products turned into log-probabilities worth teaching: one scalar, by validation likelihood."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Representations

__all__ = ["calibrated", "likeliest_factor", "score_deviation"]

_SAMPLE = 2000  # users that stand for all where a mean over users is needed


def calibrated(given: Representations, data: Dataset, generator: torch.Generator) -> Representations:
    """Both sides of equal deviation, and the user side times the scalar of highest validation likelihood.

    The likelihood is that of validation items under the softmax over unseen items. Without validation items the scalar
    is left at one deviation of scores per user.
    """
    scale = (given.user.std() / given.item.std().clamp_min(1e-12)).sqrt()
    user, item = given.user / scale.clamp_min(1e-12), given.item * scale
    if not len(data.valid):
        balanced = Representations(user=user, item=item)
        return Representations(user=user / score_deviation(balanced), item=item)
    return Representations(user=user * likeliest_factor(lambda users: user[users] @ item.T, data, generator), item=item)


def likeliest_factor(scores: Callable[[Tensor], Tensor], data: Dataset, generator: torch.Generator) -> float:
    """The scalar on scores by which validation items are likeliest under their softmax over unseen items.

    Args:
        scores: users ``[B]`` to ``[B, num_items]`` float32.
        data: train and valid are used.
        generator: draws the sample of users.

    Returns:
        1 without validation items.
    """
    users = data.valid.user_degree.nonzero().flatten()
    if not users.numel():
        return 1.0
    users = users[torch.randperm(users.numel(), generator=generator)[:_SAMPLE].sort().values]
    table = scores(users)
    row, seen = data.train.items_of(users)
    table[row, seen] = -torch.inf
    row, wanted = data.valid.items_of(users)
    named = table[row, wanted].isfinite()  # some recommenders have no score for some items
    row, wanted = row[named], wanted[named]

    def likelihood(log_factor: float) -> float:
        tempered = table * torch.tensor(log_factor).exp()
        return float((tempered[row, wanted] - tempered.logsumexp(1)[row]).mean())

    return float(torch.tensor(_highest(likelihood, low=-5.0, high=5.0)).exp())


def _highest(value: Callable[[float], float], *, low: float, high: float, steps: int = 24) -> float:
    """Where a function of one peak is highest, by golden section."""
    ratio = (5**0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    value_a, value_b = value(a), value(b)
    for _ in range(steps):
        if value_a < value_b:
            low, a, value_a = a, b, value_b
            b = low + ratio * (high - low)
            value_b = value(b)
        else:
            high, b, value_b = b, a, value_a
            a = high - ratio * (high - low)
            value_a = value(a)
    return (low + high) / 2


def score_deviation(given: Representations) -> Tensor:
    """Standard deviation of a user's scores over items, root mean square over users; from second moments alone."""
    item = given.item - given.item.mean(0)
    covariance = item.T @ item / item.shape[0]
    return ((given.user @ covariance) * given.user).sum(1).mean().clamp_min(1e-12).sqrt()
