"""An item memory beside the generator, in whatever search, on disk, and where histories grow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import evaluate
from mmgrec.evaluation.report import Defects
from mmgrec.generator import GeneratorTraining, NetworkSettings, Weighing
from mmgrec.interfaces import (
    Context,
    Decoder,
    Exclusion,
    ItemMemory,
    ItemWeights,
    Quantization,
    Quantizer,
    Representations,
    ScoresOfUsers,
    Stepper,
    exclusion_of,
    no_exclusion,
)
from mmgrec.recid import Codes, Trie
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.storage.tensors import tensors_equal
from mmgrec.synthetic import planted
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.published_beam import PublishedBeam
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.memories.ease import EASEMemory
from mmgrec_plugins.positions.relation_aware import RelationAware

USERS, ITEMS = 70, 44


@dataclass(frozen=True, kw_only=True)
class Drawn(Quantizer):
    """Vectors of chance, and codes from their signs."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        generator = context.generator("vectors")
        item = torch.randn(data.num_items, 8, generator=generator)
        user = torch.zeros(data.num_users, 8).index_add_(0, data.train.user, item[data.train.item])
        bits = (item[:, :4] > 0).long()
        return Quantization(
            representations=Representations(user=user, item=item),
            codes=Codes(
                token=torch.stack([bits[:, 0] * 2 + bits[:, 1], bits[:, 2] * 2 + bits[:, 3]], 1), level_sizes=(4, 4)
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Said(ItemMemory):
    """Weights of chance, for and against."""

    decay: float = 1.0
    size: float = 3.0

    def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        generator = context.generator("said")
        index = torch.rand(data.num_items, data.num_items, generator=generator).argsort(1)[:, :4]
        weight = self.size * torch.randn(data.num_items, 4, generator=generator)
        return ItemWeights(index=index, weight=weight, decay=self.decay)


@dataclass(frozen=True, kw_only=True)
class OfThen(Decoder):
    """Another's decoder, from before there were item scores: `decode` has no such argument."""

    def decode(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return TrieBeam().decode(stepper, trie, top_k=top_k, exclusion=exclusion)


def ordered() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    items = torch.rand(USERS, ITEMS, generator=generator).argsort(1)[:, :9]
    user, time = torch.arange(USERS)[:, None].expand_as(items), torch.arange(9).expand_as(items)

    def part(columns: slice) -> Interactions:
        who, what, when = (table[:, columns].flatten() for table in (user, items, time))
        return Interactions.of(who, what, num_users=USERS, num_items=ITEMS, time=when)

    parts = (part(slice(0, -2)), part(slice(-2, -1)), part(slice(-1, None)))
    return Dataset(name="ordered", train=parts[0], valid=parts[1], test=parts[2], ordered=True)


PLAIN, ORDERED = planted(num_users=USERS, num_items=ITEMS, mean_interactions=12, seed=3), ordered()
METHOD = MMGRec(
    quantizer=Drawn(),
    collisions=ByPopularity(),
    position=RelationAware(),
    memory=Said(),
    decoder=TrieBeam(num_beams=ITEMS),
    network=NetworkSettings(dim=8, num_heads=2, head_dim=4, feedforward_dim=8, history_length=8),
    training=GeneratorTraining(epochs=1, batch_size=32, validate_every=1, warmup_steps=2),
    weighing=Weighing(factors=(1.0,)),
)
EVERYONE = torch.arange(USERS)


@pytest.fixture(scope="module")
def fitted() -> FittedMMGRec:
    return METHOD.fit(PLAIN, Context(seed=1))


@pytest.fixture(scope="module")
def timed() -> FittedMMGRec:
    return replace(METHOD, memory=Said(decay=0.6)).fit(ORDERED, Context(seed=1))


def silent(model: FittedMMGRec) -> FittedMMGRec:
    return replace(model, weights=None)


def asked(model: FittedMMGRec, decoder: Decoder | None = None, top_k: int = 12) -> tuple[Tensor, Tensor]:
    exclusion = exclusion_of(model.history, EVERYONE)
    return model.search(EVERYONE, top_k=top_k, exclusion=exclusion, decoder=decoder)


def wanted(model: FittedMMGRec, top_k: int = 12) -> tuple[Tensor, Tensor]:
    """By the definition: log-probabilities of all items, and the memory's matrix."""
    item, log_p = silent(model).search(EVERYONE, top_k=ITEMS, exclusion=no_exclusion(USERS), decoder=Exact())
    assert model.weights is not None
    score = torch.empty(USERS, ITEMS).scatter(1, item, log_p)
    score += torch.from_numpy(model.weights.rows(model.history, EVERYONE).toarray())
    score[model.history.user, model.history.item] = -torch.inf
    best = score.sort(dim=1, descending=True, stable=True)
    return best.indices[:, :top_k], best.values[:, :top_k]


DECODERS: dict[str, Decoder] = {
    "trie-beam": TrieBeam(num_beams=ITEMS),
    "exact": Exact(),
    "published-beam, ranked anew": PublishedBeam(num_beams=ITEMS, trie=True, unseen=True),
    "of then, ranked anew": OfThen(),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("which", ["fitted", "timed"])
def test_lists_are_by_log_probability_and_memory(name: str, which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    item, score = asked(model, DECODERS[name])
    truth = wanted(model)
    assert torch.equal(item, truth[0])
    torch.testing.assert_close(score, truth[1], atol=1e-4, rtol=1e-4)
    scores = model.item_scores(EVERYONE)
    assert scores is not None
    assert not torch.equal(item, asked(silent(model), DECODERS[name])[0])


def test_a_decoder_that_knows_no_memory_is_asked_for_more_than_is_wanted(fitted: FittedMMGRec) -> None:
    """But for no more than there are, where the catalogue is small."""
    widths: list[int] = []

    @dataclass(frozen=True, kw_only=True)
    class Counting(OfThen):
        def decode(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> Any:  # type: ignore[override]
            widths.append(top_k)
            return super().decode(stepper, trie, top_k=top_k, exclusion=exclusion)

    for model, top_k in ((fitted, 12), (fitted, 60), (silent(fitted), 12)):
        item, score = asked(model, Counting(), top_k)
        assert item.shape == score.shape == (USERS, top_k)
    assert widths == [ITEMS, 60, 12]


def test_lists_with_a_memory_have_no_defects(fitted: FittedMMGRec, timed: FittedMMGRec) -> None:
    for model, data in ((fitted, PLAIN), (timed, ORDERED)):
        for decoder in DECODERS.values():
            shown = replace(model, method=replace(model.method, decoder=decoder))
            assert evaluate(shown, data, split="test", top_k=(10, 40)).defects == Defects()


def test_what_is_added_to_the_search_is_told(fitted: FittedMMGRec) -> None:
    users = torch.tensor([5, 2])
    scores = fitted.item_scores(users)
    assert scores is not None
    assert fitted.weights is not None
    every = scores.of(torch.arange(ITEMS).expand(2, -1))
    torch.testing.assert_close(every, torch.from_numpy(fitted.weights.rows(PLAIN.train, users).toarray()))
    assert silent(fitted).item_scores(users) is None


# --------------------------------------------------------------------------- where the memory has nothing to add


def test_a_memory_of_zero_gives_the_lists_of_none_and_leaves_no_state() -> None:
    without = replace(METHOD, memory=Said(size=0.0)).fit(PLAIN, Context(seed=1))
    switched_off = replace(METHOD, weighing=Weighing(factors=(0.0,))).fit(PLAIN, Context(seed=1))
    ease = EASEMemory(l2=(50.0,), scale=(0.0,))
    unhelpful = replace(METHOD, memory=ease, weighing=Weighing()).fit(PLAIN, Context(seed=1))
    none = replace(METHOD, memory=MMGRec.__dataclass_fields__["memory"].default_factory())  # type: ignore[misc]
    plain = none.fit(PLAIN, Context(seed=1))
    for model in (without, switched_off, unhelpful):
        assert not [name for name in model.state() if name.startswith("memory.")]
        assert tensors_equal(model.state(), plain.state())
        assert model.item_scores(EVERYONE) is None
        assert torch.equal(asked(model)[0], asked(plain)[0])
        assert torch.equal(asked(model)[1], asked(plain)[1])


def test_the_network_is_the_same_with_and_without_a_memory(fitted: FittedMMGRec) -> None:
    """It is learnt before the memory, so that a study trains it once for both."""
    plain = METHOD.generator.fit(PLAIN, Context(seed=1))
    assert METHOD.generator == replace(METHOD, memory=Said(size=9.0), weighing=Weighing()).generator
    assert tensors_equal(plain.network.state_dict(), fitted.network.state_dict())


def test_the_memory_is_fitted_beside_the_representations_and_weighed_by_the_search() -> None:
    beside_scores: list[Tensor] = []

    @dataclass(frozen=True, kw_only=True)
    class Looking(Said):
        def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
            beside_scores.append(beside(torch.tensor([3, 1])))
            return super().fit(data, beside, context)

    many = Weighing(factors=(0.0, 0.25, 1.0))
    model = replace(METHOD, memory=Looking(), weighing=many).fit(PLAIN, Context(seed=1))
    user, item = model.representations.user, model.representations.item
    torch.testing.assert_close(beside_scores[0], user[[3, 1]] @ item.T)
    assert model.weights is not None
    heavy = METHOD.fit(PLAIN, Context(seed=1)).weights
    assert heavy is not None
    values = {}
    for factor in many.factors:
        weighed = replace(model, weights=heavy.times(factor))
        values[factor] = evaluate(weighed, PLAIN, split="valid", top_k=(10,)).metrics["recall@10"]
    best = max(values, key=values.__getitem__)
    torch.testing.assert_close(model.weights.weight, heavy.weight * best)


def test_test_items_have_no_part_in_it() -> None:
    method = replace(METHOD, memory=EASEMemory(l2=(50.0, 5.0)), weighing=Weighing(factors=(1.0, 0.5)))
    first = method.fit(PLAIN, Context(seed=1))
    assert tensors_equal(first.state(), method.fit(PLAIN.without_test(), Context(seed=1)).state())
    assert tensors_equal(first.state(), method.fit(PLAIN, Context(seed=1)).state())


# --------------------------------------------------------------------------- stored, and with grown histories


def again(model: FittedMMGRec) -> FittedMMGRec:
    return model.method.restore(load(save(model.state())))


@pytest.mark.parametrize("which", ["fitted", "timed"])
def test_a_stored_model_answers_equally(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    other = again(model)
    assert tensors_equal(other.state(), model.state())
    for mine, theirs in zip(asked(model), asked(other), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(("which", "data"), [("fitted", PLAIN), ("timed", ORDERED)])
def test_a_stored_model_reads_another_history_equally(
    which: str, data: Dataset, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    grown = data.train.merged(data.valid)
    moved = model.with_history(grown)
    for other in (again(model).with_history(grown), again(moved)):
        torch.testing.assert_close(other.representations.user, moved.representations.user, rtol=0, atol=0)
        assert torch.equal(other.network.user_vectors, moved.network.user_vectors)
        for mine, theirs in zip(asked(moved), asked(other), strict=True):
            assert torch.equal(mine, theirs)


def test_evaluation_of_ordered_data_reads_the_grown_history(timed: FittedMMGRec) -> None:
    grown = ORDERED.train.merged(ORDERED.valid)
    report = evaluate(timed, ORDERED, split="test", top_k=(10,))
    item, _ = timed.with_history(grown).search(EVERYONE, top_k=10, exclusion=exclusion_of(grown, EVERYONE))
    stale, _ = timed.search(EVERYONE, top_k=10, exclusion=exclusion_of(grown, EVERYONE))
    assert torch.equal(report.item, item[report.user])
    assert not torch.equal(item, stale)


def test_a_grown_history_moves_users_encoder_and_memory_and_leaves_the_model_as_it_was(timed: FittedMMGRec) -> None:
    before = {name: value.clone() for name, value in timed.state().items()}
    vectors = timed.network.user_vectors.clone()
    lists = asked(timed)
    grown = ORDERED.train.merged(ORDERED.valid)
    moved = timed.with_history(grown)
    assert moved.fold is not None
    torch.testing.assert_close(
        moved.representations.user, moved.fold.users(grown, moved.representations.item), atol=1e-3, rtol=1e-3
    )
    assert not torch.equal(moved.network.user_vectors, vectors)
    for mine, theirs in zip(moved.network.parameters(), timed.network.parameters(), strict=True):
        assert mine is theirs
    assert torch.equal(timed.network.user_vectors, vectors)
    assert tensors_equal(timed.state(), before)
    assert torch.equal(asked(timed)[0], lists[0])
    one, two = moved.item_scores(EVERYONE), timed.item_scores(EVERYONE)
    assert one is not None
    assert two is not None
    assert not torch.equal(one.of(lists[0]), two.of(lists[0]))


def test_the_history_of_training_changes_nothing(fitted: FittedMMGRec, timed: FittedMMGRec) -> None:
    for model, data in ((fitted, PLAIN), (timed, ORDERED)):
        same = model.with_history(data.train)
        assert tensors_equal(same.state(), model.state())
        for mine, theirs in zip(asked(model), asked(same), strict=True):
            assert torch.equal(mine, theirs)


def test_users_who_came_later_get_lists(fitted: FittedMMGRec) -> None:
    """Those of user 3, whose items they have; and somebody who has none gets a list as well."""
    _, mine = PLAIN.train.items_of(torch.tensor([3]))
    later = Interactions.of(
        torch.cat([PLAIN.train.user, torch.full_like(mine, USERS)]),
        torch.cat([PLAIN.train.item, mine]),
        num_users=USERS + 2,
        num_items=ITEMS,
    )
    model = fitted.with_history(later)
    users = torch.tensor([3, USERS, USERS + 1])
    item, score = model.search(users, top_k=10, exclusion=exclusion_of(later, users))
    assert bool((item >= 0).all() and score.isfinite().all())
    scores = model.item_scores(users)
    assert scores is not None
    assert torch.equal(scores.value[0], scores.value[1])
    assert not scores.value[2].any()
