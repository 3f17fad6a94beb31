"""GRCN, graph-refined convolution: what the modalities say weakens edges of the graph (Wei et al., Multimedia 2020).

**Refining**, in each modality m. An item is ``x_i = LeakyReLU(W_m f_i)``, a user a free prototype x_u, all normalized.
The prototypes are routed to the items of their users, `num_routing` times ::

    x_u <- normalize( x_u + sum_{i in N(u)} p_ui x_i ),    p_ui = softmax over i in N(u) of x_u . x_i

Then both ends of every edge look at each other, for receivers v and senders w of either kind ::

    p_vw^m = softmax over w in N(v) of x_v . x_w,    x_v^m = x_v + LeakyReLU( sum_w p_vw^m x_w )

**Pruning**. Each node has a free confidence for each modality; an edge weighs the best modality's affinity times the
confidence of its sender, cut off at zero (soft pruning: an edge is gone, or more or less there) ::

    s_vw = ReLU( max_m c_w^m p_vw^m )

**Convolution** of id vectors over the refined graph, and all side by side ::

    e^(n+1)_v = sum_w s_vw e^(n)_w,    e^(0) = normalize(id),    x_v = [ e^(0) + ... + e^(N) ; x_v^1 ; x_v^2 ; ... ]

Decisions: affinities are plain inner products in the softmax, without a temperature. Confidences start at one, so that
every edge is there at first. W_m has a bias; all widths are `dim`, a representation has one block for the ids and one
for each modality. An item that lacks a modality has a learnt vector there, which all those items share. The L2
regularization shrinks the id vectors of a batch and the prototypes of its users.
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
from mmgrec_plugins.recommenders.multimodal.shared import free_table, require_modalities
from mmgrec_plugins.representations.edges import Edges
from mmgrec_plugins.representations.modalities import modality_projections
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork

__all__ = ["GRCN", "GRCNNetwork"]


class GRCNNetwork(RankingNetwork):
    """Id tables, and of each modality prototypes, a projection and confidences."""

    def __init__(self, data: Dataset, *, dim: int, num_layers: int, num_routing: int) -> None:
        super().__init__()
        require_modalities(data)
        self.num_layers, self.num_routing, self.num_users = num_layers, num_routing, data.num_users
        self.user = free_table(data.num_users, dim)
        self.item = free_table(data.num_items, dim)
        self.content = modality_projections(data, dim)
        self.prototype = nn.ParameterList([free_table(data.num_users, dim) for _ in data.modalities])
        size = data.num_users + data.num_items
        self.confidence = nn.Parameter(torch.ones(len(data.modalities), size))
        user, item = data.train.user, data.train.item
        self.to_users = Edges.of(user, item, num_receivers=data.num_users, num_senders=data.num_items)
        self.edges = Edges.of(
            torch.cat([user, item + data.num_users]),
            torch.cat([item + data.num_users, user]),
            num_receivers=size,
            num_senders=size,
        )
        self.by_item = (item * data.num_users + user).argsort()  # the order of the edges whose receivers are items

    def forward(self) -> tuple[Tensor, Tensor]:
        refined = [self.refine(*both) for both in zip(self.prototype, self.content.values(), strict=True)]
        affinity = torch.stack([share for _, share in refined])  # [M, E]
        weight = (affinity * self.confidence[:, self.edges.sender]).amax(0).relu()
        layer = total = F.normalize(torch.cat([self.user, self.item]), dim=1)
        for _ in range(self.num_layers):
            layer = self.edges.sum(weight, layer)
            total = total + layer
        out = torch.cat([total, *(x for x, _ in refined)], dim=1)
        return out[: self.num_users], out[self.num_users :]

    def refine(self, prototype: Tensor, content: nn.Module) -> tuple[Tensor, Tensor]:
        """Of one modality: vectors ``[U + I, dim]`` and affinities of edges ``[E]``."""
        item = F.normalize(F.leaky_relu(content()), dim=1)
        user = F.normalize(prototype, dim=1)
        for _ in range(self.num_routing):
            share = self.to_users.softmax(self.to_users.dot(user, item))
            user = F.normalize(user + self.to_users.sum(share, item), dim=1)
        x = torch.cat([user, item])
        logits = self.to_users.dot(user, item)
        share = self.edges.softmax(torch.cat([logits, logits[self.by_item]]))
        return x + F.leaky_relu(self.edges.sum(share, x)), share

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        return super().free(batch) + [F.embedding(batch.user, table) for table in self.prototype]


@dataclass(frozen=True, kw_only=True)
class GRCN(FactorRecommender):
    """Edges are weakened where the features do not speak for them; ids are propagated over what remains."""

    num_layers: Annotated[int, Ge(1)] = 2  # of id propagation
    num_routing: Annotated[int, Ge(1)] = 3  # rounds in which prototypes are drawn to the items

    def network(self, data: Dataset, *, dim: int, context: Context) -> GRCNNetwork:
        return GRCNNetwork(data, dim=dim, num_layers=self.num_layers, num_routing=self.num_routing)
