"""Representations of users and items from the graph of training interactions (Eqs. 4, 5 and the BPR part of Eq. 10).

Decisions:

- Items start at ``W m_i + e_i`` (`fuse_features`, Eq. 4) or at a free vector e_i; users at a free vector.
- Convolution `sage` is Eq. 5 (PyG's SAGEConv and LeakyReLU, the last layer's output); `light` is LightGCN's: no
  weights, the mean over all layers.
- Item graphs of the modalities (see `item_graph`) enter after the convolution with BPR, ``x_i + s (S e)_i``, and before
  it with the softmax, ``e <- e + s S e``.
- Ranking losses: `bpr`, or `softmax` over cosines with temperature and negatives shared by the batch. With several,
  each is a member of its own and they are joined in inner-product form (see `joining`). The softmax has a member for
  each depth in `softmax_layers`: one without user-item convolution errs elsewhere than one with it.
- A choice that is left open (several values in a tuple) is made by validation recall: the choices of a member race, and
  after some epochs the worse half of them is left. A member that adds nothing to those before it is left then too.
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
from mmgrec.interfaces import CachedResult, Context, Representations
from mmgrec.training import TrainingSettings, ValidationRecall, calibrated, seeded
from mmgrec_plugins.representations.graph_network import GraphNetwork
from mmgrec_plugins.representations.item_graph import joined_item_graph, modality_graphs, modality_weights
from mmgrec_plugins.representations.joining import joined
from mmgrec_plugins.representations.ranking import Best, Loss, RankingTask, raced
from mmgrec_plugins.representations.sparse import FixedMatrix

__all__ = ["EncoderFit", "GraphEncoder", "place_cold_items"]

_SMALL_BATCH, _LARGE_BATCH = 4096, 8192  # edges


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
    temperature: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.2, 0.15, 0.3)  # softmax; by validation
    contrast: Annotated[float, Ge(0)] = 0.0  # weight of neighbouring layers as contrast pairs (NLGCL), with bpr
    num_negatives: Annotated[int, Ge(1)] = 500  # of the softmax, shared by a batch
    rank: Annotated[int, Ge(0)] = (
        128  # members together are folded to at most this many dimensions; 0: left as they are
    )
    sharpness: Annotated[float, Gt(0)] = 1.0  # factor on the scores after calibration
    batch_size: Annotated[int, Ge(0)] = 0  # edges; 0: a sixteenth of all, from 4,096 to 8,192
    epochs: Annotated[int, Ge(0)] = 300
    learning_rate: Annotated[float, Gt(0)] = 5e-3  # at 4,096 edges; with batch_size 0 it grows as the batch's root
    rungs: tuple[Annotated[int, Ge(1)], ...] = (10, 30)  # epochs after which the worse half of the choices is left
    patience: Annotated[int, Ge(1)] = 6  # validations
    validate_every: Annotated[int, Ge(1)] = 5  # epochs
    validation_users: Annotated[int, Ge(1)] = 10_000  # at most, a seeded sample

    def fit(self, data: Dataset, context: Context) -> Representations:
        """Train the members, join them, and give items without a training interaction a place."""

        def fitted() -> CachedResult:
            return {"representations": vars(EncoderFit.of(self, data, context).representations())}, {}

        groups, _ = context.get_or_make(self, fitted)
        return Representations(**groups["representations"])

    def batch_of(self, data: Dataset) -> int:
        """Edges of a batch."""
        return self.batch_size or min(max(-(-len(data.train) // 16), _SMALL_BATCH), _LARGE_BATCH)

    def training(self, data: Dataset) -> TrainingSettings:
        """The settings of the one training loop."""
        growth = 1.0 if self.batch_size else (self.batch_of(data) / _SMALL_BATCH) ** 0.5
        return TrainingSettings(
            epochs=self.epochs,
            learning_rate=self.learning_rate * growth,
            patience=self.patience,
            validate_every=self.validate_every,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderFit:
    """One fit of a `GraphEncoder`: what its members share, and the steps that they go through."""

    encoder: GraphEncoder
    data: Dataset
    context: Context
    recall: ValidationRecall  # chooses where a setting has several values, and when to stop
    item_graph: FixedMatrix | None  # S; None without features or scale

    @classmethod
    def of(cls, encoder: GraphEncoder, data: Dataset, context: Context) -> EncoderFit:
        """With the item graph, its modalities weighted by what each says on validation."""
        recall = ValidationRecall(
            data, max_users=encoder.validation_users, generator=context.generator("validation users")
        )
        item_graph = None
        if data.modalities and max(encoder.item_graph_scale) != 0:
            item_graph, weights = _item_graph(data, recall, encoder.num_neighbors)
            context.reporter.note("item graph: " + ", ".join(f"{name} {share:.2f}" for name, share in weights.items()))
        return cls(encoder=encoder, data=data, context=context, recall=recall, item_graph=item_graph)

    def representations(self) -> Representations:
        """All members, trained, joined and calibrated."""
        encoder, reporter = self.encoder, self.context.reporter
        members: dict[str, Representations] = {}
        temperatures = encoder.temperature
        for loss in encoder.losses:
            for layers in encoder.softmax_layers if loss == "softmax" else (encoder.num_layers,):
                best, value = self.member(
                    loss, layers, beside=tuple(members.values()), temperatures=temperatures if encoder.rungs else None
                )
                if best.wanted:
                    members[f"{loss}-{layers}"] = best.representations
                if loss == "softmax":  # what one depth likes, the others like
                    temperatures = (value,)
        small, weights = self._joined(*members.values())
        if len(members) > 1:
            reporter.note(f"members joined by validation: {dict(zip(members, weights, strict=True))}")
        result = calibrated(self.with_cold_items(small), self.data, self.context.generator("calibration"))
        value = self.recall.of_scores(lambda users: result.user[users] @ result.item.T)
        reporter.note(f"representations: {result.dim} dimensions, recall@10 {value:.4f} on validation")
        return Representations(user=result.user * encoder.sharpness, item=result.item)

    def _joined(self, *members: Representations) -> tuple[Representations, tuple[float, ...]]:
        rank = self.encoder.rank or sum(member.dim for member in members)
        return joined(members, self.recall, rank=rank)

    def member(
        self,
        loss: Loss,
        num_layers: int,
        *,
        beside: tuple[Representations, ...] = (),
        temperatures: tuple[float, ...] | None = None,
    ) -> tuple[Best, float]:
        """By one loss at one depth; validation chooses what is left open, then the scale of the item graph.

        Args:
            loss: of the member.
            num_layers: its depth.
            beside: members before it; it is wanted if it adds something to them.
            temperatures: to choose from; None: the settings'.

        Returns:
            The member, and its regularization or temperature.
        """
        encoder = self.encoder

        def name(value: float, scale: float) -> str:  # part of the random streams' names
            if loss == "bpr":
                return f"bpr-{value:g}-{scale:g}"
            return f"softmax-{num_layers}" + (f"-{value:g}" if len(encoder.temperature) > 1 else "")

        def wanted(found: Representations) -> bool:
            return not beside or not len(self.recall) or self._joined(*beside, found)[1][-1] > 0

        def best(choices: list[tuple[float, float]], wanted: Callable[[Representations], bool] | None) -> Best:
            tasks = {
                name(value, scale): self.task(
                    loss, regularization=value, temperature=value, scale=scale, num_layers=num_layers
                )
                for value, scale in choices
            }
            settings = encoder.training(self.data)
            return raced(tasks, settings, self.context, "graph", rungs=encoder.rungs, wanted=wanted)

        first, *others = encoder.item_graph_scale
        values = (temperatures or encoder.temperature) if loss == "softmax" else encoder.regularization
        strongest = best([(value, first) for value in values], wanted)
        value = values[strongest.place]
        if not strongest.wanted or loss == "softmax" or not others or self.item_graph is None:
            return strongest, value
        other = best([(value, scale) for scale in others], None)
        return max(strongest, other, key=lambda candidate: candidate.score), value

    def task(
        self,
        loss: Loss,
        *,
        regularization: float = 0.0,
        temperature: float = 1.0,
        scale: float | None = None,
        num_layers: int | None = None,
    ) -> RankingTask:
        """One member, ready to be trained; item graph and layers by default the first of the settings."""
        encoder = self.encoder
        scale = encoder.item_graph_scale[0] if scale is None else scale
        if num_layers is None:
            num_layers = encoder.softmax_layers[0] if loss == "softmax" else encoder.num_layers
        with seeded(self.context.generator("start", loss, num_layers)):
            network = GraphNetwork(
                self.data,
                dim=encoder.dim,
                num_layers=num_layers,
                convolution=encoder.convolution,
                fuse=encoder.fuse_features,
                free=encoder.free_items,
                item_graph=self.item_graph,
                graph_scale=scale * (0.5 if loss == "softmax" else 1.0),
                graph_first=loss == "softmax",
                contrast=encoder.contrast if loss == "bpr" else 0.0,
            )
        return RankingTask(
            network.to(self.context.device),
            self.data,
            loss=loss,
            regularization=regularization,  # not read by the softmax
            temperature=temperature,  # not read by BPR
            num_negatives=encoder.num_negatives,
            batch_size=encoder.batch_of(self.data),
            recall=self.recall,
        )

    def with_cold_items(self, given: Representations) -> Representations:
        """Items without a training interaction get a vector from their features, unless Eq. 4 gave them one."""
        data, item_graph = self.data, self.item_graph
        if self.encoder.fuse_features or not (data.train.item_degree == 0).any():
            return given
        if item_graph is None and data.modalities:
            item_graph, _ = _item_graph(data, self.recall, self.encoder.num_neighbors)
        return place_cold_items(given, data, item_graph, self.recall)


def _item_graph(data: Dataset, recall: ValidationRecall, num_neighbors: int) -> tuple[FixedMatrix, dict[str, float]]:
    """``S``, and the weights of its modalities."""
    graphs = modality_graphs(data, num_neighbors=num_neighbors)
    weights = modality_weights(data, graphs, recall)
    return joined_item_graph(graphs, weights), weights


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
        placed = scaled(factor)
        return lambda users: placed.user[users] @ placed.item.T

    if not len(recall):
        return scaled(1.0)
    values = {factor: recall.of_scores(scorer(factor)) for factor in (1.0, 0.75, 0.5, 0.25)}  # ties: the longest
    return scaled(max(values, key=lambda factor: values[factor]))
