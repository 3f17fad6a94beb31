"""Whole generation (decoder network, cache, trie, top-k) against other ways to decode, and against the item count."""

from __future__ import annotations

import functools
import importlib.util

import pytest
import torch
from harness import Book
from network import CachedStepper, Network, random_table
from walks import DenseMask, DictTrie, Found, Padded, differs, walk

from mmgrec.interfaces import no_exclusion
from mmgrec.recid import RecIDTable, Trie
from mmgrec_plugins.decoders.trie_beam import TrieBeam

NUM_USERS, NUM_BEAMS, TOP_K = 64, 50, 10
LEAST_OVER_GENERATE = 5.0
MOST_MASK = 2**31  # bytes of a dense mask
MOST_GROWTH = 1.3  # of the time per user from 10^5 to 10^7 items

GENERATE = "Hugging Face generate"


def ours(network: Network, trie: Trie) -> Found:
    return TrieBeam(num_beams=NUM_BEAMS).decode(
        CachedStepper(network), trie, top_k=TOP_K, exclusion=no_exclusion(network.num_users)
    )


def with_a_wide_group(table: RecIDTable, size: int) -> RecIDTable:
    """The first ``size`` items get equal codes, as where a quantizer does not tell them apart."""
    token, widest = table.token.clone(), table.level_sizes[-1]
    token[:size, :-1] = token[0, :-1]
    token[:size, -1] = widest + torch.arange(size)
    return RecIDTable(token=token, level_sizes=(*table.level_sizes[:-1], widest + size))


@torch.no_grad()
@pytest.mark.parametrize("wide", [0, 3000])
def test_other_layouts_of_the_trie(wide: int, book: Book) -> None:
    generator = torch.Generator().manual_seed(0)
    table = random_table(book.sized(100_000, 100_000), num_levels=3, codebook_size=256, generator=generator)
    table = with_a_wide_group(table, wide) if wide else table
    trie = Trie.of(table)
    network = Network(trie, num_users=NUM_USERS, generator=generator)
    wanted = ours(network, trie)
    steps = {"padded to the widest": Padded(trie).step}
    case = f"generation, {table.num_items} items{f', {wide} of them with equal codes' if wide else ''}"
    case = f"{case}, beam {NUM_BEAMS}, {NUM_USERS} users"
    size = sum(trie.num_nodes(level - 1) * trie.level_sizes[level] * 8 for level in range(trie.num_levels))
    if size <= MOST_MASK:
        steps["dense mask"] = DenseMask(trie).step
    else:
        book.refuse(case, "dense mask", f"its rows would take {size / 2**30:.1f} GiB")
    forms = {
        "mmgrec trie-beam": functools.partial(ours, network, trie),
        **{
            name: functools.partial(walk, CachedStepper(network), trie, step, NUM_BEAMS, TOP_K)
            for name, step in steps.items()
        },
    }
    book.race(case, forms, verify=lambda name: differs(forms[name](), wanted), turns=9)


@torch.no_grad()
@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_generate_with_a_prefix_function(book: Book) -> None:
    """Both search over the same T5 network; ``generate`` with its cache and without, our stepper likewise."""
    from t5 import CachedT5Stepper, T5Stepper, generate, random_t5

    generator = torch.Generator().manual_seed(0)
    table = random_table(book.sized(100_000, 100_000), num_levels=3, codebook_size=256, generator=generator)
    trie, nested = Trie.of(table), DictTrie(table).root
    model = random_t5(table)
    memory = torch.randn(NUM_USERS, 32, 64, generator=generator)

    def searched(stepper: type[CachedT5Stepper] | type[T5Stepper]) -> Found:
        return TrieBeam(num_beams=NUM_BEAMS).decode(
            stepper(model, table, memory), trie, top_k=TOP_K, exclusion=no_exclusion(NUM_USERS)
        )

    def theirs(*, use_cache: bool) -> Found:
        return generate(model, table, nested, memory, num_beams=NUM_BEAMS, top_k=TOP_K, use_cache=use_cache)

    forms = {
        "mmgrec trie-beam, the T5 with a cache": functools.partial(searched, CachedT5Stepper),
        "mmgrec trie-beam, the T5 without": functools.partial(searched, T5Stepper),
        GENERATE: functools.partial(theirs, use_cache=True),
        f"{GENERATE} without cache": functools.partial(theirs, use_cache=False),
    }
    wanted = searched(T5Stepper)
    medians = book.race(
        f"generation by T5, {table.num_items} items, beam {NUM_BEAMS}, {NUM_USERS} users",
        forms,
        verify=lambda name: differs(forms[name](), wanted),
        turns=5,
    )
    book.goal(
        f"generate takes at least {LEAST_OVER_GENERATE:g} x our time, both with a cache",
        medians[GENERATE] / medians["mmgrec trie-beam, the T5 with a cache"],
        least=LEAST_OVER_GENERATE,
    )


@torch.no_grad()
def test_time_is_flat_in_the_catalogue(book: Book) -> None:
    forms = {}
    for num_items in (100_000, 1_000_000, 10_000_000):
        generator = torch.Generator().manual_seed(0)
        table = random_table(book.sized(num_items, num_items), num_levels=3, codebook_size=256, generator=generator)
        trie = Trie.of(table)
        network = Network(trie, num_users=NUM_USERS, generator=generator)
        forms[f"mmgrec trie-beam, {num_items:.0e} items"] = functools.partial(ours, network, trie)
    medians = list(book.race(f"generation by catalogue, beam {NUM_BEAMS}, {NUM_USERS} users", forms, turns=7).values())
    book.goal(f"10^7 items take at most {MOST_GROWTH:g} x the time of 10^5", medians[-1] / medians[0], most=MOST_GROWTH)
