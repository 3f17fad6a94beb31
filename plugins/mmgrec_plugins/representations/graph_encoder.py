"""Representations of users and items from the graph of training interactions (Eqs. 4, 5 and the BPR part of Eq. 10).

Decisions:

- Items start at ``W m_i + e_i`` (`fuse_features`, Eq. 4) or at a free vector e_i; users at a free vector.
- Convolution `sage` is Eq. 5 (PyG's SAGEConv and LeakyReLU, the last layer's output); `light` is LightGCN's: no
  weights, the mean over all layers.
- Item graphs of the modalities (see `item_graph`) enter after the convolution with BPR, ``x_i + s (S e)_i``, and before
  it with the softmax, ``e <- e + s S e``.
- Ranking losses: `bpr`, or `softmax` over cosines with temperature and negatives shared by the batch. With several,
  each is a member of its own and they are joined in inner-product form (see `ensemble`). The softmax has a member for
  each depth in `softmax_layers`: one without user-item convolution errs elsewhere than one with it.
- A choice that is left open (several values in a tuple) is made by validation recall.
- Items without a training interaction get their vectors from the items that their features resemble.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Representations
from mmgrec.training import TrainingSettings, ValidationRecall, seeded
from mmgrec_plugins.representations.graph_network import GraphNetwork
from mmgrec_plugins.representations.item_graph import joined_item_graph, modality_graphs, modality_weights
from mmgrec_plugins.representations.joining import calibrated, joined
from mmgrec_plugins.representations.ranking import Best, Loss, RankingTask, best_of
from mmgrec_plugins.representations.sparse import FixedMatrix

__all__ = ["GraphEncoder", "place_cold_items"]


@dataclass(frozen=True, kw_only=True)
class GraphEncoder:
    """How users and items get their representations."""

    dim: Annotated[int, Ge(1)] = 128  # of each member
    num_layers: Annotated[int, Ge(0)] = 2  # with bpr
    softmax_layers: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)] = (2, 0)  # with softmax, a member each
    convolution: Literal["sage", "light"] = "light"
    fuse_features: bool = False  # Eq. 4: items start at W m_i + e_i
    free_items: bool = True  # False: without the e_i of Eq. 4 where features are fused (the released code)
    losses: Annotated[tuple[Loss, ...], MinLen(1)] = ("bpr", "softmax")
    item_graph_scale: Annotated[tuple[float, ...], MinLen(1)] = (1.0,)  # s with bpr; with softmax half of the first
    num_neighbors: Annotated[int, Ge(1)] = 10  # of an item in a modality's graph
    regularization: Annotated[tuple[float, ...], MinLen(1)] = (3e-3, 1e-2)  # L2 with bpr; several: by validation
    temperature: Annotated[float, Gt(0)] = 0.2  # of the softmax
    num_negatives: Annotated[int, Ge(1)] = 500  # of the softmax, shared by a batch
    rank: Annotated[int, Ge(0)] = (
        128  # members together are folded to at most this many dimensions; 0: left as they are
    )
    sharpness: Annotated[float, Gt(0)] = 1.0  # factor on the scores after calibration
    batch_size: Annotated[int, Ge(1)] = 4096  # edges
    epochs: Annotated[int, Ge(0)] = 300
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    patience: Annotated[int, Ge(1)] = 6  # validations
    validate_every: Annotated[int, Ge(1)] = 5  # epochs
    validation_users: Annotated[int, Ge(1)] = 10_000  # at most, a seeded sample

    def fit(self, data: Dataset, context: Context) -> Representations:
        """Train the members, join them, and give items without a training interaction a place."""
        groups, _ = context.get_or_make(self, lambda: ({"representations": vars(self._fitted(data, context))}, {}))
        return Representations(**groups["representations"])

    def _fitted(self, data: Dataset, context: Context) -> Representations:
        recall = ValidationRecall(
            data, max_users=self.validation_users, generator=context.generator("validation users")
        )
        item_graph = self.item_graph(data, recall, context)
        names, members = [], []
        for loss in self.losses:
            for layers in self.softmax_layers if loss == "softmax" else (self.num_layers,):
                names.append(f"{loss}-{layers}")
                members.append(self._member(loss, layers, data, item_graph, recall, context))
        dim = sum(one.dim for one in members)
        small, weights = joined(members, recall, rank=self.rank or dim)
        if len(members) > 1:
            context.reporter.note(f"members joined by validation: {dict(zip(names, weights, strict=True))}")
        placed = self.with_cold_items(small, data, item_graph, recall)
        result = calibrated(placed, data, context.generator("calibration"))
        value = recall.of_scores(lambda users: result.user[users] @ result.item.T)
        context.reporter.note(f"representations: {result.dim} dimensions, recall@10 {value:.4f} on validation")
        return Representations(user=result.user * self.sharpness, item=result.item)

    def training(self) -> TrainingSettings:
        """The settings of the one training loop."""
        return TrainingSettings(
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            patience=self.patience,
            validate_every=self.validate_every,
        )

    def item_graph(self, data: Dataset, recall: ValidationRecall, context: Context) -> FixedMatrix | None:
        """``S``, its modalities weighted by what each says on validation; None without features or scale."""
        if not data.modalities or not max(self.item_graph_scale):
            return None
        graphs = modality_graphs(data, num_neighbors=self.num_neighbors)
        weights = modality_weights(data, graphs, recall)
        context.reporter.note("item graph: " + ", ".join(f"{name} {share:.2f}" for name, share in weights.items()))
        return joined_item_graph(graphs, weights)

    def task(
        self,
        data: Dataset,
        item_graph: FixedMatrix | None,
        recall: ValidationRecall,
        context: Context,
        *,
        loss: Loss,
        regularization: float,
        scale: float | None = None,
        num_layers: int | None = None,
    ) -> RankingTask:
        """One member, ready to be trained; item graph and layers by default the first of the settings."""
        scale = self.item_graph_scale[0] if scale is None else scale
        if num_layers is None:
            num_layers = self.softmax_layers[0] if loss == "softmax" else self.num_layers
        with seeded(context.generator("start", loss, num_layers)):
            network = GraphNetwork(
                data,
                dim=self.dim,
                num_layers=num_layers,
                convolution=self.convolution,
                fuse=self.fuse_features,
                free=self.free_items,
                item_graph=item_graph,
                graph_scale=scale * (0.5 if loss == "softmax" else 1.0),
                graph_first=loss == "softmax",
            )
        return RankingTask(
            network.to(context.device),
            data,
            loss=loss,
            regularization=regularization,
            temperature=self.temperature,
            num_negatives=self.num_negatives,
            batch_size=self.batch_size,
            recall=recall,
        )

    def with_cold_items(
        self, given: Representations, data: Dataset, item_graph: FixedMatrix | None, recall: ValidationRecall
    ) -> Representations:
        """Items without a training interaction get a vector from their features, unless Eq. 4 gave them one."""
        if self.fuse_features or not (data.train.item_degree == 0).any():
            return given
        if item_graph is None and data.modalities:
            graphs = modality_graphs(data, num_neighbors=self.num_neighbors)
            item_graph = joined_item_graph(graphs, modality_weights(data, graphs, recall))
        return place_cold_items(given, data, item_graph, recall)

    def _member(
        self,
        loss: Loss,
        layers: int,
        data: Dataset,
        item_graph: FixedMatrix | None,
        recall: ValidationRecall,
        context: Context,
    ) -> Representations:
        """By one loss at one depth; validation chooses the regularization, then the scale of the item graph."""

        def best(choices: list[tuple[float, float]]) -> Best:
            tasks = (
                (
                    f"softmax-{layers}" if loss == "softmax" else f"bpr-{strength:g}-{scale:g}",
                    self.task(
                        data,
                        item_graph,
                        recall,
                        context,
                        loss=loss,
                        regularization=strength,
                        scale=scale,
                        num_layers=layers,
                    ),
                )
                for strength, scale in choices
            )
            return best_of(tasks, self.training(), context, "graph")

        first, *others = self.item_graph_scale
        if loss == "softmax":  # it has no regularization
            return best([(0.0, first)]).representations
        found = best([(strength, first) for strength in self.regularization])
        if not others or item_graph is None:
            return found.representations
        strength = self.regularization[found.place]
        other = best([(strength, scale) for scale in others])
        return max(found, other, key=lambda one: one.score).representations


def place_cold_items(
    given: Representations, data: Dataset, item_graph: FixedMatrix | None, recall: ValidationRecall
) -> Representations:
    """Items without a training interaction take the mean of the items that resemble them, at a length by validation.

    Where nothing resembles a cold item it takes the mean of all items.
    """
    cold = data.train.item_degree == 0
    warm_mean = given.item[~cold].mean(0)
    guess = warm_mean.expand(int(cold.sum()), -1)
    if item_graph is not None:
        weight = item_graph.times(
            torch.cat([given.item, torch.ones(data.num_items, 1)], 1).masked_fill(cold[:, None], 0.0)
        )
        total = weight[cold, -1:]
        guess = torch.where(total > 0, weight[cold, :-1] / total.clamp_min(1e-12), guess)

    def scaled(factor: float) -> Representations:
        item = given.item.clone()
        item[cold] = guess * factor
        return Representations(user=given.user, item=item)

    def scorer(factor: float) -> Callable[[Tensor], Tensor]:
        one = scaled(factor)
        return lambda users: one.user[users] @ one.item.T

    if not len(recall):
        return scaled(1.0)
    values = {factor: recall.of_scores(scorer(factor)) for factor in (1.0, 0.75, 0.5, 0.25)}  # ties: the longest
    return scaled(max(values, key=lambda factor: values[factor]))
