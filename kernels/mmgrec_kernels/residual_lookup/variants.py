"""The look-up kernels that the compile table covers, as ``triton_op`` would launch them on each chip."""

from __future__ import annotations

from mmgrec_kernels.compilation import Variant, signature
from mmgrec_kernels.residual_lookup import triton_kernels as kernels
from mmgrec_kernels.residual_lookup.sizes import plan

__all__ = ["variants"]

_SHAPES = ((4, 128), (32, 256), (64, 256))  # dim, codes
_LEVELS = 3
_SPILL_BUDGET = 512  # bytes a thread; the float64 scan of a crowded block is rare, and most of it


def variants(chip: int) -> list[Variant]:
    """One variant for each shape."""
    shipped = []
    for dim, codes in _SHAPES:
        chosen = plan(dim=dim, codes=codes, chip=chip)
        constants = {
            "LEVELS": _LEVELS,
            "CODES": chosen.codes,
            "DIM": chosen.dim,
            "ROWS": chosen.rows,
            "BLOCK": chosen.block,
            "USE_DOT": chosen.use_dot,
            "PRECISION": chosen.precision,
        }
        other = {"counts_ptr": "*i32", "tokens_ptr": "*i64", "unit": "fp32"}
        arguments = signature(kernels.lookup, "float32", constants, other)
        shipped.append(
            Variant(
                operation="residual_lookup",
                kernel=kernels.lookup,
                shape=f"D {dim}, L {_LEVELS}, C {codes}",
                dtype="float32",
                blocks=str(chosen),
                arguments=arguments,
                constants=constants,
                warps=chosen.warps,
                stages=chosen.stages,
                multiples_of_16=tuple(
                    name for name in arguments if name.endswith("_ptr") or (name == "dim" and dim >= 16)
                ),
                matrix_unit=chosen.use_dot,
                spill_budget=_SPILL_BUDGET,
            )
        )
    return shipped
