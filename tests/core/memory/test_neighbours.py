"""Near items of a large catalogue: sought in cells, they are most of those that a look at all finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.memory import Gram, neighbours
from mmgrec.memory.alike import alike_in_cells
from mmgrec.memory.features import unit_features

CPU = torch.device("cpu")
ITEMS = 1500


def clustered(num_items: int = ITEMS, dim: int = 12, missing: float = 0.0) -> Tensor:
    """Unit features around 40 centres; a share of the rows is zero."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(40, dim, generator=generator)
    table = centre[torch.randint(40, (num_items,), generator=generator)]
    table = table + 0.5 * torch.randn(num_items, dim, generator=generator)
    return unit_features([table * (torch.rand(num_items, 1, generator=generator) >= missing)])


def all_with_all(query: Tensor, key: Tensor, count: int) -> Tensor:
    return (query @ key.T).fill_diagonal_(-torch.inf).topk(count, dim=1).indices


def share(found: Tensor, wanted: Tensor) -> float:
    """How much of what is wanted was found."""
    return float((wanted[:, :, None] == found[:, None, :]).any(2).double().mean())


def test_cells_hold_most_of_the_nearest_and_nobody_finds_itself() -> None:
    features = clustered()
    key = features / (1 + torch.rand(ITEMS, 1, generator=torch.Generator().manual_seed(1)))
    found = alike_in_cells(features, key, 20)
    assert found.shape == (ITEMS, 20)
    assert bool((found >= 0).all())
    assert not (found == torch.arange(ITEMS)[:, None]).any()
    ascending = found.sort(dim=1).values
    assert bool((ascending[:, 1:] > ascending[:, :-1]).all())  # each once
    wanted = all_with_all(features, key, 20)
    assert share(found, wanted) > 0.85
    by_chance = torch.randint(ITEMS, (ITEMS, 20), generator=torch.Generator().manual_seed(2))
    assert share(by_chance, wanted) < 0.05


def test_what_is_near_comes_first() -> None:
    features = clustered()
    product = (features[:, None] * features[alike_in_cells(features, features, 15)]).sum(2)
    assert bool((product[:, 1:] <= product[:, :-1] + 1e-6).all())


def test_items_without_features_are_near_to_none() -> None:
    features = clustered(300, missing=0.5)
    known = features.any(1)
    assert 100 < int(known.sum()) < 200
    found = alike_in_cells(features, features, 8)
    assert bool((found[~known] == -1).all())
    assert bool(known[found[found >= 0]].all())
    assert share(found[known], all_with_all(features, features, 8)[known]) > 0.8
    assert bool((alike_in_cells(torch.zeros(5, 3), torch.zeros(5, 3), 2) == -1).all())


@pytest.mark.parametrize("num_items", [1, 2, 3, 5])
def test_few_items_find_one_another(num_items: int) -> None:
    features = clustered(7)[:num_items]
    found = alike_in_cells(features, features, 4)
    for item in range(num_items):
        assert sorted(set(found[item].tolist()) - {-1}) == [other for other in range(num_items) if other != item]


@pytest.mark.parametrize("beta", [3.0, 0.2])
def test_neighbours_of_a_large_catalogue_are_nearly_those_of_a_look_at_all(
    beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the items have no interaction: these have only their features to find anybody by."""
    generator = torch.Generator().manual_seed(3)
    user, item = torch.arange(400).repeat_interleave(8), torch.randint(ITEMS // 2, (3200,), generator=generator)
    part = Interactions.of(user, item, num_users=400, num_items=ITEMS)
    gram = Gram.of(part, clustered(), feature_weight=beta, reach=0, device=CPU)
    exact = gram.neighbours(10)
    monkeypatch.setattr(neighbours, "EXACT_ITEMS", 1000)
    near = gram.neighbours(10)
    assert near.index.shape == exact.index.shape
    assert not torch.equal(near.index, exact.index)  # it was indeed sought in cells
    assert share(near.index, exact.index) > 0.85
    assert not (near.index == torch.arange(ITEMS)[:, None]).any()
    both = (near.index[:, :, None] == exact.index[:, None, :]) & (near.index >= 0)[:, :, None]
    row, one, other = both.nonzero(as_tuple=True)
    torch.testing.assert_close(near.value[row, one], exact.value[row, other])  # of those found the values are right
