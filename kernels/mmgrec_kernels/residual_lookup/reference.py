"""Residual look-up as the paper writes it: the definition that every other form must equal, code by code."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgrec_kernels.residual_lookup.result import Lookup

__all__ = ["nearest_codeword", "residual_lookup"]


def nearest_codeword(z: Tensor, codebook: Tensor) -> Tensor:
    """Eq. 7 for one level, distances in float64; the lowest index wins a tie. Makes an ``N x C x D`` tensor."""
    differences = z.double()[:, None, :] - codebook.double()[None, :, :]  # [N, C, D]
    distances = differences.square().sum(dim=-1)  # [N, C]
    return distances.argmin(dim=-1)  # the first of equals


def residual_lookup(z: Tensor, codebooks: Sequence[Tensor]) -> Lookup:
    """Eqs. 7, 8: residuals in float32 (float64 for float64 inputs), rounded to the inputs' dtype at the end."""
    residuals = z.to(torch.promote_types(z.dtype, torch.float32))
    quantized = torch.zeros_like(residuals)
    tokens = []
    for codebook in codebooks:
        level = nearest_codeword(residuals, codebook)
        tokens.append(level)
        residuals = residuals - codebook[level]
        quantized = quantized + codebook[level]
    return Lookup(tokens=torch.stack(tokens, dim=1), residuals=residuals.to(z.dtype), quantized=quantized.to(z.dtype))
