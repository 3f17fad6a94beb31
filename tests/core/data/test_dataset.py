"""Interactions and Dataset: order, look-ups, fingerprints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmgrec.data.dataset import Bag, Dataset, Interactions


def pairs(*of: tuple[int, int], num_users: int = 4, num_items: int = 5) -> Interactions:
    user, item = torch.tensor(of, dtype=torch.int64).reshape(-1, 2).T
    return Interactions.of(user, item, num_users=num_users, num_items=num_items)


def dataset(**changes: object) -> Dataset:
    base = Dataset(
        name="d",
        train=pairs((0, 1), (2, 3)),
        valid=pairs((0, 2)),
        test=pairs((2, 0)),
        features={"visual": torch.tensor([[1.0], [0.0], [0.0], [2.0], [3.0]])},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_pairs_are_sorted_and_kept_once() -> None:
    kept = pairs((2, 1), (0, 4), (2, 1), (2, 0))
    assert kept.user.tolist() == [0, 2, 2]
    assert kept.item.tolist() == [4, 0, 1]


def test_offsets_bound_the_items_of_each_user() -> None:
    assert pairs((0, 4), (2, 0), (2, 1)).offsets.tolist() == [0, 1, 1, 3, 3]


def test_degrees_count_users_and_items_without_interactions() -> None:
    train = pairs((0, 4), (2, 0), (2, 4))
    assert train.user_degree.tolist() == [1, 0, 2, 0]
    assert train.item_degree.tolist() == [1, 0, 0, 0, 2]


def test_items_of_users_in_any_order_and_repeated() -> None:
    row, item = pairs((0, 4), (2, 0), (2, 1)).items_of(torch.tensor([2, 1, 0, 2]))
    assert row.tolist() == [0, 0, 2, 3, 3]
    assert item.tolist() == [0, 1, 4, 0, 1]


def test_padded_fills_on_the_right() -> None:
    assert pairs((0, 4), (2, 0), (2, 1)).padded(torch.tensor([0, 1, 2])).tolist() == [[4, -1], [-1, -1], [0, 1]]


def test_padded_of_nobody_is_empty() -> None:
    assert pairs((0, 4)).padded(torch.tensor([], dtype=torch.int64)).shape == (0, 0)


def test_merged_is_the_union() -> None:
    both = pairs((0, 4), (2, 0)).merged(pairs((0, 1), (2, 0)))
    assert list(zip(both.user.tolist(), both.item.tolist(), strict=True)) == [(0, 1), (0, 4), (2, 0)]


def test_parts_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="agree on the numbers"):
        dataset(test=pairs((0, 0), num_items=6))


def test_features_need_a_row_for_each_item() -> None:
    with pytest.raises(ValueError, match="visual"):
        dataset(features={"visual": torch.zeros(4, 2)})


def test_zero_rows_are_missing_features() -> None:
    assert dataset().has_feature("visual").tolist() == [True, False, False, True, True]


def test_features_cannot_be_changed_in_place() -> None:
    with pytest.raises(TypeError):
        dataset().features["text"] = torch.zeros(5, 1)  # type: ignore[index]


@pytest.mark.parametrize(
    "changes",
    [
        {"test": pairs((2, 1))},
        {"features": {"text": torch.tensor([[1.0], [0.0], [0.0], [2.0], [3.0]])}},
        {"features": {"visual": torch.tensor([[1.0], [0.0], [0.0], [2.0], [3.5]])}},
        {"graphs": {"visual": torch.zeros(5, 1, dtype=torch.int64)}},
    ],
)
def test_fingerprint_sees_every_number(changes: dict[str, object]) -> None:
    assert dataset(**changes).fingerprint != dataset().fingerprint


def test_fingerprint_does_not_depend_on_names() -> None:
    assert dataset(name="other", item_ids=list("abcde")).fingerprint == dataset().fingerprint


def test_names_default_to_row_numbers() -> None:
    assert (dataset().user_id(3), dataset().item_id(4)) == ("3", "4")
    assert dataset(item_ids=list("abcde")).item_id(4) == "e"


def words(**changes: object) -> Bag:
    given: dict[str, object] = {
        "item": torch.tensor([3, 0, 3, 3]),
        "word": torch.tensor([1, 2, 0, 1]),
        "weight": torch.tensor([1.0, 0.5, 2.0, 3.0]),
        "num_items": 5,
        "num_words": 4,
    }
    return Bag.of(**(given | changes))  # type: ignore[arg-type]


def test_a_bag_is_sorted_and_adds_up_equal_words() -> None:
    bag = words()
    assert bag.offsets.tolist() == [0, 1, 1, 1, 3, 3]
    assert bag.word.tolist() == [2, 0, 1]
    assert bag.weight.tolist() == [0.5, 2.0, 4.0]


def test_items_without_a_word_lack_the_modality() -> None:
    data = dataset(bags={"words": words()})
    assert data.has_feature("words").tolist() == [True, False, False, True, False]
    assert data.modalities[-1] == "words"


def test_bags_count_in_the_fingerprint() -> None:
    plain, tagged = dataset(), dataset(bags={"words": words()})
    heavier = dataset(bags={"words": words(weight=torch.tensor([1.0, 0.5, 2.0, 3.5]))})
    assert len({plain.fingerprint, tagged.fingerprint, heavier.fingerprint}) == 3


def test_a_bag_of_another_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="words"):
        dataset(bags={"words": words(num_items=6)})


def timed() -> Interactions:
    user, item, time = torch.tensor([[0, 0, 0, 2, 2, 0], [3, 1, 4, 0, 2, 1], [5, 9, 1, 2, 1, 7]])
    return Interactions.of(user, item, num_users=4, num_items=5, time=time)


def test_equal_pairs_keep_their_earliest_time() -> None:
    kept = timed()
    assert kept.item.tolist() == [1, 3, 4, 0, 2]
    assert kept.time is not None
    assert kept.time.tolist() == [7, 5, 1, 2, 1]


def test_sequences_are_in_the_order_of_time_with_the_newest_rightmost() -> None:
    assert timed().sequences(torch.tensor([2, 0, 1]), 4).tolist() == [[-1, -1, 2, 0], [-1, 4, 3, 1], [-1] * 4]
    assert timed().sequences(torch.tensor([0]), 2).tolist() == [[3, 1]]


def test_without_time_there_are_no_sequences() -> None:
    with pytest.raises(ValueError, match="order"):
        pairs((0, 1)).sequences(torch.tensor([0]), 2)


def test_parts_with_times_stay_in_order_when_joined() -> None:
    later = Interactions.of(
        torch.tensor([2, 0]), torch.tensor([4, 2]), num_users=4, num_items=5, time=torch.tensor([9, 10])
    )
    assert timed().merged(later).sequences(torch.tensor([0, 2]), 4).tolist() == [[4, 3, 1, 2], [-1, 2, 0, 4]]
    assert timed().merged(pairs((1, 1))).time is None


def test_time_counts_in_the_fingerprint() -> None:
    part = timed()
    empty = pairs()
    known, unknown = (
        Dataset(name="d", train=train, valid=empty, test=empty) for train in (part, replace(part, time=None))
    )
    assert known.fingerprint != unknown.fingerprint
