"""Recorded generation, as far as it shows without a GPU: padding, buckets, and that nothing waits for the device."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmgrec.generator import recording
from mmgrec.generator.heads import Sources
from mmgrec.generator.history import fixed_history
from mmgrec.generator.host_reads import HostRead, NoHostReads
from mmgrec.generator.layers import NetworkSettings
from mmgrec.generator.network import Network
from mmgrec.generator.recording import Question, RecordedSearch, generate
from mmgrec.interfaces import (
    Context,
    Exclusion,
    ItemScores,
    PositionalScheme,
    RecordableDecoder,
    Representations,
    Stepper,
    exclusion_of,
    no_exclusion,
)
from mmgrec.recid.table import Codes
from mmgrec.recid.trie import Trie
from mmgrec.synthetic import planted
from mmgrec_kernels.beam_step import op as beam_step_op
from mmgrec_kernels.beam_step import triton_op
from mmgrec_kernels.relation_attention import op as attention_op
from mmgrec_plugins.collisions.popularity import ByPopularity
from mmgrec_plugins.decoders import leaves, trie_beam
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.positions.none import NoPosition
from mmgrec_plugins.positions.relation_aware import RelationAware
from mmgrec_plugins.positions.sinusoidal import Sinusoidal

Answer = tuple[Tensor, Tensor]

DATA = planted(num_users=90, num_items=50, mean_interactions=12, seed=3)
DECODER = TrieBeam(num_beams=12)
SETTINGS = NetworkSettings(dim=16, num_heads=2, head_dim=16, feedforward_dim=16, history_length=20)


def model(settings: NetworkSettings = SETTINGS, position: PositionalScheme | None = None) -> tuple[Network, Trie]:
    item = DATA.latent["item_meaning"]
    bits = (item[:, :4] > 0).long()
    codes = Codes(token=torch.stack([bits[:, 0] * 2 + bits[:, 1], bits[:, 2] * 2 + bits[:, 3]], 1), level_sizes=(4, 4))
    rec_ids = ByPopularity().resolve(codes, DATA.train.item_degree, Context())
    trie = Trie.of(rec_ids)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(
            settings,
            representations=Representations(user=DATA.latent["user_taste"], item=item),
            rec_ids=rec_ids,
            trie=trie,
            position=position or RelationAware(),
        )
        for weights in network.parameters():
            nn.init.normal_(weights, std=0.3)
    return network.eval(), trie


def question(users: Tensor, *, excluded: bool = True, allowed: Tensor | None = None) -> Question:
    seen = exclusion_of(DATA.train, users).seen if excluded else no_exclusion(len(users)).seen
    history = fixed_history(DATA.train, users, SETTINGS.history_length)
    return Question(users=users, history=history, exclusion=Exclusion(seen=seen, allowed=allowed))


def in_place(run: Callable[[], Answer]) -> Callable[[], Answer]:
    """A recorder for any device: runs again and writes over the first answer, as a replayed graph does."""
    answer = run()

    def replay() -> Answer:
        for old, new in zip(answer, run(), strict=True):
            old.copy_(new)
        return answer

    return replay


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def assert_same(answer: Answer, wanted: Answer) -> None:
    torch.testing.assert_close(answer[1], wanted[1], atol=1e-5, rtol=1e-5)
    assert torch.equal(answer[0], wanted[0])


def steps(network: Network, trie: Trie, asked: Question, top_k: int = 5) -> Answer:
    return RecordedSearch().search(network, trie, DECODER, asked, top_k=top_k)


# --------------------------------------------------------------------------- the same lists, in whatever bucket


@pytest.mark.parametrize("head", ["tree", "tokens"])
@pytest.mark.parametrize("user_input", ["representation", "history"])
@pytest.mark.parametrize("position", [RelationAware(), Sinusoidal()], ids=repr)
def test_padded_to_a_bucket_the_lists_are_the_same(head: Any, user_input: Any, position: PositionalScheme) -> None:
    network, trie = model(replace(SETTINGS, head=head, user_input=user_input), position)
    recorded = RecordedSearch(in_place)
    for users in (torch.arange(7), torch.tensor([80]), torch.arange(30, 43)):
        asked = question(users)
        assert_same(recorded.search(network, trie, DECODER, asked, top_k=5), steps(network, trie, asked))
    assert recorded.notes == []


def test_an_allow_list_may_change_between_batches_and_in_place() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    allowed = torch.arange(DATA.num_items) % 2 == 0
    for users in (torch.arange(8), torch.arange(8, 16)):
        asked = question(users, allowed=allowed)
        answer = recorded.search(network, trie, DECODER, asked, top_k=5)
        assert_same(answer, steps(network, trie, asked))
        assert not (answer[0] % 2).any()
        allowed[:10] = False
    asked = question(torch.arange(8), allowed=~allowed)
    assert_same(recorded.search(network, trie, DECODER, asked, top_k=5), steps(network, trie, asked))
    assert len(recorded) == 1


def test_items_seen_twice_count_once_in_the_static_search() -> None:
    network, trie = model()
    asked = question(torch.arange(4))
    asked = replace(asked, exclusion=Exclusion(seen=asked.exclusion.seen.repeat(1, 3)))
    assert_same(RecordedSearch(in_place).search(network, trie, DECODER, asked, top_k=5), steps(network, trie, asked))


def test_an_answer_outlives_the_next_one() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    first = recorded.search(network, trie, DECODER, question(torch.arange(8)), top_k=5)
    recorded.search(network, trie, DECODER, question(torch.arange(8, 16)), top_k=5)
    assert_same(first, steps(network, trie, question(torch.arange(8))))


def test_weights_that_change_in_place_are_followed() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    asked = question(torch.arange(8))
    before = recorded.search(network, trie, DECODER, asked, top_k=5)
    network.begin_from_user.weight.mul_(-3)
    after = recorded.search(network, trie, DECODER, asked, top_k=5)
    assert not torch.equal(before[1], after[1])
    assert_same(after, steps(network, trie, asked))


def reading_the_same_memory(run: Callable[[], Answer]) -> Callable[[], Answer]:
    """A recorder that, as a graph, makes nothing anew: what a head has cached stays what it was when it is replayed."""

    def replay() -> Answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Sources, "unchanged", lambda self, tensors: True)
            return run()

    run()
    return replay


@pytest.mark.parametrize("what", ["codeword.1", "inner.0", "bias.2"])
def test_vectors_that_the_head_caches_are_refreshed_before_a_replay(what: str) -> None:
    network, trie = model()
    recorded = RecordedSearch(reading_the_same_memory)
    asked = question(torch.arange(8))
    before = recorded.search(network, trie, DECODER, asked, top_k=5)
    network.head.get_parameter(what).mul_(-3)
    after = recorded.search(network, trie, DECODER, asked, top_k=5)
    assert not torch.equal(before[1], after[1])
    assert_same(after, steps(copy.deepcopy(network), trie, asked))  # the copy has cached nothing
    for weights in network.train().parameters():
        weights.grad = torch.ones_like(weights)
    torch.optim.AdamW(network.parameters(), lr=0.1, fused=True).step()  # counts up no tensor's version
    network.eval()
    again = recorded.search(network, trie, DECODER, asked, top_k=5)
    assert_same(again, steps(copy.deepcopy(network), trie, asked))
    assert len(recorded) == 1


# --------------------------------------------------------------------------- with item scores


def with_scores(asked: Question, *, width: int = 9, seed: int = 0) -> Question:
    """Some items of each user spoken of, for and against; the first user's none."""
    generator, count = torch.Generator().manual_seed(seed), asked.users.numel()
    item = torch.rand(count, DATA.num_items, generator=generator).argsort(1)[:, :width].sort(1).values
    value = 4 * torch.randn(count, width, generator=generator)
    item[0], value[0] = -1, 0.0
    return replace(asked, item_scores=ItemScores(item=item, value=value))


@pytest.mark.parametrize("head", ["tree", "tokens"])
def test_padded_to_a_bucket_item_scores_count_the_same(head: Any) -> None:
    network, trie = model(replace(SETTINGS, head=head))
    recorded = RecordedSearch(in_place)
    for width, users in ((9, torch.arange(7)), (3, torch.arange(30, 38)), (0, torch.arange(50, 55))):
        asked = with_scores(question(users), width=width)
        answer = recorded.search(network, trie, DECODER, asked, top_k=5)
        assert_same(answer, steps(network, trie, asked))
        silent = steps(network, trie, replace(asked, item_scores=None))
        assert torch.equal(answer[0][:1], silent[0][:1])  # of whom nothing is said
        assert torch.equal(answer[0], silent[0]) is (width == 0)
    assert recorded.notes == []


def test_more_item_scores_are_another_recording_and_both_answer_rightly() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    counted = []
    for width in (9, 30, 16, 17, 9):
        asked = with_scores(question(torch.arange(8)), width=width, seed=width)
        answer = recorded.search(network, trie, DECODER, asked, top_k=5)
        assert_same(answer, steps(network, trie, asked))
        counted.append(len(recorded))
    assert counted == [1, 2, 2, 2, 2]  # buckets of 16 and 32
    asked = question(torch.arange(8))
    assert_same(recorded.search(network, trie, DECODER, asked, top_k=5), steps(network, trie, asked))
    assert len(recorded) == 3  # without any is a search of its own


def test_item_scores_of_the_last_batch_are_forgotten() -> None:
    """The second batch has fewer users and narrower scores: nothing of the first is left in the recording's memory."""
    network, trie = model()
    recorded = RecordedSearch(in_place)
    recorded.search(network, trie, DECODER, with_scores(question(torch.arange(8)), width=16), top_k=5)
    asked = with_scores(question(torch.arange(8)), width=1, seed=3)
    assert_same(recorded.search(network, trie, DECODER, asked, top_k=5), steps(network, trie, asked))


def test_an_item_score_beyond_the_trie_is_not_recorded() -> None:
    network, trie = model()
    beyond = ItemScores(item=torch.full((2, 1), DATA.num_items), value=torch.ones(2, 1))
    recorded = RecordedSearch(in_place)
    with pytest.raises(IndexError):
        recorded.search(network, trie, DECODER, replace(question(torch.arange(2)), item_scores=beyond), top_k=5)
    assert (len(recorded), recorded.notes) == (0, ["an item that the trie does not hold has a score"])


@dataclass(frozen=True, kw_only=True)
class OfThen(RecordableDecoder):
    """Written before there were item scores: its methods do not know the argument."""

    def decode(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> Answer:  # type: ignore[override]
        return DECODER.decode(stepper, trie, top_k=top_k, exclusion=exclusion)

    def decode_static(self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion) -> Answer:  # type: ignore[override]
        return DECODER.decode_static(stepper, trie, top_k=top_k, exclusion=exclusion)

    def cannot_record(self, trie: Trie, *, top_k: int, dtype: torch.dtype) -> str:
        return ""


def test_a_decoder_that_knows_no_item_scores_is_asked_as_before() -> None:
    network, trie = model()
    asked = question(torch.arange(8))
    for record in (in_place, None):
        answer = RecordedSearch(record).search(network, trie, OfThen(), asked, top_k=5)
        assert_same(answer, steps(network, trie, asked))


# --------------------------------------------------------------------------- which recordings there are


def test_batches_of_one_bucket_share_a_recording() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    for count in (5, 8, 6):
        recorded.search(network, trie, DECODER, question(torch.arange(count)), top_k=5)
    assert len(recorded) == 1


@pytest.mark.parametrize("other", ["users", "seen", "top_k", "beams", "allowed"])
def test_another_shape_is_another_recording(other: str) -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    recorded.search(network, trie, DECODER, question(torch.arange(8)), top_k=5)
    asked = question(
        torch.arange(9 if other == "users" else 8),
        excluded=other != "seen",
        allowed=torch.ones(DATA.num_items, dtype=torch.bool) if other == "allowed" else None,
    )
    decoder = TrieBeam(num_beams=9) if other == "beams" else DECODER
    recorded.search(network, trie, decoder, asked, top_k=6 if other == "top_k" else 5)
    assert len(recorded) == 2


def test_weights_in_another_place_are_recorded_anew() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    asked = question(torch.arange(8))
    recorded.search(network, trie, DECODER, asked, top_k=5)
    network.begin = nn.Parameter(network.begin + 1)
    assert_same(recorded.search(network, trie, DECODER, asked, top_k=5), steps(network, trie, asked))
    assert len(recorded) == 1


def test_the_recording_unused_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MOST_RECORDINGS", 2)
    network, trie = model()
    recordings = 0

    def counting(run: Callable[[], Answer]) -> Callable[[], Answer]:
        nonlocal recordings
        recordings += 1
        return in_place(run)

    recorded = RecordedSearch(counting)
    for count in (1, 2, 1, 4, 1):  # 2 makes room for 4
        recorded.search(network, trie, DECODER, question(torch.arange(count)), top_k=5)
    assert (recordings, len(recorded)) == (3, 2)


# --------------------------------------------------------------------------- step by step, with a note


def test_on_a_cpu_nothing_is_recorded_and_nothing_said() -> None:
    network, trie = model()
    recorded = RecordedSearch()
    recorded.search(network, trie, DECODER, question(torch.arange(8)), top_k=5)
    assert (len(recorded), recorded.notes) == (0, [])


def test_a_recording_that_fails_is_told_once_and_searched_step_by_step() -> None:
    def failing(run: Callable[[], Answer]) -> Callable[[], Answer]:
        raise RuntimeError("operation not permitted when stream is capturing\nsee the manual")

    network, trie = model()
    recorded, asked = RecordedSearch(failing), question(torch.arange(8))
    with pytest.warns(RuntimeWarning, match="not recorded in a CUDA graph: recording failed"):
        answer = recorded.search(network, trie, DECODER, asked, top_k=5)
    assert_same(answer, steps(network, trie, asked))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded.search(network, trie, DECODER, asked, top_k=5)
    assert recorded.notes == ["recording failed (operation not permitted when stream is capturing)"]


def test_more_beams_than_the_kernel_takes_are_searched_step_by_step() -> None:
    network, trie = model()
    recorded = RecordedSearch(in_place)
    doubled, decoder = network.double(), TrieBeam(num_beams=12)
    with pytest.warns(RuntimeWarning, match="float64"):
        recorded.search(doubled, trie, decoder, replace(question(torch.arange(8))), top_k=5)
    assert len(recorded) == 0


def test_a_decoder_without_a_static_search_is_left_alone() -> None:
    network, trie = model()
    recorded, asked = RecordedSearch(in_place), question(torch.arange(8))
    item, _ = recorded.search(network, trie, Exact(), asked, top_k=5)
    assert (len(recorded), recorded.notes) == (0, ["Exact has no static search"])
    assert (item >= 0).all()


def test_a_seen_item_beyond_the_trie_is_still_refused() -> None:
    network, trie = model()
    asked = replace(question(torch.arange(2)), exclusion=Exclusion(seen=torch.full((2, 1), DATA.num_items)))
    with pytest.raises(ValueError, match="but the trie holds"):
        RecordedSearch(in_place).search(network, trie, DECODER, asked, top_k=5)


# --------------------------------------------------------------------------- nothing waits for the device


class _Launch:
    """A kernel that is launched and does nothing."""

    def __init__(self) -> None:
        self.count = 0

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*args: object, **constants: object) -> None:
            assert all(isinstance(size, int) for size in grid)
            assert all(x.device.type == "meta" for x in args if isinstance(x, Tensor))
            self.count += 1

        return launch


def imagined(x: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def imagined_network(network: Network) -> Network:
    """In place."""
    for module in network.modules():
        for name, weights in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(module, name, nn.Parameter(imagined(weights), requires_grad=False))
        for name, values in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, imagined(values))
    return network


def imagined_trie(trie: Trie) -> Trie:
    values = {field.name: getattr(trie, field.name) for field in fields(trie)}
    moved = {
        name: tuple(map(imagined, value)) if isinstance(value, tuple) and name != "level_sizes" else value
        for name, value in values.items()
    }
    return Trie(**{name: imagined(value) if isinstance(value, Tensor) else value for name, value in moved.items()})


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    kernels = SimpleNamespace(expand=_Launch(), choose=_Launch())
    monkeypatch.setattr(triton_op, "kernels", kernels)
    for operation in (beam_step_op, attention_op):
        monkeypatch.setattr(operation, "use_triton", lambda impl, device, *, unsupported="": not unsupported)
    return kernels


def run_imagined(network: Network, trie: Trie, asked: Question, decoder: TrieBeam = DECODER) -> Answer:
    """The recorded function on an imagined GPU, whose tensors have shapes but no values that could be read."""
    there, leaves = imagined_network(copy.deepcopy(network)), imagined_trie(trie)
    allowed = asked.exclusion.allowed
    exclusion = Exclusion(seen=imagined(asked.exclusion.seen), allowed=None if allowed is None else imagined(allowed))
    scores = asked.item_scores
    added = None if scores is None else ItemScores(item=imagined(scores.item), value=imagined(scores.value))
    placed = Question(
        users=imagined(asked.users), history=imagined(asked.history), exclusion=exclusion, item_scores=added
    )
    generate(there, leaves, decoder, placed, 5)  # as before a recording: what is made once is made
    with NoHostReads():
        return generate(there, leaves, decoder, placed, 5)


@pytest.mark.parametrize("head", ["tree", "tokens"])
@pytest.mark.parametrize("allowed", [None, torch.ones(DATA.num_items, dtype=torch.bool)], ids=["all", "allowed"])
@pytest.mark.parametrize("excluded", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize("spoken", [None, 0, 9])
def test_generation_waits_for_nothing(
    head: Any, allowed: Tensor | None, excluded: bool, spoken: int | None, launched: SimpleNamespace
) -> None:
    network, trie = model(replace(SETTINGS, head=head))
    asked = question(torch.arange(8), excluded=excluded, allowed=allowed)
    asked = asked if spoken is None else with_scores(asked, width=spoken)
    item, score = run_imagined(network, trie, asked)
    assert (item.shape, score.shape, item.device.type) == ((8, 5), (8, 5), "meta")
    assert launched.expand.count == launched.choose.count == 2 * trie.num_levels


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ({"user_input": "history"}, RelationAware()),
        ({"item_input": "learnt"}, RelationAware(gain="vector")),
        ({"norm": "post"}, Sinusoidal()),
        ({"num_encoder_layers": 2, "num_decoder_layers": 2}, NoPosition()),
        ({"head_dim": 24}, RelationAware()),  # no kernel has heads of that size: the plain-torch attention
    ],
    ids=str,
)
def test_no_setting_of_the_network_waits(
    change: dict[str, Any], position: PositionalScheme, launched: SimpleNamespace
) -> None:
    network, trie = model(replace(SETTINGS, **change), position)
    assert run_imagined(network, trie, question(torch.arange(8)))[0].shape == (8, 5)


def test_a_search_that_looks_at_the_seen_items_is_caught(
    launched: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = leaves.forbidden_leaves
    monkeypatch.setattr(trie_beam, "forbidden_leaves", lambda trie, exclusion, static: looking(trie, exclusion))
    network, trie = model()
    with pytest.raises((HostRead, RuntimeError), match=r"item|_local_scalar_dense"):
        run_imagined(network, trie, question(torch.arange(8)))


def test_the_ragged_form_of_the_beam_step_is_caught() -> None:
    """On a CPU `auto` takes it, and its candidates have no fixed number."""
    network, trie = model()
    with NoHostReads(), pytest.raises(HostRead):
        generate(network, trie, DECODER, question(torch.arange(8)), 5)


WAITING = {
    "item": lambda x: x.sum().item(),
    "truth": lambda x: bool(x.any()),
    "nonzero": torch.nonzero,
    "mask as index": lambda x: x[x > 0],
    "put by a mask": lambda x: x.clone().__setitem__(x > 0, 1),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": torch.unique,
    "repeats": lambda x: torch.repeat_interleave(x),
    "bincount": torch.bincount,
    "equal": lambda x: torch.equal(x, x + 1),
    "to another device": lambda x: x.to("meta"),
}
STATIC = {
    "masked_fill": lambda x: x.masked_fill(x > 0, 0),
    "index": lambda x: x[x.clamp(max=1)],
    "repeats of known number": lambda x: torch.repeat_interleave(x, output_size=6),
    "sort": lambda x: x.sort().values.cumsum(0).topk(2).values,
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_for_the_device_is_caught(name: str) -> None:
    with NoHostReads(), pytest.raises(HostRead):
        WAITING[name](torch.tensor([3, 1, 2]))


@pytest.mark.parametrize("name", STATIC)
def test_what_does_not_wait_is_let_through(name: str) -> None:
    with NoHostReads():
        STATIC[name](torch.tensor([3, 1, 2]))
