"""Worker processes of a study: started, given work, heard, ended in order.

The runner gives a free `Worker` a task, which travels as JSON, and takes what workers say from one queue of events;
only `mmgrec.studies.worker` understands what a task asks for. Each worker is a fresh Python of its own session, so that
a Ctrl-C reaches the parent alone, which ends its workers.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Literal

from mmgrec.storage import record_json, record_of

__all__ = ["Event", "Pool", "Worker", "WorkerEvent", "pool"]

_PATIENCE = 10.0  # seconds until a worker that was asked to end is killed


@dataclass(frozen=True, kw_only=True)
class WorkerEvent:
    """What a worker says of itself; JSON on the way."""

    event: Literal["ready", "progress", "warning", "done", "failed", "ended"]
    stage: str = ""  # of progress
    done: int = 0
    total: int = 0
    text: str = ""  # of a warning, a failure, an end


class Worker:
    """One process, and the pipes to it."""

    def __init__(self, number: int, threads: int, events: queue.Queue[Event]) -> None:
        self.number = number
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmgrec.studies.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )
        threading.Thread(target=self._hear, args=(events,), daemon=True).start()

    def give(self, task: object) -> None:
        """Let the worker do something."""
        pipe = self.process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps(record_json(task)) + "\n")
            pipe.flush()
        except BrokenPipeError:
            return  # its end is heard on the other side

    def _hear(self, events: queue.Queue[Event]) -> None:
        pipe: IO[str] | None = self.process.stdout
        assert pipe is not None
        for line in pipe:
            events.put((self, record_of(WorkerEvent, json.loads(line), where="worker")))
        code = self.process.wait()
        events.put((self, WorkerEvent(event="ended", text=f"its process ended with {code}")))


Event = tuple[Worker, WorkerEvent]


class Pool:
    """At most `jobs` workers, started as they are needed."""

    def __init__(self, jobs: int, threads: int) -> None:
        self.jobs, self.threads = jobs, threads
        self.events: queue.Queue[Event] = queue.Queue()
        self._idle: list[Worker] = []
        self._alive: list[Worker] = []

    def free(self) -> Worker | None:
        """A worker with nothing to do; None while all are busy."""
        if self._idle:
            return self._idle.pop()
        if len(self._alive) < self.jobs:
            worker = Worker(len(self._alive), self.threads, self.events)
            self._alive.append(worker)
            return worker
        return None

    def rest(self, worker: Worker) -> None:
        """The worker has done its work."""
        self._idle.append(worker)

    def lost(self, worker: Worker) -> None:
        """The worker is no more; another may take its place."""
        self._alive = [other for other in self._alive if other is not worker]
        self._idle = [other for other in self._idle if other is not worker]

    def end(self) -> None:
        """End all workers: asked first, killed later."""
        for worker in self._alive:
            worker.process.terminate()
        for worker in self._alive:
            try:
                worker.process.wait(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._alive = []


@contextmanager
def pool(jobs: int, threads: int) -> Iterator[Pool]:
    """Workers that are ended whatever happens."""
    workers = Pool(jobs, threads)
    try:
        yield workers
    finally:
        workers.end()
