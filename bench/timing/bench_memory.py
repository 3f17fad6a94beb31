"""What an item memory costs to build: time and bytes at ten thousand, a hundred thousand and a million items.

Users, interactions and features are drawn in clusters, ten interactions an item, twelve a user; each item is explained
by its fifty nearest. The rival is EASE's closed form where that fits: one matrix of all items, inverted.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from harness import Book, device

from mmgrec.data import Interactions
from mmgrec.memory import Gram, ease_weights, ridge_weights

NEIGHBOURS, L2, BETA, DIM = 50, 20.0, 3.0, 64
MINUTES = 10.0  # that a million items may take


def drawn(num_items: int, seed: int = 0) -> tuple[Interactions, torch.Tensor]:
    """Interactions of users who like a few clusters, popular items more than others; and features of the items."""
    random = np.random.default_rng(seed)
    num_users, count = num_items * 10 // 12, num_items * 10
    cluster = random.integers(0, max(2, num_items // 200), num_items)
    by_cluster = np.argsort(cluster, kind="stable")
    first = np.searchsorted(cluster[by_cluster], np.arange(cluster.max() + 2))
    user = random.integers(0, num_users, count)
    liked = random.integers(0, cluster.max() + 1, (num_users, 3))
    chosen = liked[user, random.integers(0, 3, count)]
    size = np.maximum(first[chosen + 1] - first[chosen], 1)
    place = (size * random.random(count) ** 2).astype(np.int64)  # the first of a cluster are its popular ones
    item = by_cluster[np.minimum(first[chosen] + place, num_items - 1)]
    centre = torch.from_numpy(random.standard_normal((cluster.max() + 1, DIM), dtype=np.float32))
    noise = torch.from_numpy(random.standard_normal((num_items, DIM), dtype=np.float32))
    features = torch.nn.functional.normalize(centre[torch.from_numpy(cluster)] + noise, dim=1)
    part = Interactions.of(torch.from_numpy(user), torch.from_numpy(item), num_users=num_users, num_items=num_items)
    return part, features


@pytest.mark.parametrize("num_items", [10_000, 100_000, 1_000_000])
def test_building_a_memory(num_items: int, book: Book) -> None:
    size = book.sized(num_items, num_items)
    part, features = drawn(size)
    case = f"item memory of {size} items, {len(part)} interactions, {NEIGHBOURS} neighbours, features of {DIM}"
    started = time.perf_counter()
    gram = Gram.of(part, features, feature_weight=BETA, reach=0, device=device())
    near = gram.neighbours(NEIGHBOURS)
    chosen = time.perf_counter()
    weights = ridge_weights(gram, near, counts=[NEIGHBOURS], l2=[L2])[NEIGHBOURS, L2]
    ended = time.perf_counter()
    assert weights.index.shape == (size, min(NEIGHBOURS, size - 1))
    assert float((weights.weight != 0).float().mean()) > 0.5
    stored = weights.num_bytes / 2**20
    book.note(case, "mmgrec, near items", (chosen - started) * 1e3)
    book.note(case, "mmgrec, ridges", (ended - chosen) * 1e3)
    book.note(case, "mmgrec, all", (ended - started) * 1e3, megabytes=stored)
    if size <= 10_000:
        started = time.perf_counter()
        dense = ease_weights(part, l2=L2, device=device())
        book.note(
            case, "EASE in closed form", (time.perf_counter() - started) * 1e3,
            megabytes=dense.numel() * dense.element_size() / 2**20,
        )  # fmt: skip
    if num_items == 1_000_000:
        book.goal(f"a memory of {size} items takes at most {MINUTES:g} minutes", (ended - started) / 60, most=MINUTES)
