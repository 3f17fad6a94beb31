"""BM3 (Zhou et al., "Bootstrap Latent Representations for Multi-modal Recommendation", WWW 2023): no negative items.

- ``h_u = LightGCN_u(e)``, ``h_i = LightGCN_i(e) + e_i``, ``h_i^m = W_m f_i^m + b_m``; the predictor is
  ``p(h) = h W + b``, the target ``t(h)`` is h with dropout and without a gradient. With ``C(a, b) = 1 - cos(a, b)``:
- reconstruction of an interaction ``C(p(h_u), t(h_i)) + C(p(h_i), t(h_u))``,
- alignment between modalities ``sum_m C(p(h_i^m), t(h_i))``, within a modality ``sum_m C(p(h_i^m), t(h_i^m))``, both
  times a weight, and L2 regularization; the mean over the interactions of a batch.
- Items are ranked by ``p(h_u) . p(h_i)``.

As in the authors' code the features are trained on with everything else, the free vectors start by Xavier's rule, and
steps are small. Decisions: the regularization shrinks the free vectors e of a batch, not h, and is by default next to
nothing, as there: losses of cosines take no notice of lengths, so that L2 would wear away what lengths say of
popularity; an interaction whose item lacks a modality teaches nothing about that modality; the words of a bag have
learnt vectors, the bags themselves stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt, MinLen
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import propagated, require_modalities, user_item_graph
from mmgrec_plugins.representations.modalities import modality_projections
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork

__all__ = ["BM3", "BM3Network"]


class BM3Network(RankingNetwork):
    """The free vectors, the projections and the predictor.

    Args:
        data: the training part and the features are used.
        dim: D.
        num_layers: of the user-item graph.
        dropout: of the targets.
        modal_weight: of the alignment.
        train_features: whether dense features are trained on.
    """

    ranks = False

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        num_layers: int,
        dropout: float,
        modal_weight: float,
        train_features: bool,
    ) -> None:
        super().__init__()
        self.num_layers, self.dropout, self.modal_weight = num_layers, dropout, modal_weight
        self.user, self.item = (nn.Parameter(torch.empty(count, dim)) for count in (data.num_users, data.num_items))
        self.projections = modality_projections(data, dim, trained=train_features)
        self.predictor = nn.Linear(dim, dim)
        for table in (self.user, self.item, self.predictor.weight):
            nn.init.xavier_normal_(table)
        self.adjacency = user_item_graph(data)

    def forward(self) -> tuple[Tensor, Tensor]:
        """h while training, as the loss wants it; p(h) in inference."""
        user, item = propagated(self.adjacency, self.user, self.item, num_layers=self.num_layers)
        item = item + self.item
        return (user, item) if self.training else (self.predictor(user), self.predictor(item))

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        return [F.embedding(batch.user, self.user), F.embedding(batch.item, self.item)]

    def extra(self, batch: EdgeBatch, user: Tensor, item: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction and alignment; user and item are h."""
        h_u, h_i = F.embedding(batch.user, user), F.embedding(batch.item, item)
        target_u, target_i = self._target(h_u), self._target(h_i)
        reconstruction = _apart(self.predictor(h_u), target_i) + _apart(self.predictor(h_i), target_u)
        between, within = [], []
        for projection in self.projections.values():
            h_m = F.embedding(batch.item, projection())
            known = ~projection.get_buffer("missing")[batch.item, 0]
            predicted = self.predictor(h_m)
            between.append((_apart(predicted, target_i) * known).mean())
            within.append((_apart(predicted, self._target(h_m)) * known).mean())
        return {
            "reconstruction": reconstruction.mean(),
            "between": self.modal_weight * torch.stack(between).sum(),
            "within": self.modal_weight * torch.stack(within).sum(),
        }

    def _target(self, x: Tensor) -> Tensor:
        return F.dropout(x.detach(), self.dropout, self.training)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """``1 - cos`` of each row."""
    return 1.0 - F.cosine_similarity(a, b, dim=1)


@dataclass(frozen=True, kw_only=True)
class BM3(FactorRecommender):
    """Users, items and their modalities predict one another; no item is a negative."""

    losses: Annotated[tuple[Literal["bpr"], ...], MinLen(1)] = ("bpr",)  # only names the optimisation: it ranks nothing
    regularization: Annotated[tuple[float, ...], MinLen(1)] = (0.0, 1e-3)
    batch_size: Annotated[int, Ge(1)] = 2048
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    num_layers: Annotated[int, Ge(0)] = 1
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.5  # of the targets
    modal_weight: Annotated[float, Ge(0)] = 2.0  # of the alignment
    train_features: bool = True  # dense ones

    def network(self, data: Dataset, *, dim: int, context: Context) -> BM3Network:
        require_modalities(data)
        return BM3Network(
            data,
            dim=dim,
            num_layers=self.num_layers,
            dropout=self.dropout,
            modal_weight=self.modal_weight,
            train_features=self.train_features,
        )
