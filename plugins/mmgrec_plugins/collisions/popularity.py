"""Collision resolver `popularity`: the rank of popularity within the group is the last token (Eqs. 11, 12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.interfaces import CollisionResolver, Context
from mmgrec.recid import Codes, RecIDTable
from mmgrec_plugins.collisions.resolution import Overflow, resolve

__all__ = ["ByPopularity"]


@dataclass(frozen=True, kw_only=True)
class ByPopularity(CollisionResolver):
    """Most popular first; of equally popular items the lower number first."""

    max_group: Annotated[int, Ge(1)] = 256  # items with equal semantic tokens; caps the last vocabulary
    overflow: Overflow = "reassign"  # above the cap: refuse, or move the least popular to neighbouring tokens

    def resolve(self, codes: Codes, popularity: Tensor, context: Context) -> RecIDTable:
        # Eq. 11: equal tuples are told apart by rank of popularity
        preference = torch.argsort(popularity, descending=True, stable=True)
        return resolve(
            codes, preference, max_group=self.max_group, overflow=self.overflow, reporter=context.reporter
        ).rec_ids
