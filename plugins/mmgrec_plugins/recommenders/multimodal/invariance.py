"""The two modules that InvRL runs in turn: environments of interactions, and gates of features that hold in all.

Both stand on representations that stay as they are: users ``[a_u, c_u]`` and free item vectors v_i, so that
``y_ui = a_u . v_i + c_u . W f_i`` depends on W and on which features f_i are seen. Losses are UltraGCN's, summed over
512 interactions, the authors' batch, so that their weights of the terms keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.data import Interactions
from mmgrec.interfaces import Representations
from mmgrec.training import Task
from mmgrec_plugins.recommenders.multimodal.ultragcn import edge_weights, ultra_loss

__all__ = ["EnvironmentTask", "Frozen", "GateTask", "LabelledBatch", "variance_penalty"]

_INTERACTIONS = 512.0  # that a loss is summed over


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledBatch:
    """Interactions with their environments, and negative items for all of them."""

    user: Tensor  # [B] int64
    item: Tensor  # [B] int64
    environment: Tensor  # [B] int64
    negative: Tensor  # [N] int64


@dataclass(frozen=True, kw_only=True, eq=False)
class Frozen:
    """What does not change: the training interactions, the representations and the features."""

    train: Interactions
    user: Tensor  # [U, 2 D], a_u and c_u
    item: Tensor  # [I, D], v_i
    content: Tensor  # [I, F]
    negative_weight: float  # of UltraGCN's loss

    @classmethod
    def of(
        cls, train: Interactions, representations: Representations, content: Tensor, negative_weight: float
    ) -> Frozen:
        """From the representations of a trained UltraGCN, users and items ``[., 2 D]``."""
        item = representations.item[:, : representations.dim // 2]
        return cls(train=train, user=representations.user, item=item, content=content, negative_weight=negative_weight)

    @property
    def dim(self) -> int:
        return self.item.shape[1]

    def batches(
        self, environment: Tensor, *, size: int, num_negatives: int, generator: torch.Generator
    ) -> Iterator[LabelledBatch]:
        for edges in torch.split(torch.randperm(len(self.train), generator=generator), size):
            yield LabelledBatch(
                user=self.train.user[edges],
                item=self.train.item[edges],
                environment=environment[edges],
                negative=torch.randint(self.train.num_items, (num_negatives,), generator=generator),
            )

    def loss(self, batch: LabelledBatch, weight: Tensor, gate: Tensor) -> Tensor:
        """L of each interaction ``[B]`` under ``W [D, F]`` when features are multiplied by ``gate [F]``."""
        of_user, of_item = edge_weights(self.train)
        x_u = self.user[batch.user]
        positive, negative = (
            torch.cat([self.item[items], F.linear(self.content[items] * gate, weight)], dim=1)
            for items in (batch.item, batch.negative)
        )
        return ultra_loss(
            (x_u * positive).sum(1),
            x_u @ negative.T,
            of_user[batch.user],
            of_item[batch.item],
            of_item[batch.negative],
            self.negative_weight,
        )


def _rows(batch: LabelledBatch, environment: int) -> LabelledBatch | None:
    """The interactions of one environment; None without any."""
    rows = (batch.environment == environment).nonzero().flatten()
    if not rows.numel():
        return None
    return LabelledBatch(
        user=batch.user[rows], item=batch.item[rows], environment=batch.environment[rows], negative=batch.negative
    )


class Projections(nn.Module):
    """W_e of each environment."""

    def __init__(self, num_environments: int, dim: int, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_environments, dim, num_features) * 0.01)


class EnvironmentTask(Task[LabelledBatch]):
    """One projection of the features for each environment, learnt from its interactions alone."""

    def __init__(
        self, frozen: Frozen, environment: Tensor, gate: Tensor, *, num_environments: int, size: int, negatives: int
    ) -> None:
        self.frozen, self.environment, self.gate = frozen, environment, gate
        self.num_environments, self.size, self.negatives = num_environments, size, negatives
        self.module = self.models = Projections(num_environments, frozen.dim, frozen.content.shape[1])

    def steps_per_epoch(self) -> int:
        return -(-len(self.frozen.train) // self.size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[LabelledBatch]:
        return self.frozen.batches(self.environment, size=self.size, num_negatives=self.negatives, generator=generator)

    def loss(self, batch: LabelledBatch, generator: torch.Generator) -> dict[str, Tensor]:
        weight, terms = self.models.weight, []
        for number in range(self.num_environments):
            part = _rows(batch, number)
            if part is not None:
                terms.append(self.frozen.loss(part, weight[number], self.gate).sum())
        return {"loss": torch.stack(terms).sum() / batch.user.numel() * _INTERACTIONS}

    @torch.no_grad()
    def assigned(self) -> Tensor:
        """``[N]`` int64: the environment whose model gives a training interaction the highest score."""
        train, weight = self.frozen.train, self.models.weight
        wish = self.frozen.user[:, self.frozen.dim :]
        content = self.frozen.content * self.gate
        score = [
            (wish[train.user] * F.linear(content, weight[number])[train.item]).sum(1)
            for number in range(self.num_environments)
        ]
        return torch.stack(score).argmax(0)


class Gates(nn.Module):
    """W, and the middle of each feature's gate ``clamp(mu + 0.5 + noise, 0, 1)``."""

    def __init__(self, dim: int, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(dim, num_features) * 0.01)
        self.mu = nn.Parameter(torch.zeros(num_features))

    def gate(self, noise: Tensor | float = 0.0) -> Tensor:
        return (self.mu + 0.5 + noise).clamp(0.0, 1.0)


class GateTask(Task[LabelledBatch]):
    """Gates that let pass what predicts alike in all environments.

    ``mean_e L_e + alpha |Var_e(dL_e / dW) * m|^2 + lambda |mu|^2`` (the variance without its factor 1 / E, as in the
    authors' code).
    """

    def __init__(
        self,
        frozen: Frozen,
        environment: Tensor,
        *,
        num_environments: int,
        size: int,
        negatives: int,
        invariance: float,
        gate_decay: float,
        noise: float,
    ) -> None:
        self.frozen, self.environment, self.num_environments = frozen, environment, num_environments
        self.size, self.negatives = size, negatives
        self.invariance, self.gate_decay, self.noise = invariance, gate_decay, noise
        self.module = self.gates = Gates(frozen.dim, frozen.content.shape[1])

    def steps_per_epoch(self) -> int:
        return -(-len(self.frozen.train) // self.size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[LabelledBatch]:
        return self.frozen.batches(self.environment, size=self.size, num_negatives=self.negatives, generator=generator)

    def loss(self, batch: LabelledBatch, generator: torch.Generator) -> dict[str, Tensor]:
        noise = self.noise * torch.randn(self.gates.mu.shape, generator=generator)
        losses = []
        for number in range(self.num_environments):
            part = _rows(batch, number)
            if part is not None:
                losses.append(_INTERACTIONS * self.frozen.loss(part, self.gates.weight, self.gates.gate(noise)).mean())
        penalty = variance_penalty(losses, self.gates.weight, self.gates.mu + 0.5)
        mean = torch.stack(losses).mean()
        total = mean + self.invariance * penalty + self.gate_decay * self.gates.mu.pow(2).sum()
        return {"loss": total, "mean": mean, "penalty": penalty}


def variance_penalty(losses: list[Tensor], weight: Tensor, gate: Tensor) -> Tensor:
    """``sum_df (gate_f sum_e (g_e - mean g)_df^2)^2`` of the gradients g_e of the losses in ``weight [D, F]``."""
    gradients = torch.stack([torch.autograd.grad(loss, weight, create_graph=True)[0] for loss in losses])
    return ((gradients - gradients.mean(0)).pow(2).sum(0) * gate).pow(2).sum()
