"""Recommendations in shards: what was asked for, once, whole; killed at any moment it goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest
import torch

from mmgrec.data.dataset import Dataset
from mmgrec.errors import RunError
from mmgrec.interfaces import Recommendations
from mmgrec.serving.files import Shards, write
from mmgrec.storage.locks import lock
from mmgrec.synthetic import planted

Told = Callable[[str, object], None]
DATA = planted(num_users=50, num_items=30, mean_interactions=6.0)
USERS = torch.arange(50).flip(0)
ASKED = {"run": "a", "top_k": 3}


def answer(users: torch.Tensor) -> list[Recommendations]:
    """User u is given u, u + 1, u + 2 modulo 30; users below 5 only the first."""
    item = (users[:, None] + torch.arange(3)) % 30
    item[users < 5, 1:] = -1
    score = torch.where(item < 0, -torch.inf, -torch.arange(3.0))
    parts = zip(users.split(7), item.split(7), score.split(7), strict=True)
    return [Recommendations(user=user, item=item, score=score) for user, item, score in parts]


def written(folder: Path, users: torch.Tensor = USERS, **asked: object) -> int:
    return Shards(path=folder, size=20).write_users(users, DATA, answer, asked={**ASKED, **asked})


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_the_shards_together_are_the_one_file(tmp_path: Path) -> None:
    assert written(tmp_path / "many") == write(tmp_path / "one.parquet", answer(USERS), DATA) == 45 * 3 + 5
    assert sorted(content(tmp_path / "many")) == ["asked.json", "manifest.json"] + [
        f"part-0000{index}.parquet" for index in range(3)
    ]
    many = polars.read_parquet(tmp_path / "many" / "*.parquet")
    assert many.equals(polars.read_parquet(tmp_path / "one.parquet"))
    assert many.schema == {"user": polars.String, "rank": polars.Int32, "item": polars.String, "score": polars.Float32}
    assert many["user"].unique(maintain_order=True).to_list() == [str(user) for user in USERS.tolist()]


def test_parquet_and_json_lines_hold_the_same(tmp_path: Path) -> None:
    write(tmp_path / "o.parquet", answer(USERS), DATA)
    write(tmp_path / "o.jsonl", answer(USERS), DATA)
    lines = polars.read_ndjson(tmp_path / "o.jsonl", schema=polars.read_parquet(tmp_path / "o.parquet").schema)
    assert lines.equals(polars.read_parquet(tmp_path / "o.parquet"))


def test_names_of_users_and_items_are_the_datas_own(tmp_path: Path) -> None:
    named = Dataset(
        name="n",
        train=DATA.train,
        valid=DATA.valid,
        test=DATA.test,
        user_ids=[f"{user:03}" for user in range(50)],
        item_ids=[f"\x1b[31m{item}" for item in range(30)],
    )
    write(tmp_path / "o.parquet", answer(torch.tensor([7])), named)
    frame = polars.read_parquet(tmp_path / "o.parquet")
    assert frame["user"].to_list() == ["007"] * 3
    assert frame["item"].to_list() == ["\x1b[31m7", "\x1b[31m8", "\x1b[31m9"]


def test_again_gives_the_same_bytes_and_a_missing_or_damaged_shard_is_made_again(tmp_path: Path) -> None:
    written(tmp_path / "s")
    before = content(tmp_path / "s")
    assert written(tmp_path / "s") == 140
    assert content(tmp_path / "s") == before
    (tmp_path / "s" / "part-00001.parquet").unlink()
    (tmp_path / "s" / "part-00002.parquet").write_bytes(b"PAR1")
    assert written(tmp_path / "s") == 140
    assert content(tmp_path / "s") == before


def test_other_questions_are_refused(tmp_path: Path, told: Told) -> None:
    written(tmp_path / "s")
    before = content(tmp_path / "s")
    with pytest.raises(RunError) as error:
        written(tmp_path / "s", top_k=4)
    told("shards, begun for something else", error.value)
    with pytest.raises(RunError) as error:
        written(tmp_path / "s", users=USERS[1:])
    assert error.value.code == "storage.made-otherwise"
    assert "users is" in str(error.value)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(RunError) as error:
        written(tmp_path / "mine")
    told("shards, folder with other things", error.value)
    with lock(tmp_path / "s" / "lock"), pytest.raises(RunError) as error:
        written(tmp_path / "s")
    told("shards, another process", error.value)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError) as error:
        written(tmp_path / "file")
    told("shards, a file in the way", error.value)
    assert content(tmp_path / "s") == before


HELPER = """
import json, os, random, signal, sys
from pathlib import Path

import torch
from mmgrec.interfaces import Recommendations
from mmgrec.serving import Shards
from mmgrec.synthetic import planted

import polars  # imported here, used in the children alone: its threads do not outlive a fork
root, wanted, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(7)
data = planted(num_users=300, num_items=40, mean_interactions=5.0)
users = torch.arange(300)


def answer(part):
    item = (part[:, None] * 7 + torch.arange(5)) % 40
    return [Recommendations(user=part, item=item, score=-torch.arange(5.0).expand_as(item))]


def child(out, kill_at=None):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    if kill_at is not None:
        left, flush = [kill_at], os.fsync
        def flush_or_die(handle):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            flush(handle)
        os.fsync = flush_or_die
    try:
        Shards(path=out, size=10).write_users(users, data, answer, asked={"a": 1})
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)
"""
KILLS = """
assert child(root / "whole") == 0
halves, kills = 0, 0
while kills < wanted:
    out = root / f"killed{kills}"
    while kills < wanted and os.WIFSIGNALED(child(out, chance.randint(1, 45))):
        kills += 1
        for file in out.glob("part-*.parquet"):
            halves += file.read_bytes() != (root / "whole" / file.name).read_bytes()
    assert child(out) == 0
    same = {file.name: file.read_bytes() for file in out.iterdir()} == {
        file.name: file.read_bytes() for file in (root / "whole").iterdir()
    }
    assert same, out
print(json.dumps({"halves": halves, "kills": kills}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the helper forks")
def test_killed_it_goes_on_without_a_user_twice_or_half_a_file(trials: Any, tmp_path: Path) -> None:
    wanted = trials.of("killed-in-serving")
    done = subprocess.run(
        [sys.executable, "-c", HELPER + KILLS, str(tmp_path), str(wanted)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"halves": 0, "kills": wanted}
    trials.held("killed-in-serving", wanted)
