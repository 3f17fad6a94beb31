"""GraphSAGE: a node's new vector from its own and the mean of its neighbours' (Hamilton et al., NeurIPS 2017).

On the graph of users and items, layer after layer ::

    x_v^(n+1) = sigma( W1 x_v^(n) + W2 mean_{w in N(v)} x_w^(n) + b )

which is the paper's mean aggregator, ``W [x_v ; mean]`` with W cut in two; the representation is the last layer's.

Decisions: nodes start from free vectors (no features: the paper of this project counts it among the collaborative
rivals). The graph is small enough for whole neighbourhoods, so none is sampled. sigma is LeakyReLU, and the identity
in the last layer, where it would keep inner products positive. Rows are not normalized as in the paper's algorithm:
inner products of unit vectors cannot grow beyond one, which BPR would want.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table
from mmgrec_plugins.representations.ranking import RankingNetwork
from mmgrec_plugins.representations.sparse import bipartite, row_mean

__all__ = ["GraphSAGE", "GraphSAGENetwork"]


class GraphSAGENetwork(RankingNetwork):
    """Tables of users and items, and two weight matrices a layer."""

    def __init__(self, data: Dataset, *, dim: int, num_layers: int) -> None:
        super().__init__()
        self.num_users = data.num_users
        self.user = free_table(data.num_users, dim)
        self.item = free_table(data.num_items, dim)
        edges = bipartite(data.train.user, data.train.item, num_users=data.num_users, num_items=data.num_items)
        self.mean = row_mean(edges)
        self.own = nn.ModuleList([nn.Linear(dim, dim) for _ in range(num_layers)])  # W1, b
        self.neighbours = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(num_layers)])  # W2
        for layer in (*self.own, *self.neighbours):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.user, self.item])
        for depth, (own, neighbours) in enumerate(zip(self.own, self.neighbours, strict=True)):
            x = own(x) + neighbours(self.mean @ x)
            if depth + 1 < len(self.own):
                x = F.leaky_relu(x)
        return x[: self.num_users], x[self.num_users :]


@dataclass(frozen=True, kw_only=True)
class GraphSAGE(FactorRecommender):
    """Mean of neighbours, with weights and activations."""

    num_layers: Annotated[int, Ge(1)] = 2

    def network(self, data: Dataset, *, dim: int, context: Context) -> GraphSAGENetwork:
        return GraphSAGENetwork(data, dim=dim, num_layers=self.num_layers)
