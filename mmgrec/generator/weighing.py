"""How heavily an item memory counts beside the generator: `Weighing`, which asks the generator's own search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from annotated_types import Ge, MinLen
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, ItemWeights
from mmgrec.training import ValidationRecall

__all__ = ["Weighing"]

Factors = Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)]
SearchWith = Callable[[ItemWeights, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """Items are ranked by ``log p(Rec-ID of i | u) + factor * sum_j B_ji`` over the items j of the history.

    B comes from the memory, which weighed it against the representations; here the generator itself has a say.
    """

    factors: Factors = (1.0, 0.0)  # of B; several: by validation
    validation_users: Annotated[int, Ge(1)] = 5000  # at most, a seeded sample: for the choice

    def choose(self, data: Dataset, weights: ItemWeights, search: SearchWith, context: Context) -> ItemWeights:
        """The weights times the factor of highest validation recall; of equally good ones the first.

        Args:
            data: train and valid are used.
            weights: B.
            search: weights, users ``[B]`` and seen ``[B, S]`` to items ``[B, 10]``.
            context: for what is drawn.
        """
        recall = ValidationRecall(
            data, max_users=self.validation_users, generator=context.generator("weighing"), batch_size=128
        )
        if not weights.active or len(self.factors) == 1 or not len(recall):
            return weights.times(self.factors[0])
        values = {}
        for factor in self.factors:
            values[factor] = recall.of_items(partial(search, weights.times(factor)))
        best = max(values, key=values.__getitem__)
        told = ", ".join(f"{value:.4f} with {factor:g}" for factor, value in values.items())
        context.reporter.note(f"memory beside the generator: factor {best:g}; recall@10 on validation {told}")
        return weights.times(best)
