"""What one epoch of each trained model costs, at the size of a real data set, and that none needs a dense matrix.

Planted data in the size of a data set that the papers use, with two modalities of 128 and times. Each model is fitted
in a process of its own (`model_epoch`), with one member of its grid and one epoch a stage. Then once more with twice
the users, the items and the interactions: tables of users and items become twice as large, and so does a batch of
scores; a matrix of all users and all items would become four times as large, and alone take 2.2 GB.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import Book
from model_epoch import ENCODER, GENERATOR, MODELS

from mmgrec.data import Interactions
from mmgrec.folder import save_folder
from mmgrec.registry import Registry
from mmgrec.synthetic import planted

NUM_USERS, NUM_ITEMS, MEAN = 19_445, 7_050, 8.0
MODALITIES = {"visual": 128, "text": 128}
CHILD = Path(__file__).with_name("model_epoch.py")
NOT_TRAINED = {"popularity", "itemknn", "ease", "l3ae", "item-memory"}  # one pass or a closed form
GROWTH = 2.5  # of the peak at twice the size; 4 is that of a dense matrix
SHARE = 0.75  # of a dense matrix at twice the size


class Folders:
    """Data folders by size, each made once."""

    def __init__(self, home: Path, book: Book) -> None:
        self.home, self.book = home, book
        self.of = cache(self._made)

    def _made(self, times: int) -> Path:
        data = planted(
            num_users=times * self.book.sized(NUM_USERS, NUM_USERS),
            num_items=times * self.book.sized(NUM_ITEMS, NUM_ITEMS),
            mean_interactions=MEAN,
            modalities=MODALITIES,
            seed=0,
        )
        train, valid, test = map(_timed, (data.train, data.valid, data.test))
        path = self.home / f"{times}"
        save_folder(dataclasses.replace(data, train=train, valid=valid, test=test), path)
        return path


def _timed(part: Interactions) -> Interactions:
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
    return dataclasses.replace(part, time=order)


@pytest.fixture(scope="module")
def folders(book: Book, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("models"), book)


def measured(model: str, folder: Path, book: Book) -> dict[str, Any]:
    """What a process of its own says; the last stage is the model's own."""
    call = [sys.executable, str(CHILD), model, str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    num_users, num_items = facts["sizes"]
    case = f"one epoch, {num_users} users x {num_items} items, {facts['interactions']} interactions, CPU time"
    *first, last = facts["cpu_s"]
    book.note(case, f"mmgrec {model}", facts["cpu_s"][last] * 1e3, megabytes=facts["peak_mb"])
    for stage in first:
        book.note(f"{case}, earlier stages", f"mmgrec {model}: {stage}", facts["cpu_s"][stage] * 1e3)
    return facts


def test_every_trained_model_is_measured() -> None:
    shipped = set(Registry.discover(environ={}).names("recommender"))
    assert shipped - NOT_TRAINED - {"mmgrec", "stage-1"} == set(MODELS) - {ENCODER, GENERATOR}


@pytest.mark.parametrize("model", MODELS)
def test_an_epoch_without_a_dense_matrix(model: str, folders: Folders, book: Book) -> None:
    once, twice = (measured(model, folders.of(times), book) for times in (1, 2))
    growth = twice["peak_mb"] / once["peak_mb"]
    num_users, num_items = twice["sizes"]
    share = twice["peak_mb"] / (num_users * num_items * 4 / 1e6)
    book.goal(f"{model}: growth of the peak at twice the users and items", growth, most=GROWTH)
    book.goal(f"{model}: peak there, of a dense matrix", share, most=SHARE)
    if book.scale >= 1.0:  # a batch of smaller data is all there is
        assert growth <= GROWTH
        assert share <= SHARE
