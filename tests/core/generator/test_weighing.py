"""How heavily a memory counts is found by validation, through whatever search is handed over."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.generator import Weighing
from mmgrec.interfaces import Context, ItemWeights, Silent
from mmgrec.synthetic import planted

SEVERAL = Weighing(factors=(1.0, 0.5, 2.0, 0.0))
DATA = planted(num_users=80, num_items=40, mean_interactions=12, seed=1)
WEIGHTS = ItemWeights(index=torch.arange(40)[:, None].roll(1, 0), weight=torch.ones(40, 1))
WITHOUT_VALIDATION = replace(DATA, valid=replace(DATA.valid, user=DATA.valid.user[:0], item=DATA.valid.item[:0]))


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Search:
    """Gives everybody their validation items at some factors, and nothing useful at others."""

    good: tuple[float, ...]
    data: Dataset = DATA
    asked: int = 0

    def __call__(self, weights: ItemWeights, users: Tensor, seen: Tensor) -> Tensor:
        self.asked += 1
        factor = float(weights.weight[0, 0])
        assert torch.equal(weights.index, WEIGHTS.index)
        table = torch.full((users.numel(), 10), -1)
        if factor in self.good:
            wanted = self.data.valid.padded(users)[:, :10]
            table[:, : wanted.shape[1]] = wanted
        return table


def chosen(weighing: Weighing, search: Search, data: Dataset = DATA, weights: ItemWeights = WEIGHTS) -> float:
    return float(weighing.choose(data, weights, search, Context()).weight[0, 0])


@pytest.mark.parametrize("best", [1.0, 0.5, 2.0, 0.0])
def test_the_factor_of_highest_recall_is_taken(best: float) -> None:
    assert chosen(SEVERAL, Search(good=(best,))) == best


def test_of_equally_good_factors_the_first_is_taken() -> None:
    assert chosen(Weighing(), Search(good=())) == 1.0
    assert chosen(Weighing(factors=(4.0, 0.5, 2.0)), Search(good=(2.0, 0.5))) == 0.5


def test_a_factor_of_zero_switches_the_memory_off() -> None:
    found = Weighing().choose(DATA, WEIGHTS, Search(good=(0.0,)), Context())
    assert not found.active


def test_what_needs_no_choice_asks_nobody() -> None:
    search = Search(good=(0.5,))
    assert chosen(Weighing(factors=(3.0,)), search) == 3.0
    assert chosen(Weighing(), search, WITHOUT_VALIDATION) == 1.0
    assert chosen(Weighing(), search, weights=WEIGHTS.times(0.0)) == 0.0
    assert search.asked == 0


def test_the_choice_is_told_with_its_figures() -> None:
    heard = Heard()
    Weighing(factors=(1.0, 0.5)).choose(DATA, WEIGHTS, Search(good=(0.5,)), Context(reporter=heard))
    assert heard.notes == [
        "memory beside the generator: factor 0.5; recall@10 on validation 0.0000 with 1, 1.0000 with 0.5"
    ]


def test_test_items_have_no_part_in_it() -> None:
    """A search that finds test items alone is no better than one that finds nothing."""
    search = Search(good=(2.0,), data=replace(DATA, valid=DATA.test))
    other = replace(DATA, test=DATA.valid)
    assert chosen(SEVERAL, search, DATA) == chosen(SEVERAL, search, other)
    assert chosen(SEVERAL, Search(good=(2.0,)), other) == 2.0
