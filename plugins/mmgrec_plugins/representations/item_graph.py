"""Which items are alike: nearest neighbours of items per modality, joined to one frozen graph.

Per modality the k nearest items (given with the data, or cosine of centred features; items without the modality have no
edges), made symmetric by union, ``S_m = D^-1/2 G_m D^-1/2``, joined as ``S = sum w_m S_m``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from mmgrec.data import Bag, Dataset
from mmgrec.training import ValidationRecall
from mmgrec_plugins.representations.modalities import bag_matrix
from mmgrec_plugins.representations.sparse import FixedMatrix, normalized

__all__ = ["joined_item_graph", "modality_graphs", "modality_weights", "nearest_bags", "nearest_items"]


def nearest_items(features: Tensor, has: Tensor, *, num_neighbors: int, chunk: int = 2048) -> Tensor:
    """The items of highest cosine, themselves excluded.

    Args:
        features: ``[num_items, dim]``.
        has: ``[num_items]`` bool, True = the item has this modality.

    Returns:
        ``[num_items, num_neighbors]`` int64, -1 where there is none.
    """
    centred = features - features[has].mean(0)
    unit = torch.nn.functional.normalize(centred, dim=1).masked_fill(~has[:, None], 0.0)
    num_neighbors = min(num_neighbors, features.shape[0] - 1)
    parts = []
    for rows in torch.split(torch.arange(features.shape[0]), chunk):
        similarity = (unit[rows] @ unit.T).masked_fill(~has, -torch.inf)
        similarity[torch.arange(rows.numel()), rows] = -torch.inf
        best = similarity.topk(num_neighbors, dim=1)
        parts.append(best.indices.masked_fill(best.values.isinf() | ~has[rows, None], -1))
    return torch.cat(parts)


def nearest_bags(bag: Bag, *, num_neighbors: int, chunk: int = 2048) -> Tensor:
    """As `nearest_items`, of a sparse modality; only items that share a word are neighbours. -1 where there is none."""
    matrix = bag_matrix(bag)
    transposed = matrix.T.tocsr()
    num_neighbors = min(num_neighbors, bag.num_items - 1)
    parts = []
    for first in range(0, bag.num_items, chunk):
        similarity = torch.from_numpy((matrix[first : first + chunk] @ transposed).toarray())
        rows = torch.arange(similarity.shape[0])
        similarity[rows, rows + first] = 0.0
        best = similarity.topk(num_neighbors, dim=1)
        parts.append(best.indices.masked_fill(best.values <= 0, -1))
    return torch.cat(parts)


def modality_graphs(data: Dataset, *, num_neighbors: int) -> dict[str, FixedMatrix]:
    """``S_m`` of each modality: of the graph given with it (``<modality>_knn…``), or else of its features."""
    graphs = {}
    for modality in data.modalities:
        given = next((table for name, table in sorted(data.graphs.items()) if name.split("_knn")[0] == modality), None)
        neighbor = given
        if neighbor is None:
            neighbor = _nearest(data, modality, num_neighbors)
        graphs[modality] = normalized(_symmetric(neighbor))
    return graphs


def modality_weights(data: Dataset, graphs: Mapping[str, FixedMatrix], recall: ValidationRecall) -> dict[str, float]:
    """How much each modality says about taste: validation recall of its graph alone, as shares of one.

    A user's score of an item is the sum of the edges from their training items to it; nothing is trained.
    """
    train = sp.csr_array(
        (np.ones(len(data.train), dtype=np.float32), data.train.item.numpy(), data.train.offsets.numpy()),
        shape=(data.num_users, data.num_items),
    )
    value = {}
    for name, graph in graphs.items():

        def score(users: Tensor, matrix: Any = graph.matrix) -> Tensor:  # Any: scipy has no types here
            return torch.from_numpy((train[users.numpy()] @ matrix).toarray())

        value[name] = recall.of_scores(score)
    total = sum(value.values())
    return {name: share / total if total else 1.0 / len(value) for name, share in value.items()}


def joined_item_graph(graphs: Mapping[str, FixedMatrix], weights: Mapping[str, float]) -> FixedMatrix:
    """``S = sum w_m S_m``."""
    return FixedMatrix(sum(weights[name] * graphs[name].matrix for name in graphs).tocsr().astype(np.float32))


def _nearest(data: Dataset, modality: str, num_neighbors: int) -> Tensor:
    if modality in data.bags:
        return nearest_bags(data.bags[modality], num_neighbors=num_neighbors)
    return nearest_items(data.features[modality], data.has_feature(modality), num_neighbors=num_neighbors)


def _symmetric(neighbor: Tensor) -> Any:
    """Union of both directions as a 0/1 scipy matrix, without self edges."""
    num_items, width = neighbor.shape
    row = torch.arange(num_items).repeat_interleave(width)
    column = neighbor.reshape(-1)
    ok = (column >= 0) & (column != row)
    edges = sp.csr_array(
        (np.ones(int(ok.sum()), dtype=np.float32), (row[ok].numpy(), column[ok].numpy())), shape=(num_items, num_items)
    )
    both = edges + edges.T
    both.data[:] = 1.0
    return both.tocsr()
