"""Processes that cost no import of the libraries: children of one that holds them, and nothing of mmgrec.

A child imports mmgrec itself, has its own arguments, folder, streams and signals, and ends with its own exit code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CODE = """
import atexit, gc, json, os, sys, traceback
import jinja2, numpy, plotly, polars, pydantic, rich, safetensors.torch, scipy.sparse, scipy.stats, torch, typer
import torch._dynamo  # which torch's optimizers import late

assert not any(name.startswith("mmgrec") for name in sys.modules)
gc.collect()
gc.freeze()  # no child looks through what it has not made
answers = os.fdopen(os.dup(1), "w")
os.set_inheritable(answers.fileno(), False)
child = None
while child != 0:
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    asked = json.loads(line)
    if asked["do"] == "start":
        child = answer = os.fork()
    else:
        pid, status = os.waitpid(asked["pid"], os.WNOHANG)
        answer = os.waitstatus_to_exitcode(status) if pid else None
    if child != 0:
        answers.write(json.dumps(answer) + "\\n")
        answers.flush()

for number, name in enumerate((os.devnull, asked["out"], asked["err"])):
    handle = os.open(name, os.O_RDWR)
    os.dup2(handle, number)
    os.close(handle)
os.chdir(asked["cwd"])
os.environ.update(asked["env"])
sys.path[1:1] = filter(None, asked["env"].get("PYTHONPATH", "").split(os.pathsep))
sys.argv = ["-c", *asked["argv"]]
code = 1
try:
    exec(asked["program"], {"__name__": "__main__"})
    code = 0
except SystemExit as end:
    code = end.code or 0
except BaseException:
    traceback.print_exc()
if not isinstance(code, int):
    print(code, file=sys.stderr)
    code = 1
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # taking the libraries apart would take longer than the command
"""


MAIN = "from mmgrec_cli.app import main; main()"


class Process:
    """One command at work; as far as it goes, what `subprocess.Popen` is."""

    returncode: int | None = None

    def __init__(self, server: Server, program: str, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self._server = server
        self._streams = tempfile.TemporaryDirectory()
        self._names = [os.path.join(self._streams.name, name) for name in ("out", "err")]
        for name in self._names:
            Path(name).touch()
        out, err = self._names
        asked = {"program": program, "argv": list(argv), "cwd": str(cwd), "env": dict(env), "out": out, "err": err}
        pid = server.ask({"do": "start", **asked})
        assert pid is not None
        self.pid = pid

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask({"do": "poll", "pid": self.pid})
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("mmgrec", timeout)
            time.sleep(0.005)
        return code

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """What it said, when it has ended."""
        self.wait(timeout)
        out, err = (Path(name).read_text(encoding="utf-8") for name in self._names)
        return out, err

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Server:
    """Starts commands of mmgrec."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, argv: Sequence[str], *, cwd: Path, program: str = MAIN, **env: str) -> Process:
        """Begin a command in a folder, or another program.

        Of what Python reads as it starts, ``env`` may hold PYTHONPATH alone.
        """
        assert all(name == "PYTHONPATH" or not name.startswith("PYTHON") for name in env)
        return Process(self, program, argv, cwd, env)

    def run(
        self, argv: Sequence[str], *, cwd: Path, program: str = MAIN, **env: str
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(argv, cwd=cwd, program=program, **env)
        out, err = process.communicate()
        return subprocess.CompletedProcess(list(argv), process.wait(), out, err)

    def ask(self, question: Mapping[str, object]) -> int | None:
        if self._process is None:
            pipe, env = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen([sys.executable, "-c", CODE], env=env, stdin=pipe, stdout=pipe, text=True)
        asks, answers = self._process.stdin, self._process.stdout
        assert asks is not None
        assert answers is not None
        asks.write(json.dumps(question) + "\n")
        asks.flush()
        answer: int | None = json.loads(answers.readline())
        return answer

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()
