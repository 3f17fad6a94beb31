"""The rule of an evaluation: which part is asked for, what is masked, and what the model then reads.

Evaluation, the comparison with exact search, the figures of a page and lists for users all go by `masked` or `known`,
so that none of them can show a user an item that another would have hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import FittedRecommender

__all__ = ["KNOWN", "MASKS", "SPLITS", "Known", "Mask", "Masking", "Split", "known", "masked"]

Split = Literal["test", "valid"]
Mask = Literal["train+valid", "train"]
Known = Literal["train", "train+valid", "all"]
SPLITS: tuple[Split, ...] = ("test", "valid")
MASKS: tuple[Mask, ...] = ("train+valid", "train")
KNOWN: tuple[Known, ...] = ("train", "train+valid", "all")


@dataclass(frozen=True, kw_only=True, eq=False)
class Masking:
    """What users are not recommended, and the history that a model reads while it recommends."""

    items: Interactions  # never recommended to their users
    history: Interactions  # the masked interactions where the split follows time, else those of training

    def reader(self, fitted: FittedRecommender, data: Dataset) -> FittedRecommender:
        """The same model, reading `history`."""
        return fitted if self.history is data.train else fitted.with_history(self.history)


def known(data: Dataset, mask: Known) -> Masking:
    """The interactions of the named parts are masked; where the split follows time, models read them too."""
    items = data.train if mask == "train" else data.train.merged(data.valid)
    if mask == "all":
        items = items.merged(data.test)
    return Masking(items=items, history=items if data.ordered else data.train)


def masked(data: Dataset, *, split: Split, mask: Mask) -> Masking:
    """What is masked when the part `split` is asked for: on ``valid`` always the training items alone."""
    return known(data, mask if split == "test" else "train")
