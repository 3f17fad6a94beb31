"""EASE as a memory: the strongest item-item weights of the closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, MinLen

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context, ItemMemory, ItemWeights, ScoresOfUsers
from mmgrec.memory import ease_weights
from mmgrec_plugins.memories.choosing import SCALES, Judge, Scales

__all__ = ["EASEMemory"]


@dataclass(frozen=True, kw_only=True)
class EASEMemory(ItemMemory):
    """B minimises ``|X - X B|² + l2 |B|²`` with a zero diagonal (Steck, WWW 2019); the strongest weights are kept.

    Of several values of a setting validation chooses.
    """

    l2: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (200.0, 50.0, 20.0, 100.0, 500.0, 1000.0)  # λ
    items_kept: Annotated[int, Ge(1)] = 100  # of the strongest weights to each item
    max_items: Annotated[int, Ge(1)] = 20_000  # 12 bytes x items² while fitting
    scale: Scales = SCALES  # of the weights
    validation_users: Annotated[int, Ge(1)] = 20_000  # at most, a seeded sample: for the choices

    def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        if data.num_items > self.max_items:
            raise SettingsError(
                [f"the memory ease would need {data.num_items}² weights, but max_items is {self.max_items}"],
                remedy="set memory.name=local-ridge, or raise max_items",
                code="memory.too-many-items",
            )
        judge = Judge(data, beside, scales=self.scale, max_users=self.validation_users, context=context)
        for l2 in self.l2 if len(judge) else self.l2[:1]:
            weights = ease_weights(data.train, l2=l2, device=context.device).cpu()
            strongest = ItemWeights.strongest(weights, self.items_kept)
            if not len(judge):
                return strongest.times(judge.unjudged)
            judge.try_out(strongest, l2=l2)
        context.reporter.note(judge.told())
        return judge.best.weights.times(judge.best.scale)
