"""The names of all files of a study, and of a cell beside those of a run."""

from __future__ import annotations

__all__ = [
    "CACHE", "CELL", "CELLS", "FAILED", "MARK", "PER_USER_VALID", "STUDY", "TABLES", "TRACE", "TRIAL", "TUNE",
    "WEIGHTS",
]  # fmt: skip

#: In a study's folder: what it is, what it found, tables, cells, what cells share, journals of tuning.
MARK, STUDY, TABLES, CELLS, CACHE, TUNE = "study.toml", "study.json", "tables", "cells", "shared", "tune"

#: In a cell's folder: its result; its fit, judged on validation; why it failed, for people and for whoever mends it.
CELL, TRIAL, PER_USER_VALID, WEIGHTS, FAILED, TRACE = (
    "cell.json", "valid.json", "per_user_valid.parquet", "weights.safetensors", "failed.json", "traceback.txt",
)  # fmt: skip
