"""UltraGCN (Mao et al., CIKM 2021) with features, as InvRL uses it: no propagation, but weights that come from it.

::

    y_ui = u_u . [v_i, W x_i + b]
    L_ui = (1 + beta_ui) softplus(-y_ui) + w mean_j (1 + beta_uj) softplus(y_uj),
    beta_ui = sqrt(d_u + 1) / d_u / sqrt(d_i + 1)

w weighs what stands for all items against the one (64 to 500 where UltraGCN is published, with as many negatives).
x_i are all modalities of an item side by side: dense ones centred and of mean norm one, a bag by its first principal
directions; a missing modality is zero. Negative items j are shared by a batch. UltraGCN's item-item term is left out,
as in InvRL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, MinLen
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table
from mmgrec_plugins.representations.modalities import bag_matrix, centred_features
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork

__all__ = ["UltraGCN", "UltraGCNNetwork", "edge_weights", "side_by_side", "ultra_loss"]


def side_by_side(data: Dataset, bag_dim: int) -> Tensor:
    """``x [I, F]``; of a bag at most `bag_dim` columns."""
    parts = [centred_features(data, name).float() for name in data.features]
    for bag in data.bags.values():
        matrix = bag_matrix(bag).astype(np.float64)
        rank = min(bag_dim, min(matrix.shape) - 1)
        if rank < 1:
            parts.append(torch.from_numpy(matrix.toarray()).float())
            continue
        left, values, _ = svds(matrix, k=rank, v0=np.ones(min(matrix.shape)))
        parts.append(torch.from_numpy((left * values)[:, ::-1].copy()).float())
    return torch.cat(parts, dim=1)


def edge_weights(train: Interactions) -> tuple[Tensor, Tensor]:
    """Factors ``[U]`` and ``[I]`` of beta; 0 for a user without training items."""
    of_user = train.user_degree.float()
    weight = torch.where(of_user > 0, (of_user + 1.0).sqrt() / of_user.clamp_min(1.0), 0.0)
    return weight, (train.item_degree.float() + 1.0).rsqrt()


def ultra_loss(
    positive: Tensor, negative: Tensor, of_user: Tensor, of_item: Tensor, of_negative: Tensor, weight: float
) -> Tensor:
    """L of each interaction ``[B]``.

    Args:
        positive: y of the interactions, ``[B]``.
        negative: y of the users with the negative items, ``[B, N]``.
        of_user, of_item, of_negative: factors of beta, ``[B]``, ``[B]``, ``[N]``.
        weight: w.
    """
    wanted = (1.0 + of_user * of_item) * F.softplus(-positive)
    refused = (1.0 + of_user[:, None] * of_negative) * F.softplus(negative)
    return wanted + weight * refused.mean(1)


class UltraGCNNetwork(RankingNetwork):
    """The free vectors and the projection of the features.

    Args:
        data: the training part is used.
        dim: D; a user has 2 D numbers, an item D and the D of its projected features.
        content: x.
        num_negatives: of a batch.
        negative_weight: w.
        projection_decay: L2 of W.
    """

    ranks = False

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        content: Tensor,
        num_negatives: int,
        negative_weight: float,
        projection_decay: float,
    ) -> None:
        super().__init__()
        self.num_negatives, self.negative_weight = num_negatives, negative_weight
        self.projection_decay = projection_decay
        self.user, self.item = free_table(data.num_users, 2 * dim), free_table(data.num_items, dim)
        self.projection = nn.Linear(content.shape[1], dim)
        nn.init.xavier_normal_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)
        of_user, of_item = edge_weights(data.train)
        for name, value in (("content", content), ("of_user", of_user), ("of_item", of_item)):
            self.register_buffer(name, value, persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.user, torch.cat([self.item, self.projection(self.get_buffer("content"))], dim=1)

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        negative = batch.negative[: self.num_negatives]
        pairs = [(batch.user, self.user), (batch.item, self.item), (negative, self.item)]
        return [F.embedding(index, table) for index, table in pairs]

    def extra(self, batch: EdgeBatch, user: Tensor, item: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """UltraGCN's loss; the first of the batch's negative items serve all its interactions."""
        negative = batch.negative[: self.num_negatives]
        x_u = F.embedding(batch.user, user)
        positive = (x_u * F.embedding(batch.item, item)).sum(1)
        of_user, of_item = self.get_buffer("of_user"), self.get_buffer("of_item")
        loss = ultra_loss(
            positive,
            x_u @ F.embedding(negative, item).T,
            of_user[batch.user],
            of_item[batch.item],
            of_item[negative],
            self.negative_weight,
        )
        decay = 0.5 * self.projection_decay * self.projection.weight.pow(2).sum()
        return {"ultragcn": loss.mean(), "projection": decay}


@dataclass(frozen=True, kw_only=True, eq=False)
class UltraGCN(FactorRecommender):
    """UltraGCN on given features; no plugin of its own."""

    content: Tensor  # [I, F]
    losses: Annotated[tuple[Literal["bpr"], ...], MinLen(1)] = ("bpr",)
    num_negatives: Annotated[int, Ge(1)] = 200
    negative_weight: Annotated[float, Gt(0)] = 1.0
    projection_decay: Annotated[float, Ge(0)] = 1e-4

    def network(self, data: Dataset, *, dim: int, context: Context) -> UltraGCNNetwork:
        return UltraGCNNetwork(
            data,
            dim=dim,
            content=self.content,
            num_negatives=self.num_negatives,
            negative_weight=self.negative_weight,
            projection_decay=self.projection_decay,
        )
