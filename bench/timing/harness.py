"""Times forms of an operation against one another, and keeps what was measured: the ``book`` of a benchmark run.

A form is timed only after its result was verified in the same run. Forms of one case are timed by turns, so that a
machine that slows down slows them all; the figure is the median of the turns.
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

__all__ = ["Book", "Goal", "Limits", "Line", "device", "hardware", "limits", "milliseconds"]

RESULTS = Path(__file__).parents[1] / "results"
_OURS = "mmgrec"


@dataclass(frozen=True, kw_only=True)
class Line:
    """One form in one case."""

    case: str  # "attention forward + backward, B 512, T 32, H 4, K 64, float32"
    form: str  # begins with "mmgrec" when it is ours
    milliseconds: float  # median
    spread: float  # (third quartile - first) / median
    turns: int
    limit_share: float | None = None  # of what the hardware could do at best, where that is known
    megabytes: float | None = None  # at the peak, above what was there before, where that was measured


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A form that was not timed, and why."""

    case: str
    form: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a benchmark set out to show, and what it found; a missed goal is told and kept, not raised."""

    goal: str
    found: float  # the ratio that the goal speaks of
    met: bool


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a chip can do at best, as torch reaches it."""

    bytes_a_second: float  # copying, both ways together
    tf32x3_a_second: float  # floating-point operations in three-fold tf32


@functools.cache
def limits() -> Limits | None:
    """Of the GPU that is here, measured: copying 2 GiB, and a product of tf32 matrices, thrice; None where is none."""
    if not torch.cuda.is_available():
        return None
    source, size = torch.ones(2**29, device="cuda"), 8192
    target = torch.empty_like(source)
    generator = torch.Generator(device="cuda").manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator, device="cuda") for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        calls = (lambda: target.copy_(source)), (lambda: left @ right)
        copying, product = (statistics.median(milliseconds(call) for _ in range(10)) / 1e3 for call in calls)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return Limits(bytes_a_second=2 * source.nbytes / copying, tf32x3_a_second=2 * size**3 / product / 3)


def device() -> torch.device:
    """Where benchmarks run: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Book:
    """Collects lines; one for a whole run."""

    def __init__(self, *, scale: float | None) -> None:
        on_gpu = torch.cuda.is_available()
        self.scale = scale if scale is not None else 1.0
        self.full_size = on_gpu
        self.limits = limits()  # while the device surely works: what a benchmark breaks costs no figure
        self.lines: list[Line] = []
        self.refusals: list[Refusal] = []
        self.goals: list[Goal] = []

    def sized(self, cpu: int, gpu: int) -> int:
        """A size for this machine, times ``--benchmark-scale``; at least 1."""
        return max(1, round((gpu if self.full_size else cpu) * self.scale))

    def race(
        self,
        case: str,
        forms: Mapping[str, Callable[[], object]],
        *,
        verify: Callable[[str], str] | None = None,
        turns: int = 9,
        seconds: float = 30.0,
        floor_ms: float | None = None,
        wall: bool = False,
    ) -> dict[str, float]:
        """Time forms by turns.

        Args:
            case: What is done, with its sizes.
            forms: What to call, by name.
            verify: Says what is wrong with a form's result; a form with something wrong is refused.
            turns: Times each form is called, fewer when ``seconds`` run out (but three at least).
            seconds: For all forms together.
            floor_ms: The hardware's limit for the case.
            wall: By the host's clock until the device is done; else, on a GPU, the device's time alone, with cold
                caches and without waiting for the host.

        Returns:
            Median milliseconds by form.
        """
        allowed = {}
        for name, call in forms.items():
            wrong = verify(name) if verify is not None else ""
            if wrong:
                self.refuse(case, name, wrong)
            else:
                allowed[name] = call
        taken: dict[str, list[float]] = {name: [] for name in allowed}
        for call in allowed.values():
            call()  # warm up
        begun = time.perf_counter()
        for turn in range(turns):
            for name, call in allowed.items():
                taken[name].append(milliseconds(call, wall=wall))
            if turn >= 2 and time.perf_counter() - begun > seconds:
                break
        medians = {}
        for name, times in taken.items():
            medians[name] = statistics.median(times)
            quarters = statistics.quantiles(times, n=4)
            self.lines.append(
                Line(
                    case=case,
                    form=name,
                    milliseconds=medians[name],
                    spread=(quarters[2] - quarters[0]) / medians[name],
                    turns=len(times),
                    limit_share=floor_ms / medians[name] if floor_ms is not None else None,
                )
            )
        return medians

    def note(
        self,
        case: str,
        form: str,
        milliseconds: float,
        *,
        turns: int = 1,
        limit_share: float | None = None,
        megabytes: float | None = None,
    ) -> None:
        """Enter a time that was taken elsewhere."""
        self.lines.append(
            Line(
                case=case,
                form=form,
                milliseconds=milliseconds,
                spread=0.0,
                turns=turns,
                limit_share=limit_share,
                megabytes=megabytes,
            )
        )

    def refuse(self, case: str, form: str, why: str) -> None:
        """Enter a form that is not timed."""
        self.refusals.append(Refusal(case=case, form=form, why=why))

    def goal(self, goal: str, found: float, *, least: float = -math.inf, most: float = math.inf) -> None:
        """Enter whether a goal was met; only at full size, as elsewhere it says nothing."""
        if self.scale >= 1.0:
            self.goals.append(Goal(goal=goal, found=found, met=least <= found <= most))

    def table(self) -> str:
        """All cases: medians, and each form's time as a multiple of the best rival's (a form that is not ours)."""
        text = []
        for case in dict.fromkeys(line.case for line in self.lines):
            lines = [line for line in self.lines if line.case == case]
            rivals = [line.milliseconds for line in lines if not line.form.startswith(_OURS)]
            best = min(rivals) if rivals else None
            text += ["", case]
            for line in sorted(lines, key=lambda line: line.milliseconds):
                ratio = f"{line.milliseconds / best:8.2f} x best rival" if best else ""
                share = f"  {line.limit_share:5.0%} of the limit" if line.limit_share is not None else ""
                memory = f"  {line.megabytes:7.0f} MB" if line.megabytes is not None else ""
                facts = f"(spread {line.spread:.0%}, {line.turns} turns){share}{memory}"
                text.append(f"  {line.form:<34}{line.milliseconds:12.3f} ms {ratio}  {facts}")
        text += [f"not timed: {refusal.form} in {refusal.case}: {refusal.why}" for refusal in self.refusals]
        text += [f"goal {'met' if goal.met else 'MISSED'}: {goal.goal}: {goal.found:.2f}" for goal in self.goals]
        return "\n".join(text)

    def save(self, *, folder: Path = RESULTS) -> Path:
        """Write everything as JSON, with hardware, versions and date; returns the path."""
        now = datetime.datetime.now(tz=datetime.UTC)
        suffix = "gpu" if torch.cuda.is_available() else "cpu"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{now:%Y%m%d-%H%M%S}-{suffix}.json"
        path.write_text(
            json.dumps(
                {
                    "schema": 1,
                    "date": now.isoformat(timespec="seconds"),
                    "hardware": hardware(),
                    "versions": versions(),
                    "limits": asdict(self.limits) if self.limits is not None else None,
                    "scale": self.scale,
                    "lines": [asdict(line) for line in self.lines],
                    "not_timed": [asdict(refusal) for refusal in self.refusals],
                    "goals": [asdict(goal) for goal in self.goals],
                },
                indent=1,
            )
            + "\n"
        )
        return path


_FLUSH_BYTES = 2**30  # more than any cache
_FLUSHES = 20  # writing so often gives the host 6 ms to get ahead of the device


@functools.cache
def _flush() -> torch.Tensor:
    return torch.empty(_FLUSH_BYTES, dtype=torch.int8, device="cuda")


def milliseconds(call: Callable[[], object], *, wall: bool = False) -> float:
    """Time of one call; on a GPU the device's alone, with cold caches and the host ahead, unless ``wall``."""
    on_gpu = torch.cuda.is_available()
    if wall or not on_gpu:
        if on_gpu:
            torch.cuda.synchronize()
        begun = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) * 1e3
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    for _ in range(_FLUSHES):
        _flush().zero_()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end))


def hardware() -> dict[str, object]:
    """The machine, as far as figures depend on it."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": model, "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(), "gpu": gpu}


def versions() -> dict[str, str]:
    """Of Python and of what the benchmarks use, where installed."""
    installed = {"python": platform.python_version()}
    for name in ("torch", "triton", "numpy", "faiss-cpu", "transformers", "vector-quantize-pytorch"):
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed
