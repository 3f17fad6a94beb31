"""Matrix factorisation with the BPR loss (Rendle et al., UAI 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, MinLen

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec_plugins.quantizers.graph import GraphEncoder
from mmgrec_plugins.recommenders._factors import fit_factors

__all__ = ["MF"]


@dataclass(frozen=True, kw_only=True)
class MF(Recommender):
    """A vector for each user and item; the graph encoder without a single layer. Several values: validation chooses."""

    dim: Annotated[tuple[int, ...], MinLen(1)] = (64,)
    regularization: Annotated[tuple[float, ...], MinLen(1)] = (1e-2, 3e-2, 1e-1)  # L2
    batch_size: Annotated[int, Ge(1)] = 4096  # edges
    epochs: Annotated[int, Ge(0)] = 300
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    patience: Annotated[int, Ge(1)] = 6  # validations
    validate_every: Annotated[int, Ge(1)] = 5  # epochs

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        encoder = GraphEncoder(
            num_layers=0,
            item_graph_scale=(0.0,),
            regularization=self.regularization,
            batch_size=self.batch_size,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
        )
        return fit_factors(encoder, data, context, dims=self.dim, losses=("bpr",))
