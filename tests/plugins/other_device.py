"""A device that is not there: tensors that say they are on it, keep their values on the CPU, and mix with no others.

It tells, on any machine, what a GPU would refuse: an operation on tensors of two devices, or a tensor that numpy cannot
read. What it does not tell is whether a GPU computes the same. It calls itself ``meta``, a device that torch's autograd
knows how to work for without a driver.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from mmgrec_kernels.beam_step import torch_form
from mmgrec_plugins.decoders import exact
from mmgrec_plugins.representations import sparse

DEVICE = torch.device("meta")
aten = torch.ops.aten
CROSSING = {"_to_copy", "copy_", "_local_scalar_dense"}  # may have tensors of both devices, or give one of the other
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}  # torch moves indices by itself


class There(Tensor):
    """A tensor of the device."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        tensor: There = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            layout=here.layout,
            device=DEVICE,
        )
        return tensor

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.here})"

    def tolist(self) -> Any:  # Any: numbers, or lists of them
        return self.here.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("numpy reads no tensor that is elsewhere: .cpu() goes first")

    def new_tensor(self, data: Any, **more: Any) -> Tensor:
        return There(self.here.new_tensor(data, **more))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Elsewhere(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One operation, on the values."""
    name, target = func.overloadpacket.__name__, kwargs.get("device")
    flat, shape = tree_flatten((args, kwargs))
    there = [x for x in flat if isinstance(x, There)]
    goes_there = target is not None and torch.device(target).type == DEVICE.type
    if there and name not in CROSSING:
        free = args[1] if name in INDEXED and isinstance(args[0], There) else []
        tensors = [x for x in flat if isinstance(x, Tensor) and not any(x is index for index in free)]
        if any(x.dim() > 0 and not isinstance(x, There) for x in tensors):
            where = ", ".join(f"{list(x.shape)} {'there' if isinstance(x, There) else 'here'}" for x in tensors)
            raise RuntimeError(f"{func} is given tensors of two devices: {where}")
    if goes_there and any(isinstance(x, torch.Generator) for x in flat):
        raise RuntimeError(f"{func} draws there from a generator of the CPU")
    values = [x.here if isinstance(x, There) else x for x in flat]
    if target is not None:
        values = [torch.device("cpu") if isinstance(x, torch.device) else x for x in values]
    inner_args, inner_kwargs = tree_unflatten(values, shape)
    out = func(*inner_args, **inner_kwargs)
    if name == "copy_":
        return args[0]
    if not (goes_there or (there and target is None)):
        return out
    known = {id(x.here): x for x in there}  # what an operation in place gives back
    results, outer = tree_flatten(out)
    return tree_unflatten([known.get(id(x), There(x)) if isinstance(x, Tensor) else x for x in results], outer)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Within the block there is the device. torch's sparse products and fused optimizers are told of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torch.utils._foreach_utils", "torch.optim.adam", "torch.optim.adamw", "torch.optim.optimizer"):
            module = importlib.import_module(name)
            if hasattr(module, "_get_fused_kernels_supported_devices"):
                patch.setattr(module, "_get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type])
        _on_values(patch, sparse.FixedMatrix, "times")
        for module in (torch_form, exact):
            _on_values(patch, module, "sampled_products")
        with _Elsewhere():
            yield DEVICE


def _on_values(patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Have a function that makes sparse tensors work on the values: torch wraps no sparse tensor."""
    plain = getattr(owner, name)

    def product(*given: Any) -> Any:
        flat, shape = tree_flatten(given)
        is_there = any(isinstance(x, There) for x in flat)
        out = plain(*tree_unflatten([x.here if isinstance(x, There) else x for x in flat], shape))
        return There(out) if is_there else out

    patch.setattr(owner, name, product)
