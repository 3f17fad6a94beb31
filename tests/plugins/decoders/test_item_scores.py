"""Item scores within the search: by brute force, beam against exact, and what bounds a prefix."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_table import ROWS, Table, table_of, trie_of
from torch import Tensor

from mmgrec.interfaces import Decoder, Exclusion, ItemScores, no_exclusion
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.leaves import bonus_at, forbidden_leaves, leaf_bonus
from mmgrec_plugins.decoders.trie_beam import TrieBeam

INF = float("inf")
BOTH = [TrieBeam(), Exact(), Exact(max_beams=1)]
Said = list[dict[int, float]]  # of each user: item -> what is added


def item_scores(said: Said) -> ItemScores:
    width = max(map(len, said))
    item = torch.full((len(said), width), -1, dtype=torch.int64)
    value = torch.zeros(len(said), width)
    for row, one in enumerate(said):
        item[row, : len(one)] = torch.tensor(sorted(one), dtype=torch.int64)
        value[row, : len(one)] = torch.tensor([one[number] for number in sorted(one)])
    return ItemScores(item=item, value=value)


def excluding(seen: list[set[int]], allowed: set[int] | None, num_items: int) -> Exclusion:
    width = max(map(len, seen))
    table = torch.tensor([[*sorted(items), *[-1] * (width - len(items))] for items in seen]).long()
    mask = None if allowed is None else torch.tensor([number in allowed for number in range(num_items)])
    return Exclusion(seen=table.view(len(seen), width), allowed=mask)


def truth(
    table: Table, rows: list[tuple[int, ...]], user: int, forbidden: set[int], said: dict[int, float], top_k: int
) -> list[tuple[int, float]]:
    """By the definition, in float64: the log-likelihood, and what is added to it."""
    pairs = [
        (item, table.log_likelihood(user, row, rows) + said.get(item, 0.0))
        for item, row in enumerate(rows)
        if item not in forbidden
    ]
    pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    return (pairs + [(-1, -INF)] * top_k)[:top_k]


def assert_found(item: Tensor, score: Tensor, user: int, wanted: list[tuple[int, float]]) -> None:
    assert item[user].tolist() == [value for value, _ in wanted]
    assert score[user].tolist() == pytest.approx([value for _, value in wanted], abs=2e-4)


@st.composite
def cases(draw: st.DrawFn) -> tuple:  # type: ignore[type-arg]
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    rows = draw(
        st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=1, max_size=25, unique=True)
    )
    numbers = st.integers(0, len(rows) - 1)
    num_users = draw(st.integers(1, 3))
    value = st.floats(-6, 6, width=32) | st.floats(-80, 80, width=32)
    return (
        rows,
        sizes,
        draw(st.sampled_from(["tokens", "tree"])),
        draw(st.integers(0, 99)),
        draw(st.lists(st.sets(numbers), min_size=num_users, max_size=num_users)),
        draw(st.none() | st.sets(numbers)),
        draw(st.lists(st.dictionaries(numbers, value), min_size=num_users, max_size=num_users)),
        draw(st.integers(1, 12)),
    )


@settings(max_examples=120, deadline=None)
@given(cases())
def test_wide_beam_its_static_form_exact_and_brute_force_agree(case: tuple) -> None:  # type: ignore[type-arg]
    """Random networks and tries, some items excluded or not allowed though they are spoken of, users without any."""
    rows, sizes, head, seed, seen, allowed, said, top_k = case
    trie, exclusion, scores = trie_of(rows, sizes), excluding(seen, allowed, len(rows)), item_scores(said)
    table = table_of(trie, head, len(seen), seed)
    beam = TrieBeam(num_beams=len(rows))
    asked = {"top_k": top_k, "exclusion": exclusion, "item_scores": scores}
    found = beam.decode(table, trie, **asked)
    static = beam.decode_static(table, trie, **asked)
    exact = Exact(max_beams=7).decode(table, trie, **asked)
    assert torch.equal(static[0], found[0])
    assert torch.equal(static[1], found[1])
    torch.testing.assert_close(found[1], exact[1], atol=1e-4, rtol=0)
    for user, items in enumerate(seen):
        forbidden = items if allowed is None else items | (set(range(len(rows))) - allowed)
        wanted = truth(table, rows, user, forbidden, said[user], top_k)
        assert_found(*found, user, wanted)
        assert_found(*exact, user, wanted)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(1, 4))
def test_a_score_less_the_item_score_is_the_log_probability(case: tuple, num_beams: int) -> None:  # type: ignore[type-arg]
    """Also of a narrow beam: whatever it finds is rightly scored, in order, different and not excluded."""
    rows, sizes, head, seed, seen, allowed, said, _ = case
    trie, exclusion, scores = trie_of(rows, sizes), excluding(seen, allowed, len(rows)), item_scores(said)
    table = table_of(trie, head, len(seen), seed)
    item, score = TrieBeam(num_beams=num_beams).decode(
        table, trie, top_k=num_beams, exclusion=exclusion, item_scores=scores
    )
    rest = score - scores.of(item)
    for user, items in enumerate(seen):
        got = [number for number in item[user].tolist() if number != -1]
        may = (set(range(len(rows))) if allowed is None else allowed) - items
        assert len(set(got)) == len(got)
        assert set(got) <= may
        assert len(got) >= min(1, len(may))
        assert rest[user, : len(got)].tolist() == pytest.approx(
            [table.log_likelihood(user, rows[number], rows) for number in got], abs=2e-4
        )
        assert score[user].tolist() == sorted(score[user].tolist(), reverse=True)


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("decoder", BOTH)
def test_equal_sums_are_ordered_by_item(decoder: Decoder, head: str) -> None:
    """Of a network to which all items are alike; the values make sums that are exact in single precision."""
    trie = trie_of(*_full())
    flat = Table(trie, head, torch.Generator(), scale=0.0)
    flat.bias = [torch.zeros_like(bias) for bias in flat.bias]
    said: Said = [{7: 0.5, 2: 0.5, 5: 0.25, 0: -0.5, 3: 0.25}]
    item, score = decoder.decode(flat, trie, top_k=8, exclusion=no_exclusion(1), item_scores=item_scores(said))
    assert item.tolist() == [[2, 7, 3, 5, 1, 4, 6, 0]]
    assert score[0, :2].unique().numel() == score[0, 2:4].unique().numel() == score[0, 4:7].unique().numel() == 1
    assert score[0].tolist() == pytest.approx([math.log(1 / 8) + n for n in (0.5, 0.5, 0.25, 0.25, 0, 0, 0, -0.5)])


def _full() -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
    return [(one, two, three) for three in range(2) for two in range(2) for one in range(2)], (2, 2, 2)


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("decoder", BOTH)
def test_scores_that_say_nothing_change_nothing(decoder: Decoder, head: str) -> None:
    trie = trie_of()
    table = table_of(trie, head, num_users=3)
    plain = decoder.decode(table, trie, top_k=5, exclusion=no_exclusion(3))
    for said in ([{}, {}, {}], [{3: 0.0}, {}, {0: 0.0, 7: 0.0}]):
        silent = decoder.decode(table, trie, top_k=5, exclusion=no_exclusion(3), item_scores=item_scores(said))
        assert torch.equal(silent[0], plain[0])
        assert torch.equal(silent[1], plain[1])


@pytest.mark.parametrize("head", ["tokens", "tree"])
def test_a_beam_of_one_finds_what_is_spoken_for_where_the_network_would_not_look(head: str) -> None:
    """Ranked anew after the search, the item would not be among those found: that is what the bound is for."""
    trie = trie_of()
    table = table_of(trie, head)
    likely = [table.log_likelihood(0, row, ROWS) for row in ROWS]
    worst = min(range(len(ROWS)), key=likely.__getitem__)
    plain, _ = TrieBeam(num_beams=1).decode(table, trie, top_k=1, exclusion=no_exclusion(1))
    assert ROWS[int(plain)][0] != ROWS[worst][0]  # another prefix
    scores = item_scores([{worst: max(likely) - likely[worst] + 1.0}])
    item, score = TrieBeam(num_beams=1).decode(table, trie, top_k=1, exclusion=no_exclusion(1), item_scores=scores)
    assert item.tolist() == [[worst]]
    assert float(score) == pytest.approx(max(likely) + 1.0, abs=1e-4)


def test_a_score_of_an_excluded_item_draws_no_beam_to_its_prefix() -> None:
    """One beam: were prefix 2 to take it for the sake of item 3, which is seen, item 5 would not be found."""
    trie = trie_of()
    table = table_of(trie)
    table.numbers[0][0, 0] = torch.tensor([0.3, 0.4, 0.3]).log()
    exclusion = Exclusion(seen=torch.tensor([[3]]))
    item, _ = TrieBeam(num_beams=1).decode(
        table, trie, top_k=1, exclusion=exclusion, item_scores=item_scores([{3: 50.0}])
    )
    assert item.tolist() == [[5]]
    allowed = torch.ones(8, dtype=torch.bool)
    allowed[3] = False
    exclusion = Exclusion(seen=torch.empty(1, 0, dtype=torch.int64), allowed=allowed)
    item, _ = TrieBeam(num_beams=1).decode(
        table, trie, top_k=1, exclusion=exclusion, item_scores=item_scores([{3: 50.0}])
    )
    assert item.tolist() == [[5]]


@settings(max_examples=80, deadline=None)
@given(cases())
def test_a_prefix_is_worth_the_greatest_score_below_it(case: tuple) -> None:  # type: ignore[type-arg]
    """Over the leaves that may be reached; at least 0 but at the last level, where a leaf has its own."""
    rows, sizes, _, _, seen, allowed, said, _ = case
    trie, scores = trie_of(rows, sizes), item_scores(said)
    leaves = leaf_bonus(trie, scores, forbidden_leaves(trie, excluding(seen, allowed, len(rows))))
    for level in range(trie.num_levels):
        bonus = bonus_at(trie, level, leaves)
        begin, end = (edge.long() for edge in trie.leaf_interval(level))
        found = bonus.of(torch.arange(trie.num_nodes(level)).expand(len(seen), -1))
        for user, items in enumerate(seen):
            may = (set(range(len(rows))) if allowed is None else allowed) - items
            for node in range(trie.num_nodes(level)):
                below = trie.leaf_item[begin[node] : end[node]].tolist()
                values = [said[user].get(item, 0.0) for item in below if item in may]
                wanted = sum(values) if level == trie.num_levels - 1 else max([0.0, *values])
                assert float(found[user, node]) == wanted


def test_item_scores_are_asked_for_and_made_wider_by_item() -> None:
    scores = item_scores([{2: 1.5, 6: -1.0}, {}, {0: 2.0}])
    wanted = torch.tensor([[0.0, 1.5, -1.0, 0.0], [0.0] * 4, [2.0, 0.0, 0.0, 0.0]])
    asked = torch.tensor([[0, 2, 6, -1], [0, 2, 6, -1], [0, 2, 6, 7]])
    wider = scores.padded(num_users=5, width=4)
    assert torch.equal(scores.of(asked), wanted)
    assert (wider.item.shape, wider.value.shape) == ((5, 4), (5, 4))
    assert wider.item[3:].eq(-1).all()
    assert torch.equal(wider.of(torch.cat([asked, asked[:2]])), torch.cat([wanted, torch.zeros(2, 4)]))
    nothing = item_scores([{}])
    assert nothing.of(torch.tensor([[0, -1]])).tolist() == [[0.0, 0.0]]
    own = scores.owned()
    own.value.fill_(9)
    assert float(scores.value.max()) == 2.0
