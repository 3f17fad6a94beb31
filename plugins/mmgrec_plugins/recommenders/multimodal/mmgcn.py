"""MMGCN, a graph of users and items for each modality (Wei et al., ACM Multimedia 2019).

In modality m an item starts from its features, ``x_i = W_m f_i``, and a user from a free vector, the preference; both
are normalized. All modalities share one table of id vectors. Layer after layer, for users and items alike ::

    h   = LeakyReLU( W1 mean_{w in N(v)} x_w )                      what the neighbours say
    c   = LeakyReLU( W2 x_v ) + id_v                                what the node says, tied across modalities
    x_v = LeakyReLU( W3 [h ; c] )    or    LeakyReLU( W3 h + c )    combination: concat, or sum

and the representation of a node is the mean over modalities of the last layer.

Decisions: W1, W2 and W3 belong to a layer and a modality, without biases in W1; every width is `dim`. The paper adds
the modalities up; the mean is the same order of items at a scale that does not grow with their number. Its maximum as
another aggregation is left out. An item that lacks a modality starts there from a learnt vector, which all those items
share. The L2 regularization shrinks the id vectors of a batch and the preferences of its users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table, require_modalities
from mmgrec_plugins.representations.modalities import ModalityProjection
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork
from mmgrec_plugins.representations.sparse import FixedMatrix, bipartite, row_mean

__all__ = ["MMGCN", "MMGCNNetwork"]

Combination = Literal["concat", "sum"]


class _Layer(nn.Module):
    """One layer of one modality."""

    def __init__(self, dim: int, combination: Combination) -> None:
        super().__init__()
        self.combination = combination
        self.neighbours = nn.Linear(dim, dim, bias=False)  # W1
        self.own = nn.Linear(dim, dim)  # W2
        self.joined = nn.Linear(2 * dim if combination == "concat" else dim, dim)  # W3
        for part in (self.neighbours, self.own, self.joined):
            nn.init.xavier_normal_(part.weight)

    def forward(self, x: Tensor, identity: Tensor, mean: FixedMatrix) -> Tensor:
        said = F.leaky_relu(mean @ self.neighbours(x))
        own = F.leaky_relu(self.own(x)) + identity
        if self.combination == "concat":
            return F.leaky_relu(self.joined(torch.cat([said, own], dim=1)))
        return F.leaky_relu(self.joined(said) + own)


class _ModalityGraph(nn.Module):
    """Users, items and layers of one modality."""

    def __init__(self, data: Dataset, modality: str, dim: int, num_layers: int, combination: Combination) -> None:
        super().__init__()
        self.preference = free_table(data.num_users, dim)
        self.content = ModalityProjection(data, modality, dim)
        self.layers = nn.ModuleList([_Layer(dim, combination) for _ in range(num_layers)])

    def forward(self, identity: Tensor, mean: FixedMatrix) -> Tensor:
        """``[U + I, dim]``."""
        x = F.normalize(torch.cat([self.preference, self.content()]), dim=1)
        for layer in self.layers:
            x = layer(x, identity, mean)
        return x


class MMGCNNetwork(RankingNetwork):
    """A graph a modality, tied by the tables of id vectors."""

    def __init__(self, data: Dataset, *, dim: int, num_layers: int, combination: Combination) -> None:
        super().__init__()
        require_modalities(data)
        self.num_users = data.num_users
        self.user = free_table(data.num_users, dim)
        self.item = free_table(data.num_items, dim)
        edges = bipartite(data.train.user, data.train.item, num_users=data.num_users, num_items=data.num_items)
        self.mean = row_mean(edges)
        self.graphs = nn.ModuleList(
            [_ModalityGraph(data, name, dim, num_layers, combination) for name in data.modalities]
        )

    def forward(self) -> tuple[Tensor, Tensor]:
        identity = torch.cat([self.user, self.item])
        out = torch.stack([graph(identity, self.mean) for graph in self.graphs]).mean(0)
        return out[: self.num_users], out[self.num_users :]

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        preferences = [
            F.embedding(batch.user, table) for name, table in self.named_parameters() if "preference" in name
        ]
        return super().free(batch) + preferences


@dataclass(frozen=True, kw_only=True)
class MMGCN(FactorRecommender):
    """Message passing in the graph of each modality by itself; what they say is averaged."""

    num_layers: Annotated[int, Ge(1)] = 2
    combination: Combination = "concat"  # of neighbours and node

    def network(self, data: Dataset, *, dim: int, context: Context) -> MMGCNNetwork:
        return MMGCNNetwork(data, dim=dim, num_layers=self.num_layers, combination=self.combination)
