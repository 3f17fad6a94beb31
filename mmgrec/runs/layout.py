"""The names of all files of a run, and what every result records of data and software."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["REPORT", "recorded_versions", "slug"]

RESULTS, RUN, PER_USER, REC_IDS, HEALTH, WEIGHTS, INSIGHT = (
    "results.json", "run.json", "per_user.parquet", "rec_ids.parquet", "rec_ids.json", "weights", "insight.json",
)  # fmt: skip
_RECORDED = ("mmgrec", "numpy", "polars", "pydantic", "safetensors", "scipy", "torch", "torch-geometric", "triton")


def slug(name: str) -> str:
    """A name as part of a file name."""
    words = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return "-".join(filter(None, words.split("-"))) or "data"


def recorded_versions() -> dict[str, str]:
    """The versions of what computes."""
    return {name: _version(name) for name in _RECORDED}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


SETTINGS, LOG, CHECKPOINTS = "run.toml", "log.jsonl", "checkpoints"

REPORT = "report.html"
