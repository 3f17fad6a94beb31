"""Block sizes of the look-up kernel, a plain function of the vectors' dim and the codebooks' size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mmgrec_kernels.tuned import tuned

__all__ = ["MAX_DIM", "Plan", "plan", "unsupported"]

MAX_DIM = 256  # beyond, the vectors of a block would not fit in registers
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The shape of one program."""

    rows: int  # vectors of a program
    block: int  # codewords that are scored at once
    dim: int  # dimensions after padding
    codes: int  # codewords of a level after padding
    use_dot: bool  # matrix unit, from 16 dimensions
    warps: int
    stages: int = 1
    precision: str = "tf32x3"

    def __str__(self) -> str:
        return f"{self.rows}x{self.block}, {self.warps} warps"


def plan(*, dim: int, codes: int, chip: int) -> Plan:
    """Blocks for vectors of ``dim`` dimensions and levels of at most ``codes`` codewords.

    >>> str(plan(dim=64, codes=256, chip=90))
    '64x32, 4 warps'
    """
    padded = 1 << (dim - 1).bit_length()
    use_dot = padded >= 16
    # Found by timing on an H100, of 64 and of 4 dimensions
    block = min(32, max(16, 1 << (codes - 1).bit_length())) if use_dot else 4
    rules = Plan(
        rows=64 if use_dot else 128,
        block=block,
        dim=padded,
        codes=-(-codes // block) * block,
        use_dot=use_dot,
        warps=4 if padded <= 32 or (padded == 64 and chip == 90) else 8,  # elsewhere four spill
    )
    better = tuned("residual_lookup", chip, padded, rules.codes)
    block = better.get("block", rules.block)
    return replace(
        rules,
        rows=better.get("rows", rules.rows),
        block=block,
        codes=-(-codes // block) * block,
        warps=better.get("warps", rules.warps),
    )


def unsupported(*, dim: int, dtype: torch.dtype) -> str:
    """Why the kernel cannot take these inputs, in words; empty when it can."""
    if dtype not in DTYPES:
        return f"{dtype} is not float32, bfloat16 or float16"
    if dim > MAX_DIM:
        return f"vectors have {dim} dimensions, more than {MAX_DIM}"
    return ""
