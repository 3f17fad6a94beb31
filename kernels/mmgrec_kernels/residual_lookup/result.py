"""What a look-up returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Lookup"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup:
    """Tokens of N vectors over L levels, with what is left of the vectors and what was taken off."""

    tokens: Tensor  # [N, L] int64
    residuals: Tensor  # [N, D], after the last level
    quantized: Tensor  # [N, D], the sum of the chosen codewords
