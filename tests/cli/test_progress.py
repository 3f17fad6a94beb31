"""What people see of a run: plain lines where stderr is no terminal."""

from __future__ import annotations

import pytest

from mmgrec_cli import progress
from mmgrec_cli.progress import Watcher

Capture = pytest.CaptureFixture[str]


def test_lines_tell_stage_losses_and_time_left(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 5.0, 12.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    watcher = Watcher()
    watcher.begin("generator", 30)  # at 0 s
    watcher.update("generator", 1, {"epoch": 1.0, "loss": 2.5})  # at 5 s: too soon for another line
    watcher.update("generator", 10, {"epoch": 10.0, "loss": 1.25, "score": 0.5, "seconds": 1.0})  # at 12 s
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "generator: 10/30, loss 1.25, score 0.5, 24.0 s left at most\n"


def test_the_end_tells_how_long_it_took(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 125.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    watcher = Watcher()
    watcher.begin("codes", 3)
    watcher.end("codes", {"best_epoch": 2.0})
    assert capsys.readouterr().err == "codes: done in 0:02:05, best_epoch 2\n"


def test_markup_in_warnings_is_text(capsys: Capture) -> None:
    Watcher().warn("item [red]7[/red] is odd")
    assert capsys.readouterr().err == "warning: item [red]7[/red] is odd\n"
