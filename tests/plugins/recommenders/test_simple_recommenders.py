"""Exact ranking, and the recommenders without gradients: known answers, laws, and published sanity figures."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import SettingsError
from mmgrec.evaluation import Defects, evaluate
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommender, exclusion_of, no_exclusion
from mmgrec.ranking import rank_items
from mmgrec.synthetic import checkerboard, planted
from mmgrec_plugins.recommenders.simple.ease import EASE
from mmgrec_plugins.recommenders.simple.itemknn import ItemKNN
from mmgrec_plugins.recommenders.simple.l3ae import L3AE
from mmgrec_plugins.recommenders.simple.popularity import Popularity

ALL: list[Recommender] = [Popularity(), ItemKNN(), EASE(), L3AE()]
every = pytest.mark.parametrize("recommender", ALL, ids=lambda model: type(model).__name__)
personal = pytest.mark.parametrize("recommender", ALL[1:], ids=lambda model: type(model).__name__)


def dataset(train: list[tuple[int, int]], *, num_users: int, num_items: int) -> Dataset:
    user, item = torch.tensor(train).T
    part = Interactions.of(user, item, num_users=num_users, num_items=num_items)
    none = Interactions.of(user[:0], item[:0], num_users=num_users, num_items=num_items)
    return Dataset(name="d", train=part, valid=none, test=none)


def ranked(fitted: FittedRecommender, user: int, top_k: int, *, seen: Interactions | None = None) -> list[int]:
    users = torch.tensor([user])
    exclusion = no_exclusion(1) if seen is None else exclusion_of(seen, users)
    return fitted.recommend(users, top_k=top_k, exclusion=exclusion).item[0].tolist()


# --------------------------------------------------------------------------- ranking


@settings(max_examples=100, deadline=None)
@given(
    num_items=st.integers(1, 30),
    top_k=st.integers(1, 35),
    levels=st.integers(1, 6),
    num_seen=st.integers(0, 6),
    seed=st.integers(0, 2**31),
)
def test_ranking_equals_a_full_stable_sort(num_items: int, top_k: int, levels: int, num_seen: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (4, num_items), generator=generator).float()
    seen = torch.randint(-1, num_items, (4, num_seen), generator=generator)
    got = rank_items(torch.arange(4), scores.clone(), top_k=top_k, exclusion=Exclusion(seen=seen))
    for row in range(4):
        free = [item for item in range(num_items) if item not in seen[row].tolist()]
        best = sorted(free, key=lambda item, row=row: (-scores[row, item].item(), item))[:top_k]
        assert got.item[row].tolist() == best + [-1] * (top_k - len(best))


def test_an_allow_list_is_obeyed() -> None:
    exclusion = replace(no_exclusion(1), allowed=torch.tensor([True, False, True, False]))
    got = rank_items(torch.tensor([0]), torch.tensor([[1.0, 9.0, 2.0, 8.0]]), top_k=3, exclusion=exclusion)
    assert got.item.tolist() == [[2, 0, -1]]
    assert got.score.tolist() == [[2.0, 1.0, -torch.inf]]


# --------------------------------------------------------------------------- known answers


@personal
def test_the_missing_square_of_the_checkerboard_comes_first(recommender: Recommender) -> None:
    data = checkerboard()
    fitted = recommender.fit(data, Context())
    users = torch.arange(data.num_users)
    got = fitted.recommend(users, top_k=1, exclusion=exclusion_of(data.train, users))
    assert torch.equal(got.item[:, 0], data.latent["missing"])


def test_popularity_breaks_ties_by_item_number() -> None:
    data = dataset([(0, 3), (1, 3), (0, 1), (1, 2)], num_users=2, num_items=5)
    assert ranked(Popularity().fit(data, Context()), 0, 5) == [3, 1, 2, 0, 4]


def test_itemknn_similarity_by_hand() -> None:
    # n = 3 2 1; items 0 and 1 share two users, items 0 and 2 one
    data = dataset([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2)], num_users=3, num_items=3)
    weight = ItemKNN(shrink=1.0).fit(data, Context()).weight.toarray()  # type: ignore[attr-defined]
    near, far = 2 / (6**0.5 + 1), 1 / (3**0.5 + 1)
    expected = torch.tensor([[0, near, far], [near, 0, 0], [far, 0, 0]])
    torch.testing.assert_close(torch.from_numpy(weight), expected)


def test_itemknn_keeps_the_nearest_only() -> None:
    data = dataset([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2)], num_users=3, num_items=3)
    weight = ItemKNN(shrink=1.0, neighbours=1).fit(data, Context()).weight.toarray()  # type: ignore[attr-defined]
    assert (weight > 0).tolist() == [[False, True, False], [True, False, False], [True, False, False]]


def test_itemknn_does_not_depend_on_its_blocks() -> None:
    """More items than two blocks hold, against the equation of all at once."""
    data = planted(num_users=300, num_items=2500, mean_interactions=8)
    x = torch.zeros(300, 2500, dtype=torch.float64)
    x[data.train.user, data.train.item] = 1
    root = x.sum(0).sqrt()
    expected = ((x.T @ x) / (root[:, None] * root + 50.0)).fill_diagonal_(0)
    weight = ItemKNN(neighbours=2500).fit(data, Context()).weight  # type: ignore[attr-defined]
    torch.testing.assert_close(torch.from_numpy(weight.toarray()), expected.float())


def test_ease_is_the_ridge_solution_without_the_item_itself() -> None:
    data = planted(num_users=60, num_items=20, mean_interactions=6)
    weight = EASE(l2=3.0).fit(data, Context()).weight.double()  # type: ignore[attr-defined]
    x = torch.zeros(60, 20, dtype=torch.float64)
    x[data.train.user, data.train.item] = 1
    for item in (0, 7, 19):
        others = [other for other in range(20) if other != item]
        part = x[:, others]
        solution = torch.linalg.solve(part.T @ part + 3 * torch.eye(19, dtype=torch.float64), part.T @ x[:, item])
        torch.testing.assert_close(weight[others, item], solution, atol=1e-5, rtol=1e-4)
    assert not weight.diagonal().any()


def test_ease_refuses_catalogues_that_do_not_fit() -> None:
    data = planted(num_users=30, num_items=40)
    with pytest.raises(SettingsError) as error:
        EASE(max_items=39).fit(data, Context())
    assert error.value.code == "recommenders.too-many-items"
    assert "40²" in str(error.value)
    assert "39" in str(error.value)


# --------------------------------------------------------------------------- laws


@every
def test_lists_have_no_defects(recommender: Recommender) -> None:
    data = planted(num_users=80, num_items=40, mean_interactions=15)
    assert evaluate(recommender.fit(data, Context()), data, top_k=(50,)).defects == Defects()


@every
def test_scores_match_the_order(recommender: Recommender) -> None:
    data = planted(num_users=80, num_items=40)
    fitted = recommender.fit(data, Context())
    got = fitted.recommend(torch.arange(5), top_k=20, exclusion=no_exclusion(5))
    assert (got.score[:, 1:] <= got.score[:, :-1]).all()


@every
def test_the_test_part_is_never_read(recommender: Recommender) -> None:
    data = planted(num_users=80, num_items=40)
    blind = replace(data, test=data.valid)
    model, other = recommender.fit(data, Context()), recommender.fit(blind, Context())
    for key, tensor in model.state().items():
        assert torch.equal(tensor, other.state()[key])


@every
def test_a_user_without_history_gets_a_full_list(recommender: Recommender) -> None:
    data = dataset([(0, 0), (0, 1), (1, 1)], num_users=3, num_items=4)
    assert sorted(ranked(recommender.fit(data, Context()), 2, 4)) == [0, 1, 2, 3]


@personal
def test_history_can_be_exchanged(recommender: Recommender) -> None:
    train = [(user, item) for user in range(8) for item in range(6) if user % 2 == item % 2]
    data = dataset(train, num_users=9, num_items=6)
    fitted = recommender.fit(data, Context())
    longer = data.train.merged(Interactions.of(torch.tensor([8]), torch.tensor([3]), num_users=9, num_items=6))
    assert sorted(ranked(fitted.with_history(longer), 8, 2, seen=longer)) == [1, 5]
    assert ranked(fitted, 8, 2) == [0, 1]


# --------------------------------------------------------------------------- real data


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("lfm2k", "given split"),
        ("ml1m", "random 80/10/10"),
        ("tiktok", "given split"),
        ("amazon_baby", "given split"),
        ("amazon_sports", "given split"),
        ("amazon_sports", "leave-one-out"),
        ("amazon_beauty", "leave-one-out"),
        ("microlens50k", "leave-one-out"),
        ("microlens50k", "random 80/10/10"),
    ],
)
def test_published_sanity_figures_are_reproduced(name: str, protocol: str) -> None:
    folder = Path(os.environ.get("MMGREC_DATA", ""))
    if not (folder / name).is_dir() or not (folder / "REFERENCE_NUMBERS.md").is_file():
        pytest.skip(f"MMGREC_DATA names no folder with {name} and REFERENCE_NUMBERS.md")
    sanity_table = pytest.importorskip("sanity_table")  # bench/ is on the path in a checkout
    rows = sanity_table.measure(folder, name, protocol)
    assert rows
    for row in rows:
        assert row["agrees"], row
        assert row["sizes_agree"], row
        assert not any(row["defects"].values()), row
