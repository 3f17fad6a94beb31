"""FREEDOM (Zhou & Shen, "A Tale of Two Graphs", ACM MM 2023): a frozen item graph and a denoised user-item graph.

- Item graph, made once: ``S = sum_m a_m D^-1/2 G_m D^-1/2``, G_m the k nearest items of modality m.
- User-item graph: each epoch keeps ``(1 - r) |E|`` edges, drawn without repetition with probability proportional to
  ``1 / sqrt(d_u d_i)``, normalised anew by the degrees that are left; inference uses all edges.
- ``x_u = LightGCN_u(e)``, ``x_i = LightGCN_i(e) + (S^L e)_i``; ``y_ui = x_u . x_i``.
- ``L = -ln sigma(x_u . (x_i - x_j)) - w sum_m ln sigma(x_u . (p_i^m - p_j^m))`` with ``p^m = W_m f^m + b_m``.

Decisions:

- The shares a_m, settings in the paper, are proportional to the validation recall of each modality's graph alone, so
  that any number of modalities is served. Graphs given with the data are used where there are some; G_m is symmetric
  and without self edges, as all item graphs here.
- Features are fixed (the authors' code trains them on); the free vectors have an L2 regularization, as the other
  baselines. A pair of which one item lacks the modality teaches nothing about that modality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import (
    free_table,
    frozen_item_graph,
    propagated,
    pruned_graph,
    require_modalities,
    user_item_graph,
)
from mmgrec_plugins.representations.modalities import modality_projections
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork
from mmgrec_plugins.representations.sparse import FixedMatrix

__all__ = ["FREEDOM", "FreedomNetwork"]


class FreedomNetwork(RankingNetwork):
    """The free vectors, both graphs and the projections.

    Args:
        data: the training part and the features are used.
        dim: D.
        num_layers, num_item_layers: of the user-item graph and of the item graph.
        item_graph: S.
        pruned: r, the share of edges that an epoch leaves out.
        modal_weight: w.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        num_layers: int,
        num_item_layers: int,
        item_graph: FixedMatrix,
        pruned: float,
        modal_weight: float,
    ) -> None:
        super().__init__()
        self.num_layers, self.num_item_layers = num_layers, num_item_layers
        self.share, self.modal_weight, self.item_graph = pruned, modal_weight, item_graph
        self.user, self.item = free_table(data.num_users, dim), free_table(data.num_items, dim)
        self.projections = modality_projections(data, dim)
        self.edges = data.train
        self.whole = self.kept = user_item_graph(data)

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the edges of this epoch."""
        if self.share:
            self.kept = pruned_graph(self.edges, self.share, generator)

    def forward(self) -> tuple[Tensor, Tensor]:
        adjacency = self.kept if self.training else self.whole
        user, item = propagated(adjacency, self.user, self.item, num_layers=self.num_layers)
        alike: Tensor = self.item
        for _ in range(self.num_item_layers):
            alike = self.item_graph @ alike
        return user, item + alike

    def extra(self, batch: EdgeBatch, user: Tensor, item: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The BPR of the projected features, whatever the loss of the ranking; negatives that a batch shares are dealt
        out to its interactions."""
        if not self.modal_weight:
            return {}
        count, shared = batch.user.numel(), batch.negative.numel()
        negative = batch.negative.repeat(-(-count // shared))[:count]
        x_u, terms = F.embedding(batch.user, user), []
        for projection in self.projections.values():
            table, missing = projection(), projection.get_buffer("missing")[:, 0]
            known = ~(missing[batch.item] | missing[negative])
            margin = (x_u * (F.embedding(batch.item, table) - F.embedding(negative, table))).sum(1)
            terms.append(-(F.logsigmoid(margin) * known).mean())
        return {"modal": self.modal_weight * torch.stack(terms).sum()}


@dataclass(frozen=True, kw_only=True)
class FREEDOM(FactorRecommender):
    """LightGCN on a pruned graph, plus a frozen graph of items that look, sound or read alike."""

    num_layers: Annotated[int, Ge(0)] = 2  # of the user-item graph
    num_item_layers: Annotated[int, Ge(0)] = 1  # of the item graph
    num_neighbors: Annotated[int, Ge(1)] = 10  # of an item in a modality's graph
    pruned: Annotated[float, Ge(0), Lt(1)] = 0.8  # share of the edges that an epoch leaves out
    modal_weight: Annotated[float, Ge(0)] = 1e-3  # of the BPR of projected features

    def network(self, data: Dataset, *, dim: int, context: Context) -> FreedomNetwork:
        require_modalities(data)
        item_graph = frozen_item_graph(
            data, num_neighbors=self.num_neighbors, validation_users=self.validation_users, context=context
        )
        return FreedomNetwork(
            data,
            dim=dim,
            num_layers=self.num_layers,
            num_item_layers=self.num_item_layers,
            item_graph=item_graph,
            pruned=self.pruned,
            modal_weight=self.modal_weight,
        )
