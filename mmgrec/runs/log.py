"""A run's log: a JSON line for everything that happened, and training histories read back from it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.interfaces import Reporter
from mmgrec.report import TrainingStage

__all__ = ["LogTee", "last_stages", "log_stages", "seconds_of"]


class LogTee:
    """A `Reporter` that writes a JSON line for everything it hears, and passes it on."""

    def __init__(self, path: Path, onward: Reporter, *, hide: Path) -> None:
        self._hidden = [
            f"{folder}{os.sep}" for folder in (hide.resolve(), hide, Path.home())
        ]  # paths kept out of the log
        if path.exists():  # a killed process may have left half a line
            whole = path.read_bytes()
            path.write_bytes(whole[: whole.rfind(b"\n") + 1])
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  # closed by `close`
        self._onward = onward

    def begin(self, stage: str, total: int) -> None:
        self._line("begin", stage=stage, total=total)
        self._onward.begin(stage, total)

    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None:
        self._line("update", stage=stage, done=done, **facts)
        self._onward.update(stage, done, facts)

    def end(self, stage: str, facts: Mapping[str, float]) -> None:
        self._line("end", stage=stage, **facts)
        self._onward.end(stage, facts)

    def note(self, text: str) -> None:
        self._line("note", text=text)
        self._onward.note(text)

    def warn(self, text: str) -> None:
        self._line("warn", text=text)
        self._onward.warn(text)

    def attempt(self) -> None:
        """What follows is of a new attempt: the stages begin anew, or go on."""
        self._line("attempt")

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk, of which an error has spoken
            self._file.close()

    def _line(self, event: str, **facts: object) -> None:
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts})
        for hidden in self._hidden:
            line = line.replace(hidden, "")
        try:
            self._file.write(f"{line}\n")
            self._file.flush()
        except OSError as error:
            raise RunError(
                f"cannot write {len(line):,} bytes ({error.strerror})",
                where=self._file.name,
                remedy="free space, then run the same command again",
                code="storage.refused",
            ) from error


_EVENT_KEYS = ("time", "event", "stage", "done", "total")  # of a line, beside what was measured


def log_stages(log: Path, labels: Sequence[str]) -> dict[str, list[TrainingStage]]:
    """Label -> its training stages in a run's log; models that were trained with none have no entry."""
    if not log.is_file():
        return {}
    return _stages(log, {f"{label}: fitting": label for label in labels})


def last_stages(log: Path) -> list[TrainingStage]:
    """The training stages of a cell, whose log is of one model alone."""
    return _stages(log, {}).get("", [])


def seconds_of(stages: Sequence[TrainingStage]) -> float:
    """Seconds of all epochs, also of those before a kill."""
    return float(sum(row.get("seconds", 0.0) for stage in stages for row in stage.rows))


def _stages(log: Path, starts: Mapping[str, str]) -> dict[str, list[TrainingStage]]:
    """Label -> the stages of its last attempt.

    A stage that an earlier attempt had begun is continued; an epoch that was trained again counts once.

    Args:
        log: the file.
        starts: the note that begins an attempt at a model -> its label. Whatever comes before any is of "".
    """
    label = ""
    stages: dict[tuple[str, str, int], TrainingStage] = {}  # label, stage, how often it was begun in its attempt
    rows: dict[tuple[str, str, int], dict[int, dict[str, float]]] = {}  # the same -> epoch -> its row
    begun: Counter[str] = Counter()
    order: dict[str, list[tuple[str, str, int]]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kind, name = event["event"], event.get("stage", "")
        if kind == "attempt" or (kind == "note" and event.get("text") in starts):
            label = starts.get(event.get("text", ""), "")
            begun.clear()
            order.pop(label, None)
        if starts and not label:
            continue  # of no model: the data are being read
        if kind == "begin":
            begun[name] += 1
            order.setdefault(label, []).append((label, name, begun[name]))
            stages.setdefault((label, name, begun[name]), TrainingStage(stage=name, total=event["total"]))
        key = (label, name, begun[name])
        measured = {fact: value for fact, value in event.items() if fact not in _EVENT_KEYS}
        if key in stages and kind == "update":
            rows.setdefault(key, {})[event["done"]] = measured
        elif key in stages and kind == "end":
            stages[key] = replace(stages[key], facts=measured)
    return {
        label: [replace(stages[key], rows=[row for _, row in sorted(rows.get(key, {}).items())]) for key in keys]
        for label, keys in order.items()
    }
