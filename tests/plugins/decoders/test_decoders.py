"""Decoders on a network that is a table of numbers: by hand, against brute force, and against each other."""

import gc
import itertools
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_table import ROWS, SIZES, Table, table_of, trie_of
from torch import Tensor

from mmgrec.errors import SettingsError
from mmgrec.interfaces import Decoder, Exclusion, no_exclusion
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.leaves import forbidden_leaves
from mmgrec_plugins.decoders.published_beam import PublishedBeam
from mmgrec_plugins.decoders.trie_beam import TrieBeam

INF = float("inf")
BOTH = [TrieBeam(), Exact(), Exact(max_beams=1)]


def _brute_force(
    table: Table, rows: list[tuple[int, ...]], user: int, forbidden: set[int], top_k: int
) -> list[tuple[int, float]]:
    pairs = [(item, table.log_likelihood(user, row, rows)) for item, row in enumerate(rows) if item not in forbidden]
    pairs.sort(key=lambda pair: (-pair[1], pair[0]))
    return (pairs + [(-1, -INF)] * top_k)[:top_k]


def _assert_found(item: Tensor, score: Tensor, user: int, truth: list[tuple[int, float]]) -> None:
    assert item[user].tolist() == [value for value, _ in truth]
    assert score[user].tolist() == pytest.approx([value for _, value in truth], abs=1e-4)


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("decoder", BOTH)
def test_best_items_by_brute_force(decoder: Decoder, head: str) -> None:
    trie = trie_of()
    table = table_of(trie, head, num_users=3)
    item, score = decoder.decode(table, trie, top_k=5, exclusion=no_exclusion(3))
    for user in range(3):
        _assert_found(item, score, user, _brute_force(table, ROWS, user, set(), 5))


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("decoder", BOTH)
def test_seen_items_are_left_out_and_scores_stay(decoder: Decoder, head: str) -> None:
    trie = trie_of()
    table = table_of(trie, head, num_users=2)
    seen = torch.tensor([[1, 2, 7, -1], [0, 3, 6, 7]])
    item, score = decoder.decode(table, trie, top_k=8, exclusion=Exclusion(seen=seen))
    _assert_found(item, score, 0, _brute_force(table, ROWS, 0, {1, 2, 7}, 8))
    _assert_found(item, score, 1, _brute_force(table, ROWS, 1, {0, 3, 6, 7}, 8))


@pytest.mark.parametrize("decoder", BOTH)
def test_a_seen_item_named_twice_counts_once(decoder: Decoder) -> None:
    trie = trie_of()
    item, _ = decoder.decode(table_of(trie), trie, top_k=8, exclusion=Exclusion(seen=torch.tensor([[1, 1, -1, 0]])))
    assert sorted(item[0].tolist()) == [-1, -1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("decoder", BOTH)
def test_a_user_who_has_seen_everything_gets_nothing(decoder: Decoder) -> None:
    trie = trie_of()
    seen = torch.stack([torch.arange(8), torch.tensor([5] + [-1] * 7)])
    item, score = decoder.decode(table_of(trie, num_users=2), trie, top_k=3, exclusion=Exclusion(seen=seen))
    assert (item[0].tolist(), score[0].tolist()) == ([-1] * 3, [-INF] * 3)
    assert -1 not in item[1].tolist()


@pytest.mark.parametrize("decoder", BOTH)
def test_allow_list(decoder: Decoder) -> None:
    trie = trie_of()
    allowed = torch.tensor([True, False, True, False, False, True, False, False])
    table = table_of(trie)
    item, score = decoder.decode(
        table, trie, top_k=4, exclusion=Exclusion(seen=torch.tensor([[2, 3]]), allowed=allowed)
    )
    _assert_found(item, score, 0, _brute_force(table, ROWS, 0, {1, 2, 3, 4, 6, 7}, 4))


@pytest.mark.parametrize("decoder", BOTH)
def test_an_allow_list_that_changes_is_followed(decoder: Decoder) -> None:
    """Its sums are kept between calls; nothing may be recommended that was allowed before, however it was written."""
    tries = trie_of(), trie_of()
    memory = np.ones(8, dtype=bool)
    allowed = torch.from_numpy(memory)
    other = ~torch.eye(8, dtype=torch.bool)[3]
    for step in range(16):
        if step < 8:
            memory[step] = False  # behind torch's back
        for trie in tries:
            for mask in (allowed, other) if step % 2 else (allowed,):
                nobody = Exclusion(seen=torch.empty(1, 0, dtype=torch.int64), allowed=mask)
                item, _ = decoder.decode(table_of(trie), trie, top_k=8, exclusion=nobody)
                assert sorted(set(item[0].tolist()) - {-1}) == mask.nonzero().flatten().tolist()


def test_the_sums_of_an_allow_list_are_made_once() -> None:
    trie, allowed = trie_of(), torch.arange(8) < 5
    nothing = torch.empty(1, 0, dtype=torch.int64)
    sums = [
        forbidden_leaves(trie, Exclusion(seen=nothing, allowed=mask)).allowed_before
        for mask in (allowed, allowed, allowed.clone(), ~allowed, allowed)
    ]
    different = {id(table): table for table in sums}
    assert [list(different).index(id(table)) for table in sums] == [0, 0, 0, 1, 2]
    last = weakref.ref(sums[-1])
    del sums, different
    assert last() is not None
    del trie
    gc.collect()
    assert last() is None  # nothing outlives its trie


@pytest.mark.parametrize("decoder", BOTH)
def test_nothing_is_allowed(decoder: Decoder) -> None:
    trie = trie_of()
    nothing = Exclusion(seen=torch.empty(1, 0, dtype=torch.int64), allowed=torch.zeros(8, dtype=torch.bool))
    assert decoder.decode(table_of(trie), trie, top_k=2, exclusion=nothing)[0].tolist() == [[-1, -1]]


@pytest.mark.parametrize("decoder", BOTH)
def test_fewer_items_than_asked_for(decoder: Decoder) -> None:
    trie = trie_of()
    item, score = decoder.decode(table_of(trie), trie, top_k=10, exclusion=no_exclusion(1))
    assert sorted(item[0, :8].tolist()) == list(range(8))
    assert (item[0, 8:].tolist(), score[0, 8:].tolist()) == ([-1, -1], [-INF, -INF])


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("decoder", BOTH)
def test_one_item(decoder: Decoder, head: str) -> None:
    trie = trie_of([(0, 3)], (1, 4))
    table = table_of(trie, head)
    item, score = decoder.decode(table, trie, top_k=2, exclusion=no_exclusion(1))
    _assert_found(item, score, 0, _brute_force(table, [(0, 3)], 0, set(), 2))


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("decoder", BOTH)
def test_one_level(decoder: Decoder, head: str) -> None:
    trie = trie_of([(2,), (0,), (3,)], (4,))
    table = table_of(trie, head)
    item, score = decoder.decode(table, trie, top_k=3, exclusion=Exclusion(seen=torch.tensor([[1]])))
    _assert_found(item, score, 0, _brute_force(table, [(2,), (0,), (3,)], 0, {1}, 3))


@pytest.mark.parametrize("decoder", BOTH)
def test_equal_scores_are_ordered_by_item(decoder: Decoder) -> None:
    trie = trie_of()
    flat = Table(trie, "tokens", torch.Generator(), scale=0.0)
    assert decoder.decode(flat, trie, top_k=8, exclusion=no_exclusion(1))[0].tolist() == [list(range(8))]


def test_a_wholly_seen_prefix_takes_no_beam() -> None:
    """One beam: were prefix 2 to take it (its likelihood is 0.98), nothing below it would be left to recommend."""
    trie = trie_of()
    table = table_of(trie)
    table.numbers[0][0, 0] = torch.tensor([0.01, 0.01, 0.98]).log()
    seen = torch.tensor([[0, 3, 6, 7]])  # all items under prefix 2
    item, score = TrieBeam(num_beams=1).decode(table, trie, top_k=1, exclusion=Exclusion(seen=seen))
    assert int(item) not in {-1, 0, 3, 6, 7}
    assert float(score) == pytest.approx(table.log_likelihood(0, ROWS[int(item)], ROWS), abs=1e-5)


def test_beams_are_never_fewer_than_items_asked_for() -> None:
    trie = trie_of()
    item, _ = TrieBeam(num_beams=1).decode(table_of(trie), trie, top_k=5, exclusion=no_exclusion(1))
    assert -1 not in item[0].tolist()


def test_a_narrow_beam_is_greedy_where_it_must_be() -> None:
    trie = trie_of([(0, 0), (0, 1), (0, 2), (1, 0)], (2, 3))
    table = table_of(trie)
    table.numbers[0][0, 0] = torch.tensor([0.6, 0.4]).log()
    table.numbers[1][0, 0] = torch.tensor([0.3, 0.3, 0.4]).log()
    table.numbers[1][0, 1] = torch.tensor([0.98, 0.01, 0.01]).log()
    assert TrieBeam(num_beams=1).decode(table, trie, top_k=1, exclusion=no_exclusion(1))[0].tolist() == [[2]]
    assert TrieBeam(num_beams=2).decode(table, trie, top_k=1, exclusion=no_exclusion(1))[0].tolist() == [[3]]


def test_item_that_the_trie_does_not_hold_is_refused() -> None:
    trie = trie_of()
    with pytest.raises(ValueError, match="item 8, but the trie holds 8"):
        TrieBeam().decode(table_of(trie), trie, top_k=1, exclusion=Exclusion(seen=torch.tensor([[8]])))


@st.composite
def _cases(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], tuple[int, ...], str, int, list[set[int]], int]:
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    rows = draw(
        st.lists(st.tuples(*(st.integers(0, size - 1) for size in sizes)), min_size=1, max_size=25, unique=True)
    )
    seen = draw(st.lists(st.sets(st.integers(0, len(rows) - 1)), min_size=1, max_size=3))
    return (
        rows,
        sizes,
        draw(st.sampled_from(["tokens", "tree"])),
        draw(st.integers(0, 99)),
        seen,
        draw(st.integers(1, 12)),
    )


@settings(max_examples=80, deadline=None)
@given(_cases())
def test_wide_beam_exact_and_brute_force_agree(case: tuple) -> None:  # type: ignore[type-arg]
    rows, sizes, head, seed, seen, top_k = case
    trie = trie_of(rows, sizes)
    table = table_of(trie, head, len(seen), seed)
    width = max(map(len, seen))
    exclusion = Exclusion(seen=torch.tensor([[*sorted(items), *[-1] * (width - len(items))] for items in seen]).long())
    item, score = TrieBeam(num_beams=len(rows)).decode(table, trie, top_k=top_k, exclusion=exclusion)
    exact_item, exact_score = Exact(max_beams=7).decode(table, trie, top_k=top_k, exclusion=exclusion)
    torch.testing.assert_close(score, exact_score, atol=1e-5, rtol=0)
    for user, forbidden in enumerate(seen):
        truth = _brute_force(table, rows, user, forbidden, top_k)
        _assert_found(item, score, user, truth)
        _assert_found(exact_item, exact_score, user, truth)


@settings(max_examples=40, deadline=None)
@given(_cases(), st.integers(1, 4))
def test_a_narrow_beam_returns_only_valid_different_and_rightly_scored_items(case: tuple, num_beams: int) -> None:  # type: ignore[type-arg]
    rows, sizes, head, seed, seen, _ = case
    trie = trie_of(rows, sizes)
    table = table_of(trie, head, len(seen), seed)
    width = max(map(len, seen))
    exclusion = Exclusion(seen=torch.tensor([[*sorted(items), *[-1] * (width - len(items))] for items in seen]).long())
    item, score = TrieBeam(num_beams=num_beams).decode(table, trie, top_k=num_beams, exclusion=exclusion)
    for user, forbidden in enumerate(seen):
        got = [number for number in item[user].tolist() if number != -1]
        assert len(set(got)) == len(got)
        assert not forbidden & set(got)
        assert len(got) >= min(1, len(rows) - len(forbidden))
        assert score[user, : len(got)].tolist() == pytest.approx(
            [table.log_likelihood(user, rows[number], rows) for number in got], abs=1e-4
        )
        assert score[user].tolist() == sorted(score[user].tolist(), reverse=True)


# --------------------------------------------------------------------------- the released code's search


def _tuples(stepper: Table, sizes: tuple[int, ...]) -> list[tuple[float, tuple[int, ...]]]:
    """Every tuple of tokens, existing or not, by the definition; best first."""
    every = itertools.product(*(range(size) for size in sizes))
    return sorted(((stepper.log_likelihood(0, row, ROWS), row) for row in every), reverse=True)


@pytest.mark.parametrize("unseen", [True, False])
def test_without_a_trie_places_go_to_tuples_that_do_not_exist(unseen: bool) -> None:
    trie = trie_of()
    stepper = Table(trie, "tokens", torch.Generator().manual_seed(5))
    decoder = PublishedBeam(num_beams=36, unseen=unseen)  # all 3 * 4 * 3 tuples
    item, score = decoder.decode(stepper, trie, top_k=6, exclusion=no_exclusion(1))
    ranked = _tuples(stepper, SIZES)
    wanted = [(value, ROWS.index(row)) for value, row in (ranked if unseen else ranked[:6]) if row in ROWS][:6]
    wanted += [(-INF, -1)] * (6 - len(wanted))
    assert item[0].tolist() == [number for _, number in wanted]
    torch.testing.assert_close(score[0], torch.tensor([value for value, _ in wanted]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["tokens", "tree"])
def test_with_a_trie_seen_items_cost_their_places(head: str) -> None:
    trie = trie_of()
    stepper = Table(trie, head, torch.Generator().manual_seed(6))
    free, _ = TrieBeam().decode(stepper, trie, top_k=4, exclusion=no_exclusion(1))
    exclusion = Exclusion(seen=free[:, [0, 2]])
    item, score = PublishedBeam(trie=True).decode(stepper, trie, top_k=4, exclusion=exclusion)
    assert item[0].tolist() == [int(free[0, 1]), int(free[0, 3]), -1, -1]
    assert score[0, 2:].tolist() == [-INF, -INF]
    filled, _ = PublishedBeam(trie=True, unseen=True).decode(stepper, trie, top_k=4, exclusion=exclusion)
    exact, _ = TrieBeam().decode(stepper, trie, top_k=4, exclusion=exclusion)
    assert torch.equal(filled, exact)


def test_a_tree_cannot_be_searched_without_its_trie() -> None:
    trie = trie_of()
    stepper = Table(trie, "tree", torch.Generator().manual_seed(6))
    with pytest.raises(SettingsError) as error:
        PublishedBeam().decode(stepper, trie, top_k=2, exclusion=no_exclusion(1))
    assert error.value.code == "decoders.needs-tokens"
