"""LATTICE (Zhang et al., "Mining Latent Structures for Multimedia Recommendation", ACM MM 2021): learnt item graphs.

- Per modality, similarity of items ``S_ij = max(0, cos(f_i, f_j))``, the k nearest kept, ``D^-1/2 S D^-1/2``. Once of
  the given features f (S_m), and once of the projected ``W_m f + b_m`` (T_m), made anew as W_m is learnt.
- ``A_m = l S_m + (1 - l) T_m``, ``A = sum_m a_m A_m`` with a = softmax of free weights.
- ``h^(l+1) = A h^(l)`` from the free vectors of items; ``x_i = LightGCN_i(e) + h_i / |h_i|``, ``x_u = LightGCN_u(e)``;
  ``y_ui = x_u . x_i``, BPR.

Decisions:

- Neighbours are found once an epoch, a block of items at a time. W_m, b_m and a get their gradient in the first batch
  of an epoch, and the graph is constant in the others: as in the authors' code. Inference finds the graph of the
  parameters as they are.
- S_m is the graph given with the data where there is one; symmetric, of equal weights, and without self edges, as all
  item graphs here. T_m has no self edges either, and none of items that lack the modality.
- The backbone is LightGCN with symmetric normalization; ``num_layers = 0`` makes it matrix factorisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table, propagated, require_modalities, user_item_graph
from mmgrec_plugins.representations.item_graph import modality_graphs
from mmgrec_plugins.representations.modalities import modality_projections
from mmgrec_plugins.representations.ranking import RankingNetwork
from mmgrec_plugins.representations.sparse import FixedMatrix

__all__ = ["LATTICE", "LatticeNetwork", "nearest_rows"]


def nearest_rows(unit: Tensor, has: Tensor, *, num_neighbors: int, chunk: int = 2048) -> Tensor:
    """Each row's nearest others by inner product.

    Args:
        unit: ``[I, D]`` of norm one.
        has: ``[I]`` bool; rows that are False have no neighbours and are none.

    Returns:
        ``[I, min(num_neighbors, I - 1)]`` int64; where fewer exist, or for a row without, the row itself.
    """
    rows = torch.arange(unit.shape[0], device=unit.device)
    columns = unit.masked_fill(~has[:, None], 0.0).T.contiguous()
    hidden = torch.where(has, 0.0, -torch.inf)
    parts = []
    for part in torch.split(rows, chunk):
        similarity = torch.addmm(hidden, unit[part], columns)
        similarity[torch.arange(part.numel()), part] = -torch.inf
        best = similarity.topk(min(num_neighbors, unit.shape[0] - 1), dim=1)
        parts.append(torch.where(best.values.isinf() | ~has[part, None], part[:, None], best.indices))
    return torch.cat(parts)


class LatticeNetwork(RankingNetwork):
    """The free vectors, the projections and the weights of the modalities.

    Args:
        data: the training part, features and graphs are used.
        dim: D, of the projected features too.
        num_layers, num_item_layers: of the user-item graph and of the item graph.
        num_neighbors: k.
        kept: l, the part of the graph of the given features.
    """

    def __init__(
        self, data: Dataset, *, dim: int, num_layers: int, num_item_layers: int, num_neighbors: int, kept: float
    ) -> None:
        super().__init__()
        self.num_layers, self.num_item_layers = num_layers, num_item_layers
        self.num_neighbors, self.kept = num_neighbors, kept
        self.user, self.item = free_table(data.num_users, dim), free_table(data.num_items, dim)
        self.projections = modality_projections(data, dim)
        self.share = nn.Parameter(torch.zeros(len(self.projections)))
        self.adjacency = user_item_graph(data)
        self.original = modality_graphs(data, num_neighbors=num_neighbors)
        self.constant: FixedMatrix | None = None  # A of this epoch, after its first batch

    def begin_epoch(self, generator: torch.Generator) -> None:
        self.constant = None

    def forward(self) -> tuple[Tensor, Tensor]:
        user, item = propagated(self.adjacency, self.user, self.item, num_layers=self.num_layers)
        return user, item + F.normalize(self._alike(), dim=1)

    def _alike(self) -> Tensor:
        """``h [I, D]``."""
        if self.training and self.constant is not None:
            hidden: Tensor = self.item
            for _ in range(self.num_item_layers):
                hidden = self.constant @ hidden
            return hidden
        edges = {name: self.learnt(name) for name in self.projections}
        share = self.share.softmax(0)
        hidden = self.item
        for _ in range(self.num_item_layers):
            parts = []
            for index, (name, (neighbor, weight)) in enumerate(edges.items()):
                learnt = F.embedding_bag(neighbor, hidden, per_sample_weights=weight, mode="sum")
                parts.append(share[index] * (self.kept * (self.original[name] @ hidden) + (1.0 - self.kept) * learnt))
            hidden = torch.stack(parts).sum(0)
        if self.training:
            self.constant = self._frozen(edges, share)
        return hidden

    def learnt(self, modality: str) -> tuple[Tensor, Tensor]:
        """T_m: neighbours ``[I, k]`` and the weights of these edges ``[I, k]``, with a gradient."""
        projection = self.projections[modality]
        unit, has = F.normalize(projection(), dim=1), ~projection.get_buffer("missing")[:, 0]
        with torch.no_grad():
            neighbor = nearest_rows(unit, has, num_neighbors=self.num_neighbors)
        similarity = (F.embedding(neighbor, unit) * unit[:, None]).sum(2).clamp_min(0.0)  # [I, k]
        real = neighbor != torch.arange(neighbor.shape[0], device=neighbor.device)[:, None]
        similarity = similarity * real
        degree = similarity.sum(1)
        scale = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), 0.0)
        return neighbor, similarity * scale[:, None] * scale[neighbor]

    def _frozen(self, edges: dict[str, tuple[Tensor, Tensor]], share: Tensor) -> FixedMatrix:
        """A as a constant sparse matrix."""
        num_items = self.item.shape[0]
        total = sp.csr_array((num_items, num_items), dtype=np.float32)
        for part, (name, (neighbor, weight)) in zip(share.tolist(), edges.items(), strict=True):
            starts = np.arange(num_items + 1) * neighbor.shape[1]
            values, columns = weight.detach().cpu().numpy().reshape(-1), neighbor.cpu().numpy().reshape(-1)
            learnt = sp.csr_array((values, columns, starts), shape=(num_items, num_items))
            total = total + part * (self.kept * self.original[name].matrix + (1.0 - self.kept) * learnt)
        return FixedMatrix(total.tocsr().astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class LATTICE(FactorRecommender):
    """LightGCN, plus item graphs that are learnt from the features."""

    num_layers: Annotated[int, Ge(0)] = 2  # of the user-item graph
    num_item_layers: Annotated[int, Ge(1)] = 1  # of the item graph
    num_neighbors: Annotated[int, Ge(1)] = 10  # of an item in a modality's graph
    kept: Annotated[float, Ge(0), Le(1)] = 0.9  # part of the graph of the given features, against the learnt

    def network(self, data: Dataset, *, dim: int, context: Context) -> LatticeNetwork:
        require_modalities(data)
        return LatticeNetwork(
            data,
            dim=dim,
            num_layers=self.num_layers,
            num_item_layers=self.num_item_layers,
            num_neighbors=self.num_neighbors,
            kept=self.kept,
        )
