"""VBPR: matrix factorisation with a second inner product, of the items' features (He and McAuley, AAAI 2016).

::

    score(u, i) = beta_i + gamma_u . gamma_i + theta_u . (E f_i) + beta' . f_i

The paper's offset of all scores and of each user change no ranking and are left out. `dim` is that of gamma and of
theta each. The paper knows one modality; here f_i is all of them side by side, so that ``E f_i`` is the sum of one
projection a modality, and an item that lacks one gets a learnt vector in its place. Dense features are centred and
scaled, rows of a bag have norm one. The L2 regularization shrinks gamma, theta and beta_i of a batch; E and beta' are
free of it. The loss is BPR; with the softmax of `losses` the whole vectors are normalized, the biases among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.shared import free_table, require_modalities
from mmgrec_plugins.representations.modalities import modality_projections
from mmgrec_plugins.representations.ranking import RankingNetwork

__all__ = ["VBPR", "VBPRNetwork"]


class VBPRNetwork(RankingNetwork):
    """Users ``[gamma_u, theta_u, 1]`` and items ``[gamma_i, E f_i, beta_i + beta' . f_i]``, each of 2 D + 1 columns."""

    def __init__(self, data: Dataset, *, dim: int) -> None:
        super().__init__()
        require_modalities(data)
        self.user = free_table(data.num_users, 2 * dim)  # gamma_u, theta_u
        self.item = free_table(data.num_items, dim + 1)  # gamma_i, beta_i
        nn.init.zeros_(self.item[:, dim])
        self.content = modality_projections(data, dim + 1, bias=False)  # the last row of each is beta'

    def forward(self) -> tuple[Tensor, Tensor]:
        content = torch.stack([projection() for projection in self.content.values()]).sum(0)  # [I, D + 1]
        bias = self.item[:, -1:] + content[:, -1:]
        user = torch.cat([self.user, self.user.new_ones(self.user.shape[0], 1)], dim=1)
        return user, torch.cat([self.item[:, :-1], content[:, :-1], bias], dim=1)


@dataclass(frozen=True, kw_only=True)
class VBPR(FactorRecommender):
    """Taste for items and taste for what their features show, side by side."""

    regularization: Annotated[tuple[float, ...], MinLen(1)] = (1e-2, 3e-2, 1e-1)  # L2 of the free vectors, with bpr

    def network(self, data: Dataset, *, dim: int, context: Context) -> VBPRNetwork:
        return VBPRNetwork(data, dim=dim)
