"""What the tests of trained baselines share: planted data, small settings, and what each baseline has to show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmgrec.data import Bag, Dataset
from mmgrec.errors import DataError
from mmgrec.evaluation import Defects, evaluate
from mmgrec.interfaces import Context, Recommender, Silent
from mmgrec.synthetic import checkerboard, planted
from mmgrec.testing import same
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.simple.popularity import Popularity

#: Many interactions: what users like tells enough.
DATA = planted(num_users=160, num_items=100, mean_interactions=20, seed=3)
#: Few interactions and clear features: who reads them has an advantage.
FEATURED = planted(
    num_users=200,
    num_items=200,
    mean_interactions=6,
    modalities={"visual": 8, "text": 8},
    num_clusters=12,
    item_spread=0.3,
    popularity_exponent=0.3,
    feature_noise=0.1,
    missing=0.02,
    seed=3,
)
#: Small enough for an equation to be computed user by user.
TINY = planted(
    num_users=12, num_items=10, mean_interactions=5, modalities={"visual": 4, "text": 3}, missing=0.2, seed=1
)
SMALL: dict[str, Any] = {"dim": (16,), "epochs": 40, "batch_size": 1000, "regularization": (1e-2,)}
#: One fit's luck differs from machine to machine by more than what is asked of it.
SEVERAL = (1, 2, 3)
SHORT: dict[str, Any] = {"dim": (8,), "epochs": 3, "regularization": (1e-2,)}


class Heard(Silent):
    """Remembers notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def recall(recommender: Recommender, data: Dataset, top_k: int = 10, seeds: tuple[int, ...] = (1,)) -> float:
    """On the test part, the mean over fits with these seeds; the lists must be in order."""
    reports = [evaluate(recommender.fit(data, Context(seed=seed)), data, top_k=(top_k,)) for seed in seeds]
    assert all(report.defects == Defects() for report in reports)
    return sum(report.metrics[f"recall@{top_k}"] for report in reports) / len(reports)


def shuffled(data: Dataset) -> Dataset:
    """Features of other items: as many, as good, of no meaning."""
    order = torch.randperm(data.num_items, generator=torch.Generator().manual_seed(0))
    return replace(data, features={name: table[order] for name, table in data.features.items()})


def drawn(module: torch.nn.Module, seed: int = 0) -> None:
    """Every parameter random, so that no term of an equation is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def dense_lightgcn(data: Dataset, user: Tensor, item: Tensor, num_layers: int) -> tuple[Tensor, Tensor]:
    """The mean over layers by a dense adjacency."""
    liked = torch.zeros(data.num_users, data.num_items)
    liked[data.train.user, data.train.item] = 1.0
    scale_u, scale_i = liked.sum(1).clamp_min(1).rsqrt(), liked.sum(0).clamp_min(1).rsqrt()
    step = scale_u[:, None] * liked * scale_i
    users, items = [user], [item]
    for _ in range(num_layers):
        users, items = [*users, step @ items[-1]], [*items, step.T @ users[-1]]
    return torch.stack(users).mean(0), torch.stack(items).mean(0)


def learns_far_more_than_popularity(recommender: Recommender) -> None:
    assert recall(recommender, DATA, seeds=SEVERAL) > 1.25 * recall(Popularity(), DATA)


def learns_from_the_features(recommender: Recommender) -> None:
    """Far more than popularity, and than from the features of other items."""
    learnt, without, popular = (
        recall(recommender, FEATURED), recall(recommender, shuffled(FEATURED)), recall(Popularity(), FEATURED)
    )  # fmt: skip
    assert learnt > 1.5 * popular
    assert learnt > 1.2 * without


def puts_the_missing_item_of_a_checkerboard_first(recommender: Recommender) -> None:
    """One right answer each: the only unseen item of the user's colour."""
    assert recall(recommender, checkerboard(num_users=64, num_items=32), 1) > 0.9


def chooses_from_the_grid_by_validation(kind: type[FactorRecommender], **settings: Any) -> None:
    """Of two regularizations, one of which keeps all vectors at zero."""
    heard = Heard()
    grid = kind(**{**settings, "epochs": 10, "regularization": (1e3, 1e-2)})
    grid.fit(DATA, Context(seed=1, reporter=heard))
    assert any("d16-bpr-0.01" in note and "best of 2" in note for note in heard.notes)


def looks_at_neither_features_nor_test_items(recommender: Recommender) -> None:
    first, second = (
        recommender.fit(data, Context(seed=1)).state() for data in (DATA, replace(DATA, features={}, test=DATA.valid))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def learns_the_same_from_the_same_seed(recommender: Recommender) -> None:
    states = [recommender.fit(FEATURED, Context(seed=seed)).state() for seed in (1, 1, 2)]
    assert same(states[0], states[1])
    assert not same(states[0], states[2])


def makes_do_with_a_sparse_modality(recommender: Recommender) -> None:
    """The clusters of items as words."""
    item = torch.arange(FEATURED.num_items)[FEATURED.has_feature("visual")]
    word = FEATURED.latent["item_cluster"][item].sum(1)
    bag = Bag.of(item, word, torch.ones(item.numel()), num_items=FEATURED.num_items, num_words=30)
    assert recall(recommender, replace(FEATURED, features={}, bags={"words": bag})) > 0


def says_that_there_are_no_features(recommender: Recommender) -> None:
    with pytest.raises(DataError) as error:
        recommender.fit(replace(DATA, features={}), Context())
    assert error.value.code == "recommenders.no-modalities"
