"""Networks that give every user and item a vector, trained on batches of edges to rank; one task for all of them.

The graph encoder of the quantizers and the baselines whose score is an inner product are `RankingNetwork`: a new one
writes `forward`, and has sampling, losses, validation and early stopping from `RankingTask`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Representations
from mmgrec.training import Task, Training, TrainingSettings, ValidationRecall, train

__all__ = ["Best", "EdgeBatch", "Loss", "RankingNetwork", "RankingTask", "best_of", "raced"]

Loss = Literal["bpr", "softmax"]


@dataclass(frozen=True, kw_only=True, eq=False)
class EdgeBatch:
    """Some training interactions, and items drawn uniformly from all."""

    user: Tensor  # [E] int64
    item: Tensor  # [E] int64
    negative: Tensor  # bpr: [E], one for each edge; softmax: [num_negatives], shared


class RankingNetwork(nn.Module, ABC):
    """Vectors of all users and items; their inner product ranks."""

    user: nn.Parameter  # [U, dim] free vectors; a network without such tables overrides `free`
    item: nn.Parameter  # [I, dim]

    @abstractmethod
    def forward(self) -> tuple[Tensor, Tensor]:
        """Users ``[U, D]`` and items ``[I, D]``. In `eval` mode without randomness."""

    def free(self, batch: EdgeBatch) -> list[Tensor]:
        """The free vectors of a batch, which the L2 regularization shrinks."""
        pairs = [(batch.user, self.user), (batch.item, self.item), (batch.negative, self.item)]
        return [F.embedding(index, table) for index, table in pairs]

    def begin_epoch(self, generator: torch.Generator) -> None:  # optional hook
        """Called before the batches of an epoch: what is drawn or rebuilt once an epoch. Must not depend on the past
        but through parameters and buffers, or a resumed run would differ."""

    def extra(self, batch: EdgeBatch, user: Tensor, item: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Named terms that are added to the ranking loss, weights included; user and item are what `forward` gave."""
        return {}

    def compared(self, batch: EdgeBatch, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Users ``[E, D]``, items ``[E, D]`` and negative items ``[N, D]`` of a batch as the ranking loss compares
        them; user and item are what `forward` gave."""
        return F.embedding(batch.user, user), F.embedding(batch.item, item), F.embedding(batch.negative, item)

    ranks: bool = True  # False: the terms of `extra` are the whole loss


class RankingTask(Task[EdgeBatch]):
    """Trains a `RankingNetwork` with one ranking loss; stops on validation recall.

    `bpr` is ``-ln sigma(x_u . x_i - x_u . x_j)`` with one negative an edge; `softmax` is over cosines divided by a
    temperature, with negatives shared by the batch.
    """

    def __init__(
        self,
        network: RankingNetwork,
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

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[EdgeBatch]:
        train, device = self.data.train, next(self.network.parameters()).device
        self.network.begin_epoch(generator)
        for edges in torch.split(torch.randperm(len(train), generator=generator), self.batch_size):
            count = edges.numel() if self.kind == "bpr" else self.num_negatives
            negative = torch.randint(self.data.num_items, (count,), generator=generator)
            yield EdgeBatch(
                user=train.user[edges].to(device), item=train.item[edges].to(device), negative=negative.to(device)
            )

    def loss(self, batch: EdgeBatch, generator: torch.Generator) -> dict[str, Tensor]:
        user, item = self.network()
        terms = self.network.extra(batch, user, item, generator)
        if self.network.ranks:
            compared = self.network.compared(batch, user, item)
            terms |= self._bpr(*compared) if self.kind == "bpr" else self._softmax(*compared)
        total = torch.stack(list(terms.values())).sum()
        if self.kind == "bpr" and self.regularization:
            norm = torch.stack([vectors.pow(2).sum() for vectors in self.network.free(batch)]).sum()
            total = total + 0.5 * self.regularization * norm / batch.user.numel()
        return {"loss": total} | terms

    def _bpr(self, x_u: Tensor, x_i: Tensor, x_j: Tensor) -> dict[str, Tensor]:
        return {"bpr": -F.logsigmoid((x_u * (x_i - x_j)).sum(1)).mean()}

    def _softmax(self, x_u: Tensor, x_i: Tensor, x_j: Tensor) -> dict[str, Tensor]:
        x_u = F.normalize(x_u, dim=1) / self.temperature  # here, where it is small: the table of logits is not
        positive = (x_u * F.normalize(x_i, dim=1)).sum(1)
        negative = (x_u @ F.normalize(x_j, dim=1).T).logsumexp(1)
        return {"softmax": (torch.logaddexp(positive, negative) - positive).mean()}

    def validate(self) -> float | None:
        if not len(self.recall):
            return None
        representations = self.representations()
        return self.recall.of_scores(lambda users: representations.user[users] @ representations.item.T)

    def vectors(self) -> tuple[Tensor, Tensor]:
        """Users ``[U, D]`` and items ``[I, D]`` whose inner product ranks as the loss does."""
        user, item = self.network()
        if self.kind == "softmax":
            user, item = F.normalize(user, dim=1) / self.temperature, F.normalize(item, dim=1)
        return user, item

    @torch.no_grad()
    def representations(self) -> Representations:
        """What the network says now."""
        user, item = self.vectors()
        return Representations(user=user.cpu(), item=item.cpu())


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """The winner among trained tasks."""

    place: int  # in the order of the tasks
    score: float  # validation recall
    representations: Representations
    wanted: bool = True  # False: it was left half trained, as it adds nothing to what there is


def best_of(tasks: Iterable[tuple[str, RankingTask]], settings: TrainingSettings, context: Context, stage: str) -> Best:
    """Train each named task; the one of highest validation recall (ties: the first)."""
    best: Best | None = None
    names = []
    for index, (name, task) in enumerate(tasks):
        names.append(name)
        train(task, settings, context, f"{stage}-{name}")
        score = task.validate() or 0.0
        if best is None or score > best.score:
            best = Best(place=index, score=score, representations=task.representations())
    assert best is not None
    context.reporter.note(
        f"{stage}: {names[best.place]}, recall@10 {best.score:.4f} on validation, best of {len(names)}"
    )
    return best


def raced(
    tasks: Mapping[str, RankingTask],
    settings: TrainingSettings,
    context: Context,
    stage: str,
    *,
    rungs: tuple[int, ...],
    wanted: Callable[[Representations], bool] | None = None,
) -> Best:
    """Successive halving: all named tasks are trained to the first rung, the better half to the next, one to its end.

    What decides is the best validation recall up to the rung (ties: the first). A race that was killed goes on where
    its checkpoints are, to the same end.

    Args:
        tasks: with the same validation users.
        settings: of each training.
        context: for what is drawn, and for checkpoints.
        stage: shown in reports; part of the random streams' names.
        rungs: epochs, ascending.
        wanted: asked at the last rung with what the first of the race says then: False ends it there.

    Returns:
        The winner, and whether it was wanted.
    """
    names = list(tasks)
    trainings = {name: Training(tasks[name], settings, context, f"{stage}-{name}") for name in names}
    alive = names
    if not rungs:  # no race: all go to their ends
        for name in names:
            trainings[name].advance(settings.epochs)
        alive = sorted(names, key=lambda name: -trainings[name].score(epoch=settings.epochs))
    for rung in rungs:
        for name in alive:
            trainings[name].advance(rung)
        ranking = sorted(alive, key=lambda name: -trainings[name].score(epoch=rung))
        for name in ranking[-(-len(ranking) // 2) :]:
            trainings[name].drop()
        alive = ranking[: -(-len(ranking) // 2)]
    for name in alive[1:]:
        trainings[name].drop()
    winner = alive[0]
    training, task = trainings[winner], tasks[winner]
    if wanted is not None and rungs and training.epoch <= rungs[-1] and not wanted(task.representations()):
        training.drop()
        context.reporter.note(f"{stage}: {winner} is left at epoch {training.epoch}, as it adds nothing to the others")
        return Best(
            place=names.index(winner),
            score=training.score(epoch=rungs[-1]),
            representations=task.representations(),
            wanted=False,
        )
    training.advance(settings.epochs)
    training.finish()
    score = task.validate() or 0.0
    if len(names) > 1:
        context.reporter.note(
            f"{stage}: {winner}, recall@10 {score:.4f} on validation, first of {len(names)} in a race"
        )
    return Best(place=names.index(winner), score=score, representations=task.representations())
