"""Which form of an operation runs: the Triton kernel, the plain-torch twin, or whatever is fastest here.

Every operation's public function asks here. Triton is not imported for the answer, only looked for.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, TypeAlias

import torch

__all__ = ["Impl", "check_impl", "interpreting", "use_triton"]


HAS_TRITON = importlib.util.find_spec("triton") is not None  # asked once: torch 2.11 cannot compile the question

Impl: TypeAlias = Literal["auto", "triton", "reference"]


def check_impl(impl: str) -> None:
    """Raise ``ValueError`` unless ``impl`` is a known name."""
    if impl not in ("auto", "triton", "reference"):
        raise ValueError(f"impl is {impl!r}; use 'auto', 'triton' or 'reference'")


def interpreting() -> bool:
    """Whether Triton kernels run in Python on CPU tensors (``TRITON_INTERPRET=1`` when the process started)."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def use_triton(impl: str, device: torch.device, *, unsupported: str = "") -> bool:
    """Decide for the Triton form; only ``"auto"`` may choose, an explicit ``"triton"`` is obeyed or refused.

    Args:
        impl: The caller's wish.
        device: Where the inputs are.
        unsupported: Why the kernel cannot take these inputs; empty when it can.

    Raises:
        ValueError: if ``impl`` is ``"triton"`` and the kernel cannot run.
    """
    check_impl(impl)
    if impl == "reference":
        return False
    if not HAS_TRITON:
        unsupported = "triton is not installed"
    if impl == "auto":
        return device.type == "cuda" and not unsupported
    if device.type != "cuda" and not interpreting():
        unsupported = f"the inputs are on {device.type}; move them to a GPU, or use impl='auto'"
    if unsupported:
        raise ValueError(f"impl='triton' cannot run: {unsupported}")
    return True
