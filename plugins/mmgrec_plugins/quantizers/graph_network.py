"""The network and the training task behind `graph`: tables, convolution, item graph, and one ranking loss.

See `graph` for the decisions; this module knows nothing of how settings are chosen or members joined.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Representations
from mmgrec.training import Task
from mmgrec.validation import ValidationRecall
from mmgrec_plugins._sparse import FixedMatrix, bipartite, normalized

__all__ = ["GraphNetwork", "GraphTask", "Loss", "centred_features"]

Loss = Literal["bpr", "softmax"]


class GraphNetwork(nn.Module):
    """Tables, convolution and item graph of one member; `forward` gives all representations at once."""

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        num_layers: int,
        convolution: Literal["sage", "light"],
        fuse: bool,
        item_graph: FixedMatrix | None,
        graph_scale: float,
        graph_first: bool,
        scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_layers, self.convolution = num_layers, convolution
        self.item_graph, self.graph_scale, self.graph_first = item_graph, graph_scale, graph_first
        self.num_users = data.num_users
        self.user = nn.Parameter(torch.randn(data.num_users, dim) * scale)
        self.item = nn.Parameter(torch.randn(data.num_items, dim) * scale)
        sizes = {"num_users": data.num_users, "num_items": data.num_items}
        self.adjacency = normalized(bipartite(data.train.user, data.train.item, **sizes))
        self.fused: nn.Linear | None = None
        if fuse and data.features:
            features = torch.cat([centred_features(data, name) for name in data.features], dim=1)
            self.register_buffer("features", features, persistent=False)
            self.fused = nn.Linear(features.shape[1], dim, bias=False)
            nn.init.normal_(self.fused.weight, std=scale)
        if convolution == "sage":
            from torch_geometric.nn import SAGEConv

            self.sage = nn.ModuleList([SAGEConv(dim, dim) for _ in range(num_layers)])
            pairs = torch.stack([data.train.user, data.train.item + data.num_users])
            self.register_buffer(
                "edges", _csr(torch.cat([pairs, pairs.flip(0)], 1), sum(sizes.values())), persistent=False
            )

    def start(self) -> tuple[Tensor, Tensor]:
        """``x_u^(0) [U, D]`` and ``x_i^(0) [I, D]`` (Eq. 4)."""
        item: Tensor = self.item
        if self.fused is not None:
            item = item + self.fused(self.features)
        if self.item_graph is not None and self.graph_first:
            item = item + self.graph_scale * (self.item_graph @ item)
        return self.user, item

    def forward(self) -> tuple[Tensor, Tensor]:
        """Representations of all users ``[U, D]`` and items ``[I, D]``."""
        start_user, start_item = self.start()
        x = torch.cat([start_user, start_item])
        if self.convolution == "sage":
            for layer in self.sage:
                x = F.leaky_relu(layer(x, self.edges))  # Eq. 5
        else:
            total = x
            for _ in range(self.num_layers):
                x = self.adjacency @ x
                total = total + x
            x = total / (self.num_layers + 1)
        user, item = x[: self.num_users], x[self.num_users :]
        if self.item_graph is not None and not self.graph_first:
            item = item + self.graph_scale * (self.item_graph @ start_item)
        return user, item


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    user: Tensor  # [E] int64
    item: Tensor  # [E] int64
    negative: Tensor  # bpr: [E], one for each edge; softmax: [num_negatives], shared


class GraphTask(Task[_Batch]):
    """Trains a `GraphNetwork` on batches of edges with one ranking loss."""

    def __init__(
        self,
        network: GraphNetwork,
        data: Dataset,
        *,
        loss: Loss,
        regularization: float,
        temperature: float,
        num_negatives: int,
        batch_size: int,
        recall: ValidationRecall,
    ) -> None:
        self.module = self.network = network
        self.data, self.recall = data, recall
        self.kind, self.regularization = loss, regularization
        self.temperature, self.num_negatives, self.batch_size = temperature, num_negatives, batch_size

    def steps_per_epoch(self) -> int:
        return -(-len(self.data.train) // self.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[_Batch]:
        train, device = self.data.train, self.network.user.device
        for edges in torch.split(torch.randperm(len(train), generator=generator), self.batch_size):
            count = edges.numel() if self.kind == "bpr" else self.num_negatives
            negative = torch.randint(self.data.num_items, (count,), generator=generator)
            yield _Batch(
                user=train.user[edges].to(device), item=train.item[edges].to(device), negative=negative.to(device)
            )

    def loss(self, batch: _Batch, generator: torch.Generator) -> dict[str, Tensor]:
        user, item = self.network()
        if self.kind == "bpr":
            return self._bpr(batch, user, item)
        return self._softmax(batch, user, item)

    def _bpr(self, batch: _Batch, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        x_u, x_i, x_j = F.embedding(batch.user, user), F.embedding(batch.item, item), F.embedding(batch.negative, item)
        bpr = -F.logsigmoid((x_u * (x_i - x_j)).sum(1)).mean()
        free = [(batch.user, self.network.user), (batch.item, self.network.item), (batch.negative, self.network.item)]
        norm = torch.stack([F.embedding(index, table).pow(2).sum() for index, table in free]).sum()
        return {"loss": bpr + 0.5 * self.regularization * norm / batch.user.numel(), "bpr": bpr}

    def _softmax(self, batch: _Batch, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        x_u = F.normalize(F.embedding(batch.user, user), dim=1)
        x_i = F.normalize(F.embedding(batch.item, item), dim=1)
        x_j = F.normalize(F.embedding(batch.negative, item), dim=1)
        positive = (x_u * x_i).sum(1, keepdim=True)
        logits = torch.cat([positive, x_u @ x_j.T], dim=1) / self.temperature
        return {"loss": -F.log_softmax(logits, dim=1)[:, 0].mean()}

    def validate(self) -> float | None:
        if not len(self.recall):
            return None
        found = self.representations()
        return self.recall.of_scores(lambda users: found.user[users] @ found.item.T)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Users ``[U, D]`` and items ``[I, D]`` whose inner product ranks as the loss does."""
        user, item = self.network()
        if self.kind == "softmax":
            user, item = F.normalize(user, dim=1) / self.temperature, F.normalize(item, dim=1)
        return user, item

    @torch.no_grad()
    def representations(self) -> Representations:
        """What the member says now."""
        user, item = self.vectors()
        return Representations(user=user.cpu(), item=item.cpu())


def centred_features(data: Dataset, modality: str) -> Tensor:
    """A modality centred on the items that have it and scaled to mean norm one; 0 where it is missing."""
    has, table = data.has_feature(modality), data.features[modality]
    if not has.any():
        return torch.zeros_like(table)
    centred = (table - table[has].mean(0)).masked_fill(~has[:, None], 0.0)
    scale: Tensor = centred[has].norm(dim=1).mean().clamp_min(1e-12)
    return centred / scale


def _csr(edges: Tensor, size: int) -> Tensor:
    """The adjacency ``[size, size]`` of edges ``[2, E]`` (from, to), rows are receivers; the form PyG is fastest on."""
    order = (edges[1] * size + edges[0]).argsort()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR support a beta
        return torch.sparse_coo_tensor(
            edges.flip(0)[:, order], torch.ones(edges.shape[1]), (size, size), is_coalesced=True
        ).to_sparse_csr()
