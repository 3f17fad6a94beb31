"""Constrained decoding, network included: all users and beams at once against one forward pass for each beam."""

from __future__ import annotations

import functools

import pytest
import torch
from harness import Book
from network import CachedStepper, Network, random_table
from walks import DictTrie, Found, differs

from mmgrec.interfaces import Exclusion, TokenScores, no_exclusion
from mmgrec.recid import RecIDTable, Trie
from mmgrec_kernels.beam_step import Bonus, beam_step_tokens, beam_step_tree
from mmgrec_kernels.implementations import Impl
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.leaves import best_items, level_of
from mmgrec_plugins.decoders.trie_beam import TrieBeam

NUM_USERS, NUM_BEAMS, TOP_K = 64, 50, 10
TIMED = 4  # users whom the rival is timed on
RIVAL = "dictionary trie, a forward a beam"
LEAST = 20.0  # times faster than the dictionaries
TOUCHED = 1000  # items of each user that add something to the scores
MOST_FOR_A_BONUS = 1.15  # times the search without


@torch.no_grad()
def test_against_a_dictionary_trie(book: Book) -> None:
    generator = torch.Generator().manual_seed(0)
    table = random_table(book.sized(100_000, 100_000), num_levels=3, codebook_size=256, generator=generator)
    trie, rival = Trie.of(table), DictTrie(table)
    network = Network(trie, num_users=NUM_USERS, generator=generator)
    decoder, nothing = TrieBeam(num_beams=NUM_BEAMS), no_exclusion(NUM_USERS)

    def ours() -> tuple[torch.Tensor, torch.Tensor]:
        return decoder.decode(CachedStepper(network), trie, top_k=TOP_K, exclusion=nothing)

    def theirs() -> tuple[torch.Tensor, torch.Tensor]:
        return rival.decode(network, range(TIMED), NUM_BEAMS, TOP_K)

    item, score = ours()
    wanted_item, wanted_score = theirs()
    torch.testing.assert_close(score[:TIMED], wanted_score, atol=1e-4, rtol=0)
    assert (item[:TIMED] == wanted_item).float().mean() > 0.99  # but for places that rounding decides
    case = f"constrained decoding, {table.num_items} items, beam {NUM_BEAMS}, {NUM_USERS} users"
    # The dictionaries take one user after the other: a few are timed, and the time is scaled up
    parts = book.race(f"{case}, of which the rival serves {TIMED}", {"mmgrec": ours, RIVAL: theirs}, turns=5)
    theirs_ms = parts[RIVAL] * NUM_USERS / TIMED
    book.note(case, "mmgrec trie-beam", parts["mmgrec"], turns=5)
    book.note(case, f"{RIVAL} (from {TIMED} users)", theirs_ms, turns=5)
    book.goal(
        f"dictionaries take at least {LEAST:g} x our time, {NUM_USERS} users", theirs_ms / parts["mmgrec"], least=LEAST
    )


@torch.no_grad()
@pytest.mark.parametrize("head", ["tokens", "tree"])
def test_exclusion_and_heads(head: str, book: Book) -> None:
    """What exact exclusion costs, and what the exact likelihood of the whole catalogue costs."""
    generator = torch.Generator().manual_seed(0)
    table = random_table(book.sized(5_000, 5_000), num_levels=3, codebook_size=64, generator=generator)
    trie = Trie.of(table)
    network = Network(trie, num_users=NUM_USERS, generator=generator, head=head)
    seen = torch.stack([torch.randperm(table.num_items, generator=generator)[:100] for _ in range(NUM_USERS)])
    nothing, excluded = no_exclusion(NUM_USERS), Exclusion(seen=seen)
    beam, exact = TrieBeam(num_beams=NUM_BEAMS), Exact()
    item, _ = beam.decode(CachedStepper(network), trie, top_k=TOP_K, exclusion=excluded)
    assert not (item.unsqueeze(2) == seen.unsqueeze(1)).any()
    assert all(len(set(row)) == TOP_K for row in item.tolist())
    book.race(
        f"decoding with head {head}, {table.num_items} items, beam {NUM_BEAMS}, {NUM_USERS} users",
        {
            "mmgrec trie-beam": lambda: beam.decode(
                CachedStepper(network), trie, top_k=TOP_K, exclusion=nothing
            ),
            "mmgrec trie-beam, 100 items seen": lambda: beam.decode(
                CachedStepper(network), trie, top_k=TOP_K, exclusion=excluded
            ),
            "exact, the whole catalogue": lambda: exact.decode(
                CachedStepper(network), trie, top_k=TOP_K, exclusion=nothing
            ),
        },
        turns=5,
    )  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("num_items", [2_000, 20_000, 1_000_000])
def test_a_bonus(num_items: int, head: str, book: Book) -> None:
    """What it costs to add something to the scores of a thousand items of each user and of all nodes above them."""
    num_users, num_beams, size = 128, 100, book.sized(num_items, num_items)
    generator = torch.Generator().manual_seed(0)
    table = random_table(size, num_levels=4, codebook_size=128, generator=generator)
    codes = table.token[:, :4].unique(dim=0)  # four levels: items of equal codes are one
    trie = Trie.of(RecIDTable(token=codes, level_sizes=(128,) * 4))
    network = Network(trie, num_users=num_users, generator=generator, head=head)
    touched = [torch.randperm(trie.num_items, generator=generator)[:TOUCHED] for _ in range(num_users)]
    bonuses = _bonuses(trie, torch.stack(touched))
    forms = {
        "mmgrec search": functools.partial(_searched, network, trie, None, num_beams),
        "mmgrec search with a bonus": functools.partial(_searched, network, trie, bonuses, num_beams),
    }
    medians = book.race(
        f"search with head {head}, {size} items, beam {num_beams}, {num_users} users, a bonus of {TOUCHED} each",
        forms,
        verify=lambda name: differs(forms[name](), forms[name](impl="reference")),
        turns=15,
    )
    book.goal(
        f"a bonus of {TOUCHED} nodes takes at most {MOST_FOR_A_BONUS:g} x the search without, "
        f"head {head}, {size} items",
        medians["mmgrec search with a bonus"] / medians["mmgrec search"],
        most=MOST_FOR_A_BONUS,
    )


def _bonuses(trie: Trie, item: torch.Tensor) -> list[Bonus]:
    """One for each level, with a place for each item; all at one node have one value, enough to draw beams there."""
    leaf = trie.item_leaf[item].long().sort(1).values
    bonuses = []
    for level in range(trie.num_levels):
        first_leaf = level_of(trie, level).first_leaf
        node = leaf if first_leaf is None else torch.searchsorted(first_leaf.long(), leaf, right=True) - 1
        bonuses.append(Bonus(node=node, value=(node * 7919 % 1000).float() / 500))
    return bonuses


def _searched(network: Network, trie: Trie, bonuses: list[Bonus] | None, num_beams: int, impl: Impl = "auto") -> Found:
    """Beam search with a bonus at every level, each taken off again before the next."""
    stepper = CachedStepper(network)
    log_p = torch.zeros(network.num_users, 1)
    node = torch.zeros(network.num_users, 1, dtype=torch.int64)
    scores = stepper.start()
    for depth in range(trie.num_levels):
        bonus, level = None if bonuses is None else bonuses[depth], level_of(trie, depth)
        keep = min(num_beams, level.num_nodes)
        if isinstance(scores, TokenScores):
            beams = beam_step_tokens(scores.logits, log_p, node, level, num_beams=keep, bonus=bonus, impl=impl)
        else:
            beams = beam_step_tree(
                scores.state, scores.vectors, scores.bias, log_p, node, level, num_beams=keep, bonus=bonus, impl=impl
            )
        node = beams.node
        if depth < trie.num_levels - 1:
            log_p = beams.score if bonus is None else beams.score - bonus.of(node)
            scores = stepper.advance(beams.parent, beams.token)
    return best_items(trie, node, beams.score, TOP_K)
