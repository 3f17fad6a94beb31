"""Whole generation recorded once and replayed: encoder, all steps of the search, the final list, as one CUDA graph.

A recording has fixed shapes, so batches are padded to buckets and there is one recording for each bucket. Padding users
and padded places change no other user's list beyond rounding. What cannot be recorded is searched step by step, and
`RecordedSearch.notes` says why. Any decoder may ask to be recorded: it is then a `RecordableDecoder`.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec.generator.host_reads import watched
from mmgrec.generator.network import Network
from mmgrec.interfaces import Decoder, Exclusion, ItemScores, RecordableDecoder
from mmgrec.recid import Trie

__all__ = ["Question", "RecordableDecoder", "RecordedSearch", "bucket", "generate"]

Answer: TypeAlias = tuple[Tensor, Tensor]  # item and score [B, K]
Recorder: TypeAlias = Callable[[Callable[[], Answer]], Callable[[], Answer]]

MOST_RECORDINGS = 32  # the one that was not used for longest goes first
_LEAST_WIDTH = 16  # of histories and seen items


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What a batch's lists depend on, beside the model."""

    users: Tensor  # [B] int64
    history: Tensor  # [B, T] int64, -1 = none
    exclusion: Exclusion  # seen [B, S]
    item_scores: ItemScores | None = None  # what an item memory adds

    def to(self, device: torch.device) -> Question:
        allowed = self.exclusion.allowed
        return Question(
            users=self.users.to(device),
            history=self.history.to(device),
            exclusion=Exclusion(
                seen=self.exclusion.seen.to(device), allowed=None if allowed is None else allowed.to(device)
            ),
            item_scores=None if self.item_scores is None else self.item_scores.to(device),
        )

    def padded(self, *, num_users: int, history: int, seen: int, added: int) -> Question:
        """The same question with more users, who have no history and have seen nothing, and wider tables."""
        more = num_users - self.users.numel()
        wide, known = history - self.history.shape[1], seen - self.exclusion.seen.shape[1]
        scores = self.item_scores
        return Question(
            users=F.pad(self.users, (0, more)),
            history=F.pad(self.history, (0, wide, 0, more), value=-1),
            exclusion=replace(self.exclusion, seen=F.pad(self.exclusion.seen, (0, known, 0, more), value=-1)),
            item_scores=None if scores is None else scores.padded(num_users=num_users, width=added),
        )

    def owned(self) -> Question:
        """A copy that shares no memory."""
        allowed = self.exclusion.allowed
        seen = self.exclusion.seen.clone()
        return Question(
            users=self.users.clone(),
            history=self.history.clone(),
            exclusion=Exclusion(seen=seen, allowed=None if allowed is None else allowed.clone()),
            item_scores=None if self.item_scores is None else self.item_scores.owned(),
        )

    @property
    def added(self) -> int:
        """How wide the table of item scores is; 0 without one."""
        return 0 if self.item_scores is None else self.item_scores.item.shape[1]

    def tensors(self) -> list[Tensor]:
        """Users, history, seen items, item scores; the allow-list apart, as it seldom changes."""
        scores = self.item_scores
        return [
            self.users, self.history, self.exclusion.seen, *(() if scores is None else (scores.item, scores.value))
        ]  # fmt: skip


def bucket(size: int, *, least: int = 1, most: int | None = None) -> int:
    """The next power of two, not below ``least`` and not above ``most`` (nor below `size`).

    >>> [bucket(5), bucket(5, least=16), bucket(40, most=50), bucket(64)]
    [8, 16, 50, 64]
    """
    power = max(least, 1 << max(size - 1, 0).bit_length())
    return power if most is None else min(power, max(most, size))


def generate(network: Network, trie: Trie, decoder: RecordableDecoder, question: Question, top_k: int) -> Answer:
    """What is recorded: everything from histories to lists, on the device."""
    memory = network.encode(question.users, question.history)
    scores = {} if question.item_scores is None else {"item_scores": question.item_scores}
    return decoder.decode_static(network.stepper(memory), trie, top_k=top_k, exclusion=question.exclusion, **scores)


def record_cuda_graph(run: Callable[[], Answer], *, pool: Any = None) -> Callable[[], Answer]:
    """Record a function on the current device; its memory comes from ``pool`` (`torch.cuda.graph_pool_handle`).

    It is called freely once (kernels are compiled, what is made once is made), once more under watch, and recorded.

    Returns:
        A function that replays it; the result's memory is the same every time.

    Raises:
        RuntimeError: if the function waits for the device, or does what CUDA cannot record.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
        with watched():
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local: another thread may go on using the device meanwhile
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        answer = run()

    def replay(held: object = run) -> Answer:  # what the graph reads lives as long as it can be replayed
        graph.replay()
        return answer

    return replay


# --------------------------------------------------------------------------- one recording for each shape


class _Recording:
    """One bucket: a question whose memory stays where it is, and the replay that answers what is written there."""

    def __init__(self, question: Question, answer: Callable[[Question], Answer], record: Recorder) -> None:
        self._inputs = question
        self._allowed: tuple[Tensor, int] | None = None  # what the allow-list was copied from, and its version
        self._replay = record(lambda: answer(question))

    def answer(self, question: Question) -> Answer:
        """Lists of a question of at most this bucket's shape; a copy, since the next replay writes over them."""
        count = question.users.numel()
        inputs = self._inputs.tensors()
        users, history, seen = inputs[:3]
        padded = question.padded(
            num_users=len(users), history=history.shape[1], seen=seen.shape[1], added=self._inputs.added
        )
        for target, source in zip(inputs, padded.tensors(), strict=True):
            _copy(source, target)
        self._copy_allowed(question.exclusion.allowed)
        item, score = self._replay()
        return item[:count].clone(), score[:count].clone()

    def _copy_allowed(self, allowed: Tensor | None) -> None:
        """Copy the allow-list, unless it is the one that was copied last and has not changed."""
        target = self._inputs.exclusion.allowed
        if allowed is None or target is None:
            return
        if self._allowed is None or self._allowed[0] is not allowed or self._allowed[1] != allowed._version:
            _copy(allowed, target)
            self._allowed = (allowed, allowed._version)


def _copy(source: Tensor, target: Tensor) -> None:
    """Copy without waiting: from pinned memory, which torch gives to nobody else until the copy is done."""
    if target.is_cuda and source.device.type == "cpu":
        source = source.pin_memory()
    target.copy_(source, non_blocking=True)


class RecordedSearch:
    """The search of one model: recorded where that can be, step by step elsewhere. For one stream at a time."""

    def __init__(self, record: Recorder | None = None) -> None:
        """``record``: how to record, on whatever device; None: as a CUDA graph, and nothing on other devices."""
        self.notes: list[str] = []  # why something was not recorded, each reason once
        self._record = record
        self._recordings: dict[tuple[object, ...], _Recording | None] = {}  # None: it was tried and failed
        self._model: tuple[int, ...] = ()

    def __len__(self) -> int:
        return sum(recording is not None for recording in self._recordings.values())

    def search(self, network: Network, trie: Trie, decoder: Decoder, question: Question, *, top_k: int) -> Answer:
        """Item and score ``[B, K]`` on the network's device.

        Recorded, the values of `question` are checked while they are on the host; on the device they are believed.
        """
        device = network.begin.device
        if device.type == "cuda" or self._record is not None:
            answer = self._recorded(network, trie, decoder, question, top_k)
            if answer is not None:
                return answer
        question = question.to(device)
        memory = network.encode(question.users, question.history)
        scores = {} if question.item_scores is None else {"item_scores": question.item_scores}
        return decoder.decode(network.stepper(memory), trie, top_k=top_k, exclusion=question.exclusion, **scores)

    def _recorded(
        self, network: Network, trie: Trie, decoder: Decoder, question: Question, top_k: int
    ) -> Answer | None:
        """The answer of a recording; None where there can be none, with a note that says why."""
        why = _unfit(network, trie, question, top_k)
        if why or not isinstance(decoder, RecordableDecoder):
            self._note(why or f"{type(decoder).__name__} has no static search", warn=False)
            return None
        why = decoder.cannot_record(trie, top_k=top_k, dtype=network.begin.dtype)
        if why:
            self._note(why, warn=True)
            return None
        device = network.begin.device
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            network.head.refresh()
            recording = self._recording(network, trie, decoder, question, top_k)
            return None if recording is None else recording.answer(question)

    def _recording(
        self, network: Network, trie: Trie, decoder: RecordableDecoder, question: Question, top_k: int
    ) -> _Recording | None:
        """The recording for this question's bucket, made if it is the first; None where recording it failed."""
        model = _addresses(network, trie)
        if model != self._model:  # a recording reads weights in place: changed values are fine, other places are not
            self._recordings.clear()
            self._model = model
        allowed = question.exclusion.allowed
        shape = (
            bucket(question.users.numel()),
            bucket(question.history.shape[1], least=_LEAST_WIDTH, most=network.settings.history_length),
            bucket(question.exclusion.seen.shape[1], least=_LEAST_WIDTH) if question.exclusion.seen.numel() else 0,
            bucket(question.added, least=_LEAST_WIDTH) if question.item_scores is not None else 0,
        )
        key = (decoder, shape, allowed is not None, top_k)
        if key in self._recordings:
            self._recordings[key] = self._recordings.pop(key)  # the newest is last
            return self._recordings[key]
        while len(self._recordings) >= MOST_RECORDINGS:
            self._recordings.pop(next(iter(self._recordings)))
        padded = question.padded(num_users=shape[0], history=shape[1], seen=shape[2], added=shape[3])
        inputs = padded.to(network.begin.device).owned()
        try:
            self._recordings[key] = _Recording(
                inputs, lambda asked: generate(network, trie, decoder, asked, top_k), self._recorder()
            )
        except RuntimeError as error:  # the network's or a plugin's code does what cannot be recorded
            self._recordings[key] = None
            self._note(f"recording failed ({str(error).partition(chr(10))[0]})", warn=True)
        return self._recordings[key]

    def _recorder(self) -> Recorder:
        if self._record is None:
            # One pool for all: recordings are replayed one after the other, and their answers are copied at once
            self._record = functools.partial(record_cuda_graph, pool=torch.cuda.graph_pool_handle())
        return self._record

    def _note(self, why: str, *, warn: bool) -> None:
        if why in self.notes:
            return
        self.notes.append(why)
        if warn:
            warnings.warn(f"generation is not recorded in a CUDA graph: {why}", RuntimeWarning, stacklevel=2)


def _unfit(network: Network, trie: Trie, question: Question, top_k: int) -> str:
    """Why this is searched step by step; empty when it is not. `Decoder.decode` complains of what is wrong."""
    seen, allowed = question.exclusion.seen, question.exclusion.allowed
    if network.training:
        return "the network is in training mode"
    if question.users.numel() == 0 or top_k < 1:
        return "there is nothing to search for"
    if allowed is not None and allowed.shape != (trie.num_items,):
        return "the allow-list does not fit the trie"
    if seen.device.type == "cpu" and seen.numel() and int(seen.max()) >= trie.num_items:
        return "an item that the trie does not hold is seen"
    scored = None if question.item_scores is None else question.item_scores.item
    if scored is not None and scored.device.type == "cpu" and scored.numel() and int(scored.max()) >= trie.num_items:
        return "an item that the trie does not hold has a score"
    return ""


def _addresses(network: Network, trie: Trie) -> tuple[int, ...]:
    """Where all that a recording reads of a model lies."""
    return (id(network), id(trie), *(x.data_ptr() for x in (*network.parameters(), *network.buffers())))
