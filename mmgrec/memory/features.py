"""What items look, sound and read like, as one table of unit rows: what the item memory compares items by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgrec.data import Bag, Dataset

__all__ = ["item_features", "unit_features"]

BAG_WIDTH = 256  # columns that the words of a sparse modality are folded into


def item_features(data: Dataset) -> Tensor | None:
    """The features of all modalities of a data set, see `unit_features`; None where it has none.

    Words of a sparse modality count by their weight times their rarity, and are folded at random, always alike, into
    256 columns: products of two items keep their value in the mean.
    """
    tables = [data.features[name] for name in data.features]
    tables += [_folded(data.bags[name]) for name in data.bags]
    return unit_features(tables) if tables else None


def unit_features(tables: Sequence[Tensor]) -> Tensor:
    """Features of all modalities side by side, centred on the items that have them, each row of norm one.

    Args:
        tables: ``[num_items, dim]`` each; a row of zeros: the item lacks the modality.

    Returns:
        ``[num_items, sum of dims]`` float32; a row of zeros where an item lacks all of them.
    """
    parts = []
    for table in tables:
        has = table.abs().sum(1, keepdim=True) > 0
        mean = table.float().sum(0) / has.sum().clamp_min(1)
        parts.append(torch.nn.functional.normalize((table.float() - mean) * has, dim=1))
    return torch.nn.functional.normalize(torch.cat(parts, dim=1), dim=1)


def _folded(bag: Bag) -> Tensor:
    """``[num_items, BAG_WIDTH]``: each word goes to one column with one sign, by its number."""
    items = torch.repeat_interleave(torch.arange(bag.num_items), bag.offsets.diff())
    rarity = (bag.num_items / bag.word.bincount(minlength=bag.num_words).clamp_min(1)).log1p().float()
    mixed = bag.word * 0x9E3779B1 & 0xFFFFFFFF  # any odd number: neighbouring words go to different columns
    column, sign = (mixed >> 8) % BAG_WIDTH, 1.0 - 2.0 * (mixed >> 31).float()
    table = torch.zeros(bag.num_items * BAG_WIDTH)
    table.index_add_(0, items * BAG_WIDTH + column, bag.weight * rarity[bag.word] * sign)
    return table.view(bag.num_items, BAG_WIDTH)
