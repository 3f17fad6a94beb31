"""Recommenders of ordered data: planted tours with one right answer, histories, states, windows."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load, save
from shared_tours import DATA, KINDS, fitted, quick, recall, walk
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.errors import DataError
from mmgrec.interfaces import Context, FittedRecommender, exclusion_of
from mmgrec.synthetic import planted
from mmgrec_plugins.recommenders.sequential.sequences import windows
from mmgrec_plugins.recommenders.simple.popularity import Popularity

each = pytest.mark.parametrize("name", KINDS)


def ranked(model: FittedRecommender, history: Interactions, users: Tensor, top_k: int = 5) -> tuple[Tensor, Tensor]:
    recommended = model.with_history(history).recommend(users, top_k=top_k, exclusion=exclusion_of(history, users))
    return recommended.item, recommended.score


def reordered(part: Interactions, seed: int = 0) -> Interactions:
    assert part.time is not None
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed))
    return dataclasses.replace(part, time=order)


# --------------------------------------------------------------------------- what is learnt


@each
def test_the_next_stop_of_a_tour_is_found(name: str) -> None:
    assert recall(fitted(name), DATA) > 0.95
    assert recall(Popularity().fit(DATA, Context()), DATA, top_k=3) < 0.3


@each
def test_without_the_order_the_next_stop_is_lost(name: str) -> None:
    shuffled = dataclasses.replace(DATA, train=reordered(DATA.train), valid=reordered(DATA.valid, 1))
    assert recall(fitted(name), shuffled) < 0.5


@each
def test_two_items_tell_the_tour_where_one_cannot(name: str) -> None:
    """Both tours go on from an item; the item before says which one is meant."""
    successor = DATA.latent["next"]
    for tour in (0, 1):
        items = [4, int(successor[tour, 4])]
        items.append(int(successor[tour, items[-1]]))
        item, _ = ranked(fitted(name), walk(items), torch.tensor([0]), top_k=1)
        assert item.item() == successor[tour, items[-1]]


@each
def test_a_history_given_later_is_read(name: str) -> None:
    users = torch.arange(50)
    before, _ = ranked(fitted(name), DATA.train, users, top_k=1)
    after, _ = ranked(fitted(name), DATA.train.merged(DATA.valid), users, top_k=1)
    truth = DATA.valid.padded(users)
    assert (before == truth).float().mean() > 0.9
    assert (after == DATA.test.padded(users)).float().mean() > 0.9


# --------------------------------------------------------------------------- laws


@each
def test_other_users_of_the_batch_and_so_padding_do_not_matter(name: str) -> None:
    model, users = fitted(name), torch.tensor([3, 9])
    assert DATA.train.time is not None
    kept = (DATA.train.user != 3) | (DATA.train.time >= 5)  # user 3 has two items left
    short = dataclasses.replace(
        DATA.train, user=DATA.train.user[kept], item=DATA.train.item[kept], time=DATA.train.time[kept]
    )
    alone = ranked(model, short, users[:1])
    together = ranked(model, short, users)
    assert torch.equal(alone[0][0], together[0][0])
    torch.testing.assert_close(alone[1][0], together[1][0], atol=1e-4, rtol=1e-4)


@each
def test_unordered_data_are_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(DataError) as error:
        KINDS[name].fit(planted(num_users=60, num_items=40), Context())
    assert error.value.code == "recommenders.no-times"
    assert error.value.remedy


@each
def test_the_same_seed_gives_the_same_state_another_seed_another(name: str) -> None:
    first, again, other = (quick(name).fit(DATA, Context(seed=seed)).state() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@each
def test_the_state_suffices_to_rank_again(name: str) -> None:
    model = fitted(name)
    again = KINDS[name].restore(load(save({k: v.contiguous() for k, v in model.state().items()})))  # type: ignore[attr-defined]
    users = torch.arange(30)
    exclusion = exclusion_of(DATA.train, users)
    first, second = (each.recommend(users, top_k=10, exclusion=exclusion) for each in (model, again))
    assert torch.equal(first.item, second.item)
    assert torch.equal(first.score, second.score)


@each
def test_users_without_history_get_a_list(name: str) -> None:
    nobody = Interactions.of(
        torch.empty(0).long(), torch.empty(0).long(), num_users=DATA.num_users, num_items=30, time=torch.empty(0).long()
    )
    item, score = ranked(fitted(name), nobody, torch.arange(3), top_k=30)
    assert item.sort(dim=1).values.tolist() == [list(range(30))] * 3
    assert bool(score.isfinite().all())


# --------------------------------------------------------------------------- windows


def test_windows_are_consecutive_and_reach_both_ends() -> None:
    generator = torch.Generator().manual_seed(0)
    item = torch.arange(10)
    long = Interactions.of(torch.zeros(10), item, num_users=2, num_items=10, time=item)
    drawn = torch.cat([windows(long, torch.tensor([0]), 4, generator) for _ in range(200)])
    assert bool((drawn.diff(dim=1) == 1).all())
    assert sorted(set(drawn[:, 0].tolist())) == list(range(7))


def test_short_histories_are_whole_in_their_windows() -> None:
    item = torch.tensor([4, 2, 0, 1, 3, 5])
    user = torch.tensor([0, 0, 1, 1, 1, 1])
    both = Interactions.of(user, item, num_users=2, num_items=6, time=torch.arange(6))
    drawn = windows(both, torch.tensor([1, 0]), 3, torch.Generator())
    assert drawn[1].tolist() == [-1, 4, 2]
    assert drawn[0].tolist() in ([0, 1, 3], [1, 3, 5])
