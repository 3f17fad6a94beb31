"""What the kernels must know of a chip to choose their block sizes: its number and its shared memory."""

from __future__ import annotations

from functools import cache

import torch

__all__ = ["CHIPS", "capability", "shared_memory"]


CHIPS = (80, 90, 100, 120)  # the chips that the compile table covers

# Shared memory that one program may have, bytes (CUDA programming guide, "technical specifications per capability").
_SHARED_KIB = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 110: 227, 120: 99, 121: 99}
_SMALLEST_KIB = 99


def shared_memory(chip: int) -> int:
    """Bytes of shared memory that one program may have on a chip such as ``90``; of an unknown chip, the least."""
    return _SHARED_KIB.get(chip, _SMALLEST_KIB) * 1024


@cache
def _capability(index: int) -> int:
    major, minor = torch.cuda.get_device_capability(index)
    return 10 * major + minor


def capability(device: torch.device) -> int:
    """The chip of a device as ``10 * major + minor``; 90 where there is none (the interpreter)."""
    if device.type != "cuda":
        return 90
    return _capability(torch.cuda.current_device() if device.index is None else device.index)
