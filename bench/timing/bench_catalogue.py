"""Time per user against the size of the catalogue: generation against inner products with all items (paper, Fig. 5).

Generation costs the same at any size, inner products cost as much as there are items; where the lines cross, and where
generation loses, is what the table and the figure show. The item vectors are random but clustered, as otherwise no
index could find neighbours without looking at all of them. At full scale the outcome is kept:
``results/catalogue.json``, ``docs/results/catalogue.md``, ``docs/figures/catalogue.svg``.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness import RESULTS, Book, hardware, versions
from network import CachedStepper, Network, random_table
from plot_catalogue import draw
from torch import Tensor, nn
from walks import Padded, walk

from mmgrec.interfaces import NodeScores, no_exclusion
from mmgrec.recid import Trie
from mmgrec_plugins.decoders.trie_beam import TrieBeam

faiss = pytest.importorskip("faiss", reason="faiss is not installed")

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
NUM_USERS, NUM_BEAMS, TOP_K, DIM, HISTORY = 64, 10, 10, 64, 32
# Where a form ends, because to build it takes minutes or gibibytes on a CPU
MOST_HNSW = 1_000_000
MEMORY, TREE_MEMORY = 8 * 2**30, 14 * 2**30  # bytes that must be free for more than a million items; for head tree
WANTED_RECALL, LEAST_RECALL = 0.9, 0.8  # for which an index is tuned, on other users; below which it is not timed

MOST_GROWTH = 1.3  # of the time per user from 10^5 to 10^7 items

Found = tuple[Tensor, Tensor]  # item and score, [B, K] each


@dataclass(frozen=True, kw_only=True)
class Point:
    """One form at one size."""

    num_items: int
    form: str
    ms_per_user: float
    spread: float  # (third quartile - first) / median
    recall: float | None  # of the ten best by inner product; None: generation ranks by another score
    detail: str  # settings
    build_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is timed, and what is known of it."""

    call: Callable[[], Found]
    detail: str
    exact: bool = True
    build_seconds: float | None = None


# --------------------------------------------------------------------------- inner products


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Users, and items that live in the flat index; ``item`` sees the same memory."""

    user: np.ndarray  # [B, D] float32: those who are timed
    tuning: np.ndarray  # [B, D] float32: others, on whom indexes are tuned
    flat: Any  # faiss.IndexFlatIP, not typed for us
    item: np.ndarray  # [num_items, D] float32

    @classmethod
    def random(cls, num_items: int, generator: np.random.Generator) -> Vectors:
        """A few hundred clusters of unequal size; users lie in the same clusters."""
        centre = generator.standard_normal((300, DIM), dtype=np.float32)
        share = generator.lognormal(sigma=1.0, size=len(centre))

        def draw(number: int) -> np.ndarray:
            cluster = generator.choice(len(centre), number, p=share / share.sum())
            return centre[cluster] + generator.standard_normal((number, DIM), dtype=np.float32)

        flat = faiss.IndexFlatIP(DIM)
        for begin in range(0, num_items, 500_000):
            flat.add(draw(min(500_000, num_items - begin)))
        item = faiss.rev_swig_ptr(flat.get_xb(), num_items * DIM).reshape(num_items, DIM)
        return cls(user=draw(NUM_USERS), tuning=draw(NUM_USERS), flat=flat, item=item)


def matmul_topk(user: Tensor, item: Tensor) -> Found:
    """As many users at once as have at most 10^8 scores together."""
    parts = [(part @ item.T).topk(TOP_K, dim=1) for part in user.split(max(1, 10**8 // len(item)))]
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def search(index: Any, user: np.ndarray) -> Found:
    score, item = index.search(user, TOP_K)
    return torch.from_numpy(item), torch.from_numpy(score)


def recall(item: Tensor, best: Tensor) -> float:
    return (item.unsqueeze(2) == best.unsqueeze(1)).any(2).float().mean().item()


def tuned(index: Any, setting: str, values: Iterator[int], vectors: Vectors) -> int:
    """The least effort that finds what is wanted, for users who are not timed."""
    best = search(vectors.flat, vectors.tuning)[0]
    for value in values:
        set_effort(index, setting, value)
        if recall(search(index, vectors.tuning)[0], best) >= WANTED_RECALL:
            return value
    return value


def set_effort(index: Any, setting: str, value: int) -> None:
    setattr(index.hnsw if setting == "efSearch" else index, setting, value)


def inner_products(vectors: Vectors) -> dict[str, Form]:
    """Forms that rank by inner products: exact ones, and indexes tuned on users who are not timed."""
    num_items = len(vectors.item)
    user, item = torch.from_numpy(vectors.user), torch.from_numpy(vectors.item)
    forms = {
        "MF, torch matmul + topk": Form(call=lambda: matmul_topk(user, item), detail="exact"),
        "MF, faiss flat": Form(call=lambda: search(vectors.flat, vectors.user), detail="exact"),
    }
    if num_items <= MOST_HNSW:
        begun = time.perf_counter()
        hnsw = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
        hnsw.add(vectors.item)
        seconds = time.perf_counter() - begun
        effort = tuned(hnsw, "efSearch", (16 << step for step in range(8)), vectors)
        call = functools.partial(search, hnsw, vectors.user)
        forms["MF, faiss HNSW"] = Form(call=call, detail=f"M 16, efSearch {effort}", exact=False, build_seconds=seconds)
    begun, num_lists = time.perf_counter(), round(math.sqrt(num_items))
    quantizer = faiss.IndexFlatIP(DIM)
    ivf = faiss.IndexIVFFlat(quantizer, DIM, num_lists, faiss.METRIC_INNER_PRODUCT)
    ivf.cp.niter = 10
    ivf.train(vectors.item[: 64 * num_lists])  # the order of the items is random
    for begin in range(0, num_items, 500_000):
        ivf.add(vectors.item[begin : begin + 500_000])
    seconds = time.perf_counter() - begun
    effort = tuned(ivf, "nprobe", itertools.takewhile(num_lists.__ge__, (1 << step for step in range(20))), vectors)
    call = functools.partial(search, ivf, vectors.user)
    detail = f"nprobe {effort} of {num_lists}"
    forms["MF, faiss IVF"] = Form(call=call, detail=detail, exact=False, build_seconds=seconds)
    return forms


def wrong_neighbours(form: Form, vectors: Vectors) -> str:
    """What is wrong with a list of inner products, in words."""
    item, score = form.call()
    wanted = np.einsum("bd,bkd->bk", vectors.user, vectors.item[item.numpy()])
    if not np.allclose(score.numpy(), wanted, rtol=1e-4, atol=1e-3):
        return "scores are not the inner products of the items"
    part = recall(item, search(vectors.flat, vectors.user)[0])
    least = 0.99 if form.exact else LEAST_RECALL  # rounding decides a place here and there
    return "" if part >= least else f"recall@{TOP_K} is {part:.2f}, below {least}"


# --------------------------------------------------------------------------- generation


class Generation:
    """A small random Transformer (an encoder layer over the history, a decoder layer) and the trie-beam, all timed."""

    def __init__(self, num_items: int, head: str) -> None:
        generator = torch.Generator().manual_seed(0)
        table = random_table(num_items, num_levels=3, codebook_size=256, generator=generator)
        self.trie = Trie.of(table)
        self.network = Network(self.trie, num_users=NUM_USERS, generator=generator, head=head, dim=DIM, history=HISTORY)
        with torch.random.fork_rng():  # the layer takes its weights from torch's own stream
            torch.manual_seed(0)
            self.encoder = nn.TransformerEncoderLayer(DIM, 4, 4 * DIM, dropout=0.0, batch_first=True).eval()
        self.history = torch.randn(NUM_USERS, HISTORY, DIM, generator=generator)
        self.to_key, self.to_value = torch.randn(2, DIM, DIM, generator=generator) * DIM**-0.5

    def stepper(self) -> CachedStepper:
        """Reads the history anew: its keys and values are made once for each user."""
        memory, heads = self.encoder(self.history), (self.network.num_heads, -1)
        self.network.memory_key = (memory @ self.to_key).unflatten(-1, heads).transpose(1, 2)
        self.network.memory_value = (memory @ self.to_value).unflatten(-1, heads).transpose(1, 2)
        return CachedStepper(self.network)

    def __call__(self) -> Found:
        decoder, nothing = TrieBeam(num_beams=NUM_BEAMS), no_exclusion(NUM_USERS)
        return decoder.decode(self.stepper(), self.trie, top_k=TOP_K, exclusion=nothing)

    def wrong(self) -> str:
        """Held against the same search laid out in another way."""
        item, score = self()
        if self.network.head == "tree":
            wanted_item, wanted_score = walk_tree(self.stepper(), self.trie)
        else:
            wanted_item, wanted_score = walk(self.stepper(), self.trie, Padded(self.trie).step, NUM_BEAMS, TOP_K)
        if int(item.min()) < 0 or any(len(set(row)) < TOP_K for row in item.tolist()):
            return "a list has a hole or an item twice"
        error, same = (score - wanted_score).abs().max().item(), (item == wanted_item).float().mean().item()
        return "" if error < 1e-3 and same > 0.98 else f"scores differ by {error:.2g}, {same:.0%} of the items agree"


def walk_tree(stepper: CachedStepper, trie: Trie) -> Found:
    """The beam search of head `tree` with children padded to the widest branch."""
    score = torch.zeros(NUM_USERS, 1)
    node = torch.zeros(NUM_USERS, 1, dtype=torch.int64)
    scores = stepper.start()
    for level in range(trie.num_levels):
        assert isinstance(scores, NodeScores)
        offsets = trie.child_offsets(level - 1).long()
        widest = int(offsets.diff().max())
        child = offsets[node].unsqueeze(2) + torch.arange(widest)  # [B, W, widest]
        absent = child >= offsets[node + 1].unsqueeze(2)
        child = child.masked_fill(absent, 0)
        logits = torch.einsum("bwd,bwcd->bwc", scores.state, scores.vectors[child]) + scores.bias[child]
        log_p = logits.masked_fill(absent, -torch.inf).log_softmax(-1)
        best, column = (score.unsqueeze(2) + log_p).flatten(1).topk(min(NUM_BEAMS, trie.num_nodes(level)), dim=1)
        score, node = best, child.flatten(1).gather(1, column)
        if level < trie.num_levels - 1:
            scores = stepper.advance(column // widest, trie.node_token(level)[node])
    return trie.leaf_item[node].long()[:, :TOP_K], score[:, :TOP_K]


# --------------------------------------------------------------------------- the benchmark


def free_memory() -> int:
    """Bytes that can be had without swapping."""
    info = Path("/proc/meminfo")
    if not info.exists():
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return next(int(line.split()[1]) << 10 for line in info.read_text().splitlines() if line.startswith("MemAvailable"))


@torch.no_grad()
def measure(book: Book, num_items: int, generations: dict[str, Generation]) -> list[Point]:
    """All forms at one size, timed by turns; a form that is wrong is refused and has no point."""
    vectors = Vectors.random(num_items, np.random.default_rng(0))
    forms = inner_products(vectors)
    forms |= {name: Form(call=call, detail=f"beam {NUM_BEAMS}") for name, call in generations.items()}
    case = f"catalogue of {num_items} items, {NUM_USERS} users"
    medians = book.race(
        case,
        {name: form.call for name, form in forms.items()},
        verify=lambda name: (
            generations[name].wrong() if name in generations else wrong_neighbours(forms[name], vectors)
        ),
        turns=15,
        seconds=40.0,
    )
    spread = {line.form: line.spread for line in book.lines if line.case == case}
    best = search(vectors.flat, vectors.user)[0]
    return [
        Point(
            num_items=num_items,
            form=name,
            ms_per_user=median / NUM_USERS,
            spread=spread[name],
            recall=None if name in generations else recall(forms[name].call()[0], best),
            detail=forms[name].detail,
            build_seconds=forms[name].build_seconds,
        )
        for name, median in medians.items()
    ]


@torch.no_grad()
def by_turns(book: Book, generations: dict[int, dict[str, Generation]], points: list[Point]) -> list[Point]:
    """Generation alone, all sizes by turns: in `measure` minutes lie between two sizes, and rivals empty the cache."""
    right = [point for point in points if point.form in generations[point.num_items]]
    calls = {f"{point.form}, {point.num_items} items": generations[point.num_items][point.form] for point in right}
    case = f"generation by catalogue, beam {NUM_BEAMS}, {NUM_USERS} users, encoder included"
    medians = book.race(case, calls, turns=31, seconds=60.0)
    spread = [line.spread for line in book.lines if line.case == case]
    renewed = [
        replace(point, ms_per_user=median / NUM_USERS, spread=part)
        for point, median, part in zip(right, medians.values(), spread, strict=True)
    ]
    at = {(point.num_items, point.form): point.ms_per_user for point in renewed}
    for form in {point.form for point in renewed}:
        if {(10**5, form), (10**7, form)} <= at.keys():
            goal = f"{form.removeprefix('mmgrec ')}: 10^7 items take at most {MOST_GROWTH:g} x the time of 10^5"
            book.goal(goal, at[10**7, form] / at[10**5, form], most=MOST_GROWTH)
    return renewed


def test_time_per_user_by_catalogue(book: Book) -> None:
    faiss.omp_set_num_threads(torch.get_num_threads())  # as many as torch has
    points: list[Point] = []
    left_out: list[str] = []
    generations: dict[int, dict[str, Generation]] = {}
    for size in SIZES:
        num_items = book.sized(size, size)
        if num_items > 10**6 and free_memory() < MEMORY:
            left_out.append(f"{num_items} items: fewer than {MEMORY >> 30} GiB of memory are free")
            continue
        heads = ("tokens", "tree") if num_items <= 10**6 or free_memory() >= TREE_MEMORY else ("tokens",)
        generations[num_items] = {f"mmgrec generation, head {head}": Generation(num_items, head) for head in heads}
        points += measure(book, num_items, generations[num_items])
    alone = by_turns(book, generations, points)
    assert {point.form for point in points} >= {"mmgrec generation, head tokens", "MF, torch matmul + topk"}
    left_out += [f"HNSW above {MOST_HNSW} items: it takes minutes to build on one core of a CPU"]
    if not any(point.num_items > 10**6 and "tree" in point.form for point in points):
        left_out += [f"head tree above a million items: fewer than {TREE_MEMORY >> 30} GiB of memory are free"]
    left_out += [f"{refused.form}, {refused.case}: {refused.why}" for refused in book.refusals if "cat" in refused.case]
    outcome = {
        "schema": 1,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": hardware(),
        "load_average": os.getloadavg()[0],  # above the number of cores: others were at work on this machine
        "versions": versions(),
        "users_per_call": NUM_USERS,
        "wanted_recall": WANTED_RECALL,
        "points": [asdict(point) for point in points],
        "generation_alone": [asdict(point) for point in alone],
        "left_out": left_out,
    }
    if book.scale != 1.0:
        return  # a trial: what was kept stays
    (RESULTS / "catalogue.json").write_text(json.dumps(outcome, indent=1) + "\n")
    draw(outcome)
