"""LightGT (Wei et al., "LightGT: A Light Graph Transformer for Multimedia Recommendation", SIGIR 2023).

- Collaborative part: ``x_u, x_i = LightGCN(e)`` and ``y = x_u . x_i``.
- For each modality m a Transformer over the set {user, items of their history} with inputs ``z_u`` (free, shared by the
  modalities) and ``v_i^m = W_m f_i + b_m``. In layer l the positions ``p^l = sigma(P_m g^l)``, of users and items
  alike, come from LightGCN; they are added to queries and keys, not to values. A layer is attention and a norm alone
  (`history_attention`). ``s_u^m = leaky(D_m out_u + d_m)``.
- ``y_ui = w x_u . x_i + (1 - w) sum_m s_u^m . v_i^m``, BPR, L2 regularization. With the softmax in place of BPR the
  cosine is that of all parts side by side.

Decisions:

- ``g^l`` is the mean of LightGCN's layers up to l, without a gradient. (In the authors' code a list shared by all l
  makes it the mean of all layers each time.)
- One head, and logits divided by sqrt(D); the authors' code divides by a hundred more.
- A history longer than `max_history` is represented by a random part: another each epoch, one and the same in
  inference.
- The interactions of a batch are hidden from the histories that are read for it, unless they are more than half of all:
  in the authors' code a user's history holds the item that is to be found. ``hide_targets = false`` is their way.
- An item without the modality is no key there, and has a learnt vector in place of ``v_i^m`` when it is ranked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.history_attention import Histories, LightAttention, blocks
from mmgrec_plugins.recommenders.multimodal.shared import free_table, require_modalities, user_item_graph
from mmgrec_plugins.representations.modalities import ModalityProjection
from mmgrec_plugins.representations.ranking import EdgeBatch, RankingNetwork

__all__ = ["LightGT", "LightGTNetwork", "ModalityEncoder"]


class ModalityEncoder(nn.Module):
    """What users want of one modality, read from their histories."""

    def __init__(self, data: Dataset, modality: str, *, dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.projection = ModalityProjection(data, modality, dim)
        self.place = nn.Linear(dim, dim)  # P_m
        self.layers = nn.ModuleList([LightAttention(dim, dropout) for _ in range(num_layers)])
        self.dense = nn.Linear(dim, dim)  # D_m, d_m

    def forward(
        self, user: Tensor, items: Tensor, table: Tensor, place_user: list[Tensor], place_item: list[Tensor]
    ) -> Tensor:
        """``s_u [B, D]``.

        Args:
            user: ``[B, D]`` z_u.
            items: ``[B, T]`` int64, filled up with -1.
            table: ``[I, D]`` what the projection gives.
            place_user: ``[B, D]`` a layer, the positions of these users.
            place_item: ``[I, D]`` a layer, the positions of all items.
        """
        there = items.clamp_min(0)
        has = (items >= 0) & ~self.projection.missing[there, 0]
        keep = torch.cat([has.new_ones(has.shape[0], 1), has], dim=1)
        x = torch.cat([user[:, None], F.embedding(there, table)], dim=1)
        for number, layer in enumerate(self.layers):
            position = torch.cat([place_user[number][:, None], F.embedding(there, place_item[number])], dim=1)
            x = layer(x, position, keep, rows=1 if number == len(self.layers) - 1 else None)
        return F.leaky_relu(self.dense(x[:, 0]))


class LightGTNetwork(RankingNetwork):
    """LightGCN, and an encoder of histories for each modality.

    Args:
        data: the training part and the features are used.
        dim: D.
        num_layers: of LightGCN.
        num_encoder_layers: of the Transformers.
        id_weight: w.
        max_history: items of a user that are read, at most.
        dropout: of attention weights.
        hide_targets: whether the interactions of a batch are hidden from its histories.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        dim: int,
        num_layers: int,
        num_encoder_layers: int,
        id_weight: float,
        max_history: int,
        dropout: float,
        hide_targets: bool,
    ) -> None:
        super().__init__()
        self.num_layers, self.num_encoder_layers = num_layers, num_encoder_layers
        self.id_weight, self.max_history, self.hide_targets = id_weight, max_history, hide_targets
        self.user, self.item = free_table(data.num_users, dim), free_table(data.num_items, dim)
        self.reader = free_table(data.num_users, dim)  # z_u
        self.encoders = nn.ModuleDict(
            {
                name: ModalityEncoder(data, name, dim=dim, num_layers=num_encoder_layers, dropout=dropout)
                for name in data.modalities
            }
        )
        self.adjacency, self.train_part = user_item_graph(data), data.train
        self.whole = self.read = Histories.drawn(data.train, max_history)

    def begin_epoch(self, generator: torch.Generator) -> None:
        self.read = Histories.drawn(self.train_part, self.max_history, generator)

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        return [*super().free(batch), F.embedding(batch.user, self.reader)]

    def forward(self) -> tuple[Tensor, Tensor]:
        """``[w x_u, (1 - w) s_u^m ..]`` and ``[x_i, v_i^m ..]``; while training ``[x, g^1 .. g^L]`` of both.

        The loss needs the histories of its own users alone, so that training leaves the encoders to `compared`.
        """
        x, positions = self._collaborative()
        num_users = self.user.shape[0]
        if self.training:
            both = torch.cat([x, *positions], dim=1)
            return both[:num_users], both[num_users:]
        wanted, shown = self._modal(
            torch.arange(num_users, device=x.device),
            [position[:num_users] for position in positions],
            [position[num_users:] for position in positions],
            self.whole,
        )
        return self._weighed(x[:num_users], wanted), torch.cat([x[num_users:], *shown], dim=1)

    def compared(self, batch: EdgeBatch, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` gives in inference, for a batch; user and item are what it gives while training."""
        x_u, *place_user = user.chunk(1 + self.num_encoder_layers, dim=1)
        x_i, *place_item = item.chunk(1 + self.num_encoder_layers, dim=1)
        readers, which = torch.unique(batch.user, return_inverse=True)
        few = 2 * batch.user.numel() <= len(self.train_part)
        hidden = batch.user * self.item.shape[0] + batch.item if self.hide_targets and few else None
        wanted, shown = self._modal(
            readers, [vectors[readers] for vectors in place_user], place_item, self.read, hidden
        )
        table = torch.cat([x_i, *shown], dim=1)
        whole = self._weighed(F.embedding(batch.user, x_u), [F.embedding(which, vectors) for vectors in wanted])
        return whole, F.embedding(batch.item, table), F.embedding(batch.negative, table)

    def _weighed(self, x: Tensor, wanted: list[Tensor]) -> Tensor:
        """``[w x_u, (1 - w) s_u^m ..]``"""
        return torch.cat([self.id_weight * x, *((1.0 - self.id_weight) * vectors for vectors in wanted)], dim=1)

    def _collaborative(self) -> tuple[Tensor, list[Tensor]]:
        """LightGCN's x, and ``g^1 .. g^L``, each ``[U + I, D]``, users first."""
        layer = total = torch.cat([self.user, self.item])
        means = [total]
        for number in range(max(self.num_layers, self.num_encoder_layers)):
            layer = self.adjacency @ layer
            total = total + layer
            means.append(total / (number + 2))
        return means[self.num_layers], [mean.detach() for mean in means[1 : self.num_encoder_layers + 1]]

    def _modal(
        self,
        users: Tensor,
        place_user: list[Tensor],
        place_item: list[Tensor],
        histories: Histories,
        hidden: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """``s_u [B, D]`` of some users, and ``v_i [I, D]``, for each modality.

        Interactions ``user * I + item`` in `hidden` are not read.
        """
        batches = [(index.to(users.device), items.to(users.device)) for index, items in blocks(histories, users.cpu())]
        if hidden is not None:
            keys = [users[chosen, None] * self.item.shape[0] + items for chosen, items in batches]
            batches = [
                (chosen, items.masked_fill(torch.isin(key, hidden), -1))
                for (chosen, items), key in zip(batches, keys, strict=True)
            ]
        wanted, shown = [], []
        for encoder in self.encoders.values():
            assert isinstance(encoder, ModalityEncoder)
            table = encoder.projection()
            item_positions = [torch.sigmoid(encoder.place(position)) for position in place_item]
            user_positions = [torch.sigmoid(encoder.place(position)) for position in place_user]
            parts = [
                encoder(
                    self.reader[users[chosen]],
                    items,
                    table,
                    [position[chosen] for position in user_positions],
                    item_positions,
                )
                for chosen, items in batches
            ]
            order = torch.cat([chosen for chosen, _ in batches]).argsort()
            wanted.append(torch.cat(parts)[order])
            shown.append(table)
        return wanted, shown


@dataclass(frozen=True, kw_only=True)
class LightGT(FactorRecommender):
    """LightGCN beside Transformers that read a user's history, one for each modality."""

    num_layers: Annotated[int, Ge(0)] = 3  # of LightGCN
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    num_encoder_layers: Annotated[int, Ge(1)] = 1  # of the Transformers
    id_weight: Annotated[float, Ge(0), Le(1)] = 0.8  # of the collaborative part of the score
    max_history: Annotated[int, Ge(1)] = 50  # items of a user that are read
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1  # of attention weights
    hide_targets: bool = True  # the interactions of a batch are hidden from its histories, if they are at most half

    def network(self, data: Dataset, *, dim: int, context: Context) -> LightGTNetwork:
        require_modalities(data)
        return LightGTNetwork(
            data,
            dim=dim,
            num_layers=self.num_layers,
            num_encoder_layers=self.num_encoder_layers,
            id_weight=self.id_weight,
            max_history=self.max_history,
            dropout=self.dropout,
            hide_targets=self.hide_targets,
        )
