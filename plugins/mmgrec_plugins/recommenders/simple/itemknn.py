"""Item neighbours by shrunk cosine of their users."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from scipy import sparse
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, FittedRecommender, Recommender
from mmgrec.memory import user_item
from mmgrec_plugins.recommenders.simple.item_sums import ItemSums

__all__ = ["ItemKNN"]

_CHUNK = 1024  # items whose co-occurrences are held at a time


@dataclass(frozen=True, kw_only=True)
class ItemKNN(Recommender):
    """Similarity c(i, j) / (sqrt(n_i n_j) + shrink), the largest per item; scores are sums over the history."""

    neighbours: Annotated[int, Ge(1)] = 100
    shrink: Annotated[float, Ge(0)] = 50.0  # users; keeps rare items from dominating

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        matrix = user_item(data.train)
        by_item = matrix.T.tocsr()
        root = np.sqrt(data.train.item_degree.numpy())
        blocks = []
        for start in range(0, data.num_items, _CHUNK):
            counts = (by_item[start : start + _CHUNK] @ matrix).tocoo()
            row, col = counts.row.astype(np.int64), counts.col.astype(np.int64)
            value = counts.data / (root[start + row] * root[col] + self.shrink)
            other = start + row != col
            row, col, value = row[other], col[other], value[other]
            order = np.lexsort((col, -value, row))  # by item, then best first, then lower number
            row, col, value = row[order], col[order], value[order]
            best = np.arange(len(row)) - np.searchsorted(row, row) < self.neighbours
            shape = (by_item[start : start + _CHUNK].shape[0], data.num_items)
            blocks.append(sparse.csr_matrix((value[best].astype(np.float32), (row[best], col[best])), shape=shape))
        return FittedItemKNN(weight=sparse.vstack(blocks, format="csr"), history=data.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedItemKNN(ItemSums):
    """The similarities of each item's neighbours, and the histories that they are summed over."""

    weight: Any = field(repr=False)  # scipy CSR [num_items, num_items] float32: item of the history -> its neighbours

    def said(self, users: Tensor) -> Any:  # Any: scipy has no types
        row, item = self.history.items_of(users)
        ones = np.ones(len(row), dtype=np.float32)
        shape = (users.numel(), self.history.num_items)
        return sparse.csr_matrix((ones, (row.numpy(), item.numpy())), shape=shape) @ self.weight

    def state(self) -> dict[str, Tensor]:
        return {
            "data": torch.from_numpy(self.weight.data),
            "indices": torch.from_numpy(self.weight.indices),
            "indptr": torch.from_numpy(self.weight.indptr),
        }
