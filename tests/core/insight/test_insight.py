"""The facts behind the page: known answers on planted tables, and a path that is the decoder's own score."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from mmgrec.data.dataset import Dataset, Interactions
from mmgrec.evaluation.harness import evaluate
from mmgrec.generator.layers import NetworkSettings
from mmgrec.generator.task import GeneratorTraining
from mmgrec.insight.bins import doubling, short
from mmgrec.insight.facts import insight
from mmgrec.insight.one_item import paths_of
from mmgrec.insight.one_user import attention_inputs, gains
from mmgrec.insight.rec_ids import codewords, prefixes
from mmgrec.insight.user_values import OneUser
from mmgrec.insight.values import CountRange, GeneratorInsight, ModelInsight, PrefixGroup
from mmgrec.interfaces import (
    Context,
    Exclusion,
    FittedRecommender,
    PositionalScheme,
    Quantization,
    Quantizer,
    Recommendations,
    Representations,
    exclusion_of,
)
from mmgrec.recid.table import Codes, RecIDTable
from mmgrec.recid.trie import Trie
from mmgrec.recommender import FittedMMGRec, MMGRec
from mmgrec.testing import tiny_data
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.positions.none import NoPosition
from mmgrec_plugins.positions.relation_aware import RelationAttention, RelationAware


class Nothing(FittedRecommender):
    """A model that is never asked."""

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        raise AssertionError


class PlantedQuantizer(Quantizer):
    """The planted tastes, and the codes of their signs."""

    def fit(self, data: Dataset, context: Context) -> Quantization:
        item = data.latent["item_meaning"]
        codes = Codes(token=(item[:, :3] > 0).long(), level_sizes=(2, 2, 3))
        return Quantization(representations=Representations(user=data.latent["user_taste"], item=item), codes=codes)


DATA = tiny_data()
USERS = DATA.test.user_degree.nonzero().flatten()


def fitted_with(head: Literal["tree", "tokens"] = "tree", position: PositionalScheme | None = None) -> FittedMMGRec:
    """A model whose network has random weights everywhere, gains included."""
    recommender = MMGRec(
        quantizer=PlantedQuantizer(),
        collisions=ByPopularity(),
        position=position or RelationAware(),
        decoder=Exact(),
        network=NetworkSettings(dim=16, num_heads=2, head_dim=8, num_encoder_layers=2, head=head),
        training=GeneratorTraining(epochs=0),
    )
    fitted = recommender.fit(DATA, Context())
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in fitted.network.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * 0.3)
    return fitted


@pytest.fixture(scope="module")
def model() -> FittedMMGRec:
    return fitted_with()


@pytest.fixture(scope="module")
def facts(model: FittedMMGRec) -> ModelInsight:
    return insight(model, DATA, evaluate(model, DATA, top_k=(20,)).item, USERS)


@pytest.fixture(scope="module")
def generator(facts: ModelInsight) -> GeneratorInsight:
    assert facts.generator is not None
    return facts.generator


@pytest.fixture(scope="module")
def user(generator: GeneratorInsight) -> OneUser:
    assert generator.user is not None
    return generator.user


def interactions(pairs: list[tuple[int, int]], *, users: int, items: int) -> Interactions:
    user, item = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return Interactions.of(user, item, num_users=users, num_items=items)


def planted_lists() -> tuple[Dataset, Tensor, Tensor]:
    """Items 0, 1, 2, 3 have 0, 1, 2 and 4 training interactions; users 0-2 have 1, 2 and 4 items."""
    train = interactions([(0, 3), (1, 3), (1, 2), (2, 3), (2, 2), (2, 1), (2, 4), (3, 3)], users=4, items=5)
    test = interactions([(0, 0), (0, 2), (1, 0), (2, 0)], users=4, items=5)
    empty = interactions([], users=4, items=5)
    data = Dataset(name="planted", train=train, valid=empty, test=test)
    lists = torch.tensor([[2, 1], [3, 1], [0, -1]])
    return data, lists, torch.tensor([0, 1, 2])


# --------------------------------------------------------------------------- every model


def test_bounds_double_and_every_count_is_inside_its_own() -> None:
    counts = torch.arange(300)
    group, bounds = doubling(counts)
    low = torch.tensor([bound.low for bound in bounds])[group]
    high = torch.tensor([bound.high for bound in bounds])[group]
    assert bool(((low <= counts) & (counts <= high)).all())
    assert [bound.low for bound in bounds] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [bound.high + 1 for bound in bounds[:-1]] == [bound.low for bound in bounds[1:]]


def test_popularity_of_recommended_and_liked_items() -> None:
    data, lists, users = planted_lists()
    popularity = insight(Nothing(), data, lists, users).popularity
    assert [(counts.low, counts.high) for counts in popularity.groups] == [(0, 0), (1, 1), (2, 3), (4, 7)]
    assert popularity.catalogue == (0.2, 0.4, 0.2, 0.2)
    assert popularity.recommended == (0.2, 0.4, 0.2, 0.2)  # items 0; 1, 1; 2; 3
    assert popularity.liked == (0.75, 0.0, 0.25, 0.0)


def test_accuracy_by_popularity_counts_nothing_but_the_groups_items() -> None:
    data, lists, users = planted_lists()
    unpopular, popular = insight(Nothing(), data, lists, users).by_popularity
    assert (unpopular.counts.low, unpopular.users, unpopular.likes) == (0, 3, 3)
    assert unpopular.recall == pytest.approx(1 / 3, abs=1e-5)  # user 2 alone is given item 0
    assert (popular.counts.low, popular.users, popular.likes) == (2, 1, 1)
    assert (popular.recall, popular.ndcg) == (1.0, 1.0)


def test_accuracy_by_history_length() -> None:
    data, lists, users = planted_lists()
    rows = insight(Nothing(), data, lists, users).by_history
    assert [(row.counts.low, row.users, row.recall) for row in rows] == [(1, 1, 0.5), (2, 1, 0.0), (4, 1, 1.0)]
    assert rows[0].ndcg == pytest.approx(1 / (1 + 1 / math.log2(3)), abs=1e-4)


def test_coverage_counts_items_and_no_padding() -> None:
    data, lists, users = planted_lists()
    assert insight(Nothing(), data, lists, users).coverage == {2: 0.8}


def test_groups_take_every_user_and_every_liked_item_once(facts: ModelInsight) -> None:
    assert sum(row.users for row in facts.by_history) == USERS.numel()
    assert sum(row.likes or 0 for row in facts.by_popularity) == len(DATA.test)
    for shares in (facts.popularity.catalogue, facts.popularity.recommended, facts.popularity.liked):
        assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_the_groups_together_have_the_accuracy_of_the_evaluation(model: FittedMMGRec, facts: ModelInsight) -> None:
    whole = evaluate(model, DATA, top_k=(10,)).metrics
    recall = sum(row.users * row.recall for row in facts.by_history) / USERS.numel()
    ndcg = sum(row.users * row.ndcg for row in facts.by_history) / USERS.numel()
    assert recall == pytest.approx(whole["recall@10"], abs=1e-4)
    assert ndcg == pytest.approx(whole["ndcg@10"], abs=1e-4)


def test_users_that_are_not_asked_about_count_nowhere(model: FittedMMGRec) -> None:
    some = USERS[::3]
    facts = insight(model, DATA, evaluate(model, DATA, top_k=(10,), users=some).item, some)
    assert sum(row.likes or 0 for row in facts.by_popularity) == int(DATA.test.user_degree[some].sum())


def test_lists_of_other_users_are_refused() -> None:
    data, lists, users = planted_lists()
    with pytest.raises(ValueError, match="lists"):
        insight(Nothing(), data, lists[:2], users)


def test_other_models_have_nothing_of_the_generators() -> None:
    data, lists, users = planted_lists()
    facts = insight(Nothing(), data, lists, users)
    assert facts.generator is None
    assert facts.parameters is None


def test_what_is_said_is_small_and_the_same_every_time(model: FittedMMGRec, facts: ModelInsight) -> None:
    text = json.dumps(facts.to_json(), allow_nan=False)
    assert len(text) < 100_000
    assert text == json.dumps(insight(model, DATA, evaluate(model, DATA, top_k=(20,)).item, USERS).to_json())


# --------------------------------------------------------------------------- Rec-IDs


def test_codewords_and_prefixes_of_a_planted_table() -> None:
    codes = Codes(token=torch.tensor([[0, 0], [0, 0], [0, 1], [3, 1]]), level_sizes=(4, 2))
    table = RecIDTable(token=torch.cat([codes.token, torch.tensor([[0], [1], [0], [0]])], 1), level_sizes=(4, 2, 2))
    first, second, last = codewords(codes, table)
    assert (first.size, first.used, first.rank, first.items) == (4, 2, (1, 2, 3, 4), (3, 1, 0, 0))
    assert first.perplexity == short(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert second.perplexity == 2.0
    assert (last.collision, last.items) == (True, (3, 1))
    short_ones, long_ones = prefixes(Trie.of(table))
    assert (short_ones.tokens, short_ones.prefixes, short_ones.largest) == (1, 2, 3)
    assert short_ones.sizes == (
        PrefixGroup(counts=CountRange(low=1, high=1), prefixes=1, items=1),
        PrefixGroup(counts=CountRange(low=2, high=3), prefixes=1, items=3),
    )
    assert (long_ones.tokens, long_ones.prefixes, long_ones.largest) == (2, 3, 2)


def test_big_vocabularies_are_thinned_and_keep_their_ends() -> None:
    token = torch.arange(1000).clamp(max=700)[:, None]
    codes = Codes(token=token, level_sizes=(1000,))
    table = RecIDTable(token=torch.cat([token, torch.arange(1000)[:, None]], 1), level_sizes=(1000, 1000))
    (level, _) = codewords(codes, table)
    assert (level.used, level.rank[0], level.rank[-1], level.items[0]) == (701, 1, 1000, 300)
    assert len(level.items) == 200


# --------------------------------------------------------------------------- one user


@pytest.mark.parametrize("head", ["tree", "tokens"])
def test_the_probabilities_along_a_path_multiply_to_the_decoders_score(head: Literal["tree", "tokens"]) -> None:
    fitted = fitted_with(head)
    users = USERS[:3]
    item, score = fitted.search(users, top_k=4, exclusion=exclusion_of(DATA.train, users))
    for row, user in enumerate(users):
        history = fitted.history.padded(user[None])
        memory, _ = attention_inputs(fitted.network, user[None], history)
        paths = paths_of(fitted, memory, item[row])
        for steps, wanted in zip(paths, score[row].tolist(), strict=True):
            assert sum(step.log_probability for step in steps) == pytest.approx(wanted, abs=1e-4)
            total = steps[0].probability.sum()
            assert float(total) == pytest.approx(1) if head == "tree" else float(total) <= 1 + 1e-6


def test_the_path_is_the_items_rec_id(model: FittedMMGRec, user: OneUser) -> None:
    item = int(user.item.id)
    assert [step.taken.token for step in user.path] == model.rec_ids.token[item].tolist()
    assert math.prod(step.taken.probability for step in user.path) == pytest.approx(
        math.exp(user.log_probability), rel=1e-3
    )
    assert user.path[-1].taken.items == 1
    sizes = [step.taken.items for step in user.path]
    assert sizes == sorted(sizes, reverse=True)
    for step in user.path:
        better = [other for other in step.others if other.probability > step.taken.probability]
        assert len(better) == min(step.rank - 1, 4)
        assert len(step.others) == min(step.open - 1, 4)
        assert step.open <= step.children
        assert all(0 < choice.new <= choice.items for choice in [step.taken, *step.others])


def test_rivals_are_counted_where_the_user_finds_something_new(model: FittedMMGRec, user: OneUser) -> None:
    number = int(user.user)
    known = set(DATA.train.item[DATA.train.user == number].tolist())
    known |= set(DATA.valid.item[DATA.valid.user == number].tolist())
    first = model.rec_ids.token[:, 0].tolist()
    new = {token: sum(1 for item, own in enumerate(first) if own == token and item not in known) for token in first}
    step = user.path[0]
    assert (step.children, step.open) == (len(new), sum(count > 0 for count in new.values()))
    assert {choice.token: choice.new for choice in [step.taken, *step.others]}.items() <= new.items()


def test_the_user_has_many_hits_and_a_readable_history(user: OneUser, model: FittedMMGRec) -> None:
    number = int(user.user)
    lists = evaluate(model, DATA, top_k=(10,))
    row = USERS.tolist().index(number)
    liked = set(DATA.test.item[DATA.test.user == number].tolist())
    assert user.hits == len(liked & set(lists.item[row].tolist())) > 0
    assert int(user.item.id) == lists.item[row, user.place - 1]
    assert user.liked is (int(user.item.id) in liked) is True
    history = DATA.train.item[DATA.train.user == number].tolist()
    assert [item.id for item in user.items] == [str(item) for item in history]


@pytest.mark.parametrize("gain", ["scalar", "vector"])
def test_content_and_relations_make_the_attention(gain: Literal["scalar", "vector"]) -> None:
    attention = RelationAttention(dim=12, num_heads=2, head_dim=4, user_dim=5, gain=gain, gain_hidden=6)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in attention.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
        x, user = torch.randn(3, 7, 12, generator=generator), torch.randn(3, 5, generator=generator)
        keep = torch.arange(7)[None] < torch.tensor([7, 4, 1])[:, None]
        content, relation = attention.score_parts(x, user)
        weight = (content + relation[:, None]).masked_fill(~keep[:, None, None], -torch.inf).softmax(-1)
        v = attention.qkv(x).view(3, 7, 3, 2, 4)[:, :, 2].transpose(1, 2)
        rv = attention.relation(x).view(3, 7, 3, 4)[:, :, 2] * attention.user_gains(user)[:, 2, None]
        mixed = weight @ (v + rv[:, None])
        wanted = attention.out(mixed.transpose(1, 2).reshape(3, 7, 8))
        assert torch.allclose(wanted[keep], attention(x, user, keep)[keep], atol=1e-4)


def test_the_map_is_of_the_historys_items(user: OneUser) -> None:
    size = min(len(user.items), 24)
    assert [scores.layer for scores in user.layers] == [0, 1]
    for scores in user.layers:
        for part in (scores.content, scores.relation, scores.attention):
            assert [len(row) for row in part] == [size] * size
        rows = [sum(row) for row in scores.attention]
        assert 0 <= min(rows) < 0.999  # the rest goes to the learnt token and the user
        assert max(rows) < 1.001


def test_gains_are_spread_over_the_users(model: FittedMMGRec, generator: GeneratorInsight) -> None:
    assert [layer.layer for layer in generator.gains] == [0, 1]
    for layer in generator.gains:
        assert (layer.users, layer.width) == (USERS.numel(), 1)
        for spread in (layer.query, layer.key, layer.value):
            assert sum(spread.share) == pytest.approx(1, abs=1e-3)
            assert layer.edges[0] <= spread.mean <= layer.edges[-1]
    memory, _ = attention_inputs(model.network, USERS, DATA.train.padded(USERS))
    by_hand = model.network.encoder[1].attention.gains(memory.user).detach()[:, 1]  # type: ignore[union-attr, operator]
    assert generator.gains[1].key.mean == pytest.approx(float(by_hand.mean()), abs=1e-3)


def test_a_new_network_has_gains_of_one() -> None:
    model = MMGRec(
        quantizer=PlantedQuantizer(), collisions=ByPopularity(), position=RelationAware(), decoder=Exact(),
        network=NetworkSettings(dim=8, num_heads=1, head_dim=4), training=GeneratorTraining(epochs=0),
    )  # fmt: skip
    (layer,) = gains(model.fit(DATA, Context()), USERS)
    assert [spread.mean for spread in (layer.query, layer.key, layer.value)] == [1.0, 1.0, 1.0]
    assert layer.edges[0] < 1 < layer.edges[-1]


def test_a_scheme_without_relations_has_no_map_and_no_gains() -> None:
    fitted = fitted_with(position=NoPosition())
    generator = insight(fitted, DATA, evaluate(fitted, DATA, top_k=(10,)).item, USERS).generator
    assert generator is not None
    assert generator.user is not None
    assert generator.gains == generator.user.layers == ()
    assert generator.user.path


def test_titles_come_along_and_long_ones_are_cut(model: FittedMMGRec) -> None:
    titled = dataclasses.replace(DATA, item_titles=["<b>" + "x" * 500] * DATA.num_items)
    generator = insight(model, titled, evaluate(model, DATA, top_k=(10,)).item, USERS).generator
    assert generator is not None
    assert generator.user is not None
    assert generator.user.item.title == "<b>" + "x" * 77
