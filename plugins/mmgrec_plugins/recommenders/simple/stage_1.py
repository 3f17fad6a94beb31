"""MMGRec without Rec-IDs and generator: every item ranked by the representations that these are made from.

What the generator adds to its teacher, or loses of it, shows against this. Random streams are those of a quantizer, so
that with the same seed and settings the representations are MMGRec's own, bit for bit; a study computes them once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec.training import FoldIn, fold_in
from mmgrec_plugins.recommenders.graph.factors import FittedFactors
from mmgrec_plugins.representations.graph_encoder import GraphEncoder

__all__ = ["Stage1"]


@dataclass(frozen=True, kw_only=True)
class Stage1(Recommender):
    """Ranks by ``x_u . x_i``, the logits of the teacher."""

    graph: GraphEncoder = field(default_factory=GraphEncoder)

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        given = self.graph.fit(data, context.within("quantizer"))
        fold, representations = fold_in(given, data, context.within("folding"))
        return FittedStage1(representations=representations, fold=fold, history=data.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedStage1(FittedFactors):
    """The representations, and how a user's follows from their history."""

    fold: FoldIn
    history: Interactions

    def with_history(self, history: Interactions) -> FittedStage1:
        moved = self.fold.moved(self.representations, self.history, history)
        return replace(self, representations=moved, history=history)
