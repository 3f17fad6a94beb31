"""Compiles a kernel for a chip that need not be there, and reads from the machine code what it costs.

Each operation says in its ``variants.py`` what is to be compiled. Needs triton, whose wheel carries the assembler and
the disassembler, and no GPU. A process that compiles must not have been started with ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgrec_kernels.chips import shared_memory

__all__ = ["Cost", "Variant", "cost", "faults", "signature"]


_TENSOR_MEMORY_COLUMNS = 512
_POINTERS = {"float32": "*fp32", "bfloat16": "*bf16", "float16": "*fp16"}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A kernel with everything that the compiler must know, as the operation would launch it on that chip."""

    operation: str
    kernel: Any  # a triton.JITFunction; triton is not typed
    shape: str  # for people: "T 32, K 64"
    dtype: str  # "bfloat16"
    blocks: str  # for people: "32x32, 4 warps"
    arguments: Mapping[str, str]  # of each argument that is no constant: "*bf16", "i32", "fp32"
    constants: Mapping[str, Any]  # constexpr arguments are numbers, words and truths
    warps: int
    stages: int
    multiples_of_16: tuple[str, ...]  # arguments that the launcher will find divisible: pointers, strides
    matrix_unit: bool  # whether matrix instructions are wanted
    spill_budget: int  # bytes of stack a thread may use

    @property
    def name(self) -> str:
        return str(self.kernel.fn.__name__)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the machine code of one variant on one chip needs and holds."""

    registers: int  # a thread
    spills: int  # bytes of stack a thread
    shared: int  # bytes a program
    tensor_memory: int  # columns
    stores: int  # instructions to global memory
    matrix: int  # instructions of the matrix unit


def signature(kernel: Any, dtype: str, constants: Mapping[str, Any], other: Mapping[str, str]) -> dict[str, str]:
    """Types of a kernel's arguments: pointers to ``dtype`` unless ``other`` says otherwise, and 32-bit integers."""
    types = {}
    for name in kernel.arg_names:
        if name in constants:
            continue
        types[name] = other.get(name, _POINTERS[dtype] if name.endswith("_ptr") else "i32")
    return types


def cost(variant: Variant, chip: int) -> Cost:
    """Compile one variant and read its machine code.

    Args:
        variant: The kernel and its constants.
        chip: ``10 * major + minor`` of the compute capability.
    """
    import triton  # late: heavy, and the rest of the package must work without it
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = variant.kernel
    positions = {name: index for index, name in enumerate(kernel.arg_names)}
    source = ASTSource(
        kernel,
        {name: variant.arguments.get(name, "constexpr") for name in kernel.arg_names},
        dict(variant.constants),
        {(positions[name],): [["tt.divisibility", 16]] for name in variant.multiples_of_16},
    )
    options = {"num_warps": variant.warps, "num_stages": variant.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", chip, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        done = subprocess.run(
            [str(tool), "-res-usage", "-sass", file.name], capture_output=True, text=True, check=True, timeout=120
        )
    usage = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout + done.stderr)
    assert usage is not None, done.stdout[:500]
    return Cost(
        registers=int(usage[1]),
        spills=int(usage[2]),
        shared=int(compiled.metadata.shared),
        tensor_memory=int(getattr(compiled.metadata, "tmem_size", 0) or 0),
        stores=len(re.findall(r"\bSTG\b|\bUTMASTG\b", done.stdout)),
        matrix=len(re.findall(r"\b(?:HMMA|HGMMA|QGMMA|QMMA|OMMA|UTCHMMA|UTCQMMA|UTCOMMA|DMMA|IMMA)\b", done.stdout)),
    )


def faults(variant: Variant, chip: int, measured: Cost) -> tuple[str, ...]:
    """What keeps a variant from being shipped, in words; empty when nothing does."""
    said = []
    if measured.stores == 0:
        said.append("it stores nothing: the compiler gave up and left a stub")
    if variant.matrix_unit and measured.matrix == 0:
        said.append("it has no matrix instruction")
    if measured.shared > shared_memory(chip):
        said.append(f"it wants {measured.shared} bytes of shared memory of {shared_memory(chip)}")
    if measured.tensor_memory > _TENSOR_MEMORY_COLUMNS:
        said.append(f"it wants {measured.tensor_memory} columns of tensor memory of {_TENSOR_MEMORY_COLUMNS}")
    if measured.spills > variant.spill_budget:
        said.append(f"it spills {measured.spills} bytes a thread, of a budget of {variant.spill_budget}")
    return tuple(said)
