"""Splitters: known small cases, and laws for any input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmgrec.data.dataset import Interactions
from mmgrec.data.splits import TEST, TRAIN, VALID, k_core, leave_one_out_split, random_split, temporal_split
from mmgrec.errors import DataError
from mmgrec.folder.contents import FolderContents
from mmgrec.folder.load import SplitRule, SplitSettings, dataset_of

users = arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 6))
seeds = st.integers(0, 2**32 - 1)
RULES = {
    "random": lambda user, seed: random_split(user, seed=seed),
    "leave-one-out": lambda user, seed: leave_one_out_split(
        user, np.random.default_rng(seed).integers(9, size=len(user))
    ),
    "temporal": lambda user, seed: temporal_split(user, np.random.default_rng(seed).integers(9, size=len(user))),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@every_rule
@settings(max_examples=60, deadline=None)
@given(user=users, seed=seeds)
def test_every_row_gets_exactly_one_part(rule, user, seed) -> None:  # type: ignore[no-untyped-def]
    part = rule(user, seed)
    assert part.shape == user.shape
    assert np.isin(part, [TRAIN, VALID, TEST]).all()


@every_rule
@settings(max_examples=60, deadline=None)
@given(user=users, seed=seeds)
def test_users_with_three_rows_keep_one_in_each_part(rule, user, seed) -> None:  # type: ignore[no-untyped-def]
    part = rule(user, seed)
    large = np.flatnonzero(np.bincount(user) >= 3)
    for which in (TRAIN, VALID, TEST):
        assert np.isin(large, user[part == which]).all()


@every_rule
@settings(max_examples=60, deadline=None)
@given(user=users, seed=seeds)
def test_validation_is_never_larger_than_test(rule, user, seed) -> None:  # type: ignore[no-untyped-def]
    part = rule(user, seed)
    assert (np.bincount(user[part == VALID], minlength=9) <= np.bincount(user[part == TEST], minlength=9)).all()


@every_rule
def test_same_seed_same_split(rule) -> None:  # type: ignore[no-untyped-def]
    user = np.repeat(np.arange(20), 12)
    assert (rule(user, 3) == rule(user, 3)).all()


def test_another_seed_draws_another_random_split() -> None:
    user = np.repeat(np.arange(20), 12)
    assert (random_split(user, seed=0) != random_split(user, seed=1)).any()


def test_random_split_holds_out_a_tenth_twice() -> None:
    part = random_split(np.repeat(np.arange(5), 20), seed=0)
    assert np.bincount(part).tolist() == [80, 10, 10]


def test_random_split_of_known_numbers() -> None:
    # default_rng(0).random(6) is .637 .270 .041 .017 .813 .913: the two largest are held out
    assert random_split(np.zeros(6, dtype=int), seed=0).tolist() == [TRAIN, TRAIN, TRAIN, TRAIN, VALID, TEST]


def test_leave_one_out_takes_the_last_two_in_time() -> None:
    part = leave_one_out_split(np.array([0, 0, 0, 0, 1, 1, 1]), np.array([4, 9, 1, 7, 3, 2, 1]))
    assert part.tolist() == [TRAIN, TEST, TRAIN, VALID, TEST, VALID, TRAIN]


def test_equal_times_keep_the_order_of_the_rows() -> None:
    assert leave_one_out_split(np.zeros(4, dtype=int), np.zeros(4)).tolist() == [TRAIN, TRAIN, VALID, TEST]


def test_temporal_holds_out_the_last_tenths() -> None:
    part = temporal_split(np.zeros(20, dtype=int), np.arange(20)[::-1])
    assert part.tolist() == [TEST] * 2 + [VALID] * 2 + [TRAIN] * 16


@pytest.mark.parametrize("draw", [leave_one_out_split, temporal_split])
def test_users_with_two_rows_stay_in_training(draw) -> None:  # type: ignore[no-untyped-def]
    assert draw(np.array([0, 0, 1]), np.array([0, 1, 0])).tolist() == [TRAIN, TRAIN, TRAIN]


def test_k_core_peels_until_it_is_stable() -> None:
    # item 3 has one user; without it user 2 has one item; without that user item 2 has one user
    user = np.array([0, 0, 1, 1, 1, 2, 2])
    item = np.array([0, 1, 0, 1, 2, 2, 3])
    assert k_core(user, item, 2).tolist() == [True, True, True, True, False, False, False]


def test_k_core_may_be_empty() -> None:
    assert not k_core(np.array([0, 1]), np.array([0, 1]), 2).any()


@settings(max_examples=60, deadline=None)
@given(user=users, seed=seeds, k=st.integers(1, 4))
def test_k_core_leaves_k_of_everything(user, seed, k) -> None:  # type: ignore[no-untyped-def]
    item = np.random.default_rng(seed).integers(6, size=len(user))
    keep = k_core(user, item, k)
    for number in (user[keep], item[keep]):
        count = np.bincount(number, minlength=1)
        assert (count[count > 0] >= k).all()


# --------------------------------------------------------------------------- 10 000 random data sets, as runs see them

SETS, EXAMPLES = 25, 100  # of each of the four rules


def drawn(rng: np.random.Generator) -> FolderContents:
    """A small data set: up to 8 users and 9 items, different pairs in any order, times with ties, perhaps a split."""
    users, items = rng.integers(1, 9), rng.integers(1, 10)
    pairs = rng.permutation(users * items)[: rng.integers(1, users * items + 1)]
    part = rng.integers(0, 3, size=len(pairs)).astype(np.int8)
    return FolderContents(
        path=Path("drawn"),
        user=pairs // items,
        item=pairs % items,
        num_users=int(users),
        num_items=int(items),
        timestamp=rng.integers(-3, 6, size=len(pairs)),
        part=part,
    )


def key_of(part: Interactions) -> list[int]:
    return (part.user * 10 + part.item).tolist()


@pytest.mark.parametrize("rule", ["random", "leave-one-out", "temporal", "given"])
def test_the_parts_of_any_data_set_are_a_partition(rule: SplitRule) -> None:
    split, refused = 0, 0

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
    @given(seed=st.integers(0, 2**32 - 1))
    def holds(seed: int) -> None:
        nonlocal split, refused
        rng = np.random.default_rng(seed)
        for _ in range(SETS):
            contents = drawn(rng)
            split += 1
            try:
                data = dataset_of(contents, SplitSettings(split=rule, split_seed=seed))
            except DataError:
                refused += 1
                count = np.bincount(contents.user)
                assert (contents.part != TRAIN).all() if rule == "given" else rule == "random" and count.max() < 3
                continue
            parts = [key_of(part) for part in (data.train, data.valid, data.test)]
            everything = [pair for part in parts for pair in part]
            assert len(set(everything)) == len(everything)
            assert sorted(everything) == sorted((contents.user * 10 + contents.item).tolist())
            if data.ordered:
                assert in_order(contents, parts)

    holds()
    assert split >= SETS * EXAMPLES
    assert refused < split / 2


def in_order(contents: FolderContents, parts: list[list[int]]) -> bool:
    """No training row is newer than a validation row of its user, and none of these newer than a test row."""
    assert contents.timestamp is not None
    key = (contents.user * 10 + contents.item).tolist()
    rank = {pair: number for number, part in enumerate(parts) for pair in part}
    rows = sorted(zip(contents.user.tolist(), contents.timestamp.tolist(), (rank[pair] for pair in key), strict=True))
    last: dict[int, tuple[int, int]] = {}  # user -> newest time so far of the rows before, by part
    for user, time, number in rows:
        before = last.get(user, (time, number))
        if time > before[0] and number < before[1]:
            return False
        last[user] = (time, max(number, before[1]))
    return True
