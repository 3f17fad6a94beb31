"""The attention kernels that the compile table covers, as ``triton_op`` would launch them on each chip."""

from __future__ import annotations

from typing import Any

import torch

from mmgrec_kernels.compilation import Variant, signature
from mmgrec_kernels.relation_attention import triton_blocked as blocked
from mmgrec_kernels.relation_attention import triton_kernels as kernels
from mmgrec_kernels.relation_attention.sizes import Blocks, plan

__all__ = ["variants"]

_FLOAT32 = ("lse_ptr", "delta_ptr", "ds_qk_ptr", "ds_v_ptr")
_SHAPES = (  # length, size, dtype
    (32, 64, torch.bfloat16),
    (64, 64, torch.bfloat16),
    (66, 64, torch.bfloat16),
    (200, 64, torch.bfloat16),
    (32, 16, torch.float32),
    (32, 64, torch.float32),
    (200, 64, torch.float32),
)
_HEADS = 4
_SPILL_BUDGET = 512  # bytes a thread; the accumulators of the gradients outlive the loop over heads


def variants(chip: int) -> list[Variant]:
    """One variant for each kernel of each shape."""
    shipped = []
    for length, size, dtype in _SHAPES:
        chosen = plan(length=length, size=size, dtype=dtype, chip=chip)
        launches: list[tuple[Any, Blocks, dict[str, Any]]]
        if chosen.way == "blocked":
            launches = [
                (blocked.forward_blocked, chosen.forward, {"BLOCKS": -(-length // chosen.forward.keys)}),
                (blocked.backward_rows_blocked, chosen.rows, {"BLOCKS": -(-length // chosen.rows.keys)}),
                (blocked.backward_columns_blocked, chosen.columns, {"BLOCKS": -(-length // chosen.columns.rows)}),
            ]
        else:
            launches = [(kernels.forward, chosen.forward, {}), (kernels.backward, chosen.rows, {})]
        for kernel, blocks, more in launches:
            constants = {
                "HEADS": _HEADS,
                "SIZE": size,
                "ROWS": blocks.rows,
                "KEYS": blocks.keys,
                "PRECISION": chosen.precision,
                "WIDEN": False,
                **more,
            }
            name = str(dtype).removeprefix("torch.")
            other = {**dict.fromkeys(_FLOAT32, "*fp32"), "keep_ptr": "*u8", "scale": "fp32"}
            arguments = signature(kernel, name, constants, other)
            shipped.append(
                Variant(
                    operation="relation_attention",
                    kernel=kernel,
                    shape=f"T {length}, K {size}",
                    dtype=name,
                    blocks=str(blocks),
                    arguments=arguments,
                    constants=constants,
                    warps=blocks.warps,
                    stages=blocks.stages,
                    multiples_of_16=tuple(
                        argument for argument in arguments if argument.endswith("_ptr") or argument.startswith("stride")
                    ),
                    matrix_unit=True,
                    spill_budget=_SPILL_BUDGET,
                )
            )
    return shipped
