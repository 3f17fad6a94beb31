"""A model is the same twice: after an interruption, and when it is asked again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmgrec import rank_items
from mmgrec.errors import PluginError
from mmgrec.guards import check_same_rec_ids, list_warnings
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations
from mmgrec.recid import RecIDTable
from mmgrec.testing import tiny_data

DATA = tiny_data()
REC_IDS = RecIDTable(token=torch.tensor([[0, 0], [0, 1], [1, 0]]), level_sizes=(2, 2))
OTHER = replace(REC_IDS, token=torch.tensor([[0, 0], [1, 1], [1, 0]]))


class Maker:
    """Stands for the quantizer."""


def test_the_same_rec_ids_may_go_on(tmp_path: Path) -> None:
    for _ in range(3):
        check_same_rec_ids(tmp_path / "checkpoints", REC_IDS, Maker())


def test_other_rec_ids_than_before_are_refused(tmp_path: Path) -> None:
    check_same_rec_ids(tmp_path, REC_IDS, Maker())
    with pytest.raises(PluginError) as error:
        check_same_rec_ids(tmp_path, OTHER, Maker())
    assert error.value.code == "guards.other-rec-ids"
    assert error.value.where == f"{__name__}.Maker"
    check_same_rec_ids(tmp_path, REC_IDS, Maker())  # those of before still stand


def test_a_damaged_record_is_written_anew(tmp_path: Path) -> None:
    check_same_rec_ids(tmp_path, REC_IDS, Maker())
    (file,) = tmp_path.iterdir()
    file.write_bytes(b'"abc')
    check_same_rec_ids(tmp_path, OTHER, Maker())
    with pytest.raises(PluginError):
        check_same_rec_ids(tmp_path, REC_IDS, Maker())


def test_without_checkpoints_nothing_is_compared() -> None:
    check_same_rec_ids(None, REC_IDS, Maker())
    check_same_rec_ids(None, OTHER, Maker())


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored(FittedRecommender):
    """Ranks by item number, and backwards from the second time on if it is fickle."""

    fickle: bool = False
    asked: list[Tensor] = field(default_factory=list)

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        self.asked.append(users)
        sign = -1 if self.fickle and len(self.asked) > 1 else 1
        scores = sign * torch.arange(float(DATA.num_items)).repeat(users.numel(), 1)
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)


def test_of_good_lists_nothing_is_said() -> None:
    assert list(list_warnings(Scored(), DATA, {"test": {"seen": 0, "missing": 0}})) == []


def test_defects_are_told_by_part_with_their_number() -> None:
    defects = {"valid": {"seen": 0, "missing": 0}, "test": {"seen": 3, "missing": 0, "duplicate": 1}}
    (warning,) = list_warnings(Scored(), DATA, defects)
    assert "test" in warning
    assert "3 seen, 1 duplicate" in warning


def test_lists_that_change_when_asked_again_are_told() -> None:
    (warning,) = list_warnings(Scored(fickle=True), DATA, {})
    assert "cannot be repeated" in warning
