"""Shows what a run does, on stderr: a bar with losses and the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mmgrec_cli import render

__all__ = ["Watcher"]

_EVERY = 10.0  # seconds between two plain lines of a stage


class Watcher:
    """A `Reporter` for people."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._begun = self._spoken = 0.0  # when the stage began, and when its last line was

    def begin(self, stage: str, total: int) -> None:
        self.close()
        self._total, self._begun = total, time.monotonic()
        self._spoken = self._begun
        console = render.stderr_console()
        if console.is_terminal and total > 1:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}", markup=False),
                console=console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(stage, total=total, facts="")

    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, facts=_in_words(facts))
            return
        now = time.monotonic()
        if now - self._spoken >= _EVERY:
            self._spoken = now
            left = (now - self._begun) / max(done, 1) * (self._total - done)
            render.note(f"{stage}: {done}/{self._total}, {_in_words(facts)}, {render.clock(left)} left at most")

    def end(self, stage: str, facts: Mapping[str, float]) -> None:
        self.close()
        render.note(
            f"{stage}: done in {render.clock(time.monotonic() - self._begun)}{', ' if facts else ''}{_in_words(facts)}"
        )

    def note(self, text: str) -> None:
        render.note(text)

    def warn(self, text: str) -> None:
        render.warning(text)

    def close(self) -> None:
        """Take a bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None


def _in_words(facts: Mapping[str, float]) -> str:
    """Losses and scores, with four digits."""
    shown = {name: value for name, value in facts.items() if name not in ("epoch", "seconds")}
    return ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
