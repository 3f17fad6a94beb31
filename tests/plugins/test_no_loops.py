"""No trained recommender loops over users in Python: twice as many users, and hardly a line more is executed.

Half of each user's interactions go to a new user, so that as many interactions, items and batches are left. Counted is
every line of ours that a whole fit executes, and every function of a library written in Python that a line of ours
calls, itself or through C (``map``). What a library does inside is its own matter and changes with its version.
"""

from __future__ import annotations

import fractions
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor

import mmgrec
import mmgrec_kernels
import mmgrec_plugins
from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context, Recommender, Representations
from mmgrec.registry import Registry
from mmgrec.settings import build
from mmgrec.synthetic import planted
from mmgrec.training import fold_in
from mmgrec_plugins.memories.ease import EASEMemory
from mmgrec_plugins.memories.local_ridge import LocalRidge
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.graph.mf import MF
from mmgrec_plugins.representations.graph_encoder import GraphEncoder
from mmgrec_plugins.representations.graph_network import GraphNetwork

NUM_USERS = 600
DATA = planted(num_users=NUM_USERS, num_items=150, mean_interactions=8, modalities={"visual": 4, "text": 3}, seed=3)
SHORT: dict[str, Any] = {"dim": (8,), "epochs": 1, "regularization": (1e-2,), "validation_users": 500}
BRIEF: dict[str, dict[str, Any]] = {"invrl": {"rounds": 1, "moves": 1, "environment_epochs": 1, "gate_epochs": 1}}


@cache
def factor_recommenders() -> dict[str, type[FactorRecommender]]:
    """All that ship."""
    registry = Registry.discover(environ={})
    loaded = {name: registry.load("recommender", name) for name in registry.names("recommender")}
    return {name: kind for name, kind in loaded.items() if issubclass(kind, FactorRecommender)}


def shared_among_twice_as_many(data: Dataset) -> Dataset:
    """Every second interaction of a user belongs to a new one."""

    def divided(part: Interactions) -> Interactions:
        place = torch.arange(len(part)) - part.offsets[part.user]
        user = part.user + part.num_users * (place % 2)
        return Interactions.of(user, part.item, num_users=2 * part.num_users, num_items=part.num_items, time=part.time)

    return replace(data, train=divided(data.train), valid=divided(data.valid), test=divided(data.test), latent={})


def timed(data: Dataset) -> Dataset:
    """Interactions happened in the order in which they stand."""
    train, valid, test = (replace(part, time=torch.arange(len(part))) for part in (data.train, data.valid, data.test))
    return replace(data, train=train, valid=valid, test=test)


OURS = (*(f"{Path(str(one.__file__)).parent}/" for one in (mmgrec, mmgrec_kernels, mmgrec_plugins)), __file__)


@cache
def is_ours(file: str) -> bool:
    return file.startswith(OURS)


def lines_executed(call: Callable[[], object]) -> int:
    """Lines of ours, each time that one is come to (a loop's line counts in each turn), and calls that leave them."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
        elif not is_ours(frame.f_code.co_filename):  # "call": of a library, which is not followed
            caller = frame.f_back
            count += caller is not None and is_ours(caller.f_code.co_filename)
            return None
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def lines_for_more_users(fit: Callable[[Dataset, Context], object]) -> int:
    """What twice the users add to the lines of a fit."""
    few, many = timed(DATA), shared_among_twice_as_many(timed(DATA))
    assert len(many.train) == len(few.train)
    for data in (few, many):
        fit(data, Context(seed=1))  # what is imported or made once
    return lines_executed(lambda: fit(many, Context(seed=1))) - lines_executed(lambda: fit(few, Context(seed=1)))


@pytest.mark.parametrize("name", factor_recommenders())
def test_twice_the_users_add_less_than_a_line_each(name: str) -> None:
    recommender = factor_recommenders()[name](**SHORT, **BRIEF.get(name, {}))
    assert lines_for_more_users(recommender.fit) < NUM_USERS / 2


@pytest.mark.parametrize("name", ["sasrec", "tiger"])
def test_recommenders_of_ordered_data_have_no_loop_either(name: str) -> None:
    """All users are one batch, and as many as before are validated."""
    training = {"epochs": 1, "batch_size": 4 * NUM_USERS, "validation_users": 100}
    settings: dict[str, Any] = {"dim": 8, "history_length": 4, "feedforward_dim": 8, "training": training}
    if name == "tiger":
        settings |= {"codebook_size": 8, "autoencoder": {"epochs": 1, "warmup_epochs": 1}}
    recommender: object = build(Registry.discover(environ={}).load("recommender", name), settings)
    assert isinstance(recommender, Recommender)
    assert lines_for_more_users(recommender.fit) < NUM_USERS / 2


def test_the_graph_encoder_has_no_loop_either() -> None:
    encoder = GraphEncoder(dim=8, epochs=1, regularization=(1e-2,), temperature=(0.2,), validation_users=500)
    assert lines_for_more_users(encoder.fit) < NUM_USERS / 2


def test_memories_have_no_loop_either_nor_has_what_they_say_of_users() -> None:
    def fit(data: Dataset, context: Context) -> None:
        table = torch.randn(data.num_users, data.num_items, generator=torch.Generator().manual_seed(0))
        for memory in (LocalRidge(neighbours=(10,), l2=(5.0,), scale=(1.0,)), EASEMemory(l2=(50.0,), scale=(1.0,))):
            weights = memory.fit(data, lambda users: table[users], context)
            weights.scores(data.train, torch.arange(data.num_users))

    assert lines_for_more_users(fit) < NUM_USERS / 2


def test_folding_in_has_no_loop_either() -> None:
    def fit(data: Dataset, context: Context) -> None:
        item = torch.randn(data.num_items, 8, generator=torch.Generator().manual_seed(0))
        user = torch.zeros(data.num_users, 8).index_add_(0, data.train.user, item[data.train.item])
        for ordered in (False, True):
            one = replace(data, ordered=ordered)
            fold, folded = fold_in(Representations(user=user, item=item), one, context)
            fold.moved(folded, one.train, one.train.merged(one.valid))

    assert lines_for_more_users(fit) < NUM_USERS / 2


@dataclass(frozen=True, kw_only=True)
class Slow(MF):
    """Loops over users, in one of several ways."""

    loop: str = ""

    def network(self, data: Dataset, *, dim: int, context: Context) -> GraphNetwork:
        LOOPS[self.loop](data.train.user_degree)
        return super().network(data, dim=dim, context=context)


def _statement(degree: Tensor) -> None:
    total = 0
    for one in degree.tolist():
        total += one
    assert total == int(degree.sum())


LOOPS: dict[str, Callable[[Tensor], object]] = {
    "a statement": _statement,
    "a comprehension": lambda degree: [one + 1 for one in degree.tolist()],
    "a generator": lambda degree: sum(one for one in degree.tolist()),
    "a function of ours": lambda degree: list(map(lambda one: one + 1, degree.tolist())),  # noqa: C417
    "a library's function in Python": lambda degree: list(map(fractions.Fraction, degree.tolist())),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_over_users_would_be_seen(loop: str) -> None:
    assert lines_for_more_users(Slow(**SHORT, loop=loop).fit) >= NUM_USERS
