"""`mmgrec explain`: the list of `recommend` with its reasons, one item alone, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars
import pytest

Command = Callable[..., "CompletedProcess[str]"]


def answer(done: CompletedProcess[str]) -> Any:  # Any: JSON
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_explains_the_list_that_is_recommended(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("7\n")
    mmgrec("recommend", str(finished), "--users", "users.txt", "-k", "4", "--out", "top.jsonl")
    rows = polars.read_ndjson(tmp_path / "top.jsonl")
    told = answer(mmgrec("explain", str(finished), "--user", "7", "-k", "4", "--json"))
    assert (told["user"], told["top_k"], told["exclude"]) == ("7", 4, "train+valid")
    assert [one["item"]["id"] for one in told["items"]] == rows["item"].to_list()
    assert [one["rank"] for one in told["items"]] == [1, 2, 3, 4]
    tokens = polars.read_parquet(finished / "rec_ids.parquet")
    for one, score in zip(told["items"], rows["score"], strict=True):
        assert one["score"] == pytest.approx(score, abs=1e-5)
        assert one["log_probability"] + one["memory"]["value"] == pytest.approx(score, abs=1e-4)
        assert len(one["memory"]["speak_for"]) + len(one["memory"]["speak_against"]) > 0
        rec_id = tokens.filter(item=one["item"]["id"]).row(0)[1:]
        assert tuple(step["token"] for step in one["path"]) == rec_id


def test_it_says_so_in_words(mmgrec: Command, finished: Path) -> None:
    told = answer(mmgrec("explain", str(finished), "--user", "7", "-k", "2", "--json"))
    done = mmgrec("explain", str(finished), "--user", "7", "-k", "2")
    first = told["items"][0]
    assert done.stdout.startswith(f"User 7: {told['history']} items in the history; never again what is in train+valid")
    assert f"  1. {first['item']['id']}: score {first['score']:.2f} = {first['log_probability']:.2f} " in done.stdout
    step, loudest = first["path"][0], first["memory"]["speak_for"][0]
    assert f"{step['token']} at {step['probability']:.1%} (choice {step['rank']} of {step['open']}), " in done.stdout
    assert f"for it   {loudest['item']['id']} ({loudest['value']:+.2f})" in done.stdout
    assert done.stdout.count("Rec-ID   ") == 2


def test_an_item_that_is_not_in_the_list(mmgrec: Command, finished: Path) -> None:
    whole = answer(mmgrec("explain", str(finished), "--user", "7", "-k", "100", "--json"))["items"]
    last = whole[-1]["item"]["id"]
    done = mmgrec("explain", str(finished), "--user", "7", "--item", last, "-k", "3")
    assert f"{last}, not among the first 3: score {whole[-1]['score']:.2f}" in done.stdout
    there = {one["item"]["id"] for one in whole}
    own = next(str(item) for item in range(60) if str(item) not in there)
    assert (
        f"{own}, which they have already: score" in mmgrec("explain", str(finished), "--user=7", f"--item={own}").stdout
    )


def test_a_model_without_a_memory_has_no_word_of_one(mmgrec: Command, finished: Path) -> None:
    words = ("explain", str(finished), "--user", "7", "-k", "2", "--model", "mmgrec (paper)")
    shown = mmgrec(*words).stdout
    assert "Score = logarithm of the Rec-ID's probability\n" in shown
    assert not [word for word in ("for it", "against", "others", " = -") if word in shown]
    assert all(one["memory"] is None for one in answer(mmgrec(*words, "--json"))["items"])


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("--user", "zoe"), "there is no user 'zoe' in the data; name one of the 120 users, '0' is the first"),
        (("--user", "7", "--item", "ghost"), "there is no item 'ghost' in the data"),
        (("--user", "7", "--model", "popularity"), "it holds no weights of 'popularity'"),
        (("--user", "7", "--exclude", "test"), "--exclude 'test' is unknown"),
    ],
    ids=["user", "item", "model", "exclude"],
)
def test_what_is_not_there_is_told(mmgrec: Command, finished: Path, argv: tuple[str, ...], sentence: str) -> None:
    done = mmgrec("explain", str(finished), *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
