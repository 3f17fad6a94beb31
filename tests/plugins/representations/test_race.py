"""Successive halving of trainings: who stays, who is left, and that an interruption changes nothing."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from mmgrec.interfaces import Context, Representations, Silent
from mmgrec.synthetic import planted
from mmgrec.training import TrainingSettings, ValidationRecall, seeded, train
from mmgrec_plugins.representations.graph_network import GraphNetwork
from mmgrec_plugins.representations.ranking import Best, RankingTask, raced

DATA = planted(num_users=120, num_items=60, mean_interactions=14, seed=5)
SETTINGS = TrainingSettings(epochs=8, learning_rate=0.02, validate_every=1, patience=20, checkpoint_seconds=0.0)
#: The strongest regularization leaves nothing to learn, the weakest learns most.
STRENGTHS = {"weak": 1e-3, "strong": 1e2, "stronger": 1e3, "none": 0.0}


class Stopped(Exception):
    pass


class Counting(Silent):
    """Counts epochs by stage; stops after so many."""

    def __init__(self, most: int = 10**6) -> None:
        self.epochs: dict[str, int] = {}
        self.most = most
        self.notes: list[str] = []

    def update(self, stage: str, done: int, facts: object) -> None:
        self.epochs[stage] = done
        self.most -= 1
        if self.most == 0:
            raise Stopped

    def note(self, text: str) -> None:
        self.notes.append(text)


def tasks(*names: str) -> dict[str, RankingTask]:
    recall = ValidationRecall(DATA)

    def task(strength: float) -> RankingTask:
        with seeded(Context().generator("start")):
            network = GraphNetwork(DATA, dim=8, num_layers=1)
        return RankingTask(
            network, DATA, loss="bpr", regularization=strength, temperature=1.0, num_negatives=8, batch_size=400,
            recall=recall,
        )  # fmt: skip

    return {name: task(STRENGTHS[name]) for name in names or STRENGTHS}


def race(
    reporter: Silent | None = None,
    folder: Path | None = None,
    *,
    rungs: tuple[int, ...] = (2, 4),
    wanted: bool | None = None,
) -> Best:
    context = Context(seed=3, reporter=reporter or Silent(), checkpoints=folder)
    asked = None if wanted is None else (lambda found: wanted)
    return raced(tasks(), SETTINGS, context, "stage", rungs=rungs, wanted=asked)


def test_the_worse_half_is_left_at_each_rung() -> None:
    heard = Counting()
    best = race(heard)
    assert sorted(heard.epochs.values()) == [2, 2, 4, 8]
    assert list(STRENGTHS)[best.place] in ("weak", "none")
    assert heard.epochs[f"stage-{list(STRENGTHS)[best.place]}"] == 8


def test_the_winner_is_what_it_would_be_by_itself() -> None:
    best = race()
    name = list(STRENGTHS)[best.place]
    alone = tasks(name)[name]
    train(alone, SETTINGS, Context(seed=3), f"stage-{name}")
    assert torch.equal(best.representations.item, alone.representations().item)
    assert best.score == alone.validate()
    assert best.wanted


def test_without_rungs_all_go_to_their_ends() -> None:
    heard = Counting()
    best = race(heard, rungs=())
    assert list(heard.epochs.values()) == [8, 8, 8, 8]
    assert best.score == max(_whole(name) for name in STRENGTHS)


def _whole(name: str) -> float:
    task = tasks(name)[name]
    train(task, SETTINGS, Context(seed=3), f"stage-{name}")
    return task.validate() or 0.0


def test_a_winner_that_is_not_wanted_is_left_at_the_last_rung() -> None:
    heard = Counting()
    best = race(heard, wanted=False)
    assert not best.wanted
    assert max(heard.epochs.values()) == 4
    assert any("adds nothing" in note for note in heard.notes)


def test_what_it_is_asked_for_is_what_it_says_at_the_last_rung() -> None:
    seen: list[Representations] = []

    def wanted(found: Representations) -> bool:
        seen.append(found)
        return True

    raced(tasks("weak"), SETTINGS, Context(seed=3), "stage", rungs=(2, 4), wanted=wanted)
    task = tasks("weak")["weak"]
    with pytest.raises(Stopped):  # the weights after four epochs, not the best of them
        train(task, SETTINGS, Context(seed=3, reporter=Counting(most=4)), "stage-weak")
    assert torch.equal(seen[0].item, task.representations().item)
    assert len(seen) == 1


@pytest.mark.parametrize("wanted", [None, True, False])
@pytest.mark.parametrize("epochs", [1, 3, 7, 9, 12, 15])
def test_interrupted_anywhere_it_comes_to_the_same_end(tmp_path: Path, epochs: int, wanted: bool | None) -> None:
    whole = race(wanted=wanted)
    with contextlib.suppress(Stopped):  # a race that is left early is over before
        race(Counting(most=epochs), tmp_path, wanted=wanted)
    again = race(folder=tmp_path, wanted=wanted)
    assert (again.place, again.score, again.wanted) == (whole.place, whole.score, whole.wanted)
    assert torch.equal(again.representations.user, whole.representations.user)


def test_a_finished_race_is_not_run_again(tmp_path: Path) -> None:
    whole, heard = race(folder=tmp_path), Counting()
    again = race(heard, tmp_path)
    assert heard.epochs == {}
    assert torch.equal(again.representations.item, whole.representations.item)
