"""Tests under ``interpreted/`` run kernels in the interpreter, which a process chooses as it starts."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
