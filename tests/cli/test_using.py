"""What is done with a finished run: ids, evaluate, compare, recommend, explain; and config show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars
import pytest

Command = Callable[..., "CompletedProcess[str]"]


def answer(done: CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ids_tells_the_health_level_by_level(mmgrec: Command, finished: Path) -> None:
    payload = answer(mmgrec("ids", str(finished), "--json"))
    assert payload["num_levels"] == 4
    assert len(payload["usage"]) == len(payload["perplexity"]) == 4
    assert payload["hash"] == json.loads((finished / "results.json").read_text())["rec_ids"]["hash"]


def test_ids_prints_a_table(mmgrec: Command, finished: Path) -> None:
    assert "unique before the collision token" in mmgrec("ids", str(finished)).stdout


@pytest.mark.parametrize("model", ["mmgrec", "mmgrec (paper)"])
def test_a_stored_model_evaluates_to_its_stored_result(mmgrec: Command, finished: Path, model: str) -> None:
    payload = answer(mmgrec("evaluate", str(finished), "--model", model, "--json"))
    rows = json.loads((finished / "results.json").read_text())["results"]
    (stored,) = [row for row in rows if (row["model"], row["split"]) == (model, "test")]
    assert payload["metrics"] == pytest.approx(stored["metrics"])


def test_evaluate_takes_another_mask_and_length(mmgrec: Command, finished: Path) -> None:
    payload = answer(mmgrec("evaluate", str(finished), "--mask", "train", "-k", "3", "--split", "test", "--json"))
    assert payload["mask"] == "train"
    assert "recall@3" in payload["metrics"]
    assert "recall@10" not in payload["metrics"]


def test_a_model_without_weights_is_refused(mmgrec: Command, finished: Path) -> None:
    done = mmgrec("evaluate", str(finished), "--model", "popularity")
    assert done.returncode == 2
    assert "it holds no weights of 'popularity'" in done.stderr


def test_compare_within_a_run_tests_the_first_against_the_others(mmgrec: Command, finished: Path) -> None:
    rows = answer(mmgrec("compare", str(finished), "--json"))
    assert [(row["first"], row["second"]) for row in rows] == [
        ("mmgrec", "mmgrec (paper)"),
        ("mmgrec", "popularity"),
        ("mmgrec", "itemknn"),
    ]
    assert all(0 <= row["p"] <= row["p_holm"] <= 1 for row in rows)
    for row in rows:
        assert row["difference"] == pytest.approx(row["first_value"] - row["second_value"])


def test_compare_across_runs_names_them(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(finished)
    rows = answer(mmgrec("compare", str(finished), "other", "--metric", "ndcg@10", "--json"))
    same = next(row for row in rows if row["second"] == "other: mmgrec")
    assert (same["difference"], same["p"]) == (0, 1)


def test_an_unknown_metric_gets_a_hint(mmgrec: Command, finished: Path) -> None:
    done = mmgrec("compare", str(finished), "--metric", "recall@11")
    assert done.returncode == 2
    assert "did you mean 'recall@10'" in done.stderr


@pytest.mark.parametrize("name", ["top.jsonl", "top.parquet"])
def test_recommend_writes_ranked_rows(mmgrec: Command, finished: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "users.txt").write_text("user\n7\n0\n7\n")
    mmgrec("recommend", str(finished), "--users", "users.txt", "-k", "4", "--out", name)
    read = polars.read_parquet if name.endswith("parquet") else polars.read_ndjson
    frame = read(tmp_path / name)
    assert frame.columns == ["user", "rank", "item", "score"]
    assert frame["user"].to_list() == ["7"] * 4 + ["0"] * 4
    assert frame["rank"].to_list() == [1, 2, 3, 4] * 2
    assert frame.unique(["user", "item"]).height == 8


def test_recommend_for_many_users_writes_shards(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("\n".join(map(str, range(50))))
    words = ("recommend", str(finished), "--users", "users.txt", "-k", "4", "--shard-size", "20", "--out")
    payload = answer(mmgrec(*words, "top", "--json"))
    assert (payload["users"], payload["rows"], payload["out"]) == (50, 200, "top")
    mmgrec(*words[:-3], "--out", "one.parquet")
    parts = sorted((tmp_path / "top").glob("part-*.parquet"))
    assert [polars.read_parquet(part).height for part in parts] == [80, 80, 40]
    assert polars.concat(map(polars.read_parquet, parts)).equals(polars.read_parquet(tmp_path / "one.parquet"))
    other = mmgrec(*words, "top", "--exclude", "all")
    assert other.returncode == 2
    assert "begun for something else: exclude is train+valid there and all here" in other.stderr


def test_recommend_keeps_to_an_allow_list(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    polars.DataFrame({"user": [1, 2, 3]}).write_parquet(tmp_path / "users.parquet")
    (tmp_path / "stock.txt").write_text("4\n8\n15\n")
    done = mmgrec("recommend", str(finished), "--users", "users.parquet", "--out", "o.jsonl", "--allow", "stock.txt")
    assert done.returncode == 0, done.stderr
    assert set(polars.read_ndjson(tmp_path / "o.jsonl")["item"]) <= {"4", "8", "15"}


def test_recommend_excludes_what_it_is_told_to(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    from mmgrec.settings import read_toml
    from mmgrec.synthetic import planted

    values = read_toml(finished / "run.toml")["data"]
    assert isinstance(values, dict)
    data = planted(num_users=values["num_users"], num_items=values["num_items"], mean_interactions=10.0)
    (tmp_path / "users.txt").write_text("\n".join(map(str, range(40))))
    mmgrec("recommend", str(finished), "--users", "users.txt", "--out", "o.jsonl", "--exclude", "all", "-k", "20")
    frame = polars.read_ndjson(tmp_path / "o.jsonl")
    known = data.train.merged(data.valid).merged(data.test)
    pairs = set(zip(known.user.tolist(), known.item.tolist(), strict=True))
    given = set(zip(map(int, frame["user"]), map(int, frame["item"]), strict=True))
    assert given
    assert not given & pairs


def test_unknown_users_are_told(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("1\nzoe\nbob\n")
    done = mmgrec("recommend", str(finished), "--users", "users.txt", "--out", "o.jsonl")
    assert done.returncode == 2
    assert "users.txt: 2 of 3 users are not in the data, 'zoe' is the first" in done.stderr
    assert not (tmp_path / "o.jsonl").exists()


def test_explain_tells_of_the_list_that_is_recommended(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
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


def test_explain_says_so_in_words(mmgrec: Command, finished: Path) -> None:
    told = answer(mmgrec("explain", str(finished), "--user", "7", "-k", "2", "--json"))
    done = mmgrec("explain", str(finished), "--user", "7", "-k", "2")
    first = told["items"][0]
    assert done.stdout.startswith(f"User 7: {told['history']} items in the history; never again what is in train+valid")
    assert f"  1. {first['item']['id']}: score {first['score']:.2f} = {first['log_probability']:.2f} " in done.stdout
    step, loudest = first["path"][0], first["memory"]["speak_for"][0]
    assert f"{step['token']} at {step['probability']:.1%} (choice {step['rank']} of {step['open']}), " in done.stdout
    assert f"for it   {loudest['item']['id']} ({loudest['value']:+.2f})" in done.stdout
    assert done.stdout.count("Rec-ID   ") == 2


def test_explain_is_asked_about_an_item_that_is_not_in_the_list(mmgrec: Command, finished: Path) -> None:
    whole = answer(mmgrec("explain", str(finished), "--user", "7", "-k", "100", "--json"))["items"]
    last = whole[-1]["item"]["id"]
    done = mmgrec("explain", str(finished), "--user", "7", "--item", last, "-k", "3")
    assert f"{last}, not among the first 3: score {whole[-1]['score']:.2f}" in done.stdout
    there = {one["item"]["id"] for one in whole}
    own = next(str(item) for item in range(60) if str(item) not in there)
    assert (
        f"{own}, which they have already: score" in mmgrec("explain", str(finished), "--user=7", f"--item={own}").stdout
    )


def test_explain_has_no_word_of_a_memory_where_there_is_none(mmgrec: Command, finished: Path) -> None:
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
def test_explain_tells_what_is_not_there(mmgrec: Command, finished: Path, argv: tuple[str, ...], sentence: str) -> None:
    done = mmgrec("explain", str(finished), *argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_config_show_prints_a_file_that_config_takes(mmgrec: Command, tmp_path: Path) -> None:
    shown = mmgrec("config", "show", "--quantizer", "hash", "--set", "network.dim=24", "--toml")
    (tmp_path / "mine.toml").write_text(shown.stdout)
    payload = answer(mmgrec("config", "show", "--config", "mine.toml", "--json"))
    assert (payload["quantizer"]["name"], payload["network"]["dim"]) == ("hash", 24)


def test_config_show_explains_settings(mmgrec: Command) -> None:
    shown = mmgrec("config", "show", "--quantizer", "hash").stdout
    assert "codebook_size" in shown
    assert "int >= 2" in shown
    assert "of the representations" in shown


def test_flags_win_over_sets_over_the_file(mmgrec: Command, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('seed = 5\n[network]\ndim = 8\nnum_heads = 1\n[quantizer]\nname = "rqvae"\n')
    payload = answer(
        mmgrec("config", "show", "--config", "c.toml", "--set", "network.dim=12", "--quantizer", "hash", "--json")
    )
    assert (payload["seed"], payload["network"]["dim"], payload["network"]["num_heads"]) == (5, 12, 1)
    assert payload["quantizer"]["name"] == "hash"
