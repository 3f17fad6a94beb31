"""Lists of users and items from files, recommendations into files."""

from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest
import torch

from mmgrec.errors import DataError
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations
from mmgrec.serving.answers import recommend, rows_of
from mmgrec.serving.files import write
from mmgrec.serving.ids import allowed_items, read_ids, user_numbers
from mmgrec.testing import checkerboard

pytestmark = pytest.mark.messages


class Ascending(FittedRecommender):
    """Recommends the lowest items that are not excluded."""

    def recommend(self, users: torch.Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        score = torch.zeros(users.numel(), 32)
        score.scatter_(1, exclusion.seen.clamp(min=0), -torch.inf)
        value, item = score.sort(dim=1, descending=True, stable=True)
        item = item.masked_fill(value.isinf(), -1)
        return Recommendations(user=users, item=item[:, :top_k], score=value[:, :top_k])


@pytest.mark.parametrize(
    ("name", "content"),
    [("u.txt", "3\n5\n"), ("u.csv", "user\n3\n5\n"), ("u.jsonl", '{"user": 3}\n{"user": "5"}\n'), ("u.json", "3\n5\n")],
)
def test_ids_are_read_from_text_and_json(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_ids(tmp_path / name, "user") == ["3", "5"]


def test_ids_are_read_from_parquet(tmp_path: Path) -> None:
    polars.DataFrame({"user": ["a", "b"]}).write_parquet(tmp_path / "u.parquet")
    assert read_ids(tmp_path / "u.parquet", "user") == ["a", "b"]
    with pytest.raises(DataError) as refused:
        read_ids(tmp_path / "u.parquet", "item")
    assert refused.value.code == "serving.no-such-column"


@pytest.mark.parametrize(("name", "content"), [("u.jsonl", "{"), ("u.jsonl", '{"item": 1}')])
def test_files_that_cannot_be_read_are_a_sentence(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as refused:
        read_ids(tmp_path / name, "user")
    assert refused.value.code == "serving.unreadable-ids"


def test_ids_are_parted_by_new_lines_alone(tmp_path: Path) -> None:
    ids = ["a\u2028b", "c\x85d", "e\x1cf", "g"]
    (tmp_path / "u.txt").write_text("\r\n".join(ids), newline="")
    (tmp_path / "u.jsonl").write_text("\n".join(json.dumps(value, ensure_ascii=False) for value in ids))
    assert read_ids(tmp_path / "u.txt", "user") == ids
    assert read_ids(tmp_path / "u.jsonl", "user") == ["a\u2028b", "c\x85d", "e\x1cf", "g"]


def test_users_keep_their_order_and_come_once() -> None:
    assert user_numbers(["9", "2", "9"], checkerboard(), where="x").tolist() == [9, 2]


def test_no_user_at_all_is_a_mistake() -> None:
    with pytest.raises(DataError) as refused:
        user_numbers([], checkerboard(), where="x")
    assert refused.value.code == "serving.no-ids"


def test_an_allow_list_becomes_a_mask(tmp_path: Path) -> None:
    (tmp_path / "stock.txt").write_text("4\n1\n")
    assert allowed_items(tmp_path / "stock.txt", checkerboard()).nonzero().flatten().tolist() == [1, 4]


@pytest.mark.parametrize(("known", "first"), [("train", 0), ("train+valid", 0), ("all", 1)])
def test_what_is_known_decides_what_comes_again(known: str, first: int) -> None:
    """User 0 has all even items; item 0, the missing one, is a test item."""
    (answer,) = recommend(
        Ascending(),
        checkerboard(),
        torch.tensor([0]),
        top_k=2,
        exclude=known,  # type: ignore[arg-type]
    )
    assert answer.item[0, 0] == first


def test_places_left_empty_are_no_rows() -> None:
    answer = Recommendations(
        user=torch.tensor([1]), item=torch.tensor([[4, -1]]), score=torch.tensor([[0.5, -torch.inf]])
    )
    assert list(rows_of(answer, checkerboard())) == [{"user": "1", "rank": 1, "item": "4", "score": 0.5}]


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def breaks() -> object:
        yield Recommendations(user=torch.tensor([1]), item=torch.tensor([[4]]), score=torch.tensor([[0.5]]))
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write(tmp_path / "o.jsonl", breaks(), checkerboard())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_json_lines_are_written_row_by_row(tmp_path: Path) -> None:
    data = checkerboard()
    count = write(
        tmp_path / "o.jsonl", recommend(Ascending(), data, torch.tensor([0, 1]), top_k=3, exclude="train"), data
    )
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert count == len(rows) == 6
    assert rows[0] == {"user": "0", "rank": 1, "item": "0", "score": 0.0}


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        write(tmp_path / "o.csv", iter(()), checkerboard())
    assert refused.value.code == "serving.unknown-format"
