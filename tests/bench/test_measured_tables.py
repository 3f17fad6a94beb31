"""The measured tables of the page are those of the files that it names: no figure is written by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from measured_tables import goals, measured, write

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "kernels.md").read_text()


def outcome(form_ms: dict[str, float], case: str = "race, N 5") -> dict[str, object]:
    lines = [{"case": case, "form": form, "milliseconds": ms} for form, ms in form_ms.items()]
    hardware = {"cpu": "a", "gpu": None, "torch_threads": 1}
    return {"lines": lines, "hardware": hardware, "versions": {"python": "3", "torch": "2"}, "date": "2026-01-01T00"}


def test_the_page_shows_what_was_measured() -> None:
    command = re.search(r"measured_tables.py docs/reference/kernels.md (.*)", PAGE)
    assert command is not None
    outcomes = [json.loads((ROOT / name).read_text()) for name in command[1].split()]
    assert write(PAGE, outcomes) == PAGE
    assert PAGE.count("<!-- measured:") >= 8


def test_ours_come_first_then_the_fastest_and_the_last_file_counts() -> None:
    files = [outcome({"slow": 9.0, "fast": 1.0, "mmgrec": 5.0}), outcome({"fast": 2.0})]
    rows = measured("race, (.*)", files).splitlines()
    assert rows[0] == "| ms | N 5 |"
    assert rows[2:5] == ["| mmgrec | 5.00 |", "| fast | 2.00 |", "| slow | 9.00 |"]


def test_a_case_that_nobody_measured_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no case"):
        measured("walk, (.*)", [outcome({"fast": 1.0})])


def test_a_missed_goal_is_shown() -> None:
    missed = {"goals": [{"goal": "twice", "found": 1.5, "met": False}], "hardware": {"gpu": None}}
    met = {"goals": [{"goal": "thrice", "found": 3.0, "met": True}], "hardware": {"gpu": "a card"}}
    assert goals([missed, met], gpu=False).splitlines()[2:] == ["| twice | 1.50 | **missed** |"]
    assert goals([missed, met], gpu=True).splitlines()[2:] == ["| thrice | 3.00 | met |"]
