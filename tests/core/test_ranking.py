"""`rank_items`: exact lists from rows of scores, with ties, exclusions, and more places than items."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmgrec
from mmgrec.interfaces import Exclusion, no_exclusion
from mmgrec.ranking import rank_items

USERS = torch.tensor([7, 4])


def test_the_package_hands_it_out() -> None:
    assert mmgrec.rank_items is rank_items
    assert "rank_items" in mmgrec.__all__


def test_the_best_come_first_and_users_are_passed_on() -> None:
    lists = rank_items(USERS, torch.tensor([[1.0, 3, 2], [9, 7, 8]]), top_k=2, exclusion=no_exclusion(2))
    assert lists.user.tolist() == [7, 4]
    assert lists.item.tolist() == [[1, 2], [0, 2]]
    assert lists.score.tolist() == [[3, 2], [9, 8]]


def test_of_equal_scores_the_lower_item_comes_first_also_at_the_end_of_the_list() -> None:
    scores = torch.tensor([[5.0, 5, 5, 5, 5], [1, 2, 1, 2, 1]])
    assert rank_items(USERS, scores, top_k=3, exclusion=no_exclusion(2)).item.tolist() == [[0, 1, 2], [1, 3, 0]]


def test_what_is_excluded_leaves_its_place_to_the_next() -> None:
    exclusion = Exclusion(seen=torch.tensor([[3, -1], [1, 0]]), allowed=torch.tensor([True, True, False, True]))
    lists = rank_items(USERS, torch.tensor([[1.0, 2, 3, 4]]).repeat(2, 1), top_k=2, exclusion=exclusion)
    assert lists.item.tolist() == [[1, 0], [3, -1]]
    assert lists.score.tolist() == [[2, 1], [4, -torch.inf]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_type_gives_float32(dtype: torch.dtype) -> None:
    lists = rank_items(USERS, torch.tensor([[1, 2], [2, 1]], dtype=dtype), top_k=2, exclusion=no_exclusion(2))
    assert (lists.item.dtype, lists.score.dtype) == (torch.int64, torch.float32)
    assert lists.item.tolist() == [[1, 0], [0, 1]]


def test_scores_too_close_for_float32_are_still_told_apart() -> None:
    scores = torch.tensor([[2**53, 2**53 + 2, 2**53 - 1]], dtype=torch.float64)
    assert rank_items(USERS[:1], scores, top_k=3, exclusion=no_exclusion(1)).item.tolist() == [[1, 0, 2]]


def test_lists_longer_than_the_catalogue_are_filled_up() -> None:
    lists = rank_items(USERS, torch.tensor([[1.0, 2], [2, 1]]), top_k=4, exclusion=no_exclusion(2))
    assert lists.item.tolist() == [[1, 0, -1, -1], [0, 1, -1, -1]]
    assert lists.score[:, 2:].isneginf().all()


def test_an_item_without_a_score_is_not_recommended() -> None:
    scores = torch.tensor([[-torch.inf, -5.0, -torch.inf]])
    assert rank_items(USERS[:1], scores, top_k=2, exclusion=no_exclusion(1)).item.tolist() == [[1, -1]]


def test_a_batch_of_no_users_has_no_lists() -> None:
    lists = rank_items(USERS[:0], torch.empty(0, 5), top_k=3, exclusion=no_exclusion(0))
    assert lists.item.shape == lists.score.shape == (0, 3)


def test_only_excluded_scores_are_written_over() -> None:
    scores = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    rank_items(USERS, scores, top_k=1, exclusion=Exclusion(seen=torch.tensor([[2], [-1]])))
    assert scores.tolist() == [[1, 2, -torch.inf], [4, 5, 6]]


def test_rows_of_other_users_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        rank_items(USERS, torch.zeros(3, 4), top_k=2, exclusion=no_exclusion(3))


@settings(max_examples=100, deadline=None)
@given(
    num_items=st.integers(1, 30),
    top_k=st.integers(1, 35),
    num_different=st.integers(1, 6),
    num_seen=st.integers(0, 6),
    restricted=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_it_equals_a_full_sort(
    num_items: int, top_k: int, num_different: int, num_seen: int, restricted: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(num_different, (4, num_items), generator=generator).float()
    seen = torch.randint(-1, num_items, (4, num_seen), generator=generator)
    allowed = torch.randint(2, (num_items,), generator=generator).bool() if restricted else None
    lists = rank_items(torch.arange(4), scores.clone(), top_k=top_k, exclusion=Exclusion(seen=seen, allowed=allowed))
    for row in range(4):
        free = [
            item
            for item in range(num_items)
            if item not in seen[row].tolist() and (allowed is None or bool(allowed[item]))
        ]
        best = sorted(free, key=lambda item, row=row: (-scores[row, item].item(), item))[:top_k]
        assert lists.item[row].tolist() == best + [-1] * (top_k - len(best))
        assert lists.score[row, : len(best)].tolist() == scores[row, best].tolist()
