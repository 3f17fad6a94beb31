"""Collision resolver `random`: a random order within the group gives the last token, as TIGER does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.interfaces import CollisionResolver, Context
from mmgrec.recid import Codes, RecIDTable
from mmgrec_plugins.collisions.resolution import Overflow, resolve

__all__ = ["RandomOrder"]


@dataclass(frozen=True, kw_only=True)
class RandomOrder(CollisionResolver):
    """The context's seed decides the order; popularity is not looked at."""

    max_group: Annotated[int, Ge(1)] = 256  # items with equal semantic tokens; caps the last vocabulary
    overflow: Overflow = "reassign"  # above the cap: refuse, or move surplus items to neighbouring tokens

    def resolve(self, codes: Codes, popularity: Tensor, context: Context) -> RecIDTable:
        preference = torch.randperm(codes.num_items, generator=context.generator("collisions"))
        return resolve(
            codes, preference, max_group=self.max_group, overflow=self.overflow, reporter=context.reporter
        ).rec_ids
