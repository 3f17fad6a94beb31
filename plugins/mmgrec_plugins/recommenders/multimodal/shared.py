"""What the baselines over modalities and graphs share: linear propagation, start tables, and asking for features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.errors import DataError
from mmgrec_plugins.representations.sparse import FixedMatrix, bipartite, normalized

__all__ = ["free_table", "propagated", "require_modalities", "user_item_graph"]


def require_modalities(data: Dataset) -> None:
    """Refuse data that have neither a dense nor a sparse modality.

    Raises:
        DataError: if they have none.
    """
    if not data.modalities:
        raise DataError(
            "there are no features, and this recommender is about them",
            where=data.name,
            remedy="add features/<modality>.npy, or take lightgcn",
            code="recommenders.no-modalities",
        )


def free_table(count: int, dim: int, scale: float = 0.1) -> nn.Parameter:
    """``[count, dim]`` free vectors, normally distributed."""
    return nn.Parameter(torch.randn(count, dim) * scale)


def user_item_graph(data: Dataset) -> FixedMatrix:
    """``D^-1/2 A D^-1/2`` of users and items by the training interactions, users first."""
    edges = bipartite(data.train.user, data.train.item, num_users=data.num_users, num_items=data.num_items)
    return normalized(edges)


def propagated(adjacency: FixedMatrix, user: Tensor, item: Tensor, *, num_layers: int) -> tuple[Tensor, Tensor]:
    """LightGCN: ``x^(l+1) = A x^(l)``, and the mean of ``x^(0) .. x^(num_layers)``, users and items apart."""
    x = total = torch.cat([user, item])
    for _ in range(num_layers):
        x = adjacency @ x
        total = total + x
    mean = total / (num_layers + 1)
    return mean[: user.shape[0]], mean[user.shape[0] :]
