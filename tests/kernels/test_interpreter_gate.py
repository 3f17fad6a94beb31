"""Runs the tests under ``interpreted/`` in a process of their own: Triton reads its mode when kernels are decorated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "interpreted"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="triton comes for Linux only")
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("test_*.py")))
def test_kernels_in_the_interpreter(name: str) -> None:
    # One thread of OpenBLAS: the interpreter's products are tiny, and threads make them several times slower.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-x", str(FOLDER / name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
