"""MMGRec without Rec-IDs and generator: every item ranked by the representations that these are made from.

What the generator adds to its teacher, or loses of it, shows against this. Random streams are those of a quantizer, so
that with the same seed and settings the representations are MMGRec's own, bit for bit; a study computes them once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec_plugins.recommenders.graph.factors import FittedFactors
from mmgrec_plugins.representations.graph_encoder import GraphEncoder

__all__ = ["Stage1"]


@dataclass(frozen=True, kw_only=True)
class Stage1(Recommender):
    """Ranks by ``x_u . x_i``, the logits of the teacher."""

    graph: GraphEncoder = field(default_factory=GraphEncoder)

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        return FittedFactors(representations=self.graph.fit(data, context.within("quantizer")))
