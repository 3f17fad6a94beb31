"""Block sizes of the attention kernels, a plain function of shape, dtype and chip. Knows neither triton nor a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["MAX_LENGTH", "SIZES", "WHOLE_LENGTH", "Blocks", "Plan", "plan", "unsupported"]

WHOLE_LENGTH = 64  # up to here one program holds a whole user
MAX_LENGTH = 256  # beyond, a row of scores would not fit in registers
SIZES = (16, 32, 64, 128)  # head widths
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The shape of one program."""

    rows: int  # query rows that a program owns or has beside it
    keys: int
    warps: int
    stages: int = 1  # copies in flight in the loop over heads

    def __str__(self) -> str:
        return f"{self.rows}x{self.keys}, {self.warps} warps"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Blocks of the three kernels; ``columns`` is None where the rows' kernel does the whole backward."""

    forward: Blocks
    rows: Blocks
    columns: Blocks | None
    precision: str  # of the matrix products: "tf32x3" for float32 inputs, of no effect for 16-bit ones


def plan(*, length: int, size: int, dtype: torch.dtype, chip: int) -> Plan:
    """Blocks for histories of ``length`` items and heads of ``size`` dimensions.

    >>> str(plan(length=32, size=64, dtype=torch.bfloat16, chip=90).forward)
    '32x32, 2 warps'
    """
    whole = max(16, 1 << (length - 1).bit_length())  # all rows or keys
    precision = "tf32x3" if dtype == torch.float32 else "ieee"
    if length <= WHOLE_LENGTH:
        warps = max(1, whole * size // 1024)
        blocks = Blocks(rows=whole, keys=whole, warps=min(warps, 8 if whole == 64 else 4))
        return Plan(forward=blocks, rows=blocks, columns=None, precision=precision)
    part = 32 if whole == 256 or size == 128 or dtype == torch.float32 else 64
    warps = 8
    return Plan(
        forward=Blocks(rows=part, keys=whole, warps=warps),
        rows=Blocks(rows=part, keys=whole, warps=warps),
        columns=Blocks(rows=whole, keys=part, warps=warps),
        precision=precision,
    )


def unsupported(*, length: int, size: int, dtype: torch.dtype, chip: int) -> str:
    """Why the kernels cannot take these inputs, in words; empty when they can."""
    if dtype not in DTYPES:
        return f"{dtype} is not float32, bfloat16 or float16"
    if size not in SIZES:
        return f"heads have {size} dimensions, not one of {SIZES}"
    if not 1 <= length <= MAX_LENGTH:
        return f"histories have {length} items, not 1 to {MAX_LENGTH}"
    return ""
