"""The training loop: resuming to the same bits, stopping, schedules, and no global state."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.interfaces import Context, Silent
from mmgrec.storage.tensors import tensors_equal
from mmgrec.training.loop import History, Task, TrainingSettings, train
from mmgrec.training.randomness import seeded


class Stopped(Exception):
    """Stands for a kill: raised by the reporter, between two epochs."""


class StopAfter(Silent):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def update(self, stage: str, done: int, facts: object) -> None:
        if done > self.epoch:  # the checkpoint of the epoch before is there, this one's is not
            raise Stopped


class Noisy(Task[Tensor]):
    """A regression with dropout, random batches, a change after each epoch, and scores by a list or by the loss."""

    def __init__(self, scores: Sequence[float | None] | None = None, steps: int = 3) -> None:
        with seeded(torch.Generator().manual_seed(5)):
            self.module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 1))
        self.x = torch.randn(24, 4, generator=torch.Generator().manual_seed(6))
        self.scores, self.asked, self.steps = scores, 0, steps
        self.modes: list[bool] = []

    def steps_per_epoch(self) -> int:
        return self.steps

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(self.steps):
            yield self.x[torch.randint(24, (8,), generator=generator)]

    def loss(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        self.modes.append(self.module.training)
        noise = torch.randn(batch.shape[0], generator=generator)
        return {"loss": F.mse_loss(self.module(batch)[:, 0], batch.sum(1) + 0.1 * noise), "noise": noise.mean()}

    def after_epoch(self, epoch: int, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.module[3].bias.add_(0.01 * torch.randn(1, generator=generator))

    def validate(self) -> float | None:
        if self.scores is not None:
            score = self.scores[self.asked]
            self.asked += 1
            return score
        return -float(F.mse_loss(self.module(self.x)[:, 0], self.x.sum(1)))


def without_seconds(history: History) -> History:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def bits(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


EVERY = TrainingSettings(epochs=5, learning_rate=0.05, checkpoint_seconds=0, patience=99)
OPTIMIZERS = [
    replace(EVERY, optimizer="adam", schedule="cosine", warmup_steps=4),
    replace(EVERY, optimizer="adamw", weight_decay=0.1, clip_norm=0.5),
    replace(EVERY, optimizer="sgd", momentum=0.9),
    replace(EVERY, optimizer="sgd", momentum=0.0, validate_every=2),
]


@pytest.mark.parametrize("settings", OPTIMIZERS, ids=lambda settings: f"{settings.optimizer}-{settings.momentum}")
@pytest.mark.parametrize("validated", [True, False])
def test_interrupted_anywhere_it_ends_in_the_same_bits(
    settings: TrainingSettings, validated: bool, tmp_path: Path
) -> None:
    scores = None if validated else [None] * 20
    whole = Noisy(scores)
    history = train(whole, settings, Context(seed=3), "s")
    for epoch in range(settings.epochs):
        folder = tmp_path / str(epoch)
        with pytest.raises(Stopped):
            train(Noisy(scores), settings, Context(seed=3, checkpoints=folder, reporter=StopAfter(epoch)), "s")
        resumed = Noisy(scores)
        rows = train(resumed, settings, Context(seed=3, checkpoints=folder), "s")
        assert without_seconds(rows) == without_seconds(history)
        assert tensors_equal(bits(resumed.module), bits(whole.module))


def test_interrupted_at_every_epoch_in_turn_it_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = Noisy()
    history = train(whole, EVERY, Context(), "s")
    for epoch in range(1, EVERY.epochs):
        with pytest.raises(Stopped):
            train(Noisy(), EVERY, Context(checkpoints=tmp_path, reporter=StopAfter(epoch)), "s")
    resumed = Noisy()
    assert without_seconds(train(resumed, EVERY, Context(checkpoints=tmp_path), "s")) == without_seconds(history)
    assert tensors_equal(bits(resumed.module), bits(whole.module))


def test_checkpoints_do_not_change_what_is_learnt(tmp_path: Path) -> None:
    with_, without = Noisy(), Noisy()
    train(with_, EVERY, Context(checkpoints=tmp_path), "s")
    train(without, EVERY, Context(), "s")
    assert tensors_equal(bits(with_.module), bits(without.module))


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    first, again = Noisy(), Noisy()
    history = train(first, EVERY, Context(checkpoints=tmp_path), "s")
    assert train(again, EVERY, Context(checkpoints=tmp_path), "s") == history
    assert again.modes == []
    assert tensors_equal(bits(again.module), bits(first.module))


def test_a_finished_stage_leaves_the_module_in_evaluation_mode(tmp_path: Path) -> None:
    for _ in range(2):
        task = Noisy()
        train(task, EVERY, Context(checkpoints=tmp_path), "s")
        assert not task.module.training


def test_stages_keep_their_checkpoints_apart(tmp_path: Path) -> None:
    train(Noisy(), EVERY, Context(checkpoints=tmp_path), "one")
    other = Noisy()
    train(other, EVERY, Context(checkpoints=tmp_path), "two")
    assert other.modes
    assert {entry.name for entry in tmp_path.iterdir()} == {"one", "two"}


def test_stages_and_seeds_draw_different_batches() -> None:
    ends = []
    for seed, stage in ((0, "a"), (0, "b"), (1, "a")):
        task = Noisy()
        train(task, EVERY, Context(seed=seed), stage)
        ends.append(bits(task.module)["0.weight"])
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_least_seconds_between_checkpoints_are_kept(tmp_path: Path) -> None:
    settings = replace(EVERY, checkpoint_seconds=3600)
    with pytest.raises(Stopped):
        train(Noisy(), settings, Context(checkpoints=tmp_path, reporter=StopAfter(3)), "s")
    assert not (tmp_path / "s").exists()


# --------------------------------------------------------------------------- stopping


def trained(scores: list[float | None], **settings: object) -> tuple[Noisy, History]:
    task = Noisy(scores)
    history = train(task, replace(EVERY, epochs=10, **settings), Context(), "s")  # type: ignore[arg-type]
    return task, history


def test_untrained_weights_win_where_training_only_harms() -> None:
    start = bits(Noisy().module)
    task, _ = trained([0.5, 0.4, 0.3, 0.2], patience=3)
    assert tensors_equal(bits(task.module), start)


def test_training_stops_when_so_many_validations_brought_no_rise() -> None:
    _, history = trained([0.1, 0.2, 0.2, 0.15, 0.2, 0.9], patience=3)
    assert [row.get("score") for row in history] == [0.2, 0.2, 0.15, 0.2]


def test_a_rise_starts_patience_anew() -> None:
    _, history = trained([0.1, 0.1, 0.2, 0.1, 0.3, 0.1, 0.1], patience=2)
    assert len(history) == 6


def test_the_weights_of_the_best_validation_are_left() -> None:
    task, _ = trained([0.1, 0.3, 0.2, 0.2], patience=2)
    short = Noisy([0.1, 0.3])
    train(short, replace(EVERY, epochs=1), Context(), "s")
    assert tensors_equal(bits(task.module), bits(short.module))


def test_without_validation_the_last_weights_are_left() -> None:
    task, history = trained([None] * 11)
    assert len(history) == 10
    assert "score" not in history[-1]
    assert not torch.equal(bits(task.module)["0.weight"], bits(Noisy().module)["0.weight"])


def test_validation_comes_every_so_many_epochs_and_at_the_end() -> None:
    task, history = trained([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], validate_every=3)
    assert [int(row["epoch"]) for row in history if "score" in row] == [3, 6, 9, 10]
    assert task.asked == 5  # and before the first epoch


def test_no_epochs_leave_the_untrained_weights() -> None:
    task = Noisy([0.3])
    assert train(task, replace(EVERY, epochs=0), Context(), "s") == []
    assert tensors_equal(bits(task.module), bits(Noisy().module))


def test_rows_hold_mean_losses() -> None:
    task = Noisy([0.0, 0.1])
    said: list[float] = []
    plain = task.loss

    def listening(batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        losses = plain(batch, generator)
        said.append(float(losses["noise"]))
        return losses

    task.loss = listening  # type: ignore[method-assign]
    (row,) = train(task, replace(EVERY, epochs=1), Context(), "s")
    assert row["noise"] == pytest.approx(sum(said) / 3)
    assert row["epoch"] == 1
    assert row["seconds"] > 0


# --------------------------------------------------------------------------- learning rate


class Slope(Task[None]):
    """The gradient of each weight is one, so a step of plain SGD moves it by the learning rate."""

    def __init__(self, steps: int, scale: float | None = None) -> None:
        self.module = nn.ParameterList([nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(2)])
        self.steps, self.scale = steps, scale
        self.places: list[float] = []

    def steps_per_epoch(self) -> int:
        return self.steps

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[None]:
        yield from [None] * self.steps

    def loss(self, batch: None, generator: torch.Generator) -> dict[str, Tensor]:
        self.places.append(float(self.module[1].detach()))
        return {"loss": self.module[0] + self.module[1]}

    def parameter_groups(self) -> list[dict[str, object]]:
        if self.scale is None:
            return super().parameter_groups()
        return [{"params": [self.module[0]]}, {"params": [self.module[1]], "lr_scale": self.scale}]

    def rates(self) -> list[float]:
        places = [*self.places, float(self.module[1].detach())]
        return [a - b for a, b in itertools.pairwise(places)]


PLAIN = TrainingSettings(optimizer="sgd", momentum=0.0, learning_rate=0.5, epochs=2)


def test_constant_rate() -> None:
    task = Slope(3)
    train(task, PLAIN, Context(), "s")
    assert task.rates() == pytest.approx([0.5] * 6)


def test_warm_up_rises_linearly_to_the_rate() -> None:
    task = Slope(3)
    train(task, replace(PLAIN, warmup_steps=4), Context(), "s")
    assert task.rates() == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])


def test_cosine_falls_from_the_rate_towards_zero() -> None:
    task = Slope(2)
    train(task, replace(PLAIN, schedule="cosine"), Context(), "s")
    assert task.rates() == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_warm_up_and_cosine_multiply() -> None:
    task = Slope(2)
    train(task, replace(PLAIN, schedule="cosine", warmup_steps=2), Context(), "s")
    assert task.rates() == pytest.approx(
        [0.25 * min(1, (step + 1) / 2) * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    )


def test_a_group_may_have_a_rate_of_its_own() -> None:
    task = Slope(1, scale=0.1)
    train(task, PLAIN, Context(), "s")
    assert task.rates() == pytest.approx([0.05, 0.05])
    assert float(task.module[0].detach()) == pytest.approx(-1.0)


def test_the_gradient_is_clipped_to_its_norm() -> None:
    task = Slope(1)
    train(task, replace(PLAIN, epochs=1, clip_norm=0.1), Context(), "s")
    assert task.rates() == pytest.approx([0.5 * 0.1 / math.sqrt(2)], rel=1e-4)


# --------------------------------------------------------------------------- no global state


def test_the_global_random_state_is_neither_read_nor_changed(tmp_path: Path) -> None:
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        task = Noisy()
        train(task, EVERY, Context(checkpoints=tmp_path / str(seed)), "s")
        assert torch.equal(torch.random.get_rng_state(), before)
        ends.append(bits(task.module))
    assert tensors_equal(*ends)


def test_dropout_is_on_in_training_and_off_in_validation() -> None:
    class Watching(Noisy):
        def validate(self) -> float | None:
            assert not self.module.training
            assert not torch.is_grad_enabled()
            return 0.0

    task = Watching()
    train(task, replace(EVERY, epochs=2), Context(), "s")
    assert task.modes == [True] * 6
