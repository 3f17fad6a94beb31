"""The item memory against its equation, item by item and dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.memory import Gram, ItemWeights, item_features, ridge_weights
from mmgrec.memory.features import unit_features
from mmgrec.memory.neighbours import BLOCK_BYTES
from mmgrec.synthetic import planted

DATA = planted(num_users=80, num_items=50, mean_interactions=10, missing=0.2, seed=3)
FEATURES = item_features(DATA)
assert FEATURES is not None
CPU = torch.device("cpu")


def weights_of(
    part: Interactions,
    features: Tensor | None,
    n: int,
    l2: float,
    beta: float,
    *,
    reach: int = 0,
    block: int = BLOCK_BYTES,
) -> ItemWeights:
    gram = Gram.of(part, features, feature_weight=beta, reach=reach, device=CPU, block_bytes=block)
    return ridge_weights(gram, gram.neighbours(n), counts=[n], l2=[l2])[n, l2]


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
            if one >= 0:
                table[one, item] += value
    return table


@pytest.mark.parametrize("features", [None, FEATURES], ids=["interactions alone", "with features"])
@pytest.mark.parametrize(("n", "l2"), [(5, 2.0), (20, 50.0), (200, 1.0)])
def test_weights_are_those_of_each_items_own_ridge(features: Tensor | None, n: int, l2: float) -> None:
    found = weights_of(DATA.train, features, n, l2, 3.0)
    expected = by_hand(DATA.train, features, n, l2, 3.0)
    np.testing.assert_allclose(dense(found.index, found.weight), expected, atol=2e-5)


def test_no_item_speaks_for_itself_or_from_a_place_that_is_empty() -> None:
    one_user = Interactions.of(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), num_users=2, num_items=5)
    found = weights_of(one_user, None, 3, 1.0, 0.0)
    assert dense(found.index, found.weight).nonzero()[0].tolist() == [0, 1]
    assert found.index.tolist() == [[1, -1, -1], [0, -1, -1], [-1] * 3, [-1] * 3, [-1] * 3]
    assert found.weight[found.index < 0].count_nonzero() == 0


def test_the_size_of_a_block_changes_nothing() -> None:
    whole = weights_of(DATA.train, FEATURES, 8, 5.0, 2.0)
    small = weights_of(DATA.train, FEATURES, 8, 5.0, 2.0, block=4 * 50 * 7)
    assert torch.equal(whole.index, small.index)
    torch.testing.assert_close(whole.weight, small.weight)


def test_several_settings_at_once_are_those_one_by_one() -> None:
    gram = Gram.of(DATA.train, FEATURES, feature_weight=2.0, reach=0, device=CPU)
    both = ridge_weights(gram, gram.neighbours(12), counts=[4, 12], l2=[2.0, 30.0])
    for (count, l2), found in both.items():
        alone = weights_of(DATA.train, FEATURES, count, l2, 2.0)
        assert torch.equal(found.index, alone.index)
        torch.testing.assert_close(found.weight, alone.weight)
    assert len(both) == 4


def test_features_of_items_that_nobody_chose_give_them_neighbours() -> None:
    degree = DATA.train.item_degree
    cold = int(degree.argmin())
    keep = DATA.train.item != cold
    part = Interactions.of(DATA.train.user[keep], DATA.train.item[keep], num_users=80, num_items=50)
    without = weights_of(part, None, 8, 5.0, 0.0)
    assert without.weight[cold].count_nonzero() == 0
    with_them = weights_of(part, FEATURES, 8, 5.0, 3.0)
    assert FEATURES[cold].norm() > 0
    assert with_them.weight[cold].count_nonzero() > 0


def test_items_that_follow_one_another_count_more() -> None:
    """Against the equation, dense: R takes P's place in choosing and on the right-hand side."""
    generator = torch.Generator().manual_seed(1)
    user, item = torch.arange(30).repeat_interleave(6), torch.randint(12, (180,), generator=generator)
    part = Interactions.of(user, item, num_users=30, num_items=12, time=torch.randperm(180, generator=generator))
    x, follow = np.zeros((30, 12)), np.zeros((12, 12))
    for one in range(30):
        mine = part.sequences(torch.tensor([one]), 6)[0]
        sequence = mine[mine >= 0].tolist()
        x[one, sequence] = 1
        for step in (1, 2, 3):
            for before, after in zip(sequence, sequence[step:], strict=False):
                follow[before, after] += 0.5 ** (step - 1)
    p = x.T @ x
    r = p + follow
    expected = np.zeros((12, 12))
    for one in range(12):
        nearness = (
            torch.from_numpy(r[:, one]).float() / torch.from_numpy(p.diagonal() * p[one, one]).float().sqrt()
        ).numpy()
        nearness[one] = -np.inf
        near = np.argsort(-nearness, kind="stable")[:5]
        near = near[nearness[near] > 0]
        expected[near, one] = np.linalg.solve(p[np.ix_(near, near)] + 2.0 * np.eye(len(near)), r[near, one])
    found = weights_of(part, None, 5, 2.0, 0.0, reach=3)
    np.testing.assert_allclose(dense(found.index, found.weight), expected, atol=2e-5)
    unordered = weights_of(part, None, 5, 2.0, 0.0)
    assert not np.allclose(dense(unordered.index, unordered.weight), expected, atol=1e-2)


def test_unit_features_are_centred_rows_of_norm_one_or_nothing() -> None:
    table = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0], [2.0, 3.0]])
    found = unit_features([table])
    assert found[2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(found.norm(dim=1), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(found[0], torch.nn.functional.normalize(torch.tensor([-1.0, -1.0]), dim=0))
