"""Groups of counts whose bounds double, and figures short enough to be stored by the thousand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmgrec.insight.values import CountRange

__all__ = ["doubling", "matrix", "short"]


def doubling(counts: Tensor) -> tuple[Tensor, list[CountRange]]:
    """Put counts into the groups 0, 1, 2–3, 4–7, 8–15 …; those below the smallest count are left away.

    Args:
        counts: ``[N]`` int64, not negative.

    Returns:
        group ``[N]`` int64; the bounds of each group, both included.

    >>> group, bounds = doubling(torch.tensor([5, 1, 3, 9]))
    >>> group.tolist(), [(bound.low, bound.high) for bound in bounds]
    ([2, 0, 1, 3], [(1, 1), (2, 3), (4, 7), (8, 15)])
    """
    if not counts.numel():
        return counts, []
    edges = torch.tensor([1 << power for power in range(int(counts.max()).bit_length())], dtype=torch.int64)
    group = torch.bucketize(counts, edges, right=True)
    first = int(group.min())
    bounds = [
        CountRange(low=0 if number == 0 else 1 << (number - 1), high=(1 << number) - 1)
        for number in range(first, int(group.max()) + 1)
    ]
    return group - first, bounds


def short(value: float, digits: int = 5) -> float:
    """A number with a few significant digits; what is no number becomes 0.

    >>> short(0.123456789), short(float("nan"))
    (0.12346, 0.0)
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else 0.0


def matrix(values: Tensor, digits: int = 4) -> tuple[tuple[float, ...], ...]:
    """``[M, N]`` as rows of short numbers."""
    return tuple(tuple(short(value, digits) for value in row) for row in values.double().tolist())
