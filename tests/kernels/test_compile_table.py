"""Every kernel compiles for every chip, with no GPU, into code that could be shipped; the page says what it costs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton comes for Linux only")

from mmgrec_kernels import compile_table
from mmgrec_kernels.chips import CHIPS
from mmgrec_kernels.compilation import Cost, Variant, cost, faults

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "kernel-tables.md").read_text()
TABLES = dict(re.findall(r"<!-- compiled: (\w+) -->\n(.*?)<!-- /compiled -->", PAGE, re.DOTALL))
SHIPPED = [(chip, variant) for name in TABLES for chip in CHIPS for variant in compile_table.variants_of(name, chip)]


def quick(chip: int, variant: Variant) -> bool:
    """Compiled here: all for sm_90, elsewhere what takes a second or two; the digest vouches for the other rows."""
    return chip == 90 or variant.dtype == "bfloat16" or "D 4," in variant.shape


def of_this_compiler() -> bool:
    import triton

    return f"triton {triton.__version__} " in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("operation", TABLES)
def test_no_variant_has_a_fault_and_the_page_shows_what_was_compiled(operation: str, chip: int) -> None:
    variants = [one for where, one in SHIPPED if where == chip and one.operation == operation and quick(chip, one)]
    assert variants
    found = [(variant, cost(variant, chip)) for variant in variants]
    wrong = {compile_table.row(chip, variant, costs): faults(variant, chip, costs) for variant, costs in found}
    assert {row: said for row, said in wrong.items() if said} == {}
    assert [row for row in wrong if of_this_compiler() and row not in PAGE] == []


def test_the_page_was_made_by_this_compiler() -> None:
    if not of_this_compiler():
        pytest.skip("the page was made by another compiler: its rows are not compared")


@pytest.mark.parametrize("operation", TABLES)
def test_tables_are_of_the_kernels_as_they_are(operation: str) -> None:
    wanted = compile_table.digest(operation)
    assert wanted in TABLES[operation], "run: python -m mmgrec_kernels.compile_table docs/reference/kernel-tables.md"
    assert TABLES[operation].count("| sm_") == sum(variant.operation == operation for _, variant in SHIPPED)


def test_a_stub_that_stores_nothing_is_a_fault() -> None:
    chip, variant = next(each for each in SHIPPED if each[1].matrix_unit)
    stub = Cost(registers=8, spills=0, shared=0, tensor_memory=0, stores=0, matrix=0)
    assert len(faults(variant, chip, stub)) == 2


def test_more_shared_memory_than_the_chip_has_is_a_fault() -> None:
    found = Cost(registers=255, spills=0, shared=160 * 1024, tensor_memory=0, stores=4, matrix=16)
    assert [bool(faults(SHIPPED[0][1], chip, found)) for chip in (80, 90, 100, 120)] == [False, False, False, True]


def test_the_operations_import_no_triton() -> None:
    code = "import sys, mmgrec_kernels; sys.exit('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
