"""Writes what the kernels cost on each chip.

    python -m mmgrec_kernels.compile_table docs/reference/kernel-tables.md

Compiles every shipped variant for every chip, with no GPU, and refuses to write when one of them could not be shipped.
Names of operations after the file limit it to them. A table replaces what stands between ``<!-- compiled: NAME -->``
and ``<!-- /compiled -->``; its digest says which sources and blocks it was made from.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmgrec_kernels.chips import CHIPS
from mmgrec_kernels.compilation import Cost, Variant, cost, faults

__all__ = ["OPERATIONS", "digest", "kernel_sources", "main", "row", "table", "variants_of", "write"]

OPERATIONS = ("relation_attention", "residual_lookup", "beam_step")


def variants_of(operation: str, chip: int) -> list[Variant]:
    """Every shipped variant of an operation on a chip."""
    module = f"mmgrec_kernels.{operation}.variants"
    if importlib.util.find_spec(module) is None:
        return []
    variants: list[Variant] = importlib.import_module(module).variants(chip)
    return variants


def digest(operation: str) -> str:
    """Of everything that a table was made from, but the compiler: kernel sources, types, constants, blocks."""
    hashed = hashlib.sha256()
    for chip in CHIPS:
        for variant in variants_of(operation, chip):
            asked = (chip, variant.name, sorted(variant.arguments.items()), sorted(variant.constants.items()))
            options = (variant.warps, variant.stages, variant.multiples_of_16)
            hashed.update(kernel_sources(variant) + repr((asked, options)).encode())
    return hashed.hexdigest()[:16]


def kernel_sources(variant: Variant) -> bytes:
    """The files of the operation's folder that hold kernels or pieces of them, one after another."""
    folder = Path(inspect.getfile(variant.kernel.fn)).parent
    texts = [path.read_bytes() for path in sorted(folder.glob("*.py"))]
    return b"".join(text for text in texts if b"@triton.jit" in text)


def row(chip: int, variant: Variant, measured: Cost) -> str:
    """One line of a table."""
    cells = (
        *(f"sm_{chip}", variant.shape, variant.dtype, variant.name, variant.blocks),
        *(measured.registers, measured.spills, measured.shared, measured.tensor_memory),
        *(measured.stores, measured.matrix),
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def table(operation: str, rows: Iterable[str]) -> str:
    """Markdown of one operation's rows, with the compiler's version and the digest above it."""
    version = importlib.metadata.version("triton")
    head = [
        f"Compiled by triton {version} from `{digest(operation)}`. Registers and spilled bytes are a thread's, shared",
        "memory (bytes) and tensor memory (columns) a program's; stores and matrix instructions are counted in the",
        "machine code.",
        "",
        "| chip | shape | dtype | kernel | blocks | registers | spills | shared | tensor memory | stores | matrix |",
        "|---|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    return "\n".join([*head, *rows])


def write(text: str, operation: str, written: str) -> str:
    """``text`` with an operation's table renewed; unchanged where it has no place for it."""
    pattern = re.compile(rf"(<!-- compiled: {operation} -->\n).*?(<!-- /compiled -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{written}\n{match[2]}", text)


def main(path: Path, operations: Sequence[str] = OPERATIONS) -> list[str]:
    """Renew the tables of a page; returns what is wrong, and writes nothing then."""
    tables, wrong = {}, []
    for operation in operations:
        rows = []
        for chip in CHIPS:
            for variant in variants_of(operation, chip):
                measured = cost(variant, chip)
                rows.append(row(chip, variant, measured))
                wrong += [f"{rows[-1]}: {fault}" for fault in faults(variant, chip, measured)]
        tables[operation] = table(operation, rows)
    if wrong:
        return wrong
    text = path.read_text()  # only now: compiling takes minutes, in which the page may have been edited
    for operation, written in tables.items():
        text = write(text, operation, written)
    path.write_text(text)
    return wrong


if __name__ == "__main__":
    sys.exit("\n".join(main(Path(sys.argv[1]), sys.argv[2:] or OPERATIONS)) or 0)
