"""What the baselines over modalities and graphs share: propagation, graphs, start tables, and asking for features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import DataError
from mmgrec.interfaces import Context
from mmgrec.training import ValidationRecall
from mmgrec_plugins.representations.item_graph import joined_item_graph, modality_graphs, modality_weights
from mmgrec_plugins.representations.sparse import FixedMatrix, bipartite, normalized

__all__ = ["free_table", "frozen_item_graph", "propagated", "pruned_graph", "require_modalities", "user_item_graph"]


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


def frozen_item_graph(data: Dataset, *, num_neighbors: int, validation_users: int, context: Context) -> FixedMatrix:
    """``S = sum_m a_m S_m``: each modality's graph of alike items, a_m its share of their validation recalls.

    Args:
        data: graphs given with it are used where there are some.
        num_neighbors: of an item in a modality's graph.
        validation_users: at most so many are asked, a seeded sample.
        context: draws it.
    """
    recall = ValidationRecall(data, max_users=validation_users, generator=context.generator("validation users"))
    graphs = modality_graphs(data, num_neighbors=num_neighbors)
    return joined_item_graph(graphs, modality_weights(data, graphs, recall))


def free_table(count: int, dim: int, scale: float = 0.1) -> nn.Parameter:
    """``[count, dim]`` free vectors, normally distributed."""
    return nn.Parameter(torch.randn(count, dim) * scale)


def user_item_graph(data: Dataset) -> FixedMatrix:
    """``D^-1/2 A D^-1/2`` of users and items by the training interactions, users first."""
    edges = bipartite(data.train.user, data.train.item, num_users=data.num_users, num_items=data.num_items)
    return normalized(edges)


def pruned_graph(edges: Interactions, pruned: float, generator: torch.Generator) -> FixedMatrix:
    """The graph of some edges, normalised anew by the degrees that are left, users first.

    Edges are drawn without repetition with probability proportional to ``1 / sqrt(d_u d_i)``: those of smallest
    exponential variables divided by these weights.

    Args:
        edges: all there are.
        pruned: share of them that is left out.
        generator: draws.
    """
    degree = edges.user_degree[edges.user] * edges.item_degree[edges.item]
    key = torch.empty(len(edges)).exponential_(generator=generator) * degree.float().sqrt()
    chosen = key.topk(max(1, int(len(edges) * (1.0 - pruned))), largest=False).indices
    user, item = edges.user[chosen], edges.item[chosen]
    return normalized(bipartite(user, item, num_users=edges.num_users, num_items=edges.num_items))


def propagated(adjacency: FixedMatrix, user: Tensor, item: Tensor, *, num_layers: int) -> tuple[Tensor, Tensor]:
    """LightGCN: ``x^(l+1) = A x^(l)``, and the mean of ``x^(0) .. x^(num_layers)``, users and items apart."""
    x = total = torch.cat([user, item])
    for _ in range(num_layers):
        x = adjacency @ x
        total = total + x
    mean = total / (num_layers + 1)
    return mean[: user.shape[0]], mean[user.shape[0] :]
