"""Any recommender with an item memory beside it: its scores, its rows in runs and studies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import PluginError, SettingsError
from mmgrec.interfaces import (
    Context,
    Exclusion,
    FittedRecommender,
    ItemMemory,
    ItemWeights,
    Recommendations,
    Recommender,
    ScoresOfUsers,
    no_exclusion,
)
from mmgrec.ranking import rank_items
from mmgrec.registry import Registry
from mmgrec.runs import Experiment
from mmgrec.studies.values import model_of, model_values
from mmgrec.synthetic import planted
from mmgrec.training import ValidationRecall, likeliest_factor
from mmgrec.with_memory import WithMemory
from mmgrec_plugins.memories.local_ridge import LocalRidge
from mmgrec_plugins.recommenders.simple.popularity import Popularity

DATA = planted(num_users=90, num_items=40, mean_interactions=12, seed=6)
USERS = torch.arange(DATA.num_users)


@dataclass(frozen=True, kw_only=True)
class Table(Recommender):
    """Fixed scores, a hundred times a log-probability."""

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        return FittedTable(table=scores())


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedTable(FittedRecommender):
    table: Tensor

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        return rank_items(users, self.table[users].clone(), top_k=top_k, exclusion=exclusion)

    def state(self) -> dict[str, Tensor]:
        return {"table": self.table}


def scores() -> Tensor:
    return torch.randn(DATA.num_users, DATA.num_items, generator=torch.Generator().manual_seed(0)) * 100


@dataclass(frozen=True, kw_only=True)
class Fixed(ItemMemory):
    """Item 0 speaks for item 1 by two."""

    def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        HEARD.append(beside(USERS[:3]))
        index = torch.full((data.num_items, 1), -1)
        weight = torch.zeros(data.num_items, 1)
        index[1], weight[1] = 0, 2.0
        return ItemWeights(index=index, weight=weight)


HEARD: list[Tensor] = []


def test_its_scores_are_added_to_the_recommenders_in_natural_units() -> None:
    fitted = WithMemory(base=Table(), memory=Fixed()).fit(DATA, Context())
    factor = likeliest_factor(lambda users: scores()[users], DATA, Context().generator("calibration"))
    assert 0 < factor < 0.05  # of a hundredfold
    torch.testing.assert_close(HEARD[-1], scores()[:3] * factor)
    history = torch.zeros(DATA.num_users, DATA.num_items)
    history[DATA.train.user, DATA.train.item] = 1
    expected = scores() * factor
    expected[:, 1] += 2.0 * history[:, 0]
    lists = fitted.recommend(USERS, top_k=DATA.num_items, exclusion=no_exclusion(len(USERS)))
    found = torch.zeros_like(expected).scatter(1, lists.item, lists.score)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_it_reads_the_history_that_it_is_given() -> None:
    fitted = WithMemory(base=Table(), memory=Fixed()).fit(DATA, Context())
    only = Interactions.of(torch.tensor([5]), torch.tensor([0]), num_users=DATA.num_users, num_items=DATA.num_items)
    before = fitted.recommend(USERS, top_k=DATA.num_items, exclusion=no_exclusion(len(USERS)))
    after = fitted.with_history(only).recommend(USERS, top_k=DATA.num_items, exclusion=no_exclusion(len(USERS)))

    def of_item_1(lists: Recommendations) -> Tensor:
        return lists.score[lists.item == 1]

    change = of_item_1(after) - of_item_1(before)
    had = torch.zeros(DATA.num_users)
    had[DATA.train.user[DATA.train.item == 0]] = 2.0
    has = torch.zeros(DATA.num_users)
    has[5] = 2.0
    torch.testing.assert_close(change, has - had, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("candidates", [0, 7])
def test_what_is_not_named_counts_as_the_last_that_is(candidates: int) -> None:
    fitted = WithMemory(base=Table(), memory=Fixed(), candidates=candidates).fit(DATA, Context())
    lists = fitted.recommend(USERS[:4], top_k=DATA.num_items, exclusion=no_exclusion(4))
    different = [len(set(np.round(row, 4))) for row in lists.score.numpy()]
    width = candidates or DATA.num_items
    assert all(width <= count <= width + 1 for count in different), different


def test_a_memory_helps_a_recommender_that_knows_nothing_of_users() -> None:
    recall = ValidationRecall(DATA)

    def value(recommender: Recommender) -> float:
        fitted = recommender.fit(DATA.without_test(), Context())
        return recall.of_items(
            lambda users, seen: fitted.recommend(users, top_k=10, exclusion=Exclusion(seen=seen)).item
        )

    assert value(WithMemory(base=Popularity(), memory=LocalRidge())) > 1.2 * value(Popularity())


def test_its_state_names_both_parts() -> None:
    state = WithMemory(base=Table(), memory=Fixed()).fit(DATA, Context()).state()
    assert {"base.table", "factor", "memory.index", "memory.weight", "memory.decay"} == state.keys()


# --------------------------------------------------------------------------- rows


def row(**over: object) -> dict[str, Any]:
    return {"name": "ease", "l2": 50.0, "memory": {"name": "local-ridge", "l2": [5.0]}, **over}


def test_a_row_of_a_run_has_one_by_its_settings() -> None:
    (model,) = Experiment.of({"baselines": {"ease + memory": row(memory_candidates=30)}}).baselines
    assert isinstance(model.recommender, WithMemory)
    assert (model.plugin, model.parts, model.recommender.candidates) == ("ease", {"memory": "local-ridge"}, 30)
    again = Experiment.of({"baselines": {"ease + memory": {"name": model.plugin, **model.values()}}}).baselines[0]
    assert again == model


def test_a_row_of_a_study_has_one_by_its_settings() -> None:
    registry = Registry.discover()
    model = model_of("ease + memory", row(), registry)
    assert isinstance(model.recommender, WithMemory)
    assert model_of("ease + memory", model_values(model), registry) == model
    assert replace(model.recommender, memory=Fixed()) != model.recommender


@pytest.mark.parametrize(
    ("over", "code", "where"),
    [
        ({"memory": "local-ridge"}, "settings.not-a-table", "memory"),
        ({"memory": {"name": "locl-ridge"}}, "registry.unknown-plugin", "local-ridge"),
        ({"memory": {"l2": ["much"]}}, "settings.wrong-type", "memory.l2"),
        ({"memory_candidates": -1}, "runs.memory-candidates", "memory_candidates"),
    ],
)
def test_what_is_wrong_with_it_is_said(over: dict[str, object], code: str, where: str) -> None:
    with pytest.raises(SettingsError) as error:
        Experiment.of({"baselines": {"ease + memory": row(**over)}})
    (problem,) = error.value.problems
    assert problem.code == code
    assert where in problem


@dataclass(frozen=True, kw_only=True)
class Broken(Recommender, ItemMemory):
    """Neither fits: both return nothing."""

    def fit(self, *given: Any) -> Any:  # type: ignore[override]
        return None


def test_what_does_not_fit_is_told_with_its_maker() -> None:
    for recommender in (WithMemory(base=Broken(), memory=Fixed()), WithMemory(base=Table(), memory=Broken())):
        with pytest.raises(PluginError) as error:
            recommender.fit(DATA, Context())
        assert error.value.code == "guards.wrong-type"
        assert error.value.where.endswith("Broken")
