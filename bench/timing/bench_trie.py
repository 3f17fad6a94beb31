"""Building the trie of ten million items: at most twice the time of sorting the table, 8 bytes an item beyond it."""

from __future__ import annotations

import numpy as np
import torch
from harness import Book
from network import random_table

from mmgrec.recid import RecIDTable, Trie

MOST_BYTES, MOST_TIME = 8.0, 2.0  # an item, beyond the sorted table; of the sort's time


def sorted_table(table: RecIDTable) -> tuple[torch.Tensor, torch.Tensor]:
    """The least that a sorted table takes: its keys in order, and the item of each."""
    return torch.sort(table.key)


def test_building_a_trie(book: Book) -> None:
    table = random_table(
        book.sized(10_000_000, 10_000_000),
        num_levels=3,
        codebook_size=256,
        generator=torch.Generator().manual_seed(0),
    )
    trie = Trie.of(table)
    assert torch.equal(table.key[trie.leaf_item.long()], torch.sort(table.key).values)
    assert torch.equal(trie.leaf_item[trie.item_leaf.long()], torch.arange(table.num_items, dtype=torch.int32))
    beyond = trie.num_bytes - sum(part.numel() * part.element_size() for part in (*trie.token, trie.leaf_item))
    case = f"trie of {table.num_items} items, C 256: {beyond / table.num_items:.2f} bytes an item"
    medians = book.race(
        case,
        {
            "mmgrec Trie.of": lambda: Trie.of(table),
            "torch.sort of the packed keys": lambda: sorted_table(table),
            "numpy argsort of the packed keys": lambda: np.argsort(table.key.numpy()),
        },
        turns=5,
    )
    assert beyond <= MOST_BYTES * table.num_items
    book.goal(
        f"building a trie takes at most {MOST_TIME:g} x the sort",
        medians["mmgrec Trie.of"] / medians["torch.sort of the packed keys"],
        most=MOST_TIME,
    )
