"""The item memory against its equation, item by item and dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.generator import local_ridge_weights, unit_features
from mmgrec.synthetic import planted

DATA = planted(num_users=80, num_items=50, mean_interactions=10, missing=0.2, seed=3)
FEATURES = unit_features([DATA.features[name] for name in DATA.modalities])
CPU = torch.device("cpu")


def by_hand(part: Interactions, features: Tensor | None, n: int, l2: float, beta: float) -> np.ndarray:
    """B of the equation: dense, one item after the other."""
    x = np.zeros((part.num_users, part.num_items))
    x[part.user.numpy(), part.item.numpy()] = 1
    p = x.T @ x
    if features is not None:
        p += beta * features.double().numpy() @ features.double().numpy().T
    small = torch.from_numpy(p).float()  # neighbours are chosen in single precision: there are ties
    size = small.diagonal()
    cosines = (small / (size[:, None] * size).sqrt().clamp_min(1e-12)).numpy()
    weight = np.zeros_like(p)
    for item in range(part.num_items):
        cosine = cosines[item].copy()
        cosine[item] = -np.inf
        near = np.argsort(-cosine, kind="stable")[:n]
        near = near[cosine[near] > 0]
        weight[near, item] = np.linalg.solve(p[np.ix_(near, near)] + l2 * np.eye(len(near)), p[near, item])
    return weight


def dense(index: Tensor, weight: Tensor) -> np.ndarray:
    table = np.zeros((index.shape[0], index.shape[0]))
    for item, (near, values) in enumerate(zip(index.tolist(), weight.tolist(), strict=True)):
        for one, value in zip(near, values, strict=True):
            table[one, item] += value
    return table


@pytest.mark.parametrize("features", [None, FEATURES], ids=["interactions alone", "with features"])
@pytest.mark.parametrize(("n", "l2"), [(5, 2.0), (20, 50.0), (200, 1.0)])
def test_weights_are_those_of_each_items_own_ridge(features: Tensor | None, n: int, l2: float) -> None:
    found = local_ridge_weights(DATA.train, features, neighbours=n, l2=l2, feature_weight=3.0, device=CPU)
    expected = by_hand(DATA.train, features, n, l2, 3.0)
    np.testing.assert_allclose(dense(found.index, found.weight), expected, atol=2e-5)


def test_no_item_speaks_for_itself_or_from_a_place_that_is_empty() -> None:
    one_user = Interactions.of(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), num_users=2, num_items=5)
    found = local_ridge_weights(one_user, neighbours=3, l2=1.0, feature_weight=0.0, device=CPU)
    assert dense(found.index, found.weight).nonzero()[0].tolist() == [0, 1]
    assert (found.index[torch.arange(5)[:, None].expand(-1, 3) == found.index][1:] == 0).all()
    assert found.weight[2:].count_nonzero() == 0


def test_the_size_of_a_block_changes_nothing() -> None:
    settings = {"neighbours": 8, "l2": 5.0, "feature_weight": 2.0, "device": CPU}
    whole = local_ridge_weights(DATA.train, FEATURES, **settings)  # type: ignore[arg-type]
    small = local_ridge_weights(DATA.train, FEATURES, **settings, block_bytes=4 * 50 * 7)  # type: ignore[arg-type]
    assert torch.equal(whole.index, small.index)
    torch.testing.assert_close(whole.weight, small.weight)


def test_features_of_items_that_nobody_chose_give_them_neighbours() -> None:
    degree = DATA.train.item_degree
    cold = int(degree.argmin())
    keep = DATA.train.item != cold
    part = Interactions.of(DATA.train.user[keep], DATA.train.item[keep], num_users=80, num_items=50)
    without = local_ridge_weights(part, neighbours=8, l2=5.0, feature_weight=0.0, device=CPU)
    assert without.weight[cold].count_nonzero() == 0
    with_them = local_ridge_weights(part, FEATURES, neighbours=8, l2=5.0, feature_weight=3.0, device=CPU)
    assert FEATURES[cold].norm() > 0
    assert with_them.weight[cold].count_nonzero() > 0


def test_unit_features_are_centred_rows_of_norm_one_or_nothing() -> None:
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0], [2.0, 3.0]])
    found = unit_features([table])
    assert found[2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(found[0], torch.nn.functional.normalize(torch.tensor([-1.0, -1.0]), dim=0))
