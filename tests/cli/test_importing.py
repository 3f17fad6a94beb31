"""`mmgrec data import`: what it says, what it refuses; and ids that come back as they were from every command."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from mmgrec_cli.app import main

pytestmark = pytest.mark.messages

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Capture = pytest.CaptureFixture[str]

EVIL = ["01", "1", "[bold]x[/bold]", "\x1b[2J\x1b]0;title\x07", "<script>alert(1)</script>", "a,b", 'say "hi"', "日本"]


def log(users: int = 30, items: int = 12) -> str:
    """Every user and item has a name that makes trouble; users like neighbouring items."""
    rows = ["user,item,time"]
    for user in range(users):
        for step in range(5):
            name = EVIL[user] if user < len(EVIL) else f"u{user}"
            thing = (user * 7 + step * 2) % items
            label = EVIL[thing] if thing < len(EVIL) else f"i{thing}"
            quoted = ('"' + text.replace('"', '""') + '"' for text in (name, label))
            rows.append(",".join([*quoted, str(step)]))
    return "\n".join(rows)


def ends(argv: list[str], capsys: Capture) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(argv)
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert isinstance(end.value.code, int)
    return end.value.code, out, err


def test_the_guess_is_told_beside_the_answer(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("uid,sku\n1,x\n1,y\n1,z\n1,x\n")
    code, out, err = ends(["data", "import", "a.csv", "--out", "shop", "--json"], capsys)
    assert code == 0
    facts = json.loads(out)
    assert (facts["format"], facts["users"], facts["items"], facts["interactions"]) == ("csv", 1, 3, 3)
    assert "format: csv (text with 2 columns)" in err
    assert "columns: user = 'uid', item = 'sku'" in err
    assert "1 of 4 rows repeat a pair of user and item" in err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["absent.csv"], "absent.csv: there is no such file or folder; check the path."),
        (["a.csv", "--format", "cvs"], "--format 'cvs' is unknown; did you mean 'csv'?"),
        (["a.csv", "--format", "folder"], "--format 'folder' is unknown"),
        (["a.csv", "--user-column", "usr"], "a.csv: there is no column 'usr'; did you mean 'user'?"),
        (["a.csv", "--format", "movielens"], "in MovieLens' form"),
        (["a.csv", "--format", "amazon-reviews"], "does not look like Amazon reviews"),
        (["a.csv", "--format", "recbole"], "a.csv: no column looks like the user"),
        (["a.csv", "--format", "parquet"], "a.csv: cannot be read as Parquet"),
        (["a.csv", "--min-rating", "3"], "a.csv: there are no ratings"),
        (["a.csv", "--features", "visual"], "--features 'visual' is not NAME=FILE"),
        (["a.csv", "--features", "v=absent.npy"], "absent.npy: there is no such file"),
        (["a.csv", "--features", "../v=absent.npy"], "'../v' is no name for a modality"),
        (["a.csv", "--bag", "w=absent.csv"], "absent.csv: there is no such file"),
        (["empty.csv"], "empty.csv: is empty"),
        (["latin.csv"], "latin.csv: is of no format that is known, or no UTF-8 text"),
        (["ragged.csv"], "ragged.csv: line 3 has 3 fields, the first line has 2"),
        (["a.csv", "--out", "full"], "full: exists and is not an empty folder; choose another place."),
    ],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(
    argv: list[str], sentence: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("user,item\n1,x\n1,y\n1,z\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "latin.csv").write_bytes("user,item\né,x\n".encode("latin-1"))
    (tmp_path / "ragged.csv").write_text("user,item\n1,x\n1,x,y\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    code, out, err = ends(["data", "import", *argv, *([] if "--out" in argv else ["--out", "made"])], capsys)
    assert (code, out) == (2, "")
    assert sentence in err
    assert sorted(tmp_path.rglob("*")) == before


def test_ids_come_back_as_they_were(mmgrec: Command, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(log(), encoding="utf-8")
    run = mmgrec(
        *("run", "--set", "data.name=csv", "--set", "data.path=log.csv", "--set", "data.split=leave-one-out"),
        *("--out", "run", "--quantizer=rq-kmeans", "--set=quantizer.codebook_size=4", "--set=network.dim=16"),
        *("--set=training.epochs=1",),
    )
    assert run.returncode == 0, run.stderr
    (tmp_path / "users.jsonl").write_text("\n".join(map(json.dumps, EVIL)))
    done = mmgrec("recommend", "run", "--users", "users.jsonl", "--out", "top.jsonl", "-k", "3")
    assert done.returncode == 0, done.stderr
    frame = polars.read_ndjson(tmp_path / "top.jsonl")
    names = {*EVIL, *(f"i{number}" for number in range(len(EVIL), 12))}
    assert frame["user"].unique(maintain_order=True).to_list() == EVIL
    assert set(frame["item"]) <= names
    assert set(polars.read_parquet(tmp_path / "run" / "rec_ids.parquet")["item"]) == names
    shown = mmgrec("ids", "run")
    assert "\x1b" not in run.stdout + run.stderr + shown.stdout


def test_data_check_reads_as_words(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(log(), encoding="utf-8")
    assert ends(["data", "import", "log.csv", "--out", "shop"], capsys)[0] == 0
    code, out, _ = ends(["data", "check", "shop"], capsys)
    assert code == 0
    assert "timestamp: yes" in out
    assert "features: none" in out
    assert not {"None", "True", "False", "{", "_per_"} & set(out.replace(":", " ").split())
    assert "there are no features at all" in out


def test_what_would_not_train_is_code_2(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("user,item\n1,x\n2,y\n3,x\n")
    assert ends(["data", "import", "log.csv", "--out", "shop"], capsys)[0] == 0
    code, out, _ = ends(["data", "check", "shop"], capsys)
    assert code == 2
    assert "no user has more than 1 item" in out
    assert "not usable as it is" in out
