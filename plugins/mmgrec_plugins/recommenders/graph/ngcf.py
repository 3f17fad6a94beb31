"""NGCF, neural graph collaborative filtering (Wang et al., SIGIR 2019).

With the symmetric adjacency A of users and items and ``L = D^-1/2 A D^-1/2``, layer after layer ::

    E^(n+1) = LeakyReLU( (L + I) E^(n) W1 + (L E^(n) * E^(n)) W2 + b ),    * by element
    x       = [E^(0) ; E^(1) ; ... ; E^(N)]

Decisions: as in the authors' code, and not in the paper's equations, the slope of LeakyReLU is 0.2, there are biases,
messages are dropped out after the activation, and the rows of each layer but E^(0) are normalized. Their dropout of
whole nodes is off there by default and left out here. No features. All layers have width `dim`; representations are
(N + 1) times as wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table, user_item_graph
from mmgrec_plugins.representations.ranking import RankingNetwork

__all__ = ["NGCF", "NGCFNetwork"]


class NGCFNetwork(RankingNetwork):
    """Tables of users and items, and two weight matrices a layer."""

    def __init__(self, data: Dataset, *, dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.num_users = dropout, data.num_users
        self.user = free_table(data.num_users, dim)
        self.item = free_table(data.num_items, dim)
        self.laplacian = user_item_graph(data)
        self.plain = nn.ModuleList([nn.Linear(dim, dim) for _ in range(num_layers)])  # W1, b
        self.crossed = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(num_layers)])  # W2
        for layer in (*self.plain, *self.crossed):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.user, self.item])
        layers = [x]
        for plain, crossed in zip(self.plain, self.crossed, strict=True):
            neighbours = self.laplacian @ x
            x = F.leaky_relu(plain(neighbours + x) + crossed(neighbours * x), 0.2)
            x = F.dropout(x, self.dropout, self.training)
            layers.append(F.normalize(x, dim=1))
        out = torch.cat(layers, dim=1)
        return out[: self.num_users], out[self.num_users :]


@dataclass(frozen=True, kw_only=True)
class NGCF(FactorRecommender):
    """Propagation with weights, activations and products of neighbours with oneself."""

    num_layers: Annotated[int, Ge(1)] = 3
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1  # of messages

    def network(self, data: Dataset, *, dim: int, context: Context) -> NGCFNetwork:
        return NGCFNetwork(data, dim=dim, num_layers=self.num_layers, dropout=self.dropout)
