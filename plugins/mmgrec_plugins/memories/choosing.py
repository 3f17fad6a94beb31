"""Settings of an item memory, chosen by validation beside the scores that it is added to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, MinLen

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, ItemWeights, ScoresOfUsers
from mmgrec.training import ValidationRecall

__all__ = ["SCALES", "Judge", "Scales", "Trial"]

Scales = Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)]
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # 0: the memory adds nothing


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A memory's weights, by some settings, at their best scale."""

    settings: dict[str, float]
    weights: ItemWeights
    recall: float  # validation recall@10 of the sum
    scale: float  # mu; 0: the memory adds nothing
    alone: float  # validation recall@10 of the memory by itself


class Judge:
    """Tries weights out by the validation recall of ``scores + mu * memory``, for all mu of a grid, and keeps the best.

    Of equally good ones the first stays.
    """

    best: Trial

    def __init__(
        self, data: Dataset, scores: ScoresOfUsers, *, scales: Sequence[float], max_users: int, context: Context
    ) -> None:
        self.data, self.scores, self.scales = data, scores, tuple(scales)
        self.recall = ValidationRecall(data, max_users=max_users, generator=context.generator("validation users"))
        self.tried = 0
        self.without = 0.0  # recall of the scores by themselves

    def __len__(self) -> int:
        """Users to judge by."""
        return len(self.recall)

    @property
    def unjudged(self) -> float:
        """The scale that is taken where there is nobody to judge by: the first that is not zero, if there is one."""
        return next((scale for scale in self.scales if scale), 0.0)

    def try_out(self, weights: ItemWeights, **settings: float) -> None:
        """Judge some weights, which came from some settings."""
        scales = self._likely()
        asked = tuple(dict.fromkeys((0.0, *scales)))  # none too, which is a scale of its own in most grids
        *values, alone = self.recall.of_sums(
            self.scores,
            lambda users: torch.from_numpy(weights.rows(self.data.train, users).toarray()),
            scales=(*asked, float("inf")),
        )
        recalls = dict(zip(asked, values, strict=True))
        scale, without = max(scales, key=recalls.__getitem__), recalls[0.0]
        trial = Trial(settings=settings, weights=weights, recall=recalls[scale], scale=scale, alone=alone)
        self.tried, self.without = self.tried + 1, without
        if self.tried == 1 or trial.recall > self.best.recall:
            self.best = trial

    def _likely(self) -> tuple[float, ...]:
        """All scales at first; then, where one was better than none, those within a factor of four of the best."""
        if not self.tried or not self.best.scale:
            return self.scales
        return tuple(scale for scale in self.scales if not scale or 0.25 <= scale / self.best.scale <= 4.0)

    def told(self) -> str:
        """What was chosen, from how many, and what it is worth."""
        best = self.best
        chosen = ", ".join(f"{name} {value:g}" for name, value in best.settings.items())
        return (
            f"memory: {chosen}, scale {best.scale:g}, best of {self.tried}; recall@10 on validation {self.without:.4f} "
            f"without, {best.recall:.4f} with, {best.alone:.4f} by itself"
        )
