"""The beam-step kernels that the compile table covers, as ``triton_op`` would launch them on each chip."""

from __future__ import annotations

from typing import Any

from mmgrec_kernels.beam_step import triton_kernels as kernels
from mmgrec_kernels.beam_step.sizes import Plan, plan
from mmgrec_kernels.compilation import Variant, signature

__all__ = ["variants"]

# head, dtype, beams, state dim or size of the vocabulary, nodes of a user that have a bonus
_SHAPES = (
    ("tree", "float32", 10, 64, 0),
    ("tree", "float32", 50, 64, 0),
    ("tree", "bfloat16", 50, 64, 0),
    ("tree", "float32", 200, 64, 0),
    ("tokens", "float32", 50, 256, 0),
    ("tree", "float32", 50, 64, 1000),
    ("tree", "bfloat16", 50, 64, 1000),
    ("tree", "float32", 200, 64, 4000),
    ("tokens", "float32", 50, 256, 1000),
)
_NUM_SEEN = 64
_SPILL_BUDGET = 16  # bytes a thread
_TYPES = {
    "node_ptr": "*i64",
    "first_child_ptr": "*i32",
    "first_leaf_ptr": "*i32",
    "token_ptr": "*u8",
    "before_ptr": "*i32",
    "seen_ptr": "*i64",
    "touched_ptr": "*i64",
    "value_ptr": "*fp32",
    "keys_ptr": "*i64",
    "score_ptr": "*fp32",
    "out_score_ptr": "*fp32",
    "out_parent_ptr": "*i64",
    "out_token_ptr": "*i64",
    "out_node_ptr": "*i64",
}


def variants(chip: int) -> list[Variant]:
    """Both kernels for each shape, at an inner level, with seen leaves and an allow-list, most without a bonus."""
    shipped = []
    for head, dtype, beams, width, touched in _SHAPES:
        chosen = plan(
            num_beams=beams,
            num_parents=beams,
            width=width,
            num_seen=_NUM_SEEN,
            num_touched=touched,
            tree=head == "tree",
            chip=chip,
        )
        shared = {"LAST": False, "PARENTS": chosen.parents, "LOG_KEEP": chosen.log_keep}
        expand = {
            **shared,
            "TREE": head == "tree",
            "HAS_BEFORE": True,
            "HAS_SEEN": True,
            "HAS_BONUS": touched > 0,
            "STEPS": chosen.steps,
            "BONUS_STEPS": chosen.bonus_steps,
            "LOG_BLOCK": chosen.log_block,
            "DIM": chosen.dim,
        }
        shape = f"{head}, {beams} beams, {'D' if head == 'tree' else 'V'} {width}"
        shape += f", bonus of {touched}" if touched else ""
        shipped.append(_variant(kernels.expand, shape, dtype, chosen, expand, chosen.warps))
        if dtype == "float32" and head == "tree" and not touched:  # `choose` knows none of these
            choose = {**shared, "LOG_CHUNK": chosen.log_chunk}
            shipped.append(_variant(kernels.choose, f"{beams} beams", "int64", chosen, choose, chosen.choose_warps))
    return shipped


def _variant(kernel: Any, shape: str, dtype: str, chosen: Plan, constants: dict[str, Any], warps: int) -> Variant:
    """One of the two kernels as it is launched."""
    arguments = signature(kernel, "float32" if dtype == "int64" else dtype, constants, _TYPES)
    return Variant(
        operation="beam_step",
        kernel=kernel,
        shape=shape,
        dtype=dtype,
        blocks=str(chosen),
        arguments=arguments,
        constants=constants,
        warps=warps,
        stages=1,
        multiples_of_16=tuple(name for name in arguments if name.endswith("_ptr") or name == "width"),
        matrix_unit=False,
        spill_budget=_SPILL_BUDGET,
    )
