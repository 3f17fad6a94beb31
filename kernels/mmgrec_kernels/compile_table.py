"""Writes what the kernels cost on each chip into a file: ``python -m mmgrec_kernels.compile_table docs/kernels.md``.

Compiles every shipped variant for every chip, with no GPU; refuses to write when one of them could not be shipped. Each
operation's table replaces what stands between ``<!-- compiled: NAME -->`` and ``<!-- /compiled -->``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from mmgrec_kernels._chips import CHIPS
from mmgrec_kernels._compile import Cost, Variant, cost, faults

__all__ = ["all_variants", "main", "table", "write"]

_OPERATIONS = ("relation_attention", "residual_lookup", "beam_step")


def all_variants(chip: int) -> list[Variant]:
    """Every shipped variant on a chip, operation by operation."""
    found: list[Variant] = []
    for operation in _OPERATIONS:
        module = f"mmgrec_kernels.{operation}.variants"
        if importlib.util.find_spec(module) is not None:
            found += importlib.import_module(module).variants(chip)
    return found


def table(rows: Iterable[tuple[int, Variant, Cost]]) -> str:
    """Markdown of one operation's rows, with the version of the compiler above it."""
    version = importlib.metadata.version("triton")
    lines = [
        f"Compiled by triton {version}. Registers and spilled bytes are a thread's, shared memory (bytes) and",
        "tensor memory (columns) a program's; stores and matrix instructions are counted in the machine code.",
        "",
        "| chip | shape | dtype | kernel | blocks | registers | spills | shared | tensor memory | stores | matrix |",
        "|---|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for chip, variant, found in rows:
        lines.append(
            f"| sm_{chip} | {variant.shape} | {variant.dtype} | {variant.name} | {variant.blocks} | {found.registers} |"
            f" {found.spills} | {found.shared} | {found.tensor_memory} | {found.stores} | {found.matrix} |"
        )
    return "\n".join(lines)


def write(text: str, operation: str, written: str) -> str:
    """``text`` with an operation's table renewed; unchanged where it has no place for it."""
    pattern = re.compile(rf"(<!-- compiled: {operation} -->\n).*?(<!-- /compiled -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{written}\n{match[2]}", text)


def main(path: Path) -> list[str]:
    """Renew all tables of a file; returns what is wrong, and writes nothing then."""
    rows = [(chip, variant, cost(variant, chip)) for chip in CHIPS for variant in all_variants(chip)]
    wrong = [
        f"{variant.name} of {variant.shape} {variant.dtype} on sm_{chip}: {fault}"
        for chip, variant, found in rows
        for fault in faults(variant, chip, found)
    ]
    if wrong:
        return wrong
    text = path.read_text()
    for operation in _OPERATIONS:
        text = write(text, operation, table(row for row in rows if row[1].operation == operation))
    path.write_text(text)
    return []


if __name__ == "__main__":
    sys.exit("\n".join(main(Path(sys.argv[1]))) or 0)
