"""Block sizes of the attention kernels, a plain function of shape, dtype and chip: it needs neither triton nor a GPU.

Two ways, by what fits in registers: ``whole`` (one program a user) and ``blocked`` (keys or rows pass in blocks).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from mmgrec_kernels.chips import shared_memory
from mmgrec_kernels.tuned import tuned

__all__ = ["SIZES", "WHOLE_LENGTH", "Blocks", "Plan", "plan", "unsupported"]

WHOLE_LENGTH = 64  # up to here one program holds a whole user
SIZES = (16, 32, 64, 128)  # head widths
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The shape of one program."""

    rows: int  # query rows that a program owns or has beside it
    keys: int
    warps: int
    stages: int = 1  # copies in flight in the loops

    def __str__(self) -> str:
        return f"{self.rows}x{self.keys}, {self.warps} warps"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Blocks of one way's kernels; ``whole`` has no use for ``columns``: its rows' kernel does all the backward."""

    way: Literal["whole", "blocked"]
    forward: Blocks
    rows: Blocks
    columns: Blocks
    precision: str  # of the matrix products: "tf32x3" for float32 inputs, of no effect for 16-bit ones


def plan(*, length: int, size: int, dtype: torch.dtype, chip: int) -> Plan:
    """Blocks for histories of ``length`` items and heads of ``size`` dimensions; warps as `TUNED` has them.

    >>> blocks = plan(length=32, size=64, dtype=torch.bfloat16, chip=90)
    >>> blocks.way, str(blocks.rows)
    ('whole', '32x32, 4 warps')
    """
    rules = _rules(length, size, dtype, chip)
    padded = max(16, 1 << (length - 1).bit_length())
    better = tuned("relation_attention", chip, padded, size, dtype.itemsize)
    return replace(
        rules,
        forward=replace(rules.forward, warps=better.get("forward", rules.forward.warps)),
        rows=replace(rules.rows, warps=better.get("rows", rules.rows.warps)),
        columns=replace(rules.columns, warps=better.get("columns", rules.columns.warps)),
    )


def _rules(length: int, size: int, dtype: torch.dtype, chip: int) -> Plan:
    """Blocks where nothing was tuned: a whole user where that fits in registers, else blocks of keys and rows."""
    wide = dtype == torch.float32
    precision = "tf32x3" if wide else "ieee"
    full = max(16, 1 << (length - 1).bit_length())  # all rows or keys
    if length <= WHOLE_LENGTH and not (wide and full * size > 32 * 64):
        forward = _whole(full, size, _WHOLE_FORWARD_WARPS[wide])
        rows = _whole(full, size, _WHOLE_ROWS_WARPS[wide])
        return Plan(way="whole", forward=forward, rows=rows, columns=rows, precision=precision)
    if not wide and size <= 64:  # found by timing on an H100: 200 and 66 items, heads of 64
        many = length > 128 and shared_memory(chip) >= _MANY_SHARED
        few = Blocks(rows=64, keys=32, warps=4, stages=2)
        return Plan(
            way="blocked",
            forward=Blocks(rows=64, keys=64, warps=4, stages=3) if many else few,
            rows=few,
            columns=Blocks(rows=32, keys=64, warps=4, stages=2),
            precision=precision,
        )
    forward = Blocks(rows=32 if wide else 64, keys=32, warps=4 if size <= 64 else 8)
    rest = Blocks(rows=32, keys=32, warps=4 if size <= 32 else 8)
    return Plan(way="blocked", forward=forward, rows=rest, columns=rest, precision=precision)


def _whole(full: int, size: int, per_warp: int) -> Blocks:
    return Blocks(rows=full, keys=full, warps=min(8, max(1, full * max(full, size) // per_warp)))


_MANY_SHARED = 128 * 1024  # bytes that a chip must have for three copies of a block of 64 keys
_WHOLE_FORWARD_WARPS = {False: 1024, True: 512}  # entries of the largest tile that one warp takes on
_WHOLE_ROWS_WARPS = {False: 512, True: 256}


def unsupported(*, length: int, size: int, dtype: torch.dtype) -> str:
    """Why the kernels cannot take these inputs, in words; empty when they can."""
    if dtype not in DTYPES:
        return f"{dtype} is not float32, bfloat16 or float16"
    if size not in SIZES:
        return f"heads have {size} dimensions, not one of {SIZES}"
    return ""
