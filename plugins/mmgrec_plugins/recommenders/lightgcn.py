"""LightGCN (He et al., SIGIR 2020): linear propagation on the user-item graph, mean over layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, MinLen

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec_plugins.quantizers.graph import GraphEncoder
from mmgrec_plugins.quantizers.graph_network import Loss
from mmgrec_plugins.recommenders._factors import fit_factors

__all__ = ["LightGCN"]


@dataclass(frozen=True, kw_only=True)
class LightGCN(Recommender):
    """No features, no weights but the tables. Several values of a setting: validation chooses."""

    dim: Annotated[tuple[int, ...], MinLen(1)] = (64,)
    num_layers: Annotated[int, Ge(1)] = 2
    losses: Annotated[tuple[Loss, ...], MinLen(1)] = ("bpr",)
    regularization: Annotated[tuple[float, ...], MinLen(1)] = (3e-3, 1e-2, 3e-2)  # L2, with bpr
    temperature: Annotated[float, Gt(0)] = 0.2  # of the softmax
    batch_size: Annotated[int, Ge(1)] = 4096  # edges
    epochs: Annotated[int, Ge(0)] = 300
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    patience: Annotated[int, Ge(1)] = 6  # validations
    validate_every: Annotated[int, Ge(1)] = 5  # epochs

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        encoder = GraphEncoder(
            num_layers=self.num_layers,
            item_graph_scale=(0.0,),
            regularization=self.regularization,
            temperature=self.temperature,
            batch_size=self.batch_size,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
        )
        return fit_factors(encoder, data, context, dims=self.dim, losses=self.losses)
