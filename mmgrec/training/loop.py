"""One training loop for everything that is trained: batches, optimiser, early stopping, checkpoints, reports.

What is trained is a `Task`; how long and how fast is `TrainingSettings`. A run killed at any moment and started again
continues from its last checkpoint to the same bits: all randomness of an epoch comes from a generator made from the
seed and the epoch's number, and the learning rate is a function of the step.

Whatever can be trained so is a subclass of `Task`: graph encoder, autoencoder, generator and the rivals alike.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Generic, Literal, TypeVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from mmgrec.interfaces import Context
from mmgrec.storage import Meta, Tensors
from mmgrec.training.checkpoints import CheckpointFolder
from mmgrec.training.randomness import seeded

__all__ = ["Task", "Training", "TrainingSettings", "train"]

Batch = TypeVar("Batch")
History = list[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a task is trained."""

    epochs: Annotated[int, Ge(0)] = 100  # at most
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: Annotated[float, Ge(0)] = 0.0
    momentum: Annotated[float, Ge(0)] = 0.9  # of sgd only
    warmup_steps: Annotated[int, Ge(0)] = 0  # the learning rate rises linearly over these
    schedule: Literal["constant", "cosine"] = "constant"  # cosine falls to zero at the last epoch
    clip_norm: Annotated[float, Ge(0)] = 0.0  # of the whole gradient; 0 = never clipped
    patience: Annotated[int, Ge(1)] = 20  # validations without a rise before training stops (the paper's 20)
    validate_every: Annotated[int, Ge(1)] = 1  # epochs
    checkpoint_seconds: Annotated[float, Ge(0)] = 30.0  # least time between two checkpoints; 0 = after each epoch


class Task(ABC, Generic[Batch]):
    """Something to be trained. Its `module` holds all that changes."""

    module: nn.Module

    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, for schedules and progress."""

    @abstractmethod
    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named losses of a batch; ``"loss"`` is minimised, the others are only reported."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Parameters in groups; a group may hold ``lr_scale`` and optimiser settings of its own."""
        return [{"params": [p for p in self.module.parameters() if p.requires_grad]}]

    def after_epoch(self, epoch: int, generator: torch.Generator) -> None:  # optional hook
        """Called when the steps of an epoch are done (restart of dead codewords, say)."""

    def validate(self) -> float | None:
        """Higher is better; None: nothing to stop on, the last epoch is the best."""
        return None


@dataclass(kw_only=True)
class _State:
    """Where training stands; all of it is in a checkpoint."""

    epoch: int = 0  # epochs done
    best_score: float = -math.inf
    best_epoch: int = 0
    stale: int = 0  # validations since the best
    best: dict[str, Tensor] = field(default_factory=dict)
    history: History = field(default_factory=list)
    finished: bool = False


def train(task: Task[Batch], settings: TrainingSettings, context: Context, stage: str) -> History:
    """Train, and leave the best validated state (epoch 0, the untrained, is a candidate) in ``task.module``.

    Args:
        task: what to train; its module lies on the context's device.
        settings: how.
        context: its checkpoint folder, if any, is used for this stage alone under the name `stage`.
        stage: shown in reports; part of the random streams' names.

    Returns:
        One row an epoch: ``epoch``, mean losses, ``score`` where validated, ``seconds``.
    """
    training = Training(task, settings, context, stage)
    training.advance(settings.epochs)
    return training.finish()


class Training(Generic[Batch]):
    """A training that can be stopped on the way and go on, for races between several; `train` goes to its end at once.

    However often it was stopped, or killed and begun again where there are checkpoints, the result is the same.
    """

    def __init__(self, task: Task[Batch], settings: TrainingSettings, context: Context, stage: str) -> None:
        self.task, self.settings, self.stage = task, settings, stage
        self._context = context = context.within(stage)
        self._store = None if context.checkpoints is None else CheckpointFolder(root=context.checkpoints)
        self._optimizer = _make_optimizer(task.parameter_groups(), settings)
        self._state = _State()
        self._warned = False
        checkpoint = None if self._store is None else self._store.latest(context.reporter.warn)
        if checkpoint is not None:
            _restore(checkpoint, task.module, self._optimizer, self._state)
            context.reporter.note(f"{stage}: continuing after epoch {self._state.epoch}")
        self._ended = checkpoint is not None and bool(checkpoint[1]["finished"])
        context.reporter.begin(stage, settings.epochs)
        if checkpoint is None:
            _judge(task, self._state, settings)
        self._saved_at = time.monotonic()

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._state.epoch

    def score(self, *, epoch: int) -> float:
        """The best validation score up to an epoch; -inf without any."""
        rows = [row for row in self._state.history if row["epoch"] <= epoch]
        return max((row["score"] for row in rows if "score" in row), default=-math.inf)

    def advance(self, epoch: int) -> None:
        """Train to the end of an epoch, or to the end of all."""
        state, context, settings = self._state, self._context, self.settings
        while state.epoch < min(epoch, settings.epochs) and not state.finished:
            row = _epoch(self.task, self._optimizer, settings, state.epoch, context)
            state.epoch += 1
            if not math.isfinite(row.get("loss", 0.0)) and not self._warned:
                self._warned = True
                context.reporter.warn(
                    f"{self.stage}: the loss is no number in epoch {state.epoch}; lower the learning rate"
                )
            if state.epoch % settings.validate_every == 0 or state.epoch == settings.epochs:
                score = _judge(self.task, state, settings)
                if score is not None:
                    row["score"] = score
            state.history.append(row)
            context.reporter.update(self.stage, state.epoch, row)
            if self._store is not None and time.monotonic() - self._saved_at >= settings.checkpoint_seconds:
                self.save()
        self.task.module.eval()  # also where everything came from a checkpoint

    def save(self) -> None:
        """Write where it stands to the checkpoint folder, if there is one."""
        if self._store is not None:
            _save(self._store, self.task.module, self._optimizer, self._state)
            self._saved_at = time.monotonic()

    def drop(self) -> None:
        """Leave it where it is: it lost a race."""
        if not self._ended:
            self.save()
        self._context.reporter.end(self.stage, {"best_epoch": float(self._state.best_epoch)})

    def finish(self) -> History:
        """Call it trained, with the best validated weights in the module."""
        state = self._state
        if self._store is not None and not self._ended:
            state.finished = True
            self.save()
        if state.best:
            self.task.module.load_state_dict(state.best)
        self.task.module.eval()
        facts = {"best_epoch": float(state.best_epoch)} | ({"score": state.best_score} if state.best else {})
        self._context.reporter.end(self.stage, facts)
        return state.history


def _epoch(
    task: Task[Batch], optimizer: torch.optim.Optimizer, settings: TrainingSettings, epoch: int, context: Context
) -> dict[str, float]:
    """Take the steps of one epoch; its row of the history: mean losses, seconds."""
    generator = context.generator("epoch", epoch)
    steps = task.steps_per_epoch()
    started = time.perf_counter()
    totals: dict[str, float] = {}
    count = 0
    task.module.train()
    for batch in task.batches(epoch, generator):
        factor = _rate(epoch * steps + count, steps * settings.epochs, settings)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * group["lr_scale"] * factor
        with seeded(generator, context.device):
            losses = task.loss(batch, generator)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(
                [p for group in optimizer.param_groups for p in group["params"]], settings.clip_norm
            )
        optimizer.step()
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach())
        count += 1
    task.module.eval()
    task.after_epoch(epoch, generator)
    means = {name: value / max(count, 1) for name, value in totals.items()}
    return {"epoch": float(epoch + 1), **means, "seconds": time.perf_counter() - started}


def _rate(step: int, total: int, settings: TrainingSettings) -> float:
    """The learning rate's factor at a step, a function of the step alone."""
    factor = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    if settings.schedule == "cosine":
        factor *= 0.5 * (1.0 + math.cos(math.pi * step / max(total, 1)))
    return factor


def _judge(task: Task[Batch], state: _State, settings: TrainingSettings) -> float | None:
    """Validate; remember the weights if they are the best so far, and stop if there was none better for too long."""
    task.module.eval()
    with torch.no_grad():
        score = task.validate()
    if score is None:
        return None
    if score > state.best_score:
        state.best_score, state.best_epoch, state.stale = score, state.epoch, 0
        state.best = {name: value.detach().clone() for name, value in task.module.state_dict().items()}
    else:
        state.stale += 1
        state.finished = state.stale >= settings.patience
    return score


def _make_optimizer(groups: list[dict[str, object]], settings: TrainingSettings) -> torch.optim.Optimizer:
    groups = [{"lr_scale": 1.0, **group} for group in groups]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _save(store: CheckpointFolder, module: nn.Module, optimizer: torch.optim.Optimizer, state: _State) -> None:
    slots = optimizer.state_dict()["state"]
    tensors: Tensors = {
        "module": dict(module.state_dict()),
        "best": state.best,
        "optimizer": {
            f"{index}.{name}": value
            for index, slot in slots.items()
            for name, value in slot.items()
            if isinstance(value, Tensor)
        },
    }
    meta: Meta = {
        "epoch": state.epoch,
        "best_score": state.best_score if state.best else None,
        "best_epoch": state.best_epoch,
        "stale": state.stale,
        "history": state.history,
        "finished": state.finished,
    }
    # The number only has to rise: the end of a stage that stopped at a checkpointed epoch follows that checkpoint.
    store.save(2 * state.epoch + state.finished, tensors=tensors, meta=meta)


def _restore(
    checkpoint: tuple[Tensors, Meta], module: nn.Module, optimizer: torch.optim.Optimizer, state: _State
) -> None:
    tensors, meta = checkpoint
    module.load_state_dict(tensors["module"])
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors["optimizer"].items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    state.epoch, state.best_epoch, state.stale = meta["epoch"], meta["best_epoch"], meta["stale"]
    state.best, state.history, state.finished = tensors["best"], meta["history"], meta["finished"]
    if meta["best_score"] is not None:
        state.best_score = meta["best_score"]
