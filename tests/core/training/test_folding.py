"""Users folded in from their histories: what stays, what moves, and that a stored map is the same map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context, Representations, Silent
from mmgrec.synthetic import planted
from mmgrec.testing import same
from mmgrec.training import FoldIn, ValidationRecall, fold_in

DATA = planted(num_users=90, num_items=60, mean_interactions=14, seed=2)
DIM = 5


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def ordered(seed: int = 0, num_users: int = 120, num_items: int = 90) -> Dataset:
    """Tastes drift, one way or the other: an item is near to the one before. The last is test, the one before valid."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(num_items, (num_users, 1), generator=generator)
    way = 2 * torch.randint(2, (num_users, 1), generator=generator) - 1
    step = way * torch.randint(1, 4, (num_users, 11), generator=generator)
    items = torch.cat([place, step], 1).cumsum(1) % num_items
    user = torch.arange(num_users)[:, None].expand_as(items)
    time = torch.arange(items.shape[1]).expand_as(items)

    def part(columns: slice) -> Interactions:
        who, what, when = (table[:, columns].flatten() for table in (user, items, time))
        return Interactions.of(who, what, num_users=num_users, num_items=num_items, time=when)

    parts = (part(slice(0, -2)), part(slice(-2, -1)), part(slice(-1, None)))
    return Dataset(name="drift", train=parts[0], valid=parts[1], test=parts[2], ordered=True)


DRIFT = ordered()


def given(data: Dataset) -> Representations:
    """Items on a circle (or anywhere), users near to the mean of their items: as training would leave them."""
    generator = torch.Generator().manual_seed(1)
    angle = torch.arange(data.num_items) * (2 * torch.pi / data.num_items)
    item = torch.cat(
        [angle.cos()[:, None], angle.sin()[:, None], 0.02 * torch.randn(data.num_items, DIM - 2, generator=generator)],
        1,
    )
    row, liked = data.train.user, data.train.item
    user = torch.zeros(data.num_users, DIM).index_add_(0, row, item[liked])
    user = 3 * user / data.train.user_degree.clamp_min(1)[:, None].float() ** 0.5
    return Representations(user=user + 0.05 * torch.randn(user.shape, generator=generator), item=item)


def by_hand(fold: FoldIn, history: Interactions, item: Tensor, user: int) -> np.ndarray:
    """The equation, in float64."""
    mine = (history.user == user).nonzero().flatten()
    strength = fold.decay ** history.age[mine].double().numpy()
    total = (strength[:, None] * item[history.item[mine]].double().numpy()).sum(0)
    return total / max(1, len(mine)) ** fold.power @ fold.weight.double().numpy()


@pytest.mark.parametrize(("decay", "power"), [(1.0, 0.0), (1.0, 0.5), (0.6, 0.0), (0.6, 1.0)])
def test_a_users_representation_is_that_of_the_equation(decay: float, power: float) -> None:
    fold = FoldIn(weight=torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(4)), decay=decay, power=power)
    item = given(DRIFT).item
    found = fold.users(DRIFT.train, item)
    for user in (0, 7, 119):
        np.testing.assert_allclose(found[user].numpy(), by_hand(fold, DRIFT.train, item, user), atol=1e-4)
    nobody = replace(DRIFT.train, user=DRIFT.train.user[:0], item=DRIFT.train.item[:0], time=None)
    assert not fold.users(nobody, item).any()


# --------------------------------------------------------------------------- without an order


def test_without_an_order_the_representations_stay_as_they_are() -> None:
    before = given(DATA)
    fold, after = fold_in(before, DATA, Context())
    assert after is before
    assert fold.decay == 1.0


def test_without_an_order_the_map_tells_users_from_their_histories() -> None:
    before = given(DATA)
    fold, _ = fold_in(before, DATA, Context())
    left = (fold.users(DATA.train, before.item) - before.user).square().sum()
    assert float(left / before.user.square().sum()) < 0.05
    assert fold.power == 0.5  # as they were made


@pytest.mark.parametrize("data", [DATA, DRIFT], ids=lambda data: data.name)
def test_users_of_training_histories_keep_their_bits(data: Dataset) -> None:
    fold, folded = fold_in(given(data), data, Context())
    again = Interactions.of(
        data.train.user, data.train.item, num_users=data.num_users, num_items=data.num_items, time=data.train.time
    )
    assert same(fold.moved(folded, data.train, again), folded)


def test_a_grown_history_moves_its_user_and_nobody_else() -> None:
    before = given(DATA)
    fold, folded = fold_in(before, DATA, Context())
    user = int((DATA.train.user_degree == DATA.train.user_degree.min()).nonzero()[0])
    score = folded.user[user] @ folded.item.T
    new = int(score.argmin())  # what they would have liked least
    more = Interactions.of(
        torch.full((6,), user), (folded.item @ folded.item[new]).topk(6).indices, num_users=90, num_items=60
    )
    moved = fold.moved(folded, DATA.train, DATA.train.merged(more))
    others = torch.arange(90) != user
    assert torch.equal(moved.user[others], folded.user[others])
    assert torch.equal(moved.item, folded.item)
    rank = (moved.user[user] @ moved.item.T).argsort(descending=True).tolist().index(new)
    assert rank < score.argsort(descending=True).tolist().index(new) - 5
    back = fold.moved(moved, DATA.train.merged(more), DATA.train)
    torch.testing.assert_close(back.user, folded.user, atol=1e-4, rtol=1e-4)


def test_users_who_came_later_are_folded_in() -> None:
    fold, folded = fold_in(given(DATA), DATA, Context())
    _, mine = DATA.train.items_of(torch.tensor([3]))
    user = torch.cat([DATA.train.user, torch.full_like(mine, 91)])
    later = Interactions.of(user, torch.cat([DATA.train.item, mine]), num_users=93, num_items=60)
    moved = fold.moved(folded, DATA.train, later)
    assert moved.user.shape == (93, DIM)
    assert torch.equal(moved.user[:90], folded.user)
    assert not moved.user[[90, 92]].any()  # who have no history
    torch.testing.assert_close(moved.user[91], fold.users(DATA.train, folded.item)[3], atol=1e-5, rtol=1e-5)
    cosine = torch.nn.functional.cosine_similarity(moved.user[91], folded.user[3], dim=0)
    assert float(cosine) > 0.9  # much as the user of training with the same items


# --------------------------------------------------------------------------- where histories follow time


def test_with_an_order_everybody_is_folded_in_and_newer_items_say_more() -> None:
    heard = Heard()
    before = given(DRIFT)
    fold, folded = fold_in(before, DRIFT, Context(reporter=heard))
    assert fold.decay < 1.0
    torch.testing.assert_close(folded.user, fold.users(DRIFT.train, folded.item))
    assert not torch.allclose(folded.user, before.user)
    recall = ValidationRecall(DRIFT)

    def value(one: Representations) -> float:
        return recall.of_scores(lambda users: one.user[users] @ one.item.T)

    assert value(folded) > value(before)
    assert heard.notes == [
        f"users folded in from their histories, decay {fold.decay:g}: recall@10 {value(folded):.4f} on validation, "
        f"{value(before):.4f} by their own representations"
    ]


def test_with_an_order_the_newest_items_are_what_is_read_at_test_time() -> None:
    """The validation item moves its user: whoever is stale finds less of what comes after it."""
    fold, folded = fold_in(given(DRIFT), DRIFT, Context())
    whole = DRIFT.train.merged(DRIFT.valid)
    moved = fold.moved(folded, DRIFT.train, whole)
    torch.testing.assert_close(moved.user, fold.users(whole, folded.item), atol=1e-3, rtol=1e-3)
    asked = replace(DRIFT, train=whole, valid=DRIFT.test)
    recall = ValidationRecall(asked)
    fresh, stale = (recall.of_scores(lambda users, u=u: u[users] @ folded.item.T) for u in (moved.user, folded.user))
    assert fresh > stale + 0.05


def test_scores_are_calibrated_where_users_are_folded_in() -> None:
    """No other scale makes the validation items likelier, whatever scale the representations came in."""
    results = []
    for scale in (0.1, 10.0):
        before = given(DRIFT)
        _, folded = fold_in(Representations(user=scale * before.user, item=before.item), DRIFT, Context())
        results.append(folded.user @ folded.item.T)
    torch.testing.assert_close(results[0], results[1], rtol=2e-2, atol=2e-2)

    def likelihood(table: Tensor) -> float:
        table = table.double().clone()
        table[DRIFT.train.user, DRIFT.train.item] = -torch.inf
        return float(table.log_softmax(1)[DRIFT.valid.user, DRIFT.valid.item].mean())

    for factor in (0.5, 0.9, 1.1, 2.0):
        assert likelihood(results[0]) > likelihood(factor * results[0])


def test_without_validation_items_there_is_a_decay_all_the_same() -> None:
    nobody = replace(DRIFT.valid, user=DRIFT.valid.user[:0], item=DRIFT.valid.item[:0], time=DRIFT.test.time[:0])  # type: ignore[index]
    fold, folded = fold_in(given(DRIFT), replace(DRIFT, valid=nobody), Context())
    assert fold.decay == 0.7
    assert folded.user.isfinite().all()


@pytest.mark.parametrize("data", [DATA, DRIFT], ids=lambda data: data.name)
def test_the_test_part_has_no_part_in_it(data: Dataset) -> None:
    assert same(fold_in(given(data), data, Context()), fold_in(given(data), data.without_test(), Context()))


# --------------------------------------------------------------------------- stored


@pytest.mark.parametrize("data", [DATA, DRIFT], ids=lambda data: data.name)
def test_a_stored_map_is_the_same(data: Dataset) -> None:
    fold, _ = fold_in(given(data), data, Context())
    assert same(FoldIn.restored({"other": torch.zeros(1), **fold.state()}), fold)
    assert set(fold.state()) == {"fold.weight", "fold.decay", "fold.power"}
    assert FoldIn.restored({"other": torch.zeros(1)}) is None
