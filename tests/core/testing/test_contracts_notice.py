"""Contracts notice what they are there for, and the guide to hooks names them as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from mmgrec import testing
from mmgrec.data import Dataset
from mmgrec.interfaces import (
    Context,
    Decoder,
    Exclusion,
    ItemMemory,
    ItemScores,
    ItemWeights,
    NoMemory,
    ScoresOfUsers,
    Stepper,
)
from mmgrec.recid import Trie
from mmgrec.registry import KINDS
from mmgrec.testing import DecoderContract, ItemMemoryContract, PartContract
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.memories.ease import EASEMemory

Fit = Callable[[Dataset, ScoresOfUsers, Context], ItemWeights]


def good(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    return EASEMemory(l2=(50.0,), items_kept=5, scale=(2.0,)).fit(data, beside, context)


def with_weights(change: Callable[[ItemWeights], dict[str, Any]]) -> Fit:
    def fit(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        made = good(data, beside, context)
        return replace(made, **change(made))

    return fit


def by_test_items(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    return good(data, beside, context).times(1.0 + len(data.test))


def by_chance(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    return good(data, beside, context).times(float(torch.rand(())))


def seeding(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    torch.manual_seed(len(data.train))
    return good(data, beside, context)


def writing(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    data.features["visual"].mul_(1.01)
    return good(data, beside, context)


def needing_validation(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    assert len(data.valid), "nobody to ask"
    return good(data, beside, context)


def needing_every_item(data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
    made = good(data, beside, context)
    return replace(made, weight=made.weight / (data.train.item_degree > 0).float()[:, None].clamp_min(0))


#: what a memory does -> the test that says so
WRONG: dict[str, tuple[Fit, str]] = {
    "fewer items": (
        with_weights(lambda made: {"index": made.index[1:], "weight": made.weight[1:]}),
        "test_every_item_has_a_row_of_items_and_weights",
    ),
    "an item too high": (
        with_weights(lambda made: {"index": made.index + 1}),
        "test_every_item_has_a_row_of_items_and_weights",
    ),
    "weights of nobody": (
        with_weights(lambda made: {"index": torch.full_like(made.index, -1)}),
        "test_every_item_has_a_row_of_items_and_weights",
    ),
    "short integers": (
        with_weights(lambda made: {"index": made.index.int()}),
        "test_every_item_has_a_row_of_items_and_weights",
    ),
    "NaN": (
        with_weights(lambda made: {"weight": made.weight * torch.nan}),
        "test_weights_are_finite_floats_on_the_cpu",
    ),
    "double": (
        with_weights(lambda made: {"weight": made.weight.double()}),
        "test_weights_are_finite_floats_on_the_cpu",
    ),
    "a gradient": (
        with_weights(lambda made: {"weight": made.weight.clone().requires_grad_()}),
        "test_weights_are_finite_floats_on_the_cpu",
    ),
    "no decay": (with_weights(lambda made: {"decay": 0.0}), "test_weights_are_finite_floats_on_the_cpu"),
    "needs validation": (needing_validation, "test_it_works_without_validation_items"),
    "needs every item": (needing_every_item, "test_items_without_interactions_are_no_obstacle"),
    "writes into the data": (writing, "test_the_data_are_left_alone"),
    "draws from torch": (by_chance, "test_the_same_seed_gives_the_same_bits"),
    "reads torch's state": (by_chance, "test_the_global_random_state_is_not_read"),
    "seeds torch": (seeding, "test_the_global_random_state_is_left_alone"),
    "looks at test items": (by_test_items, "test_the_test_part_is_not_looked_at"),
}


def failures(contract: object) -> set[str]:
    """The tests of a contract that fail."""
    failed = set()
    for name in [name for name in dir(contract) if name.startswith("test_")]:
        with torch.random.fork_rng(devices=[]):
            try:
                getattr(contract, name)()
            except (AssertionError, RuntimeError, ValueError):
                failed.add(name)
    return failed


def held_to(fit: Fit) -> ItemMemoryContract:
    @dataclass(frozen=True, kw_only=True)
    class Memory(ItemMemory):
        def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
            return fit(data, beside, context)

    class Contract(ItemMemoryContract):
        def make(self) -> ItemMemory:
            return Memory()

    return Contract()


def test_a_sound_memory_passes() -> None:
    assert failures(held_to(good)) == set()
    assert failures(held_to(NoMemory().fit)) == set()


@pytest.mark.parametrize("fault", WRONG)
def test_a_memory_that_breaks_a_rule_fails_where_the_rule_stands(fault: str) -> None:
    fit, name = WRONG[fault]
    assert name in failures(held_to(fit))


# --------------------------------------------------------------------------- decoders that add item scores


@dataclass(frozen=True, kw_only=True)
class Deaf(Decoder):
    """Says that it adds item scores, and does not."""

    adds_item_scores: ClassVar[bool] = True

    def decode(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        return TrieBeam().decode(stepper, trie, top_k=top_k, exclusion=exclusion)


@dataclass(frozen=True, kw_only=True)
class Afterwards(Deaf):
    """Adds them to the scores and leaves the order as it was."""

    def decode(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        item, score = TrieBeam().decode(stepper, trie, top_k=top_k, exclusion=exclusion)
        return item, score if item_scores is None else score + item_scores.of(item)


@pytest.mark.parametrize("decoder", [Deaf(), Afterwards()])
def test_a_decoder_that_does_not_do_what_it_says_fails(decoder: Decoder) -> None:
    class Contract(DecoderContract):
        def make(self) -> Decoder:
            return decoder

    assert failures(Contract()) == {"test_item_scores_are_added_where_it_says_so"}


# --------------------------------------------------------------------------- the guide


def test_the_guide_names_every_contract_beside_its_interface() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "reference" / "hooks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(mmgrec_\w+)` \| `\w+` \| `(\w+)` \|", guide, flags=re.MULTILINE))
    contracts = {name for name in testing.__all__ if name.endswith("Contract")} - {PartContract.__name__}
    assert set(rows.values()) == contracts
    assert set(rows) == {kind.hook for kind in KINDS.values() if kind.interface}
    for hook, contract in rows.items():
        (kind,) = [kind for kind in KINDS.values() if kind.hook == hook]
        (base,) = getattr(testing, contract).__orig_bases__
        assert base.__args__[0].__name__ == kind.interface
