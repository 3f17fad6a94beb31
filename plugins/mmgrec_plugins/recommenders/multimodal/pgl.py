"""PGL (Yu et al., "Mind Individual Information! Principal Graph Learning for Multimedia Recommendation", AAAI 2025).

Trained on a principal subgraph of the user-item graph, asked on the whole:

- ``f_i^m = unit(W_m f_i + b_m)``, the modalities side by side; a user has a free vector for each modality instead.
- ``x_u = LightGCN_u``, ``x_i = LightGCN_i + (S^L f)_i`` with S the frozen item graph of the features, as FREEDOM's;
  ``y_ui = x_u . x_i``. An item has no free vector.
- Local subgraph: each epoch keeps ``(1 - r) |E|`` edges, drawn as FREEDOM draws them, normalised anew.
- Global subgraph, once: the first k singular triples of the normalised matrix of users and items,
  ``sum_t s_t u_t v_t'``, of which only entries of a magnitude that counts are kept.
- ``L = BPR + w (N(x_u) + N(x_i)) / 2`` with N the InfoNCE of two dropouts of the same vectors, the others of the batch
  as negatives.

As in the authors' code (github.com/demonph10/PGL) the features are trained on with everything else, users start by
Xavier's rule, nothing has L2, and steps are small. Decisions: the shares of the modalities in S, settings there, are
proportional to the validation recall of each modality's graph alone, and S is symmetric and without self edges, as in
FREEDOM here; an item that lacks a modality has zeros in its place; each s_t is as it is, where their code multiplies it
with one of the smaller ones; the learning rate stays, where theirs falls by 4 % in 50 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt, MinLen
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import (
    frozen_item_graph,
    propagated,
    pruned_graph,
    require_modalities,
    user_item_graph,
)
from mmgrec_plugins.representations.modalities import modality_projections
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork
from mmgrec_plugins.representations.sparse import FixedMatrix

__all__ = ["PGL", "PGLNetwork", "principal_graph"]


def principal_graph(
    data: Dataset, components: int, threshold: float, generator: torch.Generator, *, chunk: int = 2048
) -> FixedMatrix:
    """The global subgraph, users first: ``sum_t s_t u_t v_t'`` of the normalised matrix of users and items.

    Args:
        data: the training part is used.
        components: k; fewer where the matrix has fewer than k + 1 rows or columns.
        threshold: entries of a smaller magnitude are left out.
        generator: where the search for singular vectors starts.
        chunk: users at a time.
    """
    from scipy.sparse.linalg import svds

    rating = user_item_graph(data).matrix[: data.num_users, data.num_users :]
    smaller = min(rating.shape)
    start = torch.rand(smaller, generator=generator, dtype=torch.float64).numpy()
    left, value, right = svds(rating.astype(np.float64), k=min(components, smaller - 1), v0=start)
    blocks = []
    for first in range(0, data.num_users, chunk):
        dense = (left[first : first + chunk] * value) @ right
        blocks.append(sp.csr_array(np.where(np.abs(dense) >= threshold, dense, 0.0)))
    block = sp.vstack(blocks)
    return FixedMatrix(sp.block_array([[None, block], [block.T, None]]).tocsr().astype(np.float32))


class PGLNetwork(RankingNetwork):
    """The users' free vectors, the projections and the graphs.

    Args:
        data: the training part and the features are used.
        dim: D of each modality; the vectors have as many times D as there are modalities.
        num_layers, num_item_layers: of the user-item graph and of the item graph.
        item_graph: S.
        principal: the subgraph of all training; None: one is drawn each epoch.
        pruned: r, the share of edges that such an epoch leaves out.
        contrast_weight: w.
        contrast_temperature: of the InfoNCE.
        dropout: of its two views.
        train_features: whether dense features are trained on.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        num_layers: int,
        num_item_layers: int,
        item_graph: FixedMatrix,
        principal: FixedMatrix | None,
        pruned: float,
        contrast_weight: float,
        contrast_temperature: float,
        dropout: float,
        train_features: bool,
    ) -> None:
        super().__init__()
        self.num_layers, self.num_item_layers, self.item_graph = num_layers, num_item_layers, item_graph
        self.contrast_weight, self.contrast_temperature = contrast_weight, contrast_temperature
        self.dropout = dropout
        self.projections = modality_projections(data, dim, trained=train_features)
        tables = [nn.init.xavier_uniform_(torch.empty(data.num_users, dim)) for _ in self.projections]
        self.user = nn.Parameter(torch.cat(tables, dim=1))
        self.edges, self.whole = data.train, user_item_graph(data)
        self.share = 0.0 if principal is not None else pruned
        self.kept = self.whole if principal is None else principal

    def begin_epoch(self, generator: torch.Generator) -> None:
        """Draw the edges of this epoch."""
        if self.share:
            self.kept = pruned_graph(self.edges, self.share, generator)

    def features(self) -> Tensor:
        """``f [I, modalities x D]``."""
        parts = []
        for projection in self.projections.values():
            missing = projection.get_buffer("missing")
            parts.append(F.normalize(projection(), dim=1).masked_fill(missing, 0.0))
        return torch.cat(parts, dim=1)

    def forward(self) -> tuple[Tensor, Tensor]:
        adjacency, features = self.kept if self.training else self.whole, self.features()
        user, item = propagated(adjacency, self.user, features, num_layers=self.num_layers)
        for _ in range(self.num_item_layers):
            features = self.item_graph @ features
        return user, item + features

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        return [F.embedding(batch.user, self.user)]

    def extra(self, batch: EdgeBatch, user: Tensor, item: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if not self.contrast_weight:
            return {}
        terms = [self._contrast(F.embedding(batch.user, user)), self._contrast(F.embedding(batch.item, item))]
        return {"contrast": self.contrast_weight * torch.stack(terms).mean()}

    def _contrast(self, x: Tensor) -> Tensor:
        """InfoNCE of two dropouts of ``x [E, D]``."""
        one, other = (F.normalize(F.dropout(x, self.dropout, self.training), dim=1) for _ in range(2))
        logits = (one / self.contrast_temperature) @ other.T
        return F.cross_entropy(logits, torch.arange(len(x), device=x.device))


@dataclass(frozen=True, kw_only=True)
class PGL(FactorRecommender):
    """LightGCN over features, trained on a principal subgraph and asked on the whole graph."""

    regularization: Annotated[tuple[float, ...], MinLen(1)] = (0.0,)  # L2 of the users' free vectors, with bpr
    batch_size: Annotated[int, Ge(1)] = 2048
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    num_layers: Annotated[int, Ge(0)] = 2  # of the user-item graph
    num_item_layers: Annotated[int, Ge(0)] = 1  # of the item graph
    num_neighbors: Annotated[int, Ge(1)] = 10  # of an item in a modality's graph
    subgraph: Literal["local", "global"] = "local"  # drawn each epoch, or made once of singular vectors
    pruned: Annotated[float, Ge(0), Lt(1)] = 0.7  # share of the edges that an epoch leaves out, if local
    components: Annotated[int, Ge(1)] = 8  # singular triples, if global
    threshold: Annotated[float, Ge(0)] = 1e-3  # least magnitude of an entry, if global
    contrast_weight: Annotated[float, Ge(0)] = 0.05  # of the InfoNCE
    contrast_temperature: Annotated[float, Gt(0)] = 0.2  # of the InfoNCE
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.2  # of the InfoNCE's two views
    train_features: bool = True  # dense ones

    def network(self, data: Dataset, *, dim: int, context: Context) -> PGLNetwork:
        require_modalities(data)
        item_graph = frozen_item_graph(
            data, num_neighbors=self.num_neighbors, validation_users=self.validation_users, context=context
        )
        principal = None
        if self.subgraph == "global":
            principal = principal_graph(data, self.components, self.threshold, context.generator("singular vectors"))
        return PGLNetwork(
            data,
            dim=dim,
            num_layers=self.num_layers,
            num_item_layers=self.num_item_layers,
            item_graph=item_graph,
            principal=principal,
            pruned=self.pruned,
            contrast_weight=self.contrast_weight,
            contrast_temperature=self.contrast_temperature,
            dropout=self.dropout,
            train_features=self.train_features,
        )
