"""The result of one evaluation: metrics, the value of each user, and defects that were counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mmgrec.evaluation.protocol import Mask, Split
from mmgrec.evaluation.summary import main_metrics

__all__ = ["Defects", "Report"]


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Items that must not be in a list, counted over all lists. A correct recommender has none."""

    invalid: int = 0  # outside the catalogue, after the end of the list, or with a score that is no number
    duplicate: int = 0  # named before in the same list
    seen: int = 0  # masked for this user
    missing: int = 0  # places left empty although there were items to recommend
    misplaced: int = 0  # better score than the item before, or the same score and a lower number


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Report:
    """The result of one evaluation."""

    metrics: Mapping[str, float]  # "recall@10" -> mean over users
    per_user: Mapping[str, Tensor]  # "recall@10" -> [U] float64; metrics that belong to all lists have no row here
    definitions: Mapping[str, str]  # "recall" -> its formula
    user: Tensor  # [U] int64, ascending: users with a relevant item
    item: Tensor  # [U, K] int64: what was recommended, best first, -1 = none
    defects: Defects
    split: Split
    mask: Mask
    seconds: float  # wall clock of recommending alone

    @property
    def num_users(self) -> int:
        return self.user.numel()

    def __repr__(self) -> str:
        """In a line: what a notebook shows of it, the main metrics alone."""
        figures = [f"{name} {self.metrics[name]:.4f}" for name in main_metrics(list(self.metrics))[:4]]
        rest = len(self.metrics) - len(figures)
        figures += [f"{rest} more"] if rest else []
        return f"Report({self.split}, {self.mask} masked, {self.num_users} users: {', '.join(figures)})"

    def as_dict(self) -> dict[str, Any]:  # Any: JSON
        """Everything but the tensors, ready for JSON."""
        return {
            "split": self.split,
            "mask": self.mask,
            "metrics": dict(self.metrics),
            "definitions": dict(self.definitions),
            "num_users": self.num_users,
            "seconds": self.seconds,
            **vars(self.defects),
        }
