"""A data set with a share of its items: smaller catalogues that lie within larger ones, for time against size."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from mmgrec.data import Bag, Dataset, Interactions
from mmgrec.interfaces import Context

__all__ = ["with_share"]


def with_share(data: Dataset, share: float) -> Dataset:
    """Keep a random share of the items, and all users; a smaller share keeps a part of what a larger one keeps.

    Given neighbour graphs are left out: their neighbours may be gone.
    """
    order = torch.randperm(data.num_items, generator=Context().generator("share"))
    kept = order[: max(1, math.ceil(share * data.num_items))].sort().values  # [I']
    number = torch.full((data.num_items,), -1)
    number[kept] = torch.arange(kept.numel())

    def thinned(part: Interactions) -> Interactions:
        stays = number[part.item] >= 0
        return Interactions(
            user=part.user[stays], item=number[part.item[stays]], num_users=part.num_users, num_items=kept.numel()
        )

    def named(names: object) -> list[str] | None:
        return None if names is None else [names[item] for item in kept.tolist()]  # type: ignore[index]  # a sequence

    return dataclasses.replace(
        data,
        train=thinned(data.train),
        valid=thinned(data.valid),
        test=thinned(data.test),
        features={name: table[kept] for name, table in data.features.items()},
        graphs={},
        bags={name: _thinned_bag(bag, kept, number) for name, bag in data.bags.items()},
        item_ids=named(data.item_ids),
        item_titles=named(data.item_titles),
        latent={},
    )


def _thinned_bag(bag: Bag, kept: Tensor, number: Tensor) -> Bag:
    """The words of the items that stay, under their new numbers."""
    item = number[torch.repeat_interleave(torch.arange(bag.num_items), bag.offsets.diff())]
    stays = item >= 0
    return Bag.of(item[stays], bag.word[stays], bag.weight[stays], num_items=kept.numel(), num_words=bag.num_words)
