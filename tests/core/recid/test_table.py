"""Codes and Rec-IDs: what they refuse, and what stays the same."""

import pytest
import torch

from mmgrec.recid.table import Codes, RecIDTable


def _table(rows: list[list[int]], sizes: tuple[int, ...]) -> RecIDTable:
    return RecIDTable(token=torch.tensor(rows), level_sizes=sizes)


def test_codes_may_collide() -> None:
    codes = Codes(token=torch.tensor([[1, 2], [1, 2]]), level_sizes=(3, 3))
    assert (codes.num_items, codes.num_levels) == (2, 2)


def test_two_items_with_one_rec_id_are_refused() -> None:
    with pytest.raises(ValueError, match="share a Rec-ID"):
        _table([[0, 1], [1, 1], [0, 1]], (2, 2))


def test_token_outside_its_vocabulary_is_refused_by_level_and_value() -> None:
    with pytest.raises(ValueError, match=r"level 1 has tokens 0 … 2, but its vocabulary is 2"):
        _table([[0, 0], [1, 2]], (2, 2))


def test_negative_token_is_refused() -> None:
    with pytest.raises(ValueError, match="level 0 has tokens -1"):
        _table([[-1, 0], [1, 1]], (2, 2))


def test_tokens_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="int64"):
        RecIDTable(token=torch.zeros(1, 2, dtype=torch.int32), level_sizes=(2, 2))


def test_keys_are_ordered_as_rec_ids_are() -> None:
    table = _table([[1, 0, 2], [0, 4, 2], [1, 0, 0], [0, 3, 9]], (2, 5, 10))
    assert table.key.argsort().tolist() == [3, 1, 2, 0]


def test_levels_of_more_than_62_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="63 bits; 62 is the most"):
        _table([[0, 0]], (2**31, 2**32))


def test_level_with_one_token_takes_a_bit() -> None:
    assert _table([[0, 3]], (1, 4)).bits == (1, 2)


def test_hash_tells_tables_apart_and_is_stable() -> None:
    table = _table([[0, 1], [1, 0]], (2, 2))
    assert table.hash == _table([[0, 1], [1, 0]], (2, 2)).hash
    assert table.hash != _table([[1, 0], [0, 1]], (2, 2)).hash
    assert table.hash != _table([[0, 1], [1, 0]], (2, 3)).hash
