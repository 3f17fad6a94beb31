"""What the memory adds, as figures: the parts of a score are the search's score, and who speaks is who was planted."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import pytest
import torch

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import RunError
from mmgrec.evaluation import KNOWN, evaluate
from mmgrec.generator import GeneratorTraining, NetworkSettings
from mmgrec.insight import Explanation, GeneratorInsight, MemoryPart, ModelInsight, explain, insight
from mmgrec.insight.memory_use import memory_use
from mmgrec.insight.one_item import memory_part
from mmgrec.interfaces import Context, Decoder, ItemWeights, Quantization, Quantizer, Representations, exclusion_of
from mmgrec.recid import Codes
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.synthetic import tours
from mmgrec.testing import tiny_data
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.published_beam import PublishedBeam
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.none import NoPosition

DATA = tiny_data()
USERS = DATA.test.user_degree.nonzero().flatten()
Head = Literal["tree", "tokens"]


@dataclass(frozen=True, kw_only=True)
class Drawn(Quantizer):
    """Vectors drawn at random, and the codes of their signs."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        generator = torch.Generator().manual_seed(5)
        user = torch.randn(data.num_users, 8, generator=generator)
        item = torch.randn(data.num_items, 8, generator=generator)
        codes = Codes(token=(item[:, :3] > 0).long(), level_sizes=(2, 2, 2))
        return Quantization(representations=Representations(user=user, item=item), codes=codes)


def fitted_on(data: Dataset, *, decoder: Decoder | None = None, head: Head = "tree") -> FittedMMGRec:
    model = MMGRec(
        quantizer=Drawn(),
        collisions=ByPopularity(),
        position=NoPosition(),
        decoder=decoder or Exact(),
        network=NetworkSettings(dim=16, num_heads=2, head_dim=8, head=head, history_length=6),
        training=GeneratorTraining(epochs=0),
    )
    return model.fit(data, Context())


def drawn_weights(num_items: int, *, decay: float = 1.0) -> ItemWeights:
    """Each item has twelve neighbours, of both signs."""
    generator = torch.Generator().manual_seed(7)
    index = torch.rand(num_items, num_items, generator=generator).fill_diagonal_(-1).topk(12).indices
    return ItemWeights(index=index, weight=torch.randn(num_items, 12, generator=generator), decay=decay)


@pytest.fixture(scope="module")
def model() -> FittedMMGRec:
    return replace(fitted_on(DATA), weights=drawn_weights(DATA.num_items))


def generator_of(facts: ModelInsight) -> GeneratorInsight:
    assert facts.generator is not None
    return facts.generator


def facts_of(fitted: FittedMMGRec) -> ModelInsight:
    report = evaluate(fitted, DATA, top_k=(10,))
    return insight(fitted, DATA, report.item, report.user)


# --------------------------------------------------------------------------- one item


@pytest.mark.parametrize("head", ["tree", "tokens"])
@pytest.mark.parametrize("decoder", [Exact(), TrieBeam(num_beams=20), PublishedBeam(trie=True, unseen=True)])
def test_the_parts_of_a_score_are_the_searchs_score(decoder: Decoder, head: Head) -> None:
    fitted = replace(fitted_on(DATA, decoder=decoder, head=head), weights=drawn_weights(DATA.num_items))
    users = USERS[:4]
    item, score = fitted.search(users, top_k=6, exclusion=exclusion_of(DATA.train.merged(DATA.valid), users))
    for row, user in enumerate(users.tolist()):
        told = explain(fitted, DATA, user, top_k=6)
        assert [int(one.item.id) for one in told.items] == item[row][item[row] >= 0].tolist()
        assert [one.rank for one in told.items] == list(range(1, len(told.items) + 1))
        for one, wanted in zip(told.items, score[row].tolist(), strict=False):
            assert one.memory is not None
            assert one.score == pytest.approx(wanted, abs=1e-5)
            assert one.log_probability + one.memory.value == pytest.approx(wanted, abs=1e-4)
            product = math.prod(step.taken.probability for step in one.path)
            assert product == pytest.approx(math.exp(one.log_probability), rel=1e-3)
    assert item.min() >= 0  # something was compared


def planted_part(**more: Any) -> MemoryPart:
    """User 0 has items 1, 2, 3 and 4, in this order; 1 and 3 speak for item 0, 4 against it."""
    train = Interactions.of(
        torch.tensor([0, 0, 0, 0, 1]),
        torch.tensor([1, 2, 3, 4, 0]),
        num_users=2,
        num_items=6,
        time=torch.tensor([10, 20, 30, 40, 10]),
    )
    weights = ItemWeights(
        index=torch.tensor([[4, 1, 3, 5], *[[-1] * 4] * 5]),
        weight=torch.tensor([[-2.0, 1.0, 4.0, 9.0], *[[0.0] * 4] * 5]),
    )
    fitted = replace(fitted_on(DATA), history=train, weights=replace(weights, **more))
    data = dataclasses.replace(DATA, item_ids=list("abcdef") + ["x"] * 42, item_titles=None)
    part = memory_part(fitted, data, 0, 0)
    assert part is not None
    return part


def test_who_speaks_is_named_with_ages_and_signs() -> None:
    part = planted_part()
    assert [(voice.item.id, voice.value, voice.age) for voice in part.speak_for] == [("d", 4.0, 1), ("b", 1.0, 3)]
    assert [(voice.item.id, voice.value, voice.age) for voice in part.speak_against] == [("e", -2.0, 0)]
    assert (part.value, part.voices, part.history, part.others) == (3.0, 3, 4, (0, 0.0))


def test_older_items_of_a_history_speak_more_softly() -> None:
    part = planted_part(decay=0.5)
    assert [(voice.item.id, voice.value) for voice in part.speak_for] == [("d", 2.0), ("b", 0.125)]
    assert part.value == -2.0 + 2.0 + 0.125


def test_those_that_are_not_named_are_counted(model: FittedMMGRec) -> None:
    items = DATA.num_items
    everybody = ItemWeights(
        index=torch.arange(items).expand(items, -1), weight=torch.linspace(-1, 2, items).repeat(items, 1)
    )
    user = int(DATA.train.user_degree.argmax())
    part = memory_part(replace(model, weights=everybody), DATA, user, 0)
    assert part is not None
    assert part.voices == part.history == int(DATA.train.user_degree[user]) > 10
    count, rest = part.others
    assert (len(part.speak_for), count) == (5, part.voices - 5 - len(part.speak_against))
    mine = DATA.train.items_of(torch.tensor([user]))[1]
    said = torch.linspace(-1, 2, items)[mine]
    named = [voice.value for voice in (*part.speak_for, *part.speak_against)]
    assert named[:5] == pytest.approx(said.sort(descending=True).values[:5].tolist(), abs=1e-4)
    assert rest == pytest.approx(float(said.sum()) - sum(named), abs=1e-4)


def test_an_item_may_be_asked_about_that_is_not_in_the_list(model: FittedMMGRec) -> None:
    user = int(USERS[0])
    own = int(DATA.train.item[DATA.train.user == user][0])
    (had,) = explain(model, DATA, user, item=own).items
    assert (had.rank, had.had, had.item.id) == (None, True, str(own))
    everything = explain(model, DATA, user, top_k=DATA.num_items)
    last = everything.items[-1]
    (one,) = explain(model, DATA, user, item=int(last.item.id), top_k=3).items
    assert (one.rank, one.had) == (None, False)
    assert one.score == pytest.approx(last.score, abs=1e-4)
    (first,) = explain(model, DATA, user, item=int(everything.items[0].item.id), top_k=3).items
    assert first == everything.items[0]


@pytest.mark.parametrize("exclude", KNOWN)
def test_what_is_left_out_is_what_was_asked_for(model: FittedMMGRec, exclude: Any) -> None:
    user = int(USERS[1])
    parts = {"train": [DATA.train], "train+valid": [DATA.train, DATA.valid], "all": [DATA.train, DATA.valid, DATA.test]}
    own = {int(item) for part in parts[exclude] for item in part.item[part.user == user]}
    told = explain(model, DATA, user, top_k=DATA.num_items, exclude=exclude)
    assert {int(one.item.id) for one in told.items} == set(range(DATA.num_items)) - own
    assert not any(one.had for one in told.items)
    assert told.exclude == exclude


def test_where_time_is_known_the_history_grows_and_ages() -> None:
    """By default the memory hears validation items too, as it does when the test part is asked for."""
    data = tours(num_users=60, num_items=30)
    fitted = replace(fitted_on(data), weights=drawn_weights(30, decay=0.8))
    user = int(data.valid.user[0])
    grown, before = explain(fitted, data, user), explain(fitted, data, user, exclude="train")
    assert grown.history == before.history + 1
    newest = (
        data.valid.item_id if hasattr(data.valid, "item_id") else str(int(data.valid.item[data.valid.user == user]))
    )
    ages = {
        voice.item.id: voice.age
        for one in grown.items
        if one.memory is not None
        for voice in (*one.memory.speak_for, *one.memory.speak_against)
    }
    assert ages[newest] == 0
    assert set(ages.values()) > {0, 1}
    again = fitted.method.restore(fitted.state())
    assert explain(again, data, user) == grown
    assert explain(again, data, user, exclude="train") == before


def test_a_model_without_a_memory_has_one_part(model: FittedMMGRec) -> None:
    for weights in (None, model.weights and model.weights.times(0.0)):
        told = explain(replace(model, weights=weights), DATA, int(USERS[0]))
        assert told.items
        for one in told.items:
            assert one.memory is None
            assert one.score == pytest.approx(one.log_probability, abs=1e-4)


def test_nobody_is_left_to_recommend(model: FittedMMGRec) -> None:
    pairs = torch.cartesian_prod(torch.tensor([0]), torch.arange(DATA.num_items))
    every = Interactions.of(pairs[:, 0], pairs[:, 1], num_users=DATA.num_users, num_items=DATA.num_items)
    assert explain(model, dataclasses.replace(DATA, train=every), 0).items == ()


def test_an_explanation_in_json_holds_whole_names(model: FittedMMGRec) -> None:
    long = dataclasses.replace(DATA, item_ids=[f"{item}-{'x' * 200}" for item in range(DATA.num_items)])
    told: Explanation = explain(model, long, int(USERS[0]), top_k=2)
    table = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert list(table) == ["schema", "user", "history", "exclude", "top_k", "items"]
    assert [one["item"]["id"] for one in table["items"]] == [one.item.id for one in told.items]
    assert all(len(one["item"]["id"]) > 200 for one in table["items"])
    assert list(table["items"][0]) == ["rank", "item", "had", "score", "log_probability", "path", "memory"]


# --------------------------------------------------------------------------- the model


def test_figures_of_the_memory_are_what_two_searches_say(model: FittedMMGRec) -> None:
    rule = DATA.train.merged(DATA.valid)
    facts = memory_use(model, USERS, masked=rule, top_k=10)
    assert facts is not None
    exclusion = exclusion_of(rule, USERS)
    item, score = model.search(USERS, top_k=10, exclusion=exclusion)
    other, written = replace(model, weights=None).search(USERS, top_k=DATA.num_items, exclusion=exclusion)
    moved = brought = 0
    shares = []
    for row in range(USERS.numel()):
        likely = dict(zip(other[row].tolist(), written[row].tolist(), strict=True))
        for place, (one, total) in enumerate(zip(item[row].tolist(), score[row].tolist(), strict=True)):
            moved += one != int(other[row, place])
            brought += one not in other[row, :10].tolist()
            shares.append(abs(total - likely[one]) / (abs(total - likely[one]) + abs(likely[one])))
    assert 0 < brought < moved < item.numel()
    assert facts.other_places == pytest.approx(moved / item.numel(), abs=1e-4)
    assert facts.other_items == pytest.approx(brought / item.numel(), abs=1e-4)
    assert facts.share == pytest.approx(float(torch.tensor(shares).sort().values[(len(shares) - 1) // 2]), abs=1e-3)
    assert (facts.users, facts.top_k) == (USERS.numel(), 10)
    assert (facts.kept, facts.neighbours, facts.spoken_for) == (12, 12.0, 1.0)
    assert facts.bytes == DATA.num_items * 12 * (8 + 4)


def test_items_that_nobody_speaks_for_are_told(model: FittedMMGRec) -> None:
    assert model.weights is not None
    weight = model.weights.weight.clone()
    weight[: DATA.num_items // 4] = 0.0
    weight[-1, :3] = 0.0
    facts = memory_use(
        replace(model, weights=replace(model.weights, weight=weight, decay=0.9)), USERS, masked=DATA.train
    )
    assert facts is not None
    assert (facts.spoken_for, facts.kept, facts.decay) == (0.75, 12, 0.9)
    assert facts.neighbours == pytest.approx((36 * 12 - 3) / 36, abs=1e-3)


def test_a_sample_of_many_users_is_looked_at(model: FittedMMGRec) -> None:
    facts = memory_use(model, USERS, masked=DATA.train, sample=10)
    assert facts is not None
    assert facts.users == 10


def test_the_shown_user_has_both_parts(model: FittedMMGRec) -> None:
    facts = facts_of(model)
    user = generator_of(facts).user
    assert user is not None
    assert user.memory is not None
    number = int(user.user)
    (told,) = explain(model, DATA, number, item=int(user.item.id)).items
    assert told.rank == user.place
    assert user.score == pytest.approx(told.score, abs=1e-4)
    assert user.memory == told.memory
    assert user.path == told.path
    assert generator_of(facts).memory == memory_use(model, USERS, masked=DATA.train.merged(DATA.valid))


# --------------------------------------------------------------------------- what is stored


def test_it_comes_back_from_json(model: FittedMMGRec) -> None:
    facts = facts_of(model)
    table = json.loads(json.dumps(facts.to_json(), allow_nan=False))
    assert table["memory"]["users"] == USERS.numel()
    assert table["user"]["memory"]["speak_for"]
    assert ModelInsight.of_json(table) == facts
    assert ModelInsight.of_json(table).to_json() == table


def test_a_model_without_a_memory_says_nothing_of_one(model: FittedMMGRec) -> None:
    for weights in (None, model.weights and model.weights.times(0.0)):
        facts = facts_of(replace(model, weights=weights))
        assert generator_of(facts).memory is None
        assert "memory" not in json.dumps(facts.to_json())


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("memory", "share"), "half", "memory.share"),
        (("memory", "kept"), 1.5, "memory.kept"),
        (("memory",), [], "memory"),
        (("user", "memory", "value"), None, "user.memory.value"),
        (("user", "memory", "speak_for", 0, "item"), "id", "user.memory.speak_for[0].item"),
        (("user", "memory", "speak_for", 0, "age"), "old", "user.memory.speak_for[0].age"),
    ],
)
def test_what_was_changed_by_hand_is_named(
    model: FittedMMGRec, path: tuple[str | int, ...], value: object, name: str
) -> None:
    table: Any = copy.deepcopy(json.loads(json.dumps(facts_of(model).to_json())))
    part = table
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(RunError) as error:
        ModelInsight.of_json(cast(Any, table))
    assert error.value.code == "insight.malformed"
    assert f"({name}: should be " in str(error.value)
