"""Memories choose their settings by validation: on data where they help, where they cannot, and where order counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context, ItemMemory, ItemWeights, NoMemory, ScoresOfUsers, Silent
from mmgrec.testing import same
from mmgrec.training import ValidationRecall
from mmgrec_plugins.memories.ease import EASEMemory
from mmgrec_plugins.memories.local_ridge import LocalRidge

PAIRS = 25
ITEMS = 2 * PAIRS
USERS, WAYS = 150, 90
RIDGE = LocalRidge(neighbours=(6, 3), l2=(20.0, 2.0), feature_weight=(3.0, 0.0), scale=(0.0, 1.0, 8.0, 64.0))
EASE = EASEMemory(l2=(200.0, 5.0), items_kept=8, scale=(0.0, 1.0, 8.0, 64.0))
MEMORIES: dict[str, ItemMemory] = {"local-ridge": RIDGE, "ease": EASE}
EACH = pytest.mark.parametrize("name", MEMORIES)


class Heard(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def twins() -> Dataset:
    """Items 2k and 2k + 1 are liked together: four pairs in training, then the twin of a fifth item, and of a sixth."""
    generator = torch.Generator().manual_seed(0)
    pair = torch.rand(USERS, PAIRS, generator=generator).argsort(1)[:, :6]
    side = torch.randint(2, (USERS, 6), generator=generator)
    user = torch.arange(USERS)[:, None]

    def part(items: Tensor) -> Interactions:
        who = user.expand_as(items).flatten()
        return Interactions.of(who, items.flatten(), num_users=USERS, num_items=ITEMS)

    known = torch.cat([2 * pair + side, 2 * pair[:, :4] + 1 - side[:, :4]], 1)
    asked = 2 * pair + 1 - side
    return Dataset(name="twins", train=part(known), valid=part(asked[:, 4:5]), test=part(asked[:, 5:6]))


def walks() -> Dataset:
    """Ordered: eight short walks one after the other, each from an item to one of the next two; the last goes on."""
    generator = torch.Generator().manual_seed(1)
    start = torch.randint(WAYS, (USERS, 8, 1), generator=generator)
    step = torch.randint(1, 3, (USERS, 8, 4), generator=generator)
    walk = (start + step.cumsum(2)) % WAYS  # [U, 8, 4]
    items = torch.cat([walk[:, :-1, :2].flatten(1), walk[:, -1]], 1)
    user = torch.arange(USERS)[:, None].expand_as(items)
    time = torch.arange(items.shape[1]).expand_as(items)

    def part(columns: slice) -> Interactions:
        who, what, when = (table[:, columns].flatten() for table in (user, items, time))
        return Interactions.of(who, what, num_users=USERS, num_items=WAYS, time=when)

    parts = (part(slice(0, -2)), part(slice(-2, -1)), part(slice(-1, None)))
    return Dataset(name="walks", train=parts[0], valid=parts[1], test=parts[2], ordered=True)


TWINS, WALKS = twins(), walks()


def noise(users: Tensor, num_items: int = ITEMS) -> Tensor:
    return torch.randn(USERS, num_items, generator=torch.Generator().manual_seed(5))[users]


def noise_of(data: Dataset) -> ScoresOfUsers:
    return lambda users: noise(users, data.num_items)


def knowing(part: Interactions) -> ScoresOfUsers:
    """Scores that leave nothing to add: the items of a part are far above all others."""
    table = torch.zeros(USERS, ITEMS)
    table[part.user, part.item] = 1000.0
    return lambda users: table[users].clone()


def recall(data: Dataset, scores: ScoresOfUsers, weights: ItemWeights | None = None) -> float:
    def total(users: Tensor) -> Tensor:
        added = 0 if weights is None else torch.from_numpy(weights.rows(data.train, users).toarray())
        return scores(users) + added

    return ValidationRecall(data).of_scores(total)


@EACH
def test_where_it_helps_it_is_heavy_enough_to(name: str) -> None:
    heard = Heard()
    weights = MEMORIES[name].fit(TWINS, noise, Context(reporter=heard))
    assert weights.active
    assert recall(TWINS, noise) < 0.4
    assert recall(TWINS, noise, weights) > 0.95
    (told,) = heard.notes
    assert f"{recall(TWINS, noise):.4f} without" in told
    assert f"{recall(TWINS, noise, weights):.4f} with," in told


@EACH
def test_where_there_is_nothing_to_add_it_is_nothing(name: str) -> None:
    """As good with it as without: of equal scales the first is taken, and that is none."""
    weights = MEMORIES[name].fit(TWINS, knowing(TWINS.valid), Context())
    assert not weights.active
    assert weights.index.shape[0] == ITEMS


@EACH
def test_the_best_of_its_settings_are_taken(name: str) -> None:
    """Each setting by itself finds no more than all of them together."""
    memory: Any = MEMORIES[name]
    together = recall(TWINS, noise, memory.fit(TWINS, noise, Context()))
    for l2 in memory.l2:
        alone = replace(memory, l2=(l2,))
        assert recall(TWINS, noise, alone.fit(TWINS, noise, Context())) <= together


@EACH
def test_twice_the_same(name: str) -> None:
    memory: Any = replace(MEMORIES[name], validation_users=40)  # type: ignore[call-arg]
    first, second = (memory.fit(TWINS, noise, Context(seed=3)) for _ in range(2))
    assert same(first, second)


@EACH
@pytest.mark.parametrize("data", [TWINS, WALKS], ids=lambda data: data.name)
def test_nothing_is_read_from_the_test_part(name: str, data: Dataset) -> None:
    with_test = MEMORIES[name].fit(data, noise_of(data), Context())
    assert with_test.active
    assert same(MEMORIES[name].fit(data.without_test(), noise_of(data), Context()), with_test)


@EACH
def test_without_validation_items_it_has_its_first_settings(name: str) -> None:
    def nobody(users: Tensor) -> Tensor:
        raise AssertionError("there is nobody to ask about")

    memory: Any = MEMORIES[name]
    data = replace(TWINS, valid=TWINS.without_test().test)
    weights = memory.fit(data, nobody, Context())
    first = {
        field: getattr(memory, field)[:1] for field in ("neighbours", "l2", "feature_weight") if hasattr(memory, field)
    }
    judged = replace(memory, **first, scale=(1.0,)).fit(TWINS, noise, Context())
    assert torch.equal(weights.weight, judged.weight)  # the first scale that is not zero is 1
    assert torch.equal(weights.index, judged.index)


def test_features_count_where_they_tell_more() -> None:
    """Cold twins: nobody has item 2k + 1 in training, but it looks like item 2k."""
    even = 2 * torch.randint(PAIRS, (USERS,), generator=torch.Generator().manual_seed(2))
    user = torch.arange(USERS)
    train = Interactions.of(user, even, num_users=USERS, num_items=ITEMS)
    valid = Interactions.of(user, even + 1, num_users=USERS, num_items=ITEMS)
    look = torch.eye(PAIRS).repeat_interleave(2, 0) + 0.01 * noise(torch.arange(1)).T
    data = Dataset(name="cold", train=train, valid=valid, test=valid, features={"visual": look})
    heard = Heard()
    weights = RIDGE.fit(data, noise, Context(reporter=heard))
    assert "feature_weight 3" in heard.notes[0]
    assert weights.weight[1::2].any(dim=1).all()
    blind = replace(RIDGE, feature_weight=(0.0,)).fit(data, noise, Context())
    assert not blind.weight[1::2].any()
    assert recall(data, noise, weights) > recall(data, noise, blind) + 0.3


def test_where_order_counts_older_items_fade() -> None:
    scores = noise_of(WALKS)
    memory = replace(RIDGE, decay=(1.0, 0.6, 0.3, 0.1))
    heard = Heard()
    weights = memory.fit(WALKS, scores, Context(reporter=heard))
    assert weights.decay < 1.0
    assert f"decay {weights.decay:g}" in heard.notes[0]
    flat = replace(memory, decay=(1.0,)).fit(WALKS, scores, Context())
    assert flat.decay == 1.0
    assert recall(WALKS, scores, weights) > recall(WALKS, scores, flat) + 0.1
    unordered = memory.fit(replace(WALKS, ordered=False), scores, Context())
    assert unordered.decay == 1.0


def test_an_item_speaks_more_for_what_follows_it_than_for_what_came_before() -> None:
    def onward(reach: int) -> tuple[float, float]:
        weights = replace(RIDGE, reach=reach, decay=(0.3,)).fit(WALKS, noise_of(WALKS), Context())
        table = weights.speaks.toarray() / weights.weight.abs().max().item()  # from, to
        places = range(WAYS)
        return tuple(sum(table[a, (a + way) % WAYS] for a in places) for way in (1, -1))

    forward, backward = onward(3)
    assert forward > 1.5 * backward
    forward, backward = onward(0)
    assert forward < 1.5 * backward


def test_no_memory_is_no_weight_at_all() -> None:
    weights = NoMemory().fit(TWINS, noise, Context())
    assert not weights.active
    assert weights.index.shape == (ITEMS, 0)


def test_a_catalogue_beyond_the_closed_form_is_refused_with_another_memory_to_use() -> None:
    with pytest.raises(SettingsError, match=r"memory\.name=local-ridge") as error:
        replace(EASE, max_items=49).fit(TWINS, noise, Context())
    assert error.value.code == "memory.too-many-items"
