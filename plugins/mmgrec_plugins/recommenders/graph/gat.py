"""GAT: neighbours weighted by attention (Veličković et al., ICLR 2018), on the graph of users and items.

For each head, with every node a neighbour of itself ::

    a_vw = softmax over w in N(v) + v of LeakyReLU( p . W x_v + q . W x_w ),    slope 0.2
    x'_v = sum_w a_vw W x_w

and the heads' results are put side by side: each has ``dim / num_heads`` columns. ELU stands between two layers; the
representation is the last layer's, without activation.

Decisions: nodes start from free vectors, no features (the paper of this project counts it among the collaborative
rivals). The paper averages the heads of its last layer, which are classes there; here they stay side by side, so that
every layer has the width `dim`. Dropout of attention and inputs (0.6 in the paper, on graphs of some thousand labelled
nodes) is left out. All heads are one product: a head of a node is a node of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table
from mmgrec_plugins.representations.edges import Edges
from mmgrec_plugins.representations.ranking import RankingNetwork

__all__ = ["GAT", "GATNetwork"]


class _Layer(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)  # W of all heads
        self.receiver = nn.Parameter(torch.empty(num_heads, dim // num_heads))  # p
        self.sender = nn.Parameter(torch.empty(num_heads, dim // num_heads))  # q
        for weight in (self.linear.weight, self.receiver, self.sender):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        num_heads, head_dim = self.sender.shape
        projected = self.linear(x).view(-1, num_heads, head_dim)
        receiver = (projected * self.receiver).sum(2).flatten()  # [N * H]
        sender = (projected * self.sender).sum(2).flatten()
        logits = F.leaky_relu(receiver[edges.receiver] + sender[edges.sender], 0.2)
        return edges.sum(edges.softmax(logits), projected.view(-1, head_dim)).view_as(x)


class GATNetwork(RankingNetwork):
    """Tables of users and items, and layers of attention."""

    def __init__(self, data: Dataset, *, dim: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.num_users = data.num_users
        self.user = free_table(data.num_users, dim)
        self.item = free_table(data.num_items, dim)
        self.layers = nn.ModuleList([_Layer(dim, num_heads) for _ in range(num_layers)])
        size = data.num_users + data.num_items
        user, item, own = data.train.user, data.train.item + data.num_users, torch.arange(size)
        head = torch.arange(num_heads)
        receiver, sender = torch.cat([user, item, own]), torch.cat([item, user, own])
        self.edges = Edges.of(  # node v's head h is number v * num_heads + h
            (receiver[:, None] * num_heads + head).flatten(),
            (sender[:, None] * num_heads + head).flatten(),
            num_receivers=size * num_heads,
            num_senders=size * num_heads,
        )

    def forward(self) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.user, self.item])
        for depth, layer in enumerate(self.layers):
            x = layer(F.elu(x) if depth else x, self.edges)
        return x[: self.num_users], x[self.num_users :]


@dataclass(frozen=True, kw_only=True)
class GAT(FactorRecommender):
    """Attention over neighbours instead of their mean."""

    num_layers: Annotated[int, Ge(1)] = 2
    num_heads: Annotated[int, Ge(1)] = 4  # of which each gets an equal part of `dim`

    def network(self, data: Dataset, *, dim: int, context: Context) -> GATNetwork:
        if dim % self.num_heads:
            raise SettingsError(
                [f"dim {dim} cannot be shared equally by {self.num_heads} heads"],
                where="gat",
                remedy="take a dim that is a multiple of num_heads",
                code="recommenders.dim-not-divisible",
            )
        return GATNetwork(data, dim=dim, num_layers=self.num_layers, num_heads=self.num_heads)
