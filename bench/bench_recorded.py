"""Whole generation on a GPU by the model's own network: recorded in a CUDA graph, step by step, by other layouts."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from _harness import Book, device
from _network import random_table
from _walks import DenseMask, Padded, walk

from mmgrec.cuda_graph import Question, RecordedSearch, generate, record_cuda_graph
from mmgrec.interfaces import Exclusion, Representations
from mmgrec.model import Network, NetworkSettings
from mmgrec.recid import Trie
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.relation_aware import RelationAware

pytestmark = pytest.mark.skipif(device().type == "cpu", reason="a CUDA graph is recorded on a GPU alone")

NUM_USERS, NUM_BEAMS, TOP_K, DIM = 256, 10, 10, 64
SETTINGS = NetworkSettings(num_encoder_layers=2, num_decoder_layers=2, history_length=32)
MOST_MS = 0.3
MOST_GROWTH = 1.3  # of the time from 10^6 to 10^7 items

Found = tuple[torch.Tensor, torch.Tensor]


def made(num_items: int, head: str) -> tuple[Network, Trie, Question]:
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


def agrees(found: Found, wanted: Found) -> str:
    """What is wrong, in words; float32 products in another order may change a place here and there."""
    error = (found[1] - wanted[1]).abs().max().item()
    same = (found[0] == wanted[0]).float().mean().item()
    return "" if error < 1e-3 and same > 0.97 else f"scores differ by {error:.2g}, {same:.0%} of the items agree"


@torch.no_grad()
@pytest.mark.parametrize("head", ["tree", "tokens"])
def test_recorded_generation(head: str, book: Book) -> None:
    network, trie, question = made(book.sized(100_000, 100_000), head)
    there, decoder, recorded = question.to(device()), TrieBeam(num_beams=NUM_BEAMS), RecordedSearch()

    def eagerly() -> Found:
        memory = network.encode(there.users, there.history)
        return decoder.decode(network.stepper(memory), trie, top_k=TOP_K, exclusion=there.exclusion)

    wanted = eagerly()
    network.head.refresh()
    replay = record_cuda_graph(lambda: generate(network, trie, decoder, there, TOP_K))
    forms = {
        "mmgrec recorded, the question on the host": functools.partial(
            recorded.search, network, trie, decoder, question, top_k=TOP_K
        ),
        "mmgrec recorded, replay alone": replay,
        "mmgrec step by step": eagerly,
    }
    case = f"generation on a GPU, head {head}, 100000 items, 2 + 2 layers, beam {NUM_BEAMS}, {NUM_USERS} users"
    medians = book.race(case, forms, verify=lambda name: agrees(forms[name](), wanted), turns=51, wall=True)
    assert recorded.notes == []
    alone = medians["mmgrec recorded, replay alone"]
    book.goal(f"head {head}: a recorded generation takes at most {MOST_MS:g} ms", alone, most=MOST_MS)


@torch.no_grad()
def test_other_layouts_of_the_trie_on_a_gpu(book: Book) -> None:
    """Without exclusion, which the others do not know."""
    network, trie, question = made(book.sized(100_000, 100_000), "tokens")
    nothing = Exclusion(seen=torch.empty(NUM_USERS, 0, dtype=torch.int64))
    there = replace(question, exclusion=nothing).to(device())
    decoder = TrieBeam(num_beams=NUM_BEAMS)

    def ours() -> Found:
        memory = network.encode(there.users, there.history)
        return decoder.decode(network.stepper(memory), trie, top_k=TOP_K, exclusion=there.exclusion)

    def theirs(rival: Padded | DenseMask) -> Found:
        memory = network.encode(there.users, there.history)
        return walk(network.stepper(memory), trie, rival.step, NUM_BEAMS, TOP_K)

    wanted = ours()
    forms = {
        "mmgrec recorded, replay alone": record_cuda_graph(lambda: generate(network, trie, decoder, there, TOP_K)),
        "mmgrec step by step": ours,
        "padded to the widest": functools.partial(theirs, Padded(trie)),
        "dense mask": functools.partial(theirs, DenseMask(trie)),
    }
    case = f"generation on a GPU without exclusion, 100000 items, beam {NUM_BEAMS}, {NUM_USERS} users"
    book.race(case, forms, verify=lambda name: agrees(forms[name](), wanted), turns=51, wall=True)


@torch.no_grad()
def test_time_is_flat_in_the_catalogue_on_a_gpu(book: Book) -> None:
    forms = {}
    for num_items in (1_000_000, 10_000_000):
        network, trie, question = made(book.sized(num_items, num_items), "tokens")
        there = question.to(device())
        call = functools.partial(generate, network, trie, TrieBeam(num_beams=NUM_BEAMS), there, TOP_K)
        forms[f"mmgrec recorded, {num_items:.0e} items"] = record_cuda_graph(call)
    case = f"generation on a GPU by catalogue, beam {NUM_BEAMS}, {NUM_USERS} users"
    medians = list(book.race(case, forms, turns=51, wall=True).values())
    book.goal(
        f"on a GPU 10^7 items take at most {MOST_GROWTH:g} x the time of 10^6",
        medians[-1] / medians[0],
        most=MOST_GROWTH,
    )
