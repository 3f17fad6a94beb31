"""`mmgrec run`: what it prints and leaves behind, how it is found again, and what it refuses."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars
import pytest

Command = Callable[..., "CompletedProcess[str]"]


def results(run: Path) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((run / "results.json").read_text())
    return payload


def test_json_has_every_promised_key(mmgrec: Command, small: tuple[str, ...], finished: Path) -> None:
    again = mmgrec("run", "--json", "--config", "run", "--out", "run", cwd=finished.parent)
    payload = json.loads(again.stdout)
    assert {"schema", "run", "seed", "data", "rec_ids", "decoding", "results"} <= payload.keys()
    assert (payload["schema"], payload["run"], payload["seed"]) == (1, "run", 0)
    assert payload["data"].keys() == {"name", "num_users", "num_items", "num_interactions", "fingerprint"}
    assert {"num_levels", "usage", "perplexity", "unique_before_collision", "largest_group", "hash"} <= (
        payload["rec_ids"].keys()
    )
    assert {"users", "invalid", "duplicate", "seen", "beam_recall_of_exact@10"} <= payload["decoding"].keys()
    row = payload["results"][0]
    assert {"model", "split", "metrics", "num_users", "seconds"} <= row.keys()
    assert {"recall@10", "ndcg@10"} <= row["metrics"].keys()
    assert row["seconds"].keys() == {"fit", "recommend"}


def test_every_model_has_a_row_for_each_part(finished: Path) -> None:
    rows = [(row["model"], row["split"]) for row in results(finished)["results"]]
    models = ["mmgrec", "mmgrec (paper)", "popularity", "itemknn"]
    assert rows == [(model, split) for model in models for split in ("test", "valid")]


def test_no_list_holds_what_it_must_not(finished: Path) -> None:
    decoding = results(finished)["decoding"]
    assert [decoding[name] for name in ("invalid", "duplicate", "seen", "missing", "misplaced")] == [0] * 5
    assert 0.5 < decoding["beam_recall_of_exact@10"] <= 1


def test_definitions_stand_beside_the_metrics(finished: Path) -> None:
    payload = results(finished)
    names = {name.partition("@")[0] for name in payload["results"][0]["metrics"]}
    assert names == set(payload["definitions"])


def test_per_user_values_average_to_the_result(finished: Path) -> None:
    frame = polars.read_parquet(finished / "per_user.parquet").filter(model="mmgrec", split="test")
    row = results(finished)["results"][0]
    assert frame.height == row["num_users"]
    assert frame["recall@10"].mean() == pytest.approx(row["metrics"]["recall@10"])


def test_rec_ids_are_unique_in_the_file(finished: Path) -> None:
    frame = polars.read_parquet(finished / "rec_ids.parquet")
    assert frame.height == 60
    assert frame.select(polars.exclude("item")).is_unique().all()


def test_no_file_names_this_machine(finished: Path) -> None:
    """Neither paths nor user, nor anything of the environment, in which the fixture has put a few canaries."""
    secrets = [secret.encode() for secret in (str(finished.parent), f"{Path.home()}/", "canary-")]
    leaks = [
        file.name for file in finished.rglob("*") if file.is_file() for secret in secrets if secret in file.read_bytes()
    ]
    assert leaks == []


def test_a_run_moved_elsewhere_works(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    moved = tmp_path / "another disk" / "of another user"
    shutil.copytree(finished, moved)
    done = mmgrec("evaluate", str(moved), "--json", cwd=moved.parent)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics == results(finished)["results"][0]["metrics"]


def test_nothing_of_the_work_is_left(finished: Path) -> None:
    names = {file.name for file in finished.iterdir()}
    assert names == {
        "run.toml", "run.json", "results.json", "rec_ids.json", "rec_ids.parquet", "per_user.parquet", "weights",
        "log.jsonl", "manifest.json", "insight.json", "report.html",
    }  # fmt: skip


def test_the_log_is_json_lines(finished: Path) -> None:
    events = [json.loads(line)["event"] for line in (finished / "log.jsonl").read_text().splitlines()]
    assert {"begin", "update", "end", "note"} <= set(events)


def test_answers_go_to_stdout_and_talk_to_stderr(mmgrec: Command, small: tuple[str, ...]) -> None:
    done = mmgrec("run", *small, "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert "generator: done in" in done.stderr


def test_the_same_command_finds_the_stored_result(mmgrec: Command, finished: Path, small: tuple[str, ...]) -> None:
    done = mmgrec("run", "--config", "run", "--out", "run", cwd=finished.parent)
    assert done.returncode == 0, done.stderr
    assert "this is its stored result" in done.stderr
    assert "fitting" not in done.stderr


def test_the_default_folder_is_named_by_data_and_settings(
    mmgrec: Command, small: tuple[str, ...], tmp_path: Path
) -> None:
    first = mmgrec("run", *small, "--json")
    second = mmgrec("run", *small, "--json")
    other = mmgrec("run", *small, "--json", "--seed", "1")
    runs = [json.loads(done.stdout)["run"] for done in (first, second, other)]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0].startswith("runs/synthetic-")
    assert "stored result" in second.stderr


def test_a_configuration_taken_back_gives_the_same_bits(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    done = mmgrec("run", "--config", str(finished / "run.toml"), "--out", "again")
    assert done.returncode == 0, done.stderr
    for name in ("rec_ids.parquet", "per_user.parquet", "run.toml", "weights/mmgrec.safetensors", "insight.json"):
        assert (tmp_path / "again" / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_folder_made_by_other_settings_is_refused_by_name(
    mmgrec: Command, finished: Path, small: tuple[str, ...]
) -> None:
    done = mmgrec("run", "--config", "run", "--set", "network.dim=8", "--out", "run", cwd=finished.parent)
    assert done.returncode == 2
    assert "made by other settings" in done.stderr
    assert "network.dim is 16 there and 8 here" in done.stderr


def test_a_folder_with_other_things_is_refused(mmgrec: Command, small: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    done = mmgrec("run", *small, "--out", "mine")
    assert done.returncode == 2
    assert "the folder holds other things (thesis.txt)" in done.stderr


def test_a_damaged_file_is_named(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / "weights" / "mmgrec.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    done = mmgrec("evaluate", "run")
    assert done.returncode == 2
    assert "run/weights/mmgrec.safetensors: the file is damaged" in done.stderr


def test_settings_are_written_out_in_full(finished: Path) -> None:
    values = tomllib.loads((finished / "run.toml").read_text())
    assert values["quantizer"] == {"name": "hash", "num_levels": 3, "codebook_size": 8, "dim": 16}
    assert values["baselines"]["itemknn"]["name"] == "itemknn"
    assert values["compare"]["paper"]["quantizer"]["codebook_size"] == 8


def test_data_from_a_folder_are_found_again(mmgrec: Command, small: tuple[str, ...], tmp_path: Path) -> None:
    from mmgrec.folder import save_folder
    from mmgrec.testing import tiny_data

    save_folder(tiny_data(), tmp_path / "data" / "tiny")
    wanted = [word for word in small if not word.startswith("--set=data")]
    done = mmgrec("run", *wanted, "--data", str(tmp_path / "data" / "tiny"), "--out", "run")
    assert done.returncode == 0, done.stderr
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["data"]["path"] == "data/tiny"
    assert mmgrec("evaluate", "run").returncode == 0
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    lost = mmgrec("evaluate", "run")
    assert (lost.returncode, "name their folder with --data PATH" in lost.stderr) == (2, True)
    assert mmgrec("evaluate", "run", "--data", "elsewhere/tiny").returncode == 0
