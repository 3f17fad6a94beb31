"""How much memory a process took at most."""

from __future__ import annotations

import resource
from pathlib import Path

__all__ = ["clear_peak", "peak_mib"]


def clear_peak() -> None:
    """Begin to measure anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mib() -> float:
    """Most resident memory since `clear_peak`, or of the process's life, in MiB."""
    try:
        status = Path("/proc/self/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return round(int(line.split()[1]) / 1024, 1)
    except (OSError, ValueError):
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
