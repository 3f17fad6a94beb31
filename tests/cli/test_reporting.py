"""The pages that a run and a study leave; `mmgrec report` writes them anew; what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

Command = Callable[..., "CompletedProcess[str]"]


def test_a_run_leaves_its_page_and_names_it(mmgrec: Command, finished: Path) -> None:
    again = mmgrec("run", "--config", "run", "--out", "run", cwd=finished.parent)
    assert "Page: run/report.html" in again.stdout
    page = (finished / "report.html").read_text(encoding="utf-8")
    for name in ("mmgrec (paper)", "popularity", "itemknn", "Why this item", "How loudly users hear", "Training"):
        assert name in page
    insight = json.loads((finished / "insight.json").read_text())
    assert sorted(insight["models"]) == ["itemknn", "mmgrec", "mmgrec (paper)", "popularity"]
    assert "report.html" in json.loads((finished / "manifest.json").read_text())


def test_a_study_leaves_its_page_and_names_it_last(mmgrec: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("seeds = 1\n[data]\nnum_users = 60\nnum_items = 40\n[models.popularity]\n")
    done = mmgrec("study", "mine.toml", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["Study folder: out", "Page: out/report.html"]
    assert "popularity" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    asked = mmgrec("study", "mine.toml", "--out", "out", "--json")
    assert json.loads(asked.stdout)["data"], "the answer alone, without the page"


def test_the_page_is_written_anew_to_the_same_bytes(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    done = mmgrec("report", "run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"page": "run/report.html"}
    for name in ("report.html", "manifest.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


def test_a_run_of_before_there_were_pages_gets_one(mmgrec: Command, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for name in ("report.html", "insight.json"):
        (tmp_path / "run" / name).unlink()
        del manifest[name]
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    done = mmgrec("report", "run")
    assert (done.returncode, done.stdout.strip()) == (0, "Page: run/report.html"), done.stderr
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Results" in page
    assert "Why this item" not in page
    assert mmgrec("ids", "run").returncode == 0


def test_a_folder_without_results_is_refused_in_a_sentence(mmgrec: Command, tmp_path: Path) -> None:
    done = mmgrec("report", ".")
    assert done.returncode == 2
    assert done.stderr.startswith("error: .: there are no results in this folder")
    assert list(tmp_path.iterdir()) == []
