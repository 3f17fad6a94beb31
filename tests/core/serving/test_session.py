"""A session answers what the command answers, from a stored run."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest
import torch

from mmgrec.errors import DataError, RunError
from mmgrec.serving import Question, Session

BEFORE = Path(__file__).parents[2] / "before"


@pytest.fixture(scope="module")
def session() -> Session:
    return Session.open(BEFORE / "run")


def test_it_writes_what_the_command_wrote(session: Session, tmp_path: Path) -> None:
    users = session.users(BEFORE / "answers" / "users.txt")
    rows = session.write(tmp_path / "lists.jsonl", users, Question(top_k=5))
    assert rows == 15
    assert (tmp_path / "lists.jsonl").read_bytes() == (BEFORE / "answers" / "lists.jsonl").read_bytes()


def test_a_folder_of_shards_holds_the_rows_of_the_file(session: Session, tmp_path: Path) -> None:
    users = torch.arange(session.data.num_users)
    session.write(tmp_path / "one.parquet", users, Question())
    heard: list[str] = []
    session.write(tmp_path / "many", users, Question(), shard_size=25, note=heard.append)
    parts = [polars.read_parquet(path) for path in sorted((tmp_path / "many").glob("*.parquet"))]
    assert [part["user"].n_unique() for part in parts] == [25, 25, 10]
    assert polars.concat(parts).equals(polars.read_parquet(tmp_path / "one.parquet"))
    assert heard[-1] == "3 of 3 shards are written"


def test_what_is_asked_decides_whose_a_folder_is(session: Session, tmp_path: Path) -> None:
    users = torch.arange(5)
    session.write(tmp_path / "many", users, Question(top_k=3))
    session.write(tmp_path / "many", users, Question(top_k=3))
    allowed = torch.ones(session.data.num_items, dtype=torch.bool)
    for other in (Question(top_k=4), Question(top_k=3, exclude="train"), Question(top_k=3, allowed=allowed)):
        with pytest.raises(RunError) as error:
            session.write(tmp_path / "many", users, other)
        assert "begun for something else" in str(error.value)


def test_allowed_items_are_all_that_is_given(session: Session, tmp_path: Path) -> None:
    (tmp_path / "items.txt").write_text("3\n5\n8\n")
    allowed = session.items(tmp_path / "items.txt")
    (answer,) = session.answer(torch.arange(session.data.num_users), Question(top_k=3, allowed=allowed))
    assert set(answer.item.flatten().tolist()) <= {-1, 3, 5, 8}


def test_models_and_users_that_are_not_there_are_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(RunError) as error:
        Session.open(BEFORE / "run", model="popularity")
    assert error.value.code == "runs.no-weights"
    (tmp_path / "users.txt").write_text("nobody\n")
    with pytest.raises(DataError) as unknown:
        session.users(tmp_path / "users.txt")
    assert unknown.value.code == "serving.unknown-ids"
