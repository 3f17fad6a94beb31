"""L3AE: both closed forms against column-by-column solutions, what it is without features, and that it reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from shared_baselines import DATA, FEATURED, TINY, recall, shuffled
from torch import Tensor

from mmgrec.data import Bag, Dataset
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context, Recommender
from mmgrec.memory import hollow_ridge
from mmgrec.synthetic import planted
from mmgrec_plugins.recommenders.simple.ease import EASE
from mmgrec_plugins.recommenders.simple.l3ae import L3AE, feature_cosines
from mmgrec_plugins.recommenders.simple.popularity import Popularity

#: Features are clear, and what users like tells little.
SPARSE = planted(
    num_users=200,
    num_items=200,
    mean_interactions=3,
    modalities={"visual": 8, "text": 8},
    num_clusters=12,
    item_spread=0.3,
    popularity_exponent=0.3,
    feature_noise=0.1,
    missing=0.02,
    seed=3,
)
CPU = torch.device("cpu")
SETTINGS = {"l2": 10.0, "distillation": 20.0, "feature_l2": 1.0}


def weights(recommender: Recommender, data: Dataset) -> Tensor:
    return recommender.fit(data, Context()).state()["weight"]


def column_by_column(x: Tensor, l2: float, target: Tensor, pull: float) -> Tensor:
    """The same problem without its closed form: for each column least squares over all rows but its own, where the
    penalties are rows of data more. ``x [U, I]``; float64."""
    num_items = x.shape[1]
    found = torch.zeros(num_items, num_items, dtype=torch.float64)
    for item in range(num_items):
        others = torch.arange(num_items) != item
        shrink = torch.eye(num_items - 1, dtype=torch.float64)
        rows = torch.cat([x[:, others], shrink * l2**0.5, shrink * pull**0.5])
        aim = torch.cat([x[:, item], torch.zeros(num_items - 1), target[others, item] * pull**0.5])
        found[others, item] = torch.linalg.lstsq(rows, aim[:, None]).solution[:, 0]
    return found


def liked(data: Dataset) -> Tensor:
    x = torch.zeros(data.num_users, data.num_items, dtype=torch.float64)
    x[data.train.user, data.train.item] = 1.0
    return x


def table(data: Dataset) -> Tensor:
    """F by hand: each modality centred where it is, rows of norm one, side by side, again of norm one."""
    parts = []
    for name in data.features:
        has = data.has_feature(name)
        part = data.features[name].double()
        part = (part - part[has].mean(0)) * has[:, None]
        parts.append(part / part.norm(dim=1, keepdim=True).clamp_min(1e-12))
    side = torch.cat(parts, dim=1)
    return side / side.norm(dim=1, keepdim=True).clamp_min(1e-12)


def test_the_closed_form_is_the_least_squares_solution_with_an_empty_diagonal() -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    target = torch.randn(12, 12, generator=generator, dtype=torch.float64).fill_diagonal_(0)
    found = hollow_ridge(x.T @ x, l2=2.0, target=target, pull=5.0)
    torch.testing.assert_close(found, column_by_column(x, 2.0, target, 5.0), rtol=1e-9, atol=1e-9)
    assert not found.diagonal().any()


def test_without_a_target_the_pull_shrinks_towards_zero() -> None:
    x = torch.randn(30, 12, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    zero = torch.zeros(12, 12, dtype=torch.float64)
    found = hollow_ridge(x.T @ x, l2=2.0, pull=5.0)
    torch.testing.assert_close(found, column_by_column(x, 2.0, zero, 5.0), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found, hollow_ridge(x.T @ x, l2=2.0, target=zero, pull=5.0))


@pytest.mark.parametrize("recommender", [EASE(), L3AE()], ids=["ease", "l3ae"])
def test_rows_of_weights_lie_together(recommender: Recommender) -> None:
    """Ranking adds up rows: several times slower where a row is scattered over the table."""
    assert weights(recommender, TINY).stride() == (TINY.num_items, 1)


def test_both_problems_are_solved_one_after_the_other() -> None:
    """Features are the rows of the first one's data: a column for each item."""
    features = table(TINY)
    zero = torch.zeros(TINY.num_items, TINY.num_items, dtype=torch.float64)
    semantic = column_by_column(features.T, 1.0, zero, 0.0)
    wanted = column_by_column(liked(TINY), 10.0, semantic, 20.0)
    assert semantic.abs().max() > 0.1
    torch.testing.assert_close(weights(L3AE(**SETTINGS), TINY).double(), wanted, rtol=1e-4, atol=1e-5)


def test_a_negative_l2_is_a_stronger_pull_at_the_same_shrinkage() -> None:
    """|B|² and |B - C|² differ by what is linear in B, so that only the sum of their weights has to be positive."""
    semantic = hollow_ridge(feature_cosines(TINY, CPU).double(), l2=1.0)
    wanted = column_by_column(liked(TINY), 0.0, 1.5 * semantic, 20.0)
    found = weights(L3AE(l2=-10.0, distillation=30.0, feature_l2=1.0), TINY)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)


def test_without_features_it_is_ease() -> None:
    bare = replace(DATA, features={})
    torch.testing.assert_close(weights(L3AE(**SETTINGS), bare), weights(EASE(l2=30.0), DATA))
    assert not torch.equal(weights(L3AE(**SETTINGS), DATA), weights(EASE(l2=30.0), DATA))


def test_without_distillation_it_is_ease_whatever_the_features() -> None:
    assert torch.equal(weights(L3AE(l2=30.0, distillation=0.0), FEATURED), weights(EASE(l2=30.0), FEATURED))


def test_an_item_without_features_is_ease_s() -> None:
    """Nothing is like it: its row and column of the features' own weights are empty."""
    hidden = {name: values.clone() for name, values in TINY.features.items()}
    for values in hidden.values():
        values[3] = 0.0
    cosines = feature_cosines(replace(TINY, features=hidden), CPU)
    assert not cosines[3].any()
    assert not cosines[:, 3].any()
    semantic = hollow_ridge(cosines, l2=1.0)
    assert not semantic[3].any()
    assert not semantic[:, 3].any()


def test_words_are_a_modality_like_others() -> None:
    """Beside a dense modality, an item that has both has the mean of both cosines with another that has both."""
    item, word = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 1, 2, 2])
    bag = Bag.of(item, word, torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0]), num_items=TINY.num_items, num_words=3)
    words = feature_cosines(replace(TINY, features={}, bags={"words": bag}), CPU)
    root = 0.5**0.5
    torch.testing.assert_close(words[:3, :3], torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, root], [0.0, root, 1.0]]))
    assert not words[3:].any()
    visual = {"visual": TINY.features["visual"]}
    has = TINY.has_feature("visual")[:3]
    both = feature_cosines(replace(TINY, features=visual, bags={"words": bag}), CPU)[:3, :3][has][:, has]
    alone = feature_cosines(replace(TINY, features=visual), CPU)[:3, :3][has][:, has]
    assert len(both) > 1
    torch.testing.assert_close(both, (alone + words[:3, :3][has][:, has]) / 2)


def test_it_learns_from_the_features() -> None:
    """More than EASE at its best can, and than from features of other items; popularity is far behind."""
    learnt, without = (recall(L3AE(**SETTINGS), data) for data in (SPARSE, shuffled(SPARSE)))
    alone = max(recall(EASE(l2=l2), SPARSE) for l2 in (3.0, 10.0, 30.0, 100.0))
    assert learnt > 1.2 * alone
    assert learnt > 1.2 * without
    assert learnt > 1.5 * recall(Popularity(), SPARSE)


def test_it_refuses_catalogues_that_do_not_fit() -> None:
    with pytest.raises(SettingsError, match="L3AE would need 10²") as error:
        L3AE(max_items=9).fit(TINY, Context())
    assert error.value.code == "recommenders.too-many-items"


@pytest.mark.parametrize(("l2", "distillation"), [(-30.0, 20.0), (-20.0, 20.0), (0.0, 0.0)])
def test_it_refuses_settings_under_which_nothing_shrinks(l2: float, distillation: float) -> None:
    with pytest.raises(SettingsError, match="must be above 0") as error:
        L3AE(l2=l2, distillation=distillation).fit(TINY, Context())
    assert error.value.code == "recommenders.nothing-shrinks"
