"""Constrained decoding, network included: all users and beams at once against one forward pass for each beam."""

from __future__ import annotations

import pytest
import torch
from harness import Book
from network import CachedStepper, Network, random_table
from walks import DictTrie

from mmgrec.interfaces import Exclusion, no_exclusion
from mmgrec.recid import Trie
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.trie_beam import TrieBeam

NUM_USERS, NUM_BEAMS, TOP_K = 64, 50, 10
TIMED = 4  # users whom the rival is timed on
RIVAL = "dictionary trie, a forward a beam"
LEAST = 20.0  # times faster than the dictionaries


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
