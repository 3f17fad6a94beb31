"""The table of what was tried is that of ``tests/reliability.toml``, and every row has a test that tries it so often.

With MMGREC_WRITE_MESSAGES=1 the table is written instead.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FAULTS: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "tests" / "reliability.toml").read_text(encoding="utf-8"))
RECORD = ROOT / "docs" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "explanation" / "reliability.md"
HEAD = "| fault | tried in every run | with `-m soak` | what has to hold | repeat it |\n|---|---|---|---|---|\n"


def table() -> str:
    rows = [
        f"| {one['fault']} | {one['fast']} | {one['soak']} | {one['held']} | `pytest {one['test']}` |\n"
        for one in FAULTS.values()
    ]
    return HEAD + "".join(rows)


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("MMGREC_WRITE_MESSAGES"):
        text = text[: text.index("| fault |")] + table()
        PAGE.write_text(text, encoding="utf-8")
    assert text.endswith(table())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_has_a_test_that_counts(fault: str) -> None:
    """`Trials.held` holds the count that was tried against the one that is promised."""
    assert f'trials.held("{fault}"' in (ROOT / FAULTS[fault]["test"]).read_text(encoding="utf-8")
    assert FAULTS[fault]["fast"] <= FAULTS[fault]["soak"]


def test_what_a_long_run_recorded_is_what_the_table_promises() -> None:
    if not RECORD.exists():
        pytest.skip("the long part has not been recorded")
    tried = {fault: one["tried"] for fault, one in json.loads(RECORD.read_text(encoding="utf-8")).items()}
    assert tried == {fault: FAULTS[fault]["soak"] for fault in tried}
