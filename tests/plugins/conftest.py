"""Modules that tests of this folder share stand beside them: ``_baselines``, ``_ordered``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("_baselines", "_ordered")
