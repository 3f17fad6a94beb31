"""The health report: known figures of small tables, and alarms when a level collapses."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from mmgrec.recid.health import Health, health_report
from mmgrec.recid.table import Codes, RecIDTable


def table_of(codes: Codes) -> RecIDTable:
    """Rec-IDs by item number within the group."""
    same = (codes.token[:, None] == codes.token[None]).all(2)
    rank = same.tril(-1).sum(1)
    token = torch.cat([codes.token, rank[:, None]], 1)
    return RecIDTable(token=token, level_sizes=(*codes.level_sizes, int(rank.max()) + 1))


def report_of(token: Tensor, *level_sizes: int) -> Health:
    codes = Codes(token=token, level_sizes=level_sizes)
    return health_report(codes, table_of(codes))


def random_tokens(num_items: int, *level_sizes: int) -> Tensor:
    g = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(size, (num_items,), generator=g) for size in level_sizes], 1)


def test_usage_and_perplexity_of_a_known_table() -> None:
    report = report_of(torch.tensor([[0, 0], [0, 1], [1, 2], [1, 3]]), 4, 4)
    assert report.usage == (0.5, 1.0, 1.0)
    assert report.perplexity == pytest.approx((2.0, 4.0, 1.0))
    assert report.entropy == pytest.approx((math.log(2), math.log(4), 0.0))
    assert report.num_levels == 3


def test_groups_of_a_known_table() -> None:
    report = report_of(torch.tensor([[0], [0], [0], [1], [2], [2]]), 3)
    assert report.largest_group == 3
    assert report.group_sizes == {1: 1, 2: 1, 3: 1}
    assert report.unique_before_collision == pytest.approx(1 / 6)
    assert report.distinct_before_collision == pytest.approx(3 / 6)
    assert report.level_sizes == (3, 3)


def test_healthy_codes_raise_no_alarm() -> None:
    assert report_of(random_tokens(800, 32, 32, 32), 32, 32, 32).alarms == ()


def test_a_collapsed_level_raises_the_alarm_although_the_tuples_are_unique() -> None:
    token = random_tokens(1000, 3, 128, 128)
    report = report_of(token, 128, 128, 128)
    assert report.unique_before_collision > 0.9
    assert report.alarms == ("level 0 has collapsed: items use 3 of 128 codewords",)


def test_a_very_uneven_level_raises_the_alarm() -> None:
    token = random_tokens(1000, 64, 64, 64)
    token[64:, 0] = 5
    token[:64, 0] = torch.arange(64)
    (alarm,) = report_of(token, 64, 64, 64).alarms
    assert alarm.startswith("level 0 is close to collapse: 64 of 64")


def test_a_level_with_nothing_left_to_tell_raises_no_alarm() -> None:
    token = torch.stack([torch.arange(400), torch.zeros(400, dtype=torch.int64)], 1)
    token[0, 1], token[1, 1] = 1, 2
    assert report_of(token, 400, 3).alarms == ()


def test_a_large_group_raises_the_alarm() -> None:
    token = random_tokens(1000, 32, 32, 32)
    token[:60] = token[0]
    assert "60 items (6.0%) share one tuple of semantic tokens" in report_of(token, 32, 32, 32).alarms


def test_few_unique_tuples_raise_the_alarm() -> None:
    (alarm,) = report_of(random_tokens(500, 16, 16), 16, 16).alarms
    assert "semantic tokens of their own" in alarm


def test_error_after_each_level_from_the_codebooks() -> None:
    books = (torch.tensor([[-4.0], [4.0]]), torch.tensor([[-1.0], [1.0]]))
    token = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    codes = Codes(token=token, level_sizes=(2, 2), codebooks=books)
    vectors = torch.tensor([[-5.0], [-3.0], [3.0], [5.0]])
    assert health_report(codes, table_of(codes), vectors=vectors).reconstruction == pytest.approx((4 / 68, 0.0))


def test_error_is_unknown_without_codebooks_unless_the_codes_know_it() -> None:
    codes = Codes(token=torch.tensor([[0], [1]]), level_sizes=(2,))
    assert health_report(codes, table_of(codes), vectors=torch.ones(2, 3)).reconstruction is None
    knowing = Codes(token=codes.token, level_sizes=(2,), reconstruction=(0.25,))
    assert health_report(knowing, table_of(knowing)).reconstruction == (0.25,)


def test_the_report_is_json() -> None:
    report = report_of(torch.tensor([[0], [0], [1]]), 2)
    back = json.loads(json.dumps(report.as_dict()))
    assert back["group_sizes"] == {"1": 1, "2": 1}
    assert back["num_levels"] == 2
    assert len(back["usage"]) == 2


def test_tables_of_different_items_are_refused() -> None:
    codes = Codes(token=torch.tensor([[0], [1]]), level_sizes=(2,))
    other = RecIDTable(token=torch.tensor([[0, 0]]), level_sizes=(2, 1))
    with pytest.raises(ValueError, match="one token more"):
        health_report(codes, other)
