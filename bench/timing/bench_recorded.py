"""Whole generation on a GPU by the model's own network: recorded in a CUDA graph, step by step, by other layouts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from harness import Book, device
from network import random_table
from walks import DenseMask, Found, Padded, differs, walk

from mmgrec.generator import Network, NetworkSettings, Question, RecordedSearch, generate, record_cuda_graph
from mmgrec.interfaces import Exclusion, Representations, no_exclusion
from mmgrec.recid import Trie
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.relation_aware import RelationAware

pytestmark = pytest.mark.skipif(device().type == "cpu", reason="a CUDA graph is recorded on a GPU alone")

NUM_USERS, NUM_BEAMS, TOP_K, DIM = 256, 10, 10, 64
SETTINGS = NetworkSettings(num_encoder_layers=2, num_decoder_layers=2, history_length=32)
DECODER = TrieBeam(num_beams=NUM_BEAMS)
MOST_MS = 0.3
MOST_GROWTH = 1.3  # of the time from 10^6 to 10^7 items


def drawn_model(num_items: int, head: str) -> tuple[Network, Trie, Question]:
    """Random codes, representations and histories; the network as it starts."""
    generator = torch.Generator().manual_seed(0)
    table = random_table(num_items, num_levels=3, codebook_size=256, generator=generator)
    trie = Trie.of(table)
    both = Representations(
        user=torch.randn(NUM_USERS, DIM, generator=generator), item=torch.randn(num_items, DIM, generator=generator)
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(
            replace(SETTINGS, head=head), representations=both, rec_ids=table, trie=trie, position=RelationAware()
        )
        torch.nn.init.normal_(network.token_table.weight, std=1.0)  # beams that differ, as after training
    history, seen = (torch.randint(num_items, (NUM_USERS, wide), generator=generator) for wide in (32, 40))
    question = Question(users=torch.arange(NUM_USERS), history=history, exclusion=Exclusion(seen=seen))
    return network.to(device()).eval(), trie.to(device()), question


def eagerly(network: Network, trie: Trie, there: Question) -> Found:
    """Step by step, a launch for each operation."""
    memory = network.encode(there.users, there.history)
    return DECODER.decode(network.stepper(memory), trie, top_k=TOP_K, exclusion=there.exclusion)


def replayed(network: Network, trie: Trie, there: Question) -> Callable[[], Found]:
    return record_cuda_graph(functools.partial(generate, network, trie, DECODER, there, TOP_K))


def verified(forms: Mapping[str, Callable[[], Found]], wanted: Found) -> Callable[[str], str]:
    """Says what is wrong with a form's lists; float32 products in another order may change a place here and there."""
    return lambda name: differs(forms[name](), wanted, least=0.97)


@torch.no_grad()
@pytest.mark.parametrize("head", ["tree", "tokens"])
def test_recorded_generation(head: str, book: Book) -> None:
    network, trie, question = drawn_model(book.sized(100_000, 100_000), head)
    there, recorded = question.to(device()), RecordedSearch()
    step_by_step = functools.partial(eagerly, network, trie, there)
    wanted = step_by_step()
    network.head.refresh()
    forms = {
        "mmgrec recorded, the question on the host": functools.partial(
            recorded.search, network, trie, DECODER, question, top_k=TOP_K
        ),
        "mmgrec recorded, replay alone": replayed(network, trie, there),
        "mmgrec step by step": step_by_step,
    }
    case = f"generation on a GPU, head {head}, 100000 items, 2 + 2 layers, beam {NUM_BEAMS}, {NUM_USERS} users"
    medians = book.race(case, forms, verify=verified(forms, wanted), turns=51, wall=True)
    assert recorded.notes == []
    alone = medians["mmgrec recorded, replay alone"]
    book.goal(f"head {head}: a recorded generation takes at most {MOST_MS:g} ms", alone, most=MOST_MS)


@torch.no_grad()
def test_other_layouts_of_the_trie_on_a_gpu(book: Book) -> None:
    """Without exclusion, which the others do not know."""
    network, trie, question = drawn_model(book.sized(100_000, 100_000), "tokens")
    there = replace(question, exclusion=no_exclusion(NUM_USERS)).to(device())
    step_by_step = functools.partial(eagerly, network, trie, there)

    def theirs(rival: Padded | DenseMask) -> Found:
        memory = network.encode(there.users, there.history)
        return walk(network.stepper(memory), trie, rival.step, NUM_BEAMS, TOP_K)

    wanted = step_by_step()
    forms = {
        "mmgrec recorded, replay alone": replayed(network, trie, there),
        "mmgrec step by step": step_by_step,
        "padded to the widest": functools.partial(theirs, Padded(trie)),
        "dense mask": functools.partial(theirs, DenseMask(trie)),
    }
    case = f"generation on a GPU without exclusion, 100000 items, beam {NUM_BEAMS}, {NUM_USERS} users"
    book.race(case, forms, verify=verified(forms, wanted), turns=51, wall=True)


@torch.no_grad()
def test_time_is_flat_in_the_catalogue_on_a_gpu(book: Book) -> None:
    forms = {}
    for num_items in (1_000_000, 10_000_000):
        network, trie, question = drawn_model(book.sized(num_items, num_items), "tokens")
        forms[f"mmgrec recorded, {num_items:.0e} items"] = replayed(network, trie, question.to(device()))
    case = f"generation on a GPU by catalogue, beam {NUM_BEAMS}, {NUM_USERS} users"
    medians = list(book.race(case, forms, turns=51, wall=True).values())
    book.goal(
        f"on a GPU 10^7 items take at most {MOST_GROWTH:g} x the time of 10^6",
        medians[-1] / medians[0],
        most=MOST_GROWTH,
    )
