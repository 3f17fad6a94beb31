"""Settings of earlier versions mean what they meant, or are refused with what to write instead."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mmgrec.errors import Problem, SettingsError
from mmgrec.interfaces import NoMemory
from mmgrec.recommender import MMGRec
from mmgrec.runs import Experiment
from mmgrec.runs.earlier import upgraded
from mmgrec.settings.values import flat

IDLE: list[dict[str, Any]] = [
    {},
    {"weight": [0.0], "item_weight": [0.0], "candidates": 100},
    {"weight": 0.0, "item_weight": ()},
    {"candidates": 30, "l2": 200.0},
]
ACTIVE: list[Any] = [
    {"weight": [0.0, 0.5]},
    {"item_weight": [4.0]},
    {"weight": 1.0},
    {"weight": [0.0], "item_weight": [0.0, 8.0]},
    "hybrid",
]
STORED = Path(__file__).parents[2] / "before" / "run" / "run.toml"


def memory(config: dict[str, Any]) -> object:
    recommender = Experiment.of(config).models[-1].recommender
    assert isinstance(recommender, MMGRec)
    return recommender.memory


@pytest.mark.parametrize("rescoring", IDLE, ids=str)
def test_an_idle_ranking_after_the_search_means_no_memory(rescoring: dict[str, Any]) -> None:
    assert memory({"rescoring": rescoring}) == NoMemory()
    assert memory({"compare": {"recipe": {"rescoring": rescoring}}}) == NoMemory()
    assert memory({}) != NoMemory()


def test_a_memory_beside_it_is_what_counts() -> None:
    assert memory({"rescoring": {}, "memory": {"name": "ease"}}) == memory({"memory": {"name": "ease"}})


@pytest.mark.parametrize("rescoring", ACTIVE, ids=str)
@pytest.mark.parametrize("where", ["", "compare.paper."])
def test_an_active_one_is_refused_with_what_to_use(rescoring: Any, where: str) -> None:
    config: dict[str, Any] = {"rescoring": rescoring}
    if where:
        config = {"compare": {"paper": config}}
    with pytest.raises(SettingsError, match="set memory.name=ease instead") as error:  # noqa: RUF043
        Experiment.of(config)
    (problem,) = error.value.problems
    assert str(problem).startswith(f"{where}rescoring: ")
    assert problem.code == error.value.code == "runs.rescoring-is-gone"


def test_it_is_told_with_all_else_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as error:
        Experiment.of({"rescoring": {"weight": [1.0]}, "seed": -1}, over={"nonsense": 3})
    assert len(error.value.problems) == 3


def test_what_is_laid_over_is_read_alike() -> None:
    problems: list[Problem] = []
    given = {"seed": 3, "compare": ["paper"], "network": {"dim": 8}}
    assert upgraded(given, problems) == given
    assert upgraded({"rescoring": {}}, problems) == {"memory": {"name": "none"}}
    assert problems == []
    with pytest.raises(SettingsError, match="rescoring"):
        Experiment.of({}, over={"rescoring": {"weight": 2.0}})


def test_the_settings_of_a_run_of_then_are_read_and_written_as_of_now() -> None:
    config = tomllib.loads(STORED.read_text(encoding="utf-8"))
    del config["fingerprint"]  # the folder's, of the data
    assert config.pop("rescoring")
    values = Experiment.of({**config, "rescoring": {"weight": [0.0]}}).values()
    assert "rescoring" not in values
    assert values["memory"] == {"name": "none"}
    kept = {section: table for section, table in config.items() if isinstance(table, dict) and section != "baselines"}
    assert {"quantizer", "network", "training", "decoder"} <= set(kept)
    for section, table in kept.items():
        new = dict(flat(values[section]))
        for name, value in flat(table):
            assert new[name] in (value, [value]), name  # there may be several now where there was one
