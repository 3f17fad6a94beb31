"""Finds code that reads a GPU's values on the host, which no recording can replay.

`NoHostReads` is also for tests without a GPU: on tensors of any device it raises where a GPU would be waited for.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["HostRead", "NoHostReads", "watched"]


class HostRead(RuntimeError):
    """A recorded function wanted to see a value, or made a shape from values."""


class NoHostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types it no further
    """Raises `HostRead` at operations that wait for the device: values read, shapes made from values, copies between.

    Sees what passes torch's dispatcher, on any device; not what is inside an operation.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # Any: torch's own signature
        kwargs = kwargs or {}
        if _waits(func, args, kwargs):
            raise HostRead(f"{func} waits for the device")
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_") and isinstance(out, Tensor):
            given = args[1] if name == "copy_" else args[0]
            if isinstance(given, Tensor) and given.device != out.device:
                raise HostRead(f"{func} copies from {given.device} to {out.device}")
        return out


def _waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation's result, or its shape, depends on values, so that the host must have them."""
    name, tags = func.overloadpacket.__name__, func.tags
    if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"):
        return any(at is not None and at.dtype in (torch.bool, torch.uint8) for at in args[1])
    if name == "repeat_interleave" and kwargs.get("output_size") is not None:
        return False
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within the block any wait for the GPU raises: by torch's own watch on the CUDA driver, and by `NoHostReads`."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        with NoHostReads():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
