"""Metrics: by hand on small lists, and against ir-measures on random ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmgrec.data.dataset import Interactions
from mmgrec.evaluation.metrics import (
    DEFINITIONS,
    FUNCTIONS,
    contains,
    coverage,
    hit_rate,
    judge,
    mrr,
    ndcg,
    novelty,
    popularity_bias,
    precision,
    recall,
)
from mmgrec.interfaces import RankedTruth

NUM_ITEMS = 8


def judged(lists: list[list[int]], relevant: list[list[int]], popularity: list[int] | None = None) -> RankedTruth:
    user = torch.tensor([row for row, items in enumerate(relevant) for _ in items])
    item = torch.tensor([number for items in relevant for number in items])
    truth = Interactions.of(user, item, num_users=len(relevant), num_items=NUM_ITEMS)
    count = torch.tensor(popularity or [1] * NUM_ITEMS)
    return judge(torch.tensor(lists), torch.arange(len(relevant)), truth, count)


def test_contains_finds_pairs_and_nothing_else() -> None:
    part = Interactions.of(torch.tensor([0, 1]), torch.tensor([7, 0]), num_users=3, num_items=8)
    held = contains(part, torch.tensor([0, 1, 2]), torch.tensor([[7, 0, -1], [0, 7, 8], [0, 7, -1]]))
    assert held.tolist() == [[True, False, False], [True, False, False], [False, False, False]]


def test_contains_of_an_empty_part() -> None:
    none = torch.tensor([], dtype=torch.int64)
    part = Interactions.of(none, none, num_users=1, num_items=8)
    assert not contains(part, torch.tensor([0]), torch.tensor([[3]])).any()


def test_recall_divides_by_the_relevant_items() -> None:
    assert recall(judged([[3, 1, 5]], [[1, 2, 5, 6]]), 3).tolist() == [0.5]


def test_recall_looks_at_the_first_k_only() -> None:
    assert recall(judged([[3, 1, 5]], [[1, 5]]), 2).tolist() == [0.5]


def test_precision_divides_by_k_even_if_the_list_is_short() -> None:
    assert precision(judged([[1, -1, -1, -1]], [[1, 2]]), 4).tolist() == [0.25]


def test_hit_rate_is_one_or_zero() -> None:
    assert hit_rate(judged([[1, 2], [3, 4]], [[1, 2], [5]]), 2).tolist() == [1.0, 0.0]


def test_mrr_takes_the_first_hit() -> None:
    assert mrr(judged([[3, 1, 2], [3, 4, 5]], [[1, 2], [6]]), 3).tolist() == [0.5, 0.0]


def test_ndcg_by_hand() -> None:
    ideal = 1 + 1 / math.log2(3)
    assert ndcg(judged([[3, 1, 2]], [[1, 2]]), 3).item() == pytest.approx((1 / math.log2(3) + 0.5) / ideal)


def test_ndcg_of_a_full_list_is_one_although_more_is_relevant() -> None:
    assert ndcg(judged([[1, 2]], [[1, 2, 3, 4]]), 2).item() == pytest.approx(1.0)


def test_coverage_counts_items_once() -> None:
    assert coverage(judged([[0, 1], [1, -1]], [[0], [0]]), 2).item() == 0.25


def test_novelty_is_self_information() -> None:
    lists = judged([[0, 1], [2, -1]], [[0], [0]], popularity=[1, 2, 0, 1, 1, 1, 1, 1])
    assert novelty(lists, 2).tolist() == [0.5, 1.0]  # two users: 1 and 0 bits; an unseen item counts as seen once


def test_popularity_bias_is_the_percentile_with_ties_at_half() -> None:
    lists = judged([[7, -1], [0, 1]], [[0], [0]], popularity=[0, 0, 1, 2, 3, 4, 5, 6])
    assert popularity_bias(lists, 2).tolist() == [7.5 / 8, 1 / 8]


def test_empty_lists_are_worth_nothing() -> None:
    empty = judged([[-1, -1]], [[0]])
    assert {name: float(function(empty, 2).mean()) for name, function in FUNCTIONS.items()} == dict.fromkeys(
        FUNCTIONS, 0
    )


def test_every_metric_is_defined() -> None:
    assert set(DEFINITIONS) == set(FUNCTIONS)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_k", [1, 5, 10])
def test_agrees_with_ir_measures(seed: int, top_k: int) -> None:
    import ir_measures
    from ir_measures import RR, P, R, Success, nDCG

    generator = torch.Generator().manual_seed(seed)
    num_users, num_items = 40, 60
    truth = torch.rand(num_users, num_items, generator=generator) < 0.1
    truth[:, 0] |= ~truth.any(dim=1)
    user, item = truth.nonzero(as_tuple=True)
    lists = torch.rand(num_users, num_items, generator=generator).argsort(dim=1)[:, :12]
    relevant = Interactions.of(user, item, num_users=num_users, num_items=num_items)
    ours = judge(lists, torch.arange(num_users), relevant, relevant.item_degree)

    qrels: dict[str, dict[str, int]] = {str(number): {} for number in range(num_users)}
    for who, what in zip(user.tolist(), item.tolist(), strict=True):
        qrels[str(who)][str(what)] = 1
    run = {
        str(who): {str(what): 100.0 - rank for rank, what in enumerate(row)} for who, row in enumerate(lists.tolist())
    }
    theirs = {"recall": R, "precision": P, "ndcg": nDCG, "mrr": RR, "hit-rate": Success}
    for name, measure in theirs.items():
        expected = torch.zeros(num_users, dtype=torch.float64)
        for result in ir_measures.iter_calc([measure @ top_k], qrels, run):
            expected[int(result.query_id)] = result.value
        measured: Tensor = FUNCTIONS[name](ours, top_k)
        torch.testing.assert_close(measured, expected, msg=lambda text, name=name: f"{name}: {text}")
