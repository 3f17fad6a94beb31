"""Generation recorded in a CUDA graph, on a device: the lists of the eager search, no waiting, at the sizes meant."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from mmgrec.generator import Network, NetworkSettings
from mmgrec.generator.recording import Answer, Question, RecordedSearch, generate, record_cuda_graph
from mmgrec.interfaces import Exclusion, PositionalScheme, Representations
from mmgrec.recid import RecIDTable, Trie
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.relation_aware import RelationAware
from mmgrec_plugins.positions.sinusoidal import Sinusoidal

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

NUM_USERS, NUM_ITEMS = 600, 20_000
SETTINGS = NetworkSettings(num_encoder_layers=2, num_decoder_layers=2, history_length=32)
TOLERANCE = 1e-3  # of scores: float32 products in another order


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def model(
    position: PositionalScheme | None = None, *, num_items: int = NUM_ITEMS, **changes: Any
) -> tuple[Network, Trie]:
    generator = torch.Generator().manual_seed(0)
    semantic = torch.randint(64, (num_items, 3), generator=generator)
    _, group, size = semantic.unique(dim=0, return_inverse=True, return_counts=True)
    order = group.argsort(stable=True)
    rank = torch.empty_like(group)
    rank[order] = torch.arange(num_items) - (size.cumsum(0) - size)[group[order]]
    rec_ids = RecIDTable(token=torch.cat([semantic, rank[:, None]], 1), level_sizes=(64, 64, 64, int(rank.max()) + 1))
    trie = Trie.of(rec_ids)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(
            replace(SETTINGS, **changes),
            representations=Representations(
                user=torch.randn(NUM_USERS, 64, generator=generator),
                item=torch.randn(num_items, 64, generator=generator),
            ),
            rec_ids=rec_ids,
            trie=trie,
            position=position or RelationAware(),
        )
    return network.cuda().eval(), trie.to("cuda")


def question(count: int, *, first: int = 0, seen: int = 40, allowed: torch.Tensor | None = None) -> Question:
    generator = torch.Generator().manual_seed(first)
    history = torch.randint(NUM_ITEMS, (count, 30), generator=generator)
    history = history.masked_fill(torch.rand(history.shape, generator=generator) < 0.2, -1)
    history[0] = -1  # user 0 is known to have liked nothing, and is served as well
    return Question(
        users=torch.arange(first, first + count),
        history=history,
        exclusion=Exclusion(seen=torch.randint(-1, NUM_ITEMS, (count, seen), generator=generator), allowed=allowed),
    )


def eagerly(network: Network, trie: Trie, asked: Question, top_k: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    there = asked.to(torch.device("cuda"))
    memory = network.encode(there.users, there.history)
    return DECODER.decode(network.stepper(memory), trie, top_k=top_k, exclusion=there.exclusion)


DECODER = TrieBeam(num_beams=10)


def assert_same(answer: tuple[torch.Tensor, torch.Tensor], wanted: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Scores agree place by place; items may change places only where scores are equal within rounding."""
    assert answer[1].device.type == "cuda"
    torch.testing.assert_close(answer[1], wanted[1], atol=TOLERANCE, rtol=1e-4)
    assert (answer[0] == wanted[0]).float().mean() > 0.97


def assert_sound(asked: Question, item: torch.Tensor) -> None:
    item = item.cpu()
    assert ((item >= 0) & (item < NUM_ITEMS)).all()
    ordered = item.sort(dim=1).values
    assert not (ordered[:, 1:] == ordered[:, :-1]).any()
    assert not (item[:, :, None] == asked.exclusion.seen[:, None, :]).any()


@pytest.mark.parametrize("head", ["tree", "tokens"])
@pytest.mark.parametrize("position", [RelationAware(), Sinusoidal()], ids=repr)
def test_recorded_lists_are_the_eager_ones(head: str, position: PositionalScheme) -> None:
    network, trie = model(position, head=head)
    recorded = RecordedSearch()
    for count, first in ((256, 0), (200, 256), (1, 500), (256, 300)):
        asked = question(count, first=first)
        found = recorded.search(network, trie, DECODER, asked, top_k=10)
        assert_same(found, eagerly(network, trie, asked))
        assert_sound(asked, found[0])
    assert (len(recorded), recorded.notes) == (2, [])


def test_an_allow_list_is_recorded_too() -> None:
    network, trie = model()
    recorded = RecordedSearch()
    for allowed in (torch.arange(NUM_ITEMS) % 3 == 0, torch.arange(NUM_ITEMS) % 3 == 1):
        asked = question(64, allowed=allowed)
        found = recorded.search(network, trie, DECODER, asked, top_k=10)
        assert_same(found, eagerly(network, trie, asked))
        assert allowed[found[0].cpu()].all()
    assert (len(recorded), recorded.notes) == (1, [])


def test_a_replay_waits_for_nothing() -> None:
    network, trie = model()
    recorded, asked = RecordedSearch(), question(256)
    recorded.search(network, trie, DECODER, asked, top_k=10)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        recorded.search(network, trie, DECODER, asked, top_k=10)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert recorded.notes == []


def test_a_replay_is_bit_identical_and_takes_no_more_memory() -> None:
    network, trie = model()
    recorded, asked = RecordedSearch(), question(256)
    one = recorded.search(network, trie, DECODER, asked, top_k=10)
    taken = torch.cuda.memory_allocated()
    for _ in range(20):
        two = recorded.search(network, trie, DECODER, asked, top_k=10)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert torch.cuda.memory_allocated() <= taken + 2**20


def test_weights_that_training_changes_are_followed() -> None:
    network, trie = model()
    recorded, asked = RecordedSearch(), question(64)
    recorded.search(network, trie, DECODER, asked, top_k=10)
    for weights in network.parameters():
        weights.mul_(1.1)
    # A copy keeps nothing from before
    assert_same(recorded.search(network, trie, DECODER, asked, top_k=10), eagerly(copy.deepcopy(network), trie, asked))
    for weights in network.train().parameters():
        weights.grad = torch.ones_like(weights)
    torch.optim.AdamW(network.parameters(), lr=0.01, fused=True).step()  # counts up no tensor's version
    network.eval()
    assert_same(recorded.search(network, trie, DECODER, asked, top_k=10), eagerly(copy.deepcopy(network), trie, asked))
    assert len(recorded) == 1


def test_a_recording_keeps_what_it_reads() -> None:
    def recorded() -> tuple[Callable[[], Answer], Answer]:
        network, trie = model(num_items=NUM_ITEMS, head="tokens")
        there = question(64).to(torch.device("cuda"))
        replay = record_cuda_graph(lambda: generate(network, trie, DECODER, there, 10))
        item, score = replay()
        return replay, (item.clone(), score.clone())

    replay, wanted = recorded()
    gc.collect()
    torch.cuda.empty_cache()
    kept = [torch.full((2**20,), torch.nan, device="cuda") for _ in range(200)]  # where the network would have been
    assert len(kept) == 200
    assert all(torch.equal(found, one) for found, one in zip(replay(), wanted, strict=True))


def test_many_buckets_share_memory_and_keep_apart() -> None:
    network, trie = model()
    recorded = RecordedSearch()
    sizes = (1, 2, 4, 8, 16, 32, 64, 128)
    for _ in range(2):
        for count in sizes:
            asked = question(count)
            assert_same(recorded.search(network, trie, DECODER, asked, top_k=10), eagerly(network, trie, asked))
    assert len(recorded) == len(sizes)


def test_what_the_kernel_cannot_take_is_searched_step_by_step() -> None:
    network, trie = model()
    recorded, asked = RecordedSearch(), question(4)
    with pytest.warns(RuntimeWarning, match="beams are more than"):
        item, _ = recorded.search(network, trie, TrieBeam(num_beams=5000), asked, top_k=10)
    assert_sound(asked, item)
    recorded.search(network, trie, Exact(), asked, top_k=10)
    assert len(recorded) == 0
