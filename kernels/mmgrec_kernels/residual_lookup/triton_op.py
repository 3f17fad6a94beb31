"""Residual look-up as a ``torch.library`` operation on the Triton kernel: makes the codebooks ready and launches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgrec_kernels.chips import capability
from mmgrec_kernels.implementations import interpreting
from mmgrec_kernels.residual_lookup import triton_kernels as kernels
from mmgrec_kernels.residual_lookup.result import Lookup
from mmgrec_kernels.residual_lookup.sizes import plan

__all__ = ["residual_lookup"]


def residual_lookup(z: Tensor, codebooks: Sequence[Tensor]) -> Lookup:
    """The same codes as ``reference``; shapes as in the public function."""
    tokens, residuals, quantized = torch.ops.mmgrec.residual_lookup(z, list(codebooks))
    return Lookup(tokens=tokens, residuals=residuals, quantized=quantized)


@torch.library.custom_op(
    "mmgrec::residual_lookup",
    mutates_args=(),
    schema="(Tensor z, Tensor[] codebooks) -> (Tensor, Tensor, Tensor)",
)
def _lookup(z: Tensor, codebooks: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad the codebooks to one shape, centre them, and launch."""
    num_vectors, dim = z.shape
    levels, codes = len(codebooks), max(codebook.shape[0] for codebook in codebooks)
    chosen = plan(dim=dim, codes=codes, chip=capability(z.device))
    words = z.new_zeros(levels, chosen.codes, chosen.dim, dtype=torch.float32)
    centred = torch.zeros_like(words)
    means = z.new_zeros(levels, chosen.dim, dtype=torch.float32)
    counts = z.new_zeros(levels, dtype=torch.int32)
    for level, codebook in enumerate(codebooks):
        full = codebook.float()
        counts[level] = len(full)
        words[level, : len(full), :dim] = full
        means[level, :dim] = full.mean(dim=0)
        centred[level, : len(full), :dim] = full - means[level, :dim]
    norms = centred.square().sum(dim=2)  # [levels, codes]
    absent = torch.arange(chosen.codes, device=z.device)[None, :] >= counts[:, None]
    half_norms = (norms / 2).masked_fill_(absent, float("inf"))
    radii = norms.amax(dim=1).sqrt()
    tokens = z.new_empty(num_vectors, levels, dtype=torch.int64)
    stored = torch.float32 if interpreting() else z.dtype  # the interpreter truncates where a GPU rounds
    residuals, quantized = (z.new_empty(num_vectors, dim, dtype=stored) for _ in range(2))
    kernels.lookup[(-(-num_vectors // chosen.rows),)](
        z.contiguous(),
        words,
        centred,
        half_norms,
        means,
        radii,
        counts,
        tokens,
        residuals,
        quantized,
        num_vectors,
        dim,
        error_unit(chosen.dim),
        LEVELS=levels,
        CODES=chosen.codes,
        DIM=chosen.dim,
        ROWS=chosen.rows,
        BLOCK=chosen.block,
        USE_DOT=chosen.use_dot,
        PRECISION=chosen.precision,
        num_warps=chosen.warps,
        num_stages=chosen.stages,
    )
    return tokens, residuals.to(z.dtype), quantized.to(z.dtype)


def error_unit(dim: int) -> float:
    """Error bound of a margin of two scores, in units of ``(|r| + radius) radius``.

    A product of ``dim`` terms errs by ``dim`` eps of ``|r||c|`` at most; centring, norms and the three-fold tf32
    product (whose dropped part is about 2^-22) add a few eps more, and both scores of a margin may err.
    """
    return 4.0 * (dim + 16) * torch.finfo(torch.float32).eps


@_lookup.register_fake
def _(z: Tensor, codebooks: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return z.new_empty(z.shape[0], len(codebooks), dtype=torch.int64), z.new_empty(z.shape), z.new_empty(z.shape)
