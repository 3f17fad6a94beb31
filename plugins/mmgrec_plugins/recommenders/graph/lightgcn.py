"""LightGCN (He et al., SIGIR 2020): linear propagation on the user-item graph, mean over layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.representations.graph_network import GraphNetwork

__all__ = ["LightGCN"]


@dataclass(frozen=True, kw_only=True)
class LightGCN(FactorRecommender):
    """No features, no weights but the tables."""

    num_layers: Annotated[int, Ge(1)] = 2

    def network(self, data: Dataset, *, dim: int, context: Context) -> GraphNetwork:
        return GraphNetwork(data, dim=dim, num_layers=self.num_layers)
