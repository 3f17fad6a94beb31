"""Insights in JSON: what earlier versions wrote is read and written to the same bytes, all else is refused in words."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mmgrec.errors import RunError
from mmgrec.insight.values import ModelInsight
from mmgrec.storage import Json, json_bytes

BEFORE = Path(__file__).parents[2] / "before"
CELLS = sorted((BEFORE / "study" / "cells").glob("*/insight.json"))
MODELS: dict[str, Json] = json.loads((BEFORE / "run" / "insight.json").read_text(encoding="utf-8"))["models"]
OWN = next(table for table in MODELS.values() if "codewords" in table)


@pytest.mark.parametrize("file", CELLS, ids=lambda file: file.parent.name)
def test_a_cells_insight_is_written_to_the_bytes_it_was_read_from(file: Path) -> None:
    insight = ModelInsight.of_json(json.loads(file.read_text(encoding="utf-8")))
    assert json_bytes(insight.to_json()) == file.read_bytes()


@pytest.mark.parametrize("label", MODELS)
def test_a_runs_insights_come_back(label: str) -> None:
    insight = ModelInsight.of_json(MODELS[label])
    assert insight.to_json() == MODELS[label]
    assert ModelInsight.of_json(insight.to_json()) == insight
    assert (insight.generator is None) == ("codewords" not in MODELS[label])


def test_nobody_to_show_is_written_down_as_such() -> None:
    table = {**OWN, "user": None}
    insight = ModelInsight.of_json(table)
    assert insight.generator is not None
    assert insight.generator.user is None
    assert insight.to_json() == table


def test_names_that_a_later_version_adds_are_passed_over() -> None:
    assert ModelInsight.of_json({**OWN, "mood": "good"}) == ModelInsight.of_json(OWN)


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(RunError) as error:
        ModelInsight.of_json({**OWN, "schema": 2}, where="run/insight.json")
    assert error.value.code == "insight.newer-schema"
    assert error.value.where == "run/insight.json"
    assert "schema 2" in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("users",), "many", "users"),
        (("users",), True, "users"),
        (("popularity",), None, "popularity"),
        (("popularity", "liked"), [0.5, "<b>"], "popularity.liked"),
        (("accuracy", "history"), {}, "accuracy.history"),
        (("accuracy", "history", 1, "ndcg"), None, "accuracy.history[1].ndcg"),
        (("codewords", 0, "rank"), [1.5], "codewords[0].rank"),
        (("codewords", 0, "collision"), 0, "codewords[0].collision"),
        (("user", "item", "title"), 3, "user.item.title"),
        (("user", "path", 0, "others", 0), [], "user.path[0].others[0]"),
        (("user", "layers", 0, "content"), [[0.1], "x"], "user.layers[0].content"),
        ((), ["a list"], "the whole"),
    ],
)
def test_what_was_changed_by_hand_is_named(path: tuple[str | int, ...], value: Any, name: str) -> None:
    payload: Any = copy.deepcopy(OWN)
    if path:
        part = payload
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = value
    else:
        payload = value
    with pytest.raises(RunError) as error:
        ModelInsight.of_json(payload, where="insight.json")
    assert error.value.code == "insight.malformed"
    assert f"({name}: should be " in str(error.value)
