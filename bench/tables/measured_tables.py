"""Writes measured times into a page.

    python bench/tables/measured_tables.py docs/reference/kernels.md bench/results/A.json ...

A table replaces what stands between ``<!-- measured: PATTERN -->`` and ``<!-- /measured -->``: a row for each form, a
column for each case that the regular expression matches, headed by its first group. Of a case in several files the last
counts. Goals stand in tables of their own, between ``<!-- goals -->`` and ``<!-- /goals -->``, and between the same
with ``goals on a GPU``.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Outcome = Mapping[str, Any]  # as `harness.Book.save` writes it


def measured(pattern: str, outcomes: Sequence[Outcome]) -> str:
    """One table; ours first, then the others by their time in the first column."""
    columns: dict[str, dict[str, float]] = {}
    source: Outcome = {}
    for outcome in outcomes:
        for line in outcome["lines"]:
            matched = re.fullmatch(pattern, line["case"])
            if matched is not None:
                source = outcome
                columns.setdefault(matched[1], {})[line["form"]] = line["milliseconds"]
    if not columns:
        raise SystemExit(f"no case of these files matches {pattern!r}")
    first = next(iter(columns.values()))

    def order(form: str) -> tuple[bool, float, str]:
        return not form.startswith("mmgrec"), first.get(form, math.inf), form

    rows = [
        f"| {form} | " + " | ".join(_number(column.get(form)) for column in columns.values()) + " |"
        for form in sorted({form for column in columns.values() for form in column}, key=order)
    ]
    head = [f"| ms | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    return "\n".join([*head, *rows, "", _machine(source)])


def goals(outcomes: Iterable[Outcome], *, gpu: bool) -> str:
    of_these = (outcome for outcome in outcomes if bool(outcome["hardware"]["gpu"]) == gpu)
    latest = {goal["goal"]: goal for outcome in of_these for goal in outcome.get("goals", [])}
    rows = [
        f"| {name} | {goal['found']:.2f} | {'met' if goal['met'] else '**missed**'} |" for name, goal in latest.items()
    ]
    return "\n".join(["| goal | found | |", "|---|--:|---|", *rows])


def _number(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1 if milliseconds < 1000 else 0
    return f"{milliseconds:.{digits}f}"


def _machine(outcome: Outcome) -> str:
    machine = outcome["hardware"]
    device = machine["gpu"] or f"{machine['cpu']}, {machine['torch_threads']} thread(s)"
    versions = ", ".join(f"{name} {version}" for name, version in outcome["versions"].items() if name != "python")
    return f"Medians; {device}; {versions}; {outcome['date'][:10]}."


def write(text: str, outcomes: Sequence[Outcome]) -> str:
    """``text`` with all its tables renewed."""
    text = re.sub(
        r"<!-- measured: (.*?) -->\n.*?<!-- /measured -->",
        lambda match: f"<!-- measured: {match[1]} -->\n{measured(match[1], outcomes)}\n<!-- /measured -->",
        text,
        flags=re.DOTALL,
    )
    return re.sub(
        r"<!-- (goals(?: on a GPU)?) -->\n.*?<!-- /\1 -->",
        lambda match: f"<!-- {match[1]} -->\n{goals(outcomes, gpu='GPU' in match[1])}\n<!-- /{match[1]} -->",
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(write(page.read_text(), [json.loads(Path(name).read_text()) for name in sys.argv[2:]]))
