"""Collision resolvers: rank, ties, uniqueness, the cap and what happens above it."""

from __future__ import annotations

import pytest
import torch

from mmgrec.errors import UserError
from mmgrec.interfaces import Context, Silent
from mmgrec.recid import Codes
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.collisions.random_order import RandomOrder
from mmgrec_plugins.collisions.resolution import resolve


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def codes_of(token: list[list[int]], *level_sizes: int) -> Codes:
    return Codes(token=torch.tensor(token), level_sizes=level_sizes)


def random_codes(num_items: int, *level_sizes: int, seed: int = 0) -> Codes:
    g = torch.Generator().manual_seed(seed)
    columns = [torch.randint(size, (num_items,), generator=g) for size in level_sizes]
    return Codes(token=torch.stack(columns, 1), level_sizes=level_sizes)


def test_most_popular_item_of_a_group_comes_first() -> None:
    codes = codes_of([[1, 2], [1, 2], [0, 2], [1, 2]], 2, 3)
    table = ByPopularity().resolve(codes, torch.tensor([3, 9, 1, 5]), Context())
    assert table.token.tolist() == [[1, 2, 2], [1, 2, 0], [0, 2, 0], [1, 2, 1]]
    assert table.level_sizes == (2, 3, 3)


def test_popularity_breaks_ties_by_item_number() -> None:
    codes = codes_of([[0]] * 40, 1)
    table = ByPopularity().resolve(codes, torch.full((40,), 7), Context())
    assert table.token[:, 1].tolist() == list(range(40))


def test_without_collisions_the_last_vocabulary_has_one_token() -> None:
    codes = codes_of([[0, 1], [1, 0]], 2, 2)
    assert ByPopularity().resolve(codes, torch.tensor([1, 2]), Context()).level_sizes == (2, 2, 1)


@pytest.mark.parametrize("resolver", [ByPopularity(), RandomOrder()])
def test_rec_ids_are_unique_and_keep_their_semantic_tokens(resolver: ByPopularity | RandomOrder) -> None:
    codes = random_codes(2000, 8, 8, 8)
    popularity = torch.randint(50, (2000,), generator=torch.Generator().manual_seed(1))
    table = resolver.resolve(codes, popularity, Context())
    assert torch.equal(table.token[:, :3], codes.token)
    assert torch.unique(table.token, dim=0).shape[0] == 2000
    assert table.level_sizes[3] == int(torch.unique(codes.token, dim=0, return_counts=True)[1].max())


def test_random_order_depends_on_the_seed_alone() -> None:
    codes = codes_of([[0]] * 50, 1)
    popularity = torch.arange(50)
    first = RandomOrder().resolve(codes, popularity, Context(seed=1))
    again = RandomOrder().resolve(codes, popularity.flip(0), Context(seed=1))
    other = RandomOrder().resolve(codes, popularity, Context(seed=2))
    assert first.hash == again.hash
    assert first.hash != other.hash
    assert sorted(first.token[:, 1].tolist()) == list(range(50))


def test_a_group_above_the_cap_is_refused_by_name_and_number() -> None:
    codes = codes_of([[1, 0]] * 5 + [[0, 0]], 2, 4)
    with pytest.raises(UserError) as error:
        ByPopularity(max_group=3, overflow="error").resolve(codes, torch.arange(6), Context())
    assert error.value.code == "collisions.group-too-large"
    for fact in ("5 items", "(1, 0)", "items 0, 1, 2, 3, 4", "cap of 3"):
        assert fact in str(error.value)


def test_a_group_as_large_as_the_cap_is_left_alone() -> None:
    codes = codes_of([[1, 0]] * 3 + [[0, 0]], 2, 4)
    listener = Listener()
    table = ByPopularity(max_group=3).resolve(codes, torch.arange(4), Context(reporter=listener))
    assert torch.equal(table.token[:, :2], codes.token)
    assert listener.warnings == []


def test_the_least_popular_items_are_moved_to_the_emptiest_tuples_of_their_prefix() -> None:
    codes = codes_of([[1, 0]] * 5 + [[1, 1], [1, 3], [0, 0]], 2, 4)
    popularity = torch.tensor([5, 1, 4, 2, 3, 9, 9, 9])
    listener = Listener()
    table = ByPopularity(max_group=3).resolve(codes, popularity, Context(reporter=listener))
    assert table.token[[0, 2, 4]].tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 2]]
    assert table.token[3].tolist() == [1, 2, 0]  # the only empty tuple under 1
    assert table.token[1].tolist() == [1, 1, 1]  # then the first of those with one item, behind a more popular one
    assert table.level_sizes == (2, 4, 3)
    assert "2 items" in listener.warnings[0]
    assert "items 1, 3" in listener.warnings[0]


def test_where_a_prefix_is_full_a_shorter_one_is_shared() -> None:
    codes = codes_of([[1, 0, 0]] * 5, 2, 2, 2)
    resolution = resolve(codes, torch.arange(5), max_group=1, overflow="reassign", reporter=Silent())
    assert resolution.moved.tolist() == [1, 2, 3, 4]
    assert resolution.rec_ids.token[:4].tolist() == [[1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert resolution.rec_ids.token[4].tolist() == [0, 0, 0, 0]


def test_many_overfull_groups_end_below_the_cap_and_only_the_surplus_moves() -> None:
    codes = random_codes(3000, 4, 4, 16)
    resolution = resolve(codes, torch.arange(3000), max_group=12, overflow="reassign", reporter=Silent())
    assert resolution.rec_ids.level_sizes == (4, 4, 16, 12)
    changed = (resolution.rec_ids.token[:, :3] != codes.token).any(1).nonzero()[:, 0]
    assert torch.equal(changed, resolution.moved)
    size = torch.unique(codes.token, dim=0, return_counts=True)[1]
    assert resolution.moved.numel() == int((size - 12).clamp(min=0).sum())


def test_more_items_than_places_is_refused() -> None:
    with pytest.raises(UserError) as error:
        ByPopularity(max_group=2).resolve(codes_of([[0, 0]] * 9, 2, 2), torch.arange(9), Context())
    assert error.value.code == "collisions.group-too-large"


def test_more_tuples_than_a_number_can_tell_apart_are_refused() -> None:
    with pytest.raises(UserError) as error:
        ByPopularity().resolve(codes_of([[0, 0, 0]], *[2**21] * 3), torch.arange(1), Context())
    assert error.value.code == "collisions.too-many-tuples"
