"""Randomness that comes in from outside, also for modules that know only the global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(generator: torch.Generator, device: torch.device | None = None) -> Iterator[None]:
    """Within the block torch's global generators are seeded from `generator`; afterwards they are as they were.

    For what takes no generator: the initialisers of ``nn`` modules, and dropout.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        for gpu in devices:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
