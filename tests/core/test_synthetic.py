"""Synthetic data: the planted answers are true, and the data have the properties that are promised."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mmgrec.data.dataset import Dataset
from mmgrec.evaluation.harness import evaluate
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations
from mmgrec.synthetic import affinity, checkerboard, planted, tours


@dataclass(frozen=True)
class Scorer(FittedRecommender):
    scores: Tensor  # [num_users, num_items]

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = torch.cat([self.scores[users], torch.zeros(len(users), 1)], dim=1)
        scores.scatter_(1, exclusion.seen % scores.shape[1], -torch.inf)  # -1 is the column added
        best = scores[:, :-1].topk(top_k, dim=1)
        return Recommendations(user=users, item=best.indices, score=best.values)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return planted()


def recall(data: Dataset, scores: Tensor) -> float:
    return evaluate(Scorer(scores), data).metrics["recall@10"]


def content_scores(data: Dataset, modalities: list[str]) -> Tensor:
    """Similarity to the items of the history, in the features named."""
    history = torch.zeros(data.num_users, data.num_items)
    history[data.train.user, data.train.item] = 1
    table = torch.cat([torch.nn.functional.normalize(data.features[name], dim=1) for name in modalities], dim=1)
    return history @ (table @ table.T)


def test_default_size(data: Dataset) -> None:
    assert (data.num_users, data.num_items) == (1000, 600)
    assert {name: table.shape[1] for name, table in data.features.items()} == {"visual": 64, "acoustic": 32, "text": 48}
    assert 18 < data.num_interactions / 1000 < 22


def test_same_seed_same_data(data: Dataset) -> None:
    assert planted().fingerprint == data.fingerprint


def test_another_seed_other_data(data: Dataset) -> None:
    assert planted(seed=1).fingerprint != data.fingerprint


def test_parts_do_not_overlap(data: Dataset) -> None:
    assert len(data.train.merged(data.valid).merged(data.test)) == data.num_interactions


def test_every_user_can_learn_and_be_tested(data: Dataset) -> None:
    assert data.train.user_degree.min() >= 3
    assert data.test.user_degree.min() >= 1


def test_some_items_have_no_training_interaction(data: Dataset) -> None:
    cold = data.train.item_degree == 0
    assert 6 <= int(cold.sum()) <= 12
    assert torch.equal(cold, data.latent["item_cold"])
    assert data.test.item_degree[cold].sum() > 0


def test_popularity_is_skewed(data: Dataset) -> None:
    popularity = data.train.item_degree.sort(descending=True).values
    assert 0.25 < float(popularity[:60].sum() / popularity.sum()) < 0.5


def test_some_features_are_missing(data: Dataset) -> None:
    for modality in data.features:
        assert 0.02 < float((~data.has_feature(modality)).double().mean()) < 0.09


def test_users_choose_by_their_true_affinity(data: Dataset) -> None:
    popularity = data.train.item_degree.double().repeat(data.num_users, 1)
    assert recall(data, affinity(data, torch.arange(data.num_users))) > 0.5
    assert recall(data, popularity) < 0.15


def test_modalities_together_tell_more_than_each_alone(data: Dataset) -> None:
    together = recall(data, content_scores(data, ["visual", "acoustic", "text"]))
    alone = [recall(data, content_scores(data, [name])) for name in data.features]
    assert together > 1.5 * max(alone)


def test_each_modality_shows_its_own_factor(data: Dataset) -> None:
    for number, name in enumerate(data.features):
        present = data.has_feature(name)
        table = torch.nn.functional.normalize(data.features[name][present], dim=1)
        same = [cluster[:, None] == cluster[None, :] for cluster in data.latent["item_cluster"][present].unbind(dim=1)]
        contrast = [float((table @ table.T)[pairs].mean()) for pairs in same]
        assert contrast[number] == max(contrast)


def test_features_without_noise_are_linear_in_their_factor() -> None:
    clean = planted(num_items=60, factor_dim=4, feature_noise=0.0).features["visual"]
    noisy = planted(num_items=60, factor_dim=4, feature_noise=0.3).features["visual"]
    assert torch.linalg.matrix_rank(clean, rtol=1e-4) == 4
    assert torch.linalg.matrix_rank(noisy, rtol=1e-4) > 40


def test_noise_alone_makes_taste_worthless() -> None:
    data = planted(num_users=200, num_items=100, interaction_noise=1.0)
    assert recall(data, affinity(data, torch.arange(200))) < 0.2  # chance is about 0.12


def test_any_modalities_and_sizes() -> None:
    data = planted(num_users=20, num_items=30, modalities={"sound": 3}, cold_items=0.0)
    assert data.features["sound"].shape == (30, 3)


def test_blocks_of_users_cover_everybody() -> None:
    data = planted(num_users=2100, num_items=50, mean_interactions=6)
    assert data.train.user_degree.min() >= 1


def test_checkerboard_shows_every_colour_mate_but_one() -> None:
    data = checkerboard(num_users=8, num_items=6)
    assert data.train.padded(torch.tensor([0, 1, 2])).tolist() == [[2, 4], [3, 5], [0, 4]]
    assert data.latent["missing"].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


def test_checkerboard_holds_the_missing_item_out() -> None:
    data = checkerboard(num_users=8, num_items=6)
    assert list(zip(data.test.user.tolist(), data.test.item.tolist(), strict=True)) == [(0, 0), (1, 1), (4, 4), (5, 5)]
    assert list(zip(data.valid.user.tolist(), data.valid.item.tolist(), strict=True)) == [
        (2, 2),
        (3, 3),
        (6, 0),
        (7, 1),
    ]


# --------------------------------------------------------------------------- tours


def test_everybody_walks_on_along_their_tour() -> None:
    data = tours(num_users=50, num_items=12, num_tours=3, length=8)
    everything = data.train.merged(data.valid).merged(data.test)
    walk = everything.sequences(torch.arange(50), 8)
    expected = data.latent["next"][data.latent["user_tour"][:, None], walk[:, :-1]]
    assert torch.equal(walk[:, 1:], expected)
    assert data.ordered
    assert torch.equal(data.test.item, walk[:, -1])
    assert torch.equal(data.valid.item, walk[:, -2])


def test_a_tour_visits_every_item() -> None:
    successor = tours(num_items=12, length=3).latent["next"][0]
    item, visited = 0, set()
    for _ in range(12):
        item = int(successor[item])
        visited.add(item)
    assert len(visited) == 12
