"""The local ridge as a memory: each item is explained by its nearest items, by users, features and order.

Decisions:

- Settings with several values are chosen by validation, one after the other: first how much features count, then the
  number of neighbours and the strength of the ridge together, then how fast a history's items fade. With each the best
  scale is found anew, and a scale of zero, no memory, is among them.
- Where the order of histories is known, items that follow one another count more, and older items of a history less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, ItemMemory, ItemWeights, ScoresOfUsers
from mmgrec.memory import Gram, item_features, ridge_weights
from mmgrec_plugins.memories.choosing import SCALES, Judge, Scales

__all__ = ["LocalRidge"]


@dataclass(frozen=True, kw_only=True)
class LocalRidge(ItemMemory):
    """Weights of each item's n nearest items, ``(P_SS + l2 I)^-1 R_Si`` (`mmgrec.memory.ridge`).

    Of several values of a setting validation chooses.
    """

    neighbours: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (50, 30)  # n
    l2: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (20.0, 5.0, 50.0, 200.0)  # of each item's ridge
    feature_weight: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (
        3.0,
        0.0,
        1.0,
        10.0,
    )  # common users that equal features are worth
    decay: Annotated[tuple[Annotated[float, Gt(0), Le(1)], ...], MinLen(1)] = (
        0.8,
        1.0,
        0.9,
        0.7,
        0.5,
    )  # of older items; with order
    reach: Annotated[int, Ge(0)] = 3  # places that one item may be behind another and still follow it; with order
    scale: Scales = SCALES  # of the weights
    validation_users: Annotated[int, Ge(1)] = 20_000  # at most, a seeded sample: for the choices

    def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        ordered = data.ordered and data.train.time is not None
        features = item_features(data)
        decays = self.decay if ordered else (1.0,)
        betas = (0.0,) if features is None else self.feature_weight

        reach = self.reach if ordered else 0
        counts = Gram.of(data.train, None, feature_weight=0.0, reach=reach, device=context.device)

        def gram(beta: float) -> Gram:
            return counts if features is None else counts.with_features(features, beta)

        judge = Judge(data, beside, scales=self.scale, max_users=self.validation_users, context=context)
        first_ridge = (self.neighbours[0],), (self.l2[0],)
        if not len(judge):
            (weights,) = _ridges(gram(betas[0]), *first_ridge).values()
            return replace(weights, decay=decays[0]).times(judge.unjudged)
        fades = {"decay": decays[0]} if ordered else {}  # settings that are told of
        grams = {beta: gram(beta) for beta in betas}
        for beta, one in grams.items():
            ((count, l2), weights) = next(iter(_ridges(one, *first_ridge).items()))
            judge.try_out(replace(weights, decay=decays[0]), feature_weight=beta, neighbours=count, l2=l2, **fades)
        beta = judge.best.settings["feature_weight"]
        if len(self.neighbours) * len(self.l2) > 1:
            for (count, l2), weights in _ridges(grams[beta], self.neighbours, self.l2).items():
                judge.try_out(replace(weights, decay=decays[0]), feature_weight=beta, neighbours=count, l2=l2, **fades)
        for decay in decays[1:]:
            weights = replace(judge.best.weights, decay=decay)
            judge.try_out(weights, **{**judge.best.settings, "decay": decay})
        context.reporter.note(judge.told())
        return judge.best.weights.times(judge.best.scale)


def _ridges(gram: Gram, counts: Sequence[int], l2: Sequence[float]) -> dict[tuple[int, float], ItemWeights]:
    return ridge_weights(gram, gram.neighbours(max(counts)), counts=counts, l2=l2)
