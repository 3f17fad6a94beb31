"""Neighbouring layers of a graph network as contrast pairs (NLGCL, arXiv 2507.07522; NLGCL+ adds it to other models).

A user's vector at one layer and an interacted item's at the next are views of the same thing: the item's next layer is
a mean over its users. Pulling them together, and away from other items, needs no augmented graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["neighbouring_layers"]

_PAIRS = 1024  # edges of a batch that are contrasted with one another


def neighbouring_layers(
    layers: Sequence[tuple[Tensor, Tensor]], user: Tensor, item: Tensor, *, temperature: float
) -> Tensor:
    """Mean over neighbouring layers and both sides of the InfoNCE loss between the ends of edges.

    Args:
        layers: of users ``[U, D]`` and items ``[I, D]``, from the first on; two at least.
        user: ``[E]`` int64, of the edges of a batch; the first thousand are used.
        item: ``[E]`` int64.
        temperature: of the cosines.
    """
    user, item = user[:_PAIRS], item[:_PAIRS]
    losses = []
    for (users, items), (next_users, next_items) in itertools.pairwise(layers):
        losses.append(_contrast(users[user], next_items[item], item, temperature))
        losses.append(_contrast(items[item], next_users[user], user, temperature))
    return torch.stack(losses).mean()


def _contrast(anchor: Tensor, other: Tensor, number: Tensor, temperature: float) -> Tensor:
    """Each anchor ``[E, D]`` against all others ``[E, D]``; one that stands for the same node is no negative."""
    logits = F.normalize(anchor, dim=1) @ F.normalize(other, dim=1).T / temperature
    same = (number[:, None] == number).fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))
