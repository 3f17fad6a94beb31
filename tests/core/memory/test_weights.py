"""Item weights and what histories say by them, against dense numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec.data import Interactions
from mmgrec.memory import ItemWeights

USERS, ITEMS = 25, 12


def part(*, timed: bool, seed: int = 0) -> Interactions:
    """A history for each user, the last user's empty."""
    generator = torch.Generator().manual_seed(seed)
    user = torch.randint(USERS - 1, (130,), generator=generator)
    item = torch.randint(ITEMS, (130,), generator=generator)
    time = torch.randint(40, (130,), generator=generator) if timed else None  # some at the same time
    return Interactions.of(user, item, num_users=USERS, num_items=ITEMS, time=time)


def weights(decay: float = 1.0, seed: int = 1) -> ItemWeights:
    """Positive and negative, some places empty."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.rand(ITEMS, ITEMS, generator=generator).argsort(1)[:, :5]
    weight = torch.randn(ITEMS, 5, generator=generator)
    empty = torch.rand(ITEMS, 5, generator=generator) < 0.3
    return ItemWeights(index=index.masked_fill(empty, -1), weight=weight.masked_fill(empty, 0.0), decay=decay)


def dense(one: ItemWeights) -> np.ndarray:
    """``[from, to]``."""
    table = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        for near, value in zip(one.index[item].tolist(), one.weight[item].tolist(), strict=True):
            if near >= 0:
                table[near, item] += value
    return table


def strengths(history: Interactions, decay: float) -> np.ndarray:
    """``[users, items]``: decay to the power of how many of the user's items are newer; 1 without times."""
    table = np.zeros((history.num_users, history.num_items))
    for user in range(history.num_users):
        mine = np.flatnonzero(history.user.numpy() == user)
        times = np.zeros(len(mine)) if history.time is None else history.time.numpy()[mine]
        items = history.item.numpy()[mine]
        oldest_first = sorted(range(len(mine)), key=lambda place: (times[place], items[place]))
        for newer, place in enumerate(reversed(oldest_first)):
            table[user, items[place]] = 1.0 if history.time is None else decay**newer
    return table


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("decay", [1.0, 0.7])
def test_what_histories_say_is_the_product_of_two_matrices(timed: bool, decay: float) -> None:
    history, one = part(timed=timed), weights(decay)
    wanted = strengths(history, decay) @ dense(one)
    users = torch.tensor([3, 24, 0, 17, 3])  # in any order, one twice, one without a history
    rows = one.rows(history, users)
    np.testing.assert_allclose(rows.toarray(), wanted[users.numpy()], atol=1e-5)
    assert rows.has_sorted_indices
    scores = one.scores(history, users)
    for row in range(5):
        spoken = scores.item[row][scores.item[row] >= 0]
        assert spoken.tolist() == sorted(set(spoken.tolist()))
        assert scores.item[row, : len(spoken)].tolist() == spoken.tolist()  # what fills up stands on the right
    every = scores.of(torch.arange(ITEMS).expand(5, -1))
    np.testing.assert_allclose(every.numpy(), wanted[users.numpy()], atol=1e-5)
    if decay != 1.0 and timed:
        assert not np.allclose(wanted, strengths(history, 1.0) @ dense(one), atol=1e-2)


@pytest.mark.parametrize("timed", [True, False])
def test_who_spoke_for_an_item_adds_up_to_its_score(timed: bool) -> None:
    history, one = part(timed=timed), weights(0.8)
    whole, strength = dense(one), strengths(history, 0.8)
    for user in (0, 5, 24):
        for item in (0, 4, 11):
            mine, value = one.spoken(history, user, item)
            assert mine.tolist() == history.items_of(torch.tensor([user]))[1].tolist()
            np.testing.assert_allclose(value.numpy(), (strength[user] * whole[:, item])[mine.numpy()], atol=1e-6)
            score = one.scores(history, torch.tensor([user])).of(torch.tensor([[item]]))
            assert float(value.sum()) == pytest.approx(float(score), abs=1e-5)


def test_times_a_factor() -> None:
    history, one = part(timed=True), weights(0.8)
    users = torch.arange(USERS)
    np.testing.assert_allclose(
        one.times(-2.5).rows(history, users).toarray(), -2.5 * one.rows(history, users).toarray(), atol=1e-5
    )
    assert one.times(3.0).decay == 0.8
    assert one.active
    assert one.times(2.0).active
    assert not one.times(0.0).active


def test_without_weights_nobody_is_spoken_of() -> None:
    nothing = ItemWeights(index=torch.empty(ITEMS, 0).long(), weight=torch.empty(ITEMS, 0))
    assert not nothing.active
    scores = nothing.scores(part(timed=False), torch.arange(4))
    assert (scores.item.shape, scores.value.shape) == ((4, 0), (4, 0))
    empty = nothing.scores(part(timed=False), torch.arange(0))
    assert empty.item.shape == (0, 0)


@pytest.mark.parametrize("count", [1, 4, 99])
def test_the_strongest_weights_are_kept_whatever_their_sign(count: int) -> None:
    whole = torch.randn(ITEMS, ITEMS, generator=torch.Generator().manual_seed(4))
    kept = dense(ItemWeights.strongest(whole, count))
    for item in range(ITEMS):
        column = whole[:, item].numpy()
        strong = set(np.argsort(-np.abs(column))[:count].tolist())
        wanted = [value if near in strong else 0.0 for near, value in enumerate(column)]
        np.testing.assert_allclose(kept[:, item], wanted)


def test_it_takes_the_bytes_of_its_two_tables() -> None:
    assert weights().num_bytes == ITEMS * 5 * (8 + 4)


# --------------------------------------------------------------------------- the order of histories


def by_hand(history: Interactions) -> tuple[list[int], list[int]]:
    """Order and ages, one interaction after the other."""
    assert history.time is not None
    keys = list(zip(history.user.tolist(), history.time.tolist(), history.item.tolist(), strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    age = [sum(other[0] == one[0] and other[1:] > one[1:] for other in keys) for one in keys]
    return order, age


@pytest.mark.parametrize("seed", range(3))
def test_order_and_ages_of_a_users_items(seed: int) -> None:
    history = part(timed=True, seed=seed)
    order, age = by_hand(history)
    assert history.in_order.tolist() == order
    assert history.age.tolist() == age
    assert max(age) > 3
    newest: Tensor = history.sequences(torch.arange(USERS), 1).flatten()
    assert newest[newest >= 0].tolist() == history.item[history.age == 0].tolist()  # as sequences have it


def test_without_times_all_items_are_of_one_age() -> None:
    history = part(timed=False)
    assert history.age.count_nonzero() == 0
    assert history.in_order.tolist() == list(range(len(history)))
    nothing = Interactions.of(torch.empty(0).long(), torch.empty(0).long(), num_users=3, num_items=3)
    assert (nothing.age.shape, nothing.in_order.shape) == ((0,), (0,))
