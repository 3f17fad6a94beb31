"""The rule of an evaluation: which part is asked for, what is masked, and what the model then reads."""

from __future__ import annotations

from typing import Literal

__all__ = ["MASKS", "Mask", "Split"]


Split = Literal["test", "valid"]
Mask = Literal["train+valid", "train"]
SPLITS: tuple[Split, ...] = ("test", "valid")
MASKS: tuple[Mask, ...] = ("train+valid", "train")
