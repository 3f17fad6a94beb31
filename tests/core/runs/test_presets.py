"""Presets name settings that exist, are valid, and are what their names promise."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mmgrec.interfaces import NoMemory
from mmgrec.recommender import MMGRec
from mmgrec.runs.experiment import Experiment
from mmgrec.runs.presets import DEPARTURES, PRESETS
from mmgrec.settings.values import merge


def model(preset: str) -> MMGRec:
    recommender = Experiment.of({"preset": preset}).models[0].recommender
    assert isinstance(recommender, MMGRec)
    return recommender


def assert_holds(part: object, values: Mapping[str, object]) -> None:
    for name, wanted in values.items():
        if name == "name":
            continue
        value = getattr(part, name)
        if isinstance(wanted, Mapping):
            assert_holds(value, wanted)
        else:
            assert (list(value) if isinstance(value, tuple) else value) == wanted, name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_value_of_a_preset_arrives(preset: str) -> None:
    assert_holds(model(preset), PRESETS[preset])


def test_the_paper_reads_no_users_representation() -> None:
    """Its targets are interactions, which the users' representations have seen."""
    preset = model("paper")
    assert (preset.training.targets, preset.network.user_input) == ("interactions", "history")


def test_the_paper_has_the_papers_head_and_quantizer() -> None:
    preset = model("paper")
    assert preset.network.head == "tokens"
    assert preset.quantizer.schedule == "alternating"  # type: ignore[attr-defined]
    assert preset.quantizer.graph.convolution == "sage"  # type: ignore[attr-defined]


@pytest.mark.parametrize("preset", ["paper", "published-code"])
def test_what_was_published_has_no_memory(preset: str) -> None:
    assert model(preset).memory == NoMemory()


def test_the_control_without_features_reads_none_in_its_memory_either() -> None:
    assert model("no-features").memory.feature_weight == (0.0,)  # type: ignore[attr-defined]
    assert any(model("recipe").memory.feature_weight)  # type: ignore[attr-defined]


def test_the_recipe_learns_from_its_teacher_and_is_the_default() -> None:
    preset = model("recipe")
    assert (preset.training.targets, preset.network.head) == ("teacher", "tree")
    default = Experiment.of({}).models[0].recommender
    assert default == preset


def test_the_published_code_is_the_paper_with_every_departure() -> None:
    both = merge(PRESETS["paper"], *DEPARTURES.values())
    decoder = both.pop("decoder")
    assert merge(PRESETS["published-code"]) == {**both, "decoder": {"name": decoder["name"]}}  # type: ignore[index]
    assert model("published-code").decoder == Experiment.of(
        {"preset": "paper", "decoder": {"name": "published-beam", "trie": False, "unseen": False}}
    ).models[0].recommender.decoder  # type: ignore[attr-defined]  # fmt: skip


@pytest.mark.parametrize("departure", DEPARTURES)
def test_every_departure_is_a_setting_that_the_paper_has_otherwise(departure: str) -> None:
    departed = Experiment.of({"preset": "paper", **DEPARTURES[departure]}).models[0].recommender
    assert departed != model("paper")
