"""The quick recall of training agrees with the evaluation that results come from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mmgrec.data.dataset import Dataset, Interactions
from mmgrec.evaluation.harness import evaluate
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations, exclusion_of
from mmgrec.synthetic import planted
from mmgrec.training.validation import ValidationRecall

DATA = planted(num_users=80, num_items=40, mean_interactions=12, seed=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores(FittedRecommender):
    """Ranks by a table of numbers, all of them different."""

    table: Tensor  # [U, I]

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = self.table[users]
        row, column = (exclusion.seen >= 0).nonzero(as_tuple=True)
        scores[row, exclusion.seen[row, column]] = -torch.inf
        score, item = scores.sort(dim=1, descending=True)
        item = item.masked_fill(score.isinf(), -1)
        return Recommendations(user=users, item=item[:, :top_k], score=score[:, :top_k])


def scores(seed: int, data: Dataset = DATA) -> Scores:
    return Scores(table=torch.randn(data.num_users, data.num_items, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_k", [1, 10, 25])
@pytest.mark.parametrize("batch_size", [7, 1024])
def test_recall_is_that_of_the_evaluation(seed: int, top_k: int, batch_size: int) -> None:
    model = scores(seed)
    wanted = evaluate(model, DATA, split="valid", top_k=(top_k,)).metrics[f"recall@{top_k}"]
    recall = ValidationRecall(DATA, top_k=top_k, batch_size=batch_size)
    assert recall.of_scores(lambda users: model.table[users]) == pytest.approx(wanted, abs=1e-12)

    def recommend(users: Tensor, seen: Tensor) -> Tensor:
        return model.recommend(users, top_k=top_k, exclusion=Exclusion(seen=seen)).item

    assert recall.of_items(recommend) == pytest.approx(wanted, abs=1e-12)
    assert 0 < wanted < 1


def test_what_is_seen_is_handed_to_a_recommender() -> None:
    def recommend(users: Tensor, seen: Tensor) -> Tensor:
        assert torch.equal(seen, exclusion_of(DATA.train, users).seen)
        return torch.full((users.numel(), 10), -1)

    assert ValidationRecall(DATA).of_items(recommend) == 0.0


def test_scores_handed_over_may_be_asked_again() -> None:
    model, recall = scores(0), ValidationRecall(DATA)
    first = recall.of_scores(lambda users: model.table[users].clone())
    assert recall.of_scores(lambda users: model.table[users].clone()) == first


def test_longer_lists_than_the_catalogue_find_everything() -> None:
    model = scores(1)
    assert ValidationRecall(DATA, top_k=99).of_scores(lambda users: model.table[users]) == pytest.approx(1.0)


def test_only_users_with_validation_items_count() -> None:
    assert ValidationRecall(DATA).users.tolist() == DATA.valid.user_degree.nonzero().flatten().tolist()


def test_a_sample_of_users_is_seeded_and_ascending() -> None:
    samples = [
        ValidationRecall(DATA, max_users=20, generator=torch.Generator().manual_seed(seed)).users for seed in (1, 1, 2)
    ]
    assert samples[0].numel() == 20
    assert samples[0].tolist() == sorted(set(samples[0].tolist()))
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_without_validation_items_there_is_nothing_to_measure() -> None:
    none = Interactions.of(
        torch.empty(0).long(), torch.empty(0).long(), num_users=DATA.num_users, num_items=DATA.num_items
    )
    assert len(ValidationRecall(replace(DATA, valid=none))) == 0


def test_test_items_have_no_part_in_it() -> None:
    model = scores(2)
    values = [
        ValidationRecall(data).of_scores(lambda users: model.table[users])
        for data in (DATA, replace(DATA, test=DATA.valid))
    ]
    assert values[0] == values[1]
