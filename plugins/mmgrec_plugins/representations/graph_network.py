"""The network of one member of a graph encoder: tables, convolution, item graph.

`graph_encoder` has the decisions, and says how settings are chosen and members joined; the losses are in `ranking`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec_plugins.representations.contrast import neighbouring_layers
from mmgrec_plugins.representations.modalities import centred_features
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork
from mmgrec_plugins.representations.sparse import FixedMatrix, bipartite, normalized

__all__ = ["GraphNetwork"]


class GraphNetwork(RankingNetwork):
    """Tables, convolution and item graph of one member; `forward` gives all representations at once."""

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        num_layers: int,
        convolution: Literal["sage", "light"] = "light",
        fuse: bool = False,
        free: bool = True,
        item_graph: FixedMatrix | None = None,
        graph_scale: float = 0.0,
        graph_first: bool = False,
        scale: float = 0.1,
        contrast: float = 0.0,
        contrast_temperature: float = 0.2,
    ) -> None:
        super().__init__()
        self.contrast, self.contrast_temperature = contrast, contrast_temperature
        self._layers: list[tuple[Tensor, Tensor]] = []  # of the last forward pass, where they are contrasted
        self.num_layers, self.convolution = num_layers, convolution
        self.item_graph, self.graph_scale, self.graph_first = item_graph, graph_scale, graph_first
        self.num_users, self.free_items = data.num_users, free
        self.user = nn.Parameter(torch.randn(data.num_users, dim) * scale)
        self.item = nn.Parameter(torch.randn(data.num_items, dim) * scale)
        liked = bipartite(data.train.user, data.train.item, num_users=data.num_users, num_items=data.num_items)
        self.adjacency = normalized(liked)
        self.fused: nn.Linear | None = None
        if fuse and data.features:
            features = torch.cat([centred_features(data, name) for name in data.features], dim=1)
            self.register_buffer("features", features, persistent=False)
            self.fused = nn.Linear(features.shape[1], dim, bias=False)
            nn.init.normal_(self.fused.weight, std=scale)
        if convolution == "sage":
            from torch_geometric.nn import SAGEConv

            self.sage = nn.ModuleList([SAGEConv(dim, dim) for _ in range(num_layers)])
            self.register_buffer("edges", FixedMatrix(liked).tensor(), persistent=False)  # PyG is fastest on this form

    def start(self) -> tuple[Tensor, Tensor]:
        """``x_u^(0) [U, D]`` and ``x_i^(0) [I, D]`` (Eq. 4)."""
        item: Tensor = self.item
        if self.fused is not None:
            item = item + self.fused(self.features) if self.free_items else self.fused(self.features)
        if self.item_graph is not None and self.graph_first:
            item = item + self.graph_scale * (self.item_graph @ item)
        return self.user, item

    def forward(self) -> tuple[Tensor, Tensor]:
        """Representations of all users ``[U, D]`` and items ``[I, D]``."""
        start_user, start_item = self.start()
        x = torch.cat([start_user, start_item])
        layers = [x]
        if self.convolution == "sage":
            for layer in self.sage:
                x = F.leaky_relu(layer(x, self.edges))  # Eq. 5
        else:
            total = x
            for _ in range(self.num_layers):
                x = self.adjacency @ x
                total = total + x
                layers.append(x)
            x = total / (self.num_layers + 1)
        user, item = x[: self.num_users], x[self.num_users :]
        if self.contrast and self.training:
            self._layers = [(layer[: self.num_users], layer[self.num_users :]) for layer in layers]
        if self.item_graph is not None and not self.graph_first:
            item = item + self.graph_scale * (self.item_graph @ start_item)
        return user, item

    def extra(self, batch: EdgeBatch, user: Tensor, item: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Neighbouring layers contrasted, where that is asked for."""
        layers, self._layers = self._layers, []
        if len(layers) < 2:
            return {}
        loss = neighbouring_layers(layers, batch.user, batch.item, temperature=self.contrast_temperature)
        return {"contrast": self.contrast * loss}
