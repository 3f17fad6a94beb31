"""SASRec (Kang & McAuley, ICDM 2018): causal self-attention over a user's items in the order of time.

Decisions:

- Input (Eq. 2): a vector of each item and of its place, counted from the newest; padding on the left is not looked at.
- Blocks (Eqs. 4-8): attention to items not later than oneself, then a feed-forward network, each with layer norm before
  it, dropout and a residual connection. The activation is GELU, not ReLU.
- Prediction (Eq. 9): the inner product of the last place's state with the same item vectors.
- Every place predicts the item after it, all places in one pass. The loss is the cross-entropy over all items, in
  a larger catalogue estimated from `num_negatives` of them; ``loss="bce"`` is the paper's, binary with one random
  negative a place.
- Of a training history longer than the window, each epoch takes a random stretch; the paper takes the newest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.generator import EncoderLayer, NetworkSettings
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations, Recommender
from mmgrec.ranking import rank_items
from mmgrec.training import Task, ValidationRecall, seeded, train
from mmgrec_plugins.recommenders.sequential.sequences import (
    MaskedAttention,
    SequenceTraining,
    history_from,
    history_state,
    last_items,
    load_network,
    network_state,
    require_order,
    window_batches,
)

__all__ = ["FittedSASRec", "SASRec", "SASRecNetwork", "SASRecTask"]


@dataclass(frozen=True, kw_only=True)
class SASRec(Recommender):
    """Self-attentive sequential recommendation; needs the order of the interactions, uses no features."""

    dim: Annotated[int, Ge(1)] = 64  # of item vectors and states
    num_layers: Annotated[int, Ge(1)] = 2  # the paper's 2
    num_heads: Annotated[int, Ge(1)] = 2
    head_dim: Annotated[int, Ge(1)] = 32
    feedforward_dim: Annotated[int, Ge(1)] = 64
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.5  # the paper's, for sparse data
    history_length: Annotated[int, Ge(1)] = 50  # T, items that are read; the paper's, for sparse data
    loss: Literal["softmax", "bce"] = "softmax"
    num_negatives: Annotated[int, Ge(0)] = 2048  # of the softmax, uniform, shared by a batch; 0 = all items
    training: SequenceTraining = field(default_factory=SequenceTraining)

    def fit(self, data: Dataset, context: Context) -> FittedSASRec:
        """Train, and stop on validation recall.

        Raises:
            DataError: if the interactions have no times.
        """
        require_order(data, "SASRec")
        fitted = self.untrained(data.train, context)
        recall = ValidationRecall(
            data, max_users=self.training.validation_users, generator=context.generator("validation users")
        )
        train(SASRecTask(fitted, recall), self.training, context, "train")
        return fitted

    def restore(self, state: dict[str, Tensor]) -> FittedSASRec:
        """The fitted model again, from its `state`."""
        fitted = self.untrained(history_from(state), Context())
        load_network(fitted.network, state)
        return fitted

    def untrained(self, history: Interactions, context: Context) -> FittedSASRec:
        """With first weights drawn from the context; the history is what it reads."""
        with seeded(context.generator("network")):
            network = SASRecNetwork(self, history.num_items)
        return FittedSASRec(method=self, network=network.to(context.device).eval(), history=history)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedSASRec(FittedRecommender):
    """Ranks by the state after the user's last item."""

    method: SASRec
    network: SASRecNetwork
    history: Interactions  # what is read

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        return rank_items(users, self.scores(users), top_k=top_k, exclusion=exclusion)

    @torch.no_grad()
    def scores(self, users: Tensor) -> Tensor:
        """``[B, num_items]``, of the items that may come next."""
        history = last_items(self.history, users, self.method.history_length)
        network = self.network
        state: Tensor = network(history.to(network.place.device))[:, -1]
        return state @ network.items.T

    def with_history(self, history: Interactions) -> FittedSASRec:
        return replace(self, history=history)

    def state(self) -> dict[str, Tensor]:
        return history_state(self.history) | network_state(self.network)


class SASRecNetwork(nn.Module):
    """Vectors of items and places, and causal blocks above them."""

    def __init__(self, settings: SASRec, num_items: int) -> None:
        super().__init__()
        self.item = nn.Embedding(num_items + 1, settings.dim, padding_idx=num_items)
        self.place = nn.Parameter(torch.empty(settings.history_length, settings.dim))  # the newest is the last row
        nn.init.normal_(self.item.weight[:num_items], std=0.02)
        nn.init.normal_(self.place, std=0.02)
        shape = NetworkSettings(
            dim=settings.dim,
            num_heads=settings.num_heads,
            head_dim=settings.head_dim,
            feedforward_dim=settings.feedforward_dim,
            dropout=settings.dropout,
        )
        self.drop = nn.Dropout(settings.dropout)
        self.layers = nn.ModuleList([EncoderLayer(shape, MaskedAttention(), 1) for _ in range(settings.num_layers)])
        self.norm = nn.LayerNorm(settings.dim)

    @property
    def items(self) -> Tensor:
        """``[num_items, dim]``."""
        return self.item.weight[:-1]

    def forward(self, history: Tensor) -> Tensor:
        """States ``[B, T, dim]`` after each item of ``[B, T]``, -1 on the left."""
        T = history.shape[1]
        real = history >= 0
        item = torch.where(real, history, self.item.num_embeddings - 1)
        x: Tensor = self.drop(self.item(item) + self.place[-T:])
        itself = torch.eye(T, dtype=torch.bool, device=x.device)  # padding has somebody to look at, too
        earlier = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        keep = (earlier & real[:, None, None]) | itself
        for layer in self.layers:
            x = layer(x, x, keep)
        return self.norm(x)  # type: ignore[no-any-return]


class SASRecTask(Task[Tensor]):
    """Every place of every training sequence predicts the item after it."""

    def __init__(self, fitted: FittedSASRec, recall: ValidationRecall) -> None:
        self.module = self.network = fitted.network
        self.fitted, self.settings, self.recall = fitted, fitted.method, recall
        self.users = (fitted.history.user_degree > 1).nonzero().flatten()

    def steps_per_epoch(self) -> int:
        return -(-self.users.numel() // self.settings.training.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        length = self.settings.history_length + 1
        size = self.settings.training.batch_size
        for _, items in window_batches(self.fitted.history, self.users, size, length, generator):
            yield items.to(self.network.place.device)

    def loss(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        real = batch[:, :-1] >= 0
        state = self.network(batch[:, :-1])[real]  # [M, dim]
        target = batch[:, 1:][real]  # [M]
        if self.settings.loss == "bce":
            return {"loss": self._binary(state, target, generator)}
        if not 0 < self.settings.num_negatives < self.network.items.shape[0]:
            return {"loss": F.cross_entropy(state @ self.network.items.T, target)}
        return {"loss": self._sampled(state, target, generator)}

    def _sampled(self, state: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """Cross-entropy over all items, the sum over the wrong ones estimated from a uniform sample."""
        num_items, count = self.network.items.shape[0], self.settings.num_negatives
        negative = torch.randint(num_items, (count,), generator=generator).to(target.device)
        right = (state * F.embedding(target, self.network.items)).sum(1, keepdim=True)
        wrong = state @ F.embedding(negative, self.network.items).T + math.log(num_items / count)
        wrong = wrong.masked_fill(target[:, None] == negative, -torch.inf)
        return F.cross_entropy(torch.cat([right, wrong], dim=1), torch.zeros_like(target))

    def _binary(self, state: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of the paper's Sec. III-F: one negative a place, drawn from all items but the target."""
        step = 1 + torch.randint(self.network.items.shape[0] - 1, target.shape, generator=generator)
        negative = (target + step.to(target.device)) % self.network.items.shape[0]
        logit = (state * F.embedding(torch.stack([target, negative]), self.network.items)).sum(2)  # [2, M]
        return -(F.logsigmoid(logit[0]) + F.logsigmoid(-logit[1])).mean()

    def validate(self) -> float | None:
        if not len(self.recall):
            return None
        return self.recall.of_scores(lambda users: self.fitted.scores(users).cpu())
