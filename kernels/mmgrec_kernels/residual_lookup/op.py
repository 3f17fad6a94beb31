"""The public residual look-up: checks the inputs, then picks a form. Computes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgrec_kernels.implementations import Impl, use_triton
from mmgrec_kernels.residual_lookup import reference, sizes, torch_form
from mmgrec_kernels.residual_lookup.result import Lookup

__all__ = ["nearest_codeword", "residual_lookup"]


@torch.no_grad()
def residual_lookup(z: Tensor, codebooks: Sequence[Tensor], *, impl: Impl = "auto") -> Lookup:
    """Quantize vectors level by level: nearest codeword, subtract, go on (Eqs. 7, 8).

    Codes are exact: the argmin of the float64 distances of the float32 residuals, the lowest index among
    equals, whichever form runs. Not differentiable (nothing here is recorded); gather codewords by the tokens where
    gradients are wanted.

    Args:
        z: Vectors, ``[N, D]``, floating point.
        codebooks: One ``[C_l, D]`` per level, same dtype and device.
        impl: ``"auto"`` takes the fastest form for the device, ``"triton"`` the kernel or an error,
            ``"reference"`` the definition.

    Returns:
        Tokens ``[N, L]``, residuals and quantized vectors ``[N, D]`` in the inputs' dtype.

    Raises:
        ValueError: if there is no codebook, an empty one, or shapes, dtypes or devices disagree, or the named form
            cannot run.

    >>> books = [torch.tensor([[0.0], [1.0]]), torch.tensor([[-0.25], [0.25]])]
    >>> nearest = residual_lookup(torch.tensor([[1.2]]), books)
    >>> nearest.tokens.tolist(), nearest.quantized.tolist()
    ([[1, 1]], [[1.25]])
    """
    _check(z, codebooks)
    if impl == "reference":
        return reference.residual_lookup(z, codebooks)
    if use_triton(impl, z.device, unsupported=_unsupported(z)):
        from mmgrec_kernels.residual_lookup import triton_op  # late: triton is heavy, and not on every machine

        return triton_op.residual_lookup(z, codebooks)
    return torch_form.residual_lookup(z, codebooks)


@torch.no_grad()
def nearest_codeword(z: Tensor, codebook: Tensor, *, impl: Impl = "auto") -> Tensor:
    """Index of the codeword nearest to each vector (Eq. 7); the lowest index wins a tie.

    Args:
        z: Vectors, ``[N, D]``, floating point.
        codebook: Codewords, ``[C, D]``, same dtype and device.
        impl: As for :func:`residual_lookup`.

    Returns:
        Tokens, ``[N]`` int64.

    Raises:
        ValueError: as for :func:`residual_lookup`.

    >>> nearest_codeword(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0]])).tolist()
    [1]
    """
    return residual_lookup(z, [codebook], impl=impl).tokens[:, 0]


def _unsupported(z: Tensor) -> str:
    if len(z) == 0:
        return f"there is nothing to look up in z of {list(z.shape)}"
    return sizes.unsupported(dim=z.shape[1], dtype=z.dtype)


def _check(z: Tensor, codebooks: Sequence[Tensor]) -> None:
    """Refuse inputs whose shapes, devices or dtypes do not fit together."""
    if z.dim() != 2 or z.shape[1] == 0:
        raise ValueError(f"z must be [N, D] with D > 0, got {list(z.shape)}")
    if not z.is_floating_point():
        raise ValueError(f"z must be floating point, got {z.dtype}")
    if len(codebooks) == 0:
        raise ValueError("there is no codebook; give one [C, D] tensor per level")
    for level, codebook in enumerate(codebooks):
        if codebook.dim() != 2 or codebook.shape[0] == 0:
            raise ValueError(f"codebook {level} must be [C, D] with C > 0, got {list(codebook.shape)}")
        if codebook.shape[1] != z.shape[1]:
            raise ValueError(f"codebook {level} has dim {codebook.shape[1]}, z has dim {z.shape[1]}")
        if codebook.dtype != z.dtype:
            raise ValueError(f"codebook {level} is {codebook.dtype}, z is {z.dtype}; cast them to one dtype")
        if codebook.device != z.device:
            raise ValueError(f"codebook {level} is on {codebook.device}, z on {z.device}; move them to one device")
