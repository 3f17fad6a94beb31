"""Matrix factorisation with the BPR loss (Rendle et al., UAI 2009)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.representations.graph_network import GraphNetwork

__all__ = ["MF"]


@dataclass(frozen=True, kw_only=True)
class MF(FactorRecommender):
    """A vector for each user and item; the graph encoder without a single layer."""

    regularization: Annotated[tuple[float, ...], MinLen(1)] = (1e-2, 3e-2, 1e-1)  # L2 of the free vectors, with bpr

    def network(self, data: Dataset, *, dim: int, context: Context) -> GraphNetwork:
        return GraphNetwork(data, dim=dim, num_layers=0)
