"""L3AE (Moon, Park & Lee, "LLM-Enhanced Linear Autoencoders for Recommendation", CIKM 2025, arXiv 2508.13500).

EASE that is drawn towards what the features alone say:

- Of the features, F with a row for each item, EASE's own problem: C minimises ``|F' - F' C|² + λ_F |C|²`` with a zero
  diagonal, so ``C = I - P_F diag(1 / P_F,jj)`` with ``P_F = (F F' + λ_F I)^-1``.
- Of the interactions: B minimises ``|X - X B|² + λ_X |B|² + λ_E |B - C|²`` with a zero diagonal, in closed form too
  (`mmgrec.memory.hollow_ridge`). A user's scores are the sum of their items' rows of B.

Decisions:

- F F' are cosines: each modality is centred and each item's row scaled to norm one, then all modalities side by side
  likewise, so that λ_F means the same on all data. The authors have one modality, a text's embedding as it comes. An
  item without features has an empty row and column of C.
- Without features C is zero, and the model is EASE with λ = λ_X + λ_E.
- λ_X may be negative, as in the authors' settings for one of their sets, as long as λ_X + λ_E is positive: that sum is
  what shrinks, λ_E alone what draws towards C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec.memory import common_users, hollow_ridge, unit_features
from mmgrec_plugins.recommenders.simple.ease import FittedEASE, require_few_items
from mmgrec_plugins.representations.modalities import bag_matrix

__all__ = ["L3AE", "feature_cosines"]


def feature_cosines(data: Dataset, device: torch.device) -> Tensor:
    """``F F' [num_items, num_items]`` float32: 1 on the diagonal, zero rows where an item has no features at all."""
    products = torch.zeros(data.num_items, data.num_items, device=device)
    for name in data.modalities:
        if name in data.bags:
            words = bag_matrix(data.bags[name])
            products += torch.from_numpy((words @ words.T).toarray()).to(device)
        else:
            unit = unit_features([data.features[name]]).to(device)
            products.addmm_(unit, unit.T)
    length = products.diagonal().clone()
    scale = torch.where(length > 0, length.clamp_min(1e-12).rsqrt(), 0.0)
    return products.mul_(scale[:, None]).mul_(scale)


@dataclass(frozen=True, kw_only=True)
class L3AE(Recommender):
    """B minimises |X - X B|² + l2 |B|² + distillation |B - C|² with a zero diagonal, C being EASE of the features."""

    l2: float = 100.0  # λ_X; may be below zero, but l2 + distillation must not
    feature_l2: Annotated[float, Gt(0)] = 5.0  # λ_F, of the features' own EASE
    distillation: Annotated[float, Ge(0)] = 100.0  # λ_E: how much B is drawn towards what the features say
    max_items: Annotated[int, Ge(1)] = 20_000  # B is dense: 4 bytes x items², four times that while fitting

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        require_few_items(data, self.max_items, name="L3AE")
        if self.l2 + self.distillation <= 0:
            raise SettingsError(
                [f"l2 + distillation is {self.l2 + self.distillation:g}, but must be above 0"],
                remedy="raise l2",
                code="recommenders.nothing-shrinks",
            )
        target = None
        if data.modalities and self.distillation:
            target = hollow_ridge(feature_cosines(data, context.device), l2=self.feature_l2)
        gram = common_users(data.train, context.device)
        weight = hollow_ridge(gram, l2=self.l2, target=target, pull=self.distillation)
        return FittedEASE(weight=weight, history=data.train)
