"""Modules that tests of this folder share stand beside them: ``shared_baselines``, ``shared_table`` and so on.

Tests are imported by their paths, so the folder is put where Python looks for modules.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("shared_baselines", "shared_table", "shared_tours")
