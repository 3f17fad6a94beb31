"""The inside of a study's worker process: makes one cell after the other, tells what happens.

    python -m mmgrec.studies.worker

Its parent talks to it through its standard input and hears it on its standard output, JSON lines both. Where the parent
is gone the worker ends too.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Never

import torch

from mmgrec.data import Dataset
from mmgrec.errors import UserError
from mmgrec.registry import Registry
from mmgrec.storage import record_json, record_of
from mmgrec.studies.cell import CellTask, DataTask, load_study_data, make_cell
from mmgrec.studies.pool import WorkerEvent

__all__ = ["work"]

_EVERY = 0.5  # seconds between two reports of a stage's progress


class _Ended(BaseException):
    """A signal asked the worker to end."""


class _Teller:
    """A `Reporter` that tells the parent where the work stands."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._total, self._said_at = 0, 0.0  # steps of the stage; when its progress was last said

    def say(self, event: WorkerEvent) -> None:
        self._out.write(json.dumps(record_json(event)) + "\n")
        self._out.flush()

    def begin(self, stage: str, total: int) -> None:
        self._total, self._said_at = total, 0.0

    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None:
        if time.monotonic() - self._said_at >= _EVERY:
            self._said_at = time.monotonic()
            self.say(WorkerEvent(event="progress", stage=stage, done=done, total=self._total))

    def end(self, stage: str, facts: Mapping[str, float]) -> None: ...

    def note(self, text: str) -> None: ...

    def warn(self, text: str) -> None:
        self.say(WorkerEvent(event="warning", text=text))


def work() -> None:
    """Do what comes in until nothing more can come."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whoever prints does not disturb the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, _end)
    tasks: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(tasks,), daemon=True).start()
    teller = _Teller(out)
    registry = Registry.discover()
    loaded: tuple[DataTask, Dataset] | None = None
    try:
        teller.say(WorkerEvent(event="ready"))
        while line := tasks.get():
            task = record_of(CellTask, json.loads(line), where="task")
            torch.set_num_threads(task.threads)
            try:
                if loaded is None or loaded[0] != task.data:
                    loaded = None  # at most one data set is held
                    loaded = (task.data, load_study_data(task.data.data(registry)))
                make_cell(
                    task.cell,
                    Path(task.folder),
                    loaded[1],
                    test=task.test,
                    cache=Path(task.cache),
                    keep_weights=task.keep_weights,
                    reporter=teller,
                    device=torch.device(task.device),
                )
                teller.say(WorkerEvent(event="done"))
            except Exception as error:
                sentence = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                teller.say(WorkerEvent(event="failed", text=" ".join(sentence.split())))
    except _Ended:
        os._exit(143)


def _end(number: int, frame: FrameType | None) -> Never:
    raise _Ended


def _listen(tasks: queue.Queue[str]) -> None:
    for line in sys.stdin:
        tasks.put(line)
    tasks.put("")
    os.kill(os.getpid(), signal.SIGTERM)  # the parent has gone, or needs this worker no more


if __name__ == "__main__":
    work()
