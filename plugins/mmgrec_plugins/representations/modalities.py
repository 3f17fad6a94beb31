"""What a model reads of the items' modalities: dense features and sparse bags alike, the missing ones masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgrec.data import Bag, Dataset
from mmgrec_plugins.representations.sparse import FixedMatrix

__all__ = ["ModalityProjection", "bag_matrix", "centred_features", "modality_projections"]


def centred_features(data: Dataset, modality: str) -> Tensor:
    """A dense modality centred on the items that have it and scaled to mean norm one; 0 where it is missing."""
    has, table = data.has_feature(modality), data.features[modality]
    if not has.any():
        return torch.zeros_like(table)
    centred = (table - table[has].mean(0)).masked_fill(~has[:, None], 0.0)
    scale: Tensor = centred[has].norm(dim=1).mean().clamp_min(1e-12)
    return centred / scale


def bag_matrix(bag: Bag) -> Any:  # Any: scipy has no types
    """A bag as a CSR matrix ``[num_items, num_words]`` float32 whose rows have norm one; empty rows stay zero."""
    matrix = sp.csr_array(
        (bag.weight.numpy(), bag.word.numpy(), bag.offsets.numpy()), shape=(bag.num_items, bag.num_words), copy=True
    )
    norm = np.sqrt(matrix.multiply(matrix).sum(axis=1))
    return (sp.diags_array(1.0 / np.maximum(norm, 1e-12)) @ matrix).tocsr().astype(np.float32)


class ModalityProjection(nn.Module):
    """One modality of all items as vectors: ``W m_i (+ b)``; items without it share a learnt placeholder.

    Args:
        data: where the modality comes from, dense or a bag (for a bag, W is a table of word vectors and the product a
            weighted sum over the item's words).
        modality: its name.
        dim: D of the result.
        bias: whether there is a b.
        trained: whether dense features are parameters too, which training goes on with; a bag's stay as they are.
    """

    missing: Tensor  # [num_items, 1] bool
    table: Tensor  # [num_items, F] float32; of a dense modality

    def __init__(self, data: Dataset, modality: str, dim: int, *, bias: bool = True, trained: bool = False) -> None:
        super().__init__()
        self.words: FixedMatrix | None = None
        if modality in data.bags:
            self.words = FixedMatrix(bag_matrix(data.bags[modality]))
            size = data.bags[modality].num_words
        else:
            table = centred_features(data, modality).float()
            if trained:
                self.table = nn.Parameter(table)
            else:
                self.register_buffer("table", table, persistent=False)
            size = data.features[modality].shape[1]
        self.register_buffer("missing", ~data.has_feature(modality)[:, None], persistent=False)
        self.weight = nn.Parameter(torch.empty(dim, size))
        nn.init.xavier_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.placeholder = nn.Parameter(torch.zeros(dim))

    def forward(self) -> Tensor:
        """``[num_items, dim]``."""
        if self.words is not None:
            projected = self.words @ self.weight.T
        else:
            projected = F.linear(self.table, self.weight)
        if self.bias is not None:
            projected = projected + self.bias
        return torch.where(self.missing, self.placeholder, projected)


def modality_projections(data: Dataset, dim: int, *, bias: bool = True, trained: bool = False) -> nn.ModuleDict:
    """A `ModalityProjection` for each modality of the data, by name; empty where there is none."""
    return nn.ModuleDict(
        {name: ModalityProjection(data, name, dim, bias=bias, trained=trained) for name in data.modalities}
    )
