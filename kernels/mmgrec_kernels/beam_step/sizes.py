"""Block sizes of the beam-step kernels, a plain function of the beams and of the width of what is scored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from mmgrec_kernels.tuned import tuned

__all__ = ["MAX_BEAMS", "Plan", "plan", "unsupported"]

MAX_BEAMS = 256  # beyond, the best so far would not fit in registers
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The shape of the two kernels' programs."""

    parents: int  # beams of a user, a power of two
    keep: int  # best so far, a power of two: of each beam in `expand`, of each user in `choose`
    block: int  # children that are scored at once
    dim: int  # tree: dimensions that are multiplied at once; tokens: logits that are summed at once
    chunk: int  # candidates of a user that are sorted at once
    steps: int  # halvings that find a place among the seen leaves
    bonus_steps: int  # and among the nodes that have a bonus
    warps: int  # of `expand`
    choose_warps: int

    @property
    def log_keep(self) -> int:
        return self.keep.bit_length() - 1

    @property
    def log_block(self) -> int:
        return self.block.bit_length() - 1

    @property
    def log_chunk(self) -> int:
        return self.chunk.bit_length() - 1

    def __str__(self) -> str:
        return f"keep {self.keep}, {self.block} children x {self.dim}, {self.chunk} candidates"


def plan(
    *, num_beams: int, num_parents: int, width: int, num_seen: int, num_touched: int = 0, tree: bool, chip: int = 90
) -> Plan:
    """Blocks for keeping ``num_beams`` of the children of ``num_parents`` beams.

    ``width`` is the state's dim, or the size of the vocabulary; ``num_touched`` nodes of a user have a bonus.

    >>> str(plan(num_beams=50, num_parents=50, width=64, num_seen=100, tree=True))
    'keep 64, 128 children x 32, 1024 candidates'
    """
    keep = max(16, 1 << (num_beams - 1).bit_length())
    block = max(128, keep)
    padded = max(16, 1 << (width - 1).bit_length())
    parents = max(16, 1 << (num_parents - 1).bit_length())
    rules = Plan(
        parents=parents,
        keep=keep,
        block=block,
        dim=min(padded, 4096 // block) if tree else min(padded, 1024),
        chunk=min(max(1024, 2 * keep), keep * parents),
        steps=num_seen.bit_length(),
        bonus_steps=num_touched.bit_length(),
        warps=4,
        choose_warps=4 if keep <= 64 else 8,
    )
    better = tuned("beam_step", chip, int(tree), keep, parents, padded)
    warps, choose_warps = better.get("warps", rules.warps), better.get("choose_warps", rules.choose_warps)
    return replace(rules, warps=warps, choose_warps=choose_warps)


def unsupported(*, num_beams: int, num_parents: int, dtype: torch.dtype) -> str:
    """Why the kernels cannot take these inputs, in words; empty when they can."""
    if dtype not in DTYPES:
        return f"{dtype} is not float32, bfloat16 or float16"
    if max(num_beams, num_parents) > MAX_BEAMS:
        return f"{max(num_beams, num_parents)} beams are more than {MAX_BEAMS}"
    return ""
