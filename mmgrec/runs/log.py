"""A run's log: a JSON line for everything that happened, and training histories read back from it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmgrec.errors import RunError
from mmgrec.interfaces import Reporter
from mmgrec.storage import Json

__all__ = ["LogTee", "last_stages", "log_stages", "seconds_told"]


class LogTee:
    """A `Reporter` that writes a JSON line for everything it hears, and passes it on."""

    def __init__(self, path: Path, onward: Reporter, *, hide: Path) -> None:
        self._hidden = [f"{one}{os.sep}" for one in (hide.resolve(), hide, Path.home())]  # paths kept out of the log
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
        with contextlib.suppress(OSError):  # of a full disk, which has been told
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
            ) from error


_ROW_FACTS = ("time", "event", "stage", "done", "total")


def log_stages(log: Path, labels: Sequence[str]) -> dict[str, list[Json]]:
    """Label -> its training stages in a run's log, each with one row an epoch.

    A stage that was begun before a kill is continued; an epoch that was trained twice counts once.
    """
    if not log.is_file():
        return {}
    found: dict[str, dict[tuple[str, int], Json]] = {}
    starts = {f"{label}: fitting": label for label in labels}
    label, begun = "", Counter[str]()
    for line in log.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        event, name = told["event"], told.get("stage", "")
        if event == "note" and told.get("text") in starts:
            label = starts[told["text"]]
            begun.clear()
        elif label and event == "begin":
            begun[name] += 1
            found.setdefault(label, {}).setdefault((name, begun[name]), {"stage": name, "rows": {}})
        elif label and event == "update" and (stage := found.get(label, {}).get((name, begun[name]))):
            stage["rows"][told["done"]] = {key: one for key, one in told.items() if key not in _ROW_FACTS}
    return {
        label: [{**one, "rows": [row for _, row in sorted(one["rows"].items())]} for one in stages.values()]
        for label, stages in found.items()
    }


_FACTS = ("time", "event", "stage", "done", "total")


def last_stages(log: Path) -> list[Json]:
    """The stages of the last attempt: name, epochs at most, one row an epoch, what was said at the end.

    A stage that an earlier attempt had begun is continued; an epoch that was trained again counts once.
    """
    stages: dict[tuple[str, int], Json] = {}
    begun: Counter[str] = Counter()
    order: list[tuple[str, int]] = []  # of the stages of this attempt
    for line in log.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        event, name = told["event"], told.get("stage", "")
        if event == "attempt":
            begun.clear()
            order.clear()
        if event == "begin":
            begun[name] += 1
            order.append((name, begun[name]))
            stages.setdefault((name, begun[name]), {"stage": name, "total": told["total"], "rows": {}, "facts": {}})
        place = stages.get((name, begun[name]))
        facts = {key: one for key, one in told.items() if key not in _FACTS}
        if place is not None and event == "update":
            place["rows"][told["done"]] = facts
        elif place is not None and event == "end":
            place["facts"] = facts
    return [{**stages[key], "rows": [row for _, row in sorted(stages[key]["rows"].items())]} for key in order]


def seconds_told(stages: Sequence[Json]) -> float:
    """Seconds of all epochs, also of those before a kill."""
    return float(sum(row.get("seconds", 0.0) for stage in stages for row in stage["rows"]))
