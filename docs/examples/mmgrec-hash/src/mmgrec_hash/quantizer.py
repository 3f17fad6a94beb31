"""A quantizer that learns nothing: tokens are hash values, representations are random vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec import Codes, Context, Dataset, Quantization, Quantizer, Representations


@dataclass(frozen=True, kw_only=True)
class HashQuantizer(Quantizer):
    """What graph-rqvae is worth shows against this."""

    num_levels: Annotated[int, Ge(1)] = 3
    codebook_size: Annotated[int, Ge(2)] = 64
    dim: Annotated[int, Ge(1)] = 16  # of the representations

    def fit(self, data: Dataset, context: Context) -> Quantization:
        item = torch.arange(data.num_items)[:, None]  # [I, 1]
        level = torch.arange(self.num_levels)  # [L]
        mixed = (item * 2654435761 + level * 40503) % 2**32  # Knuth's multiplicative hash
        token = (mixed >> 13) % self.codebook_size  # [I, L]
        context.reporter.note(f"hash: {data.num_items} items, {self.num_levels} levels")
        return Quantization(
            representations=self._representations(data, context),
            codes=Codes(token=token, level_sizes=(self.codebook_size,) * self.num_levels),
        )

    def _representations(self, data: Dataset, context: Context) -> Representations:
        """A user is the sum of random item vectors: near to users with the same items."""
        item = torch.randn(data.num_items, self.dim, generator=context.generator("items")) / self.dim**0.5
        user: Tensor = torch.zeros(data.num_users, self.dim)
        user.index_add_(0, data.train.user, item[data.train.item])
        return Representations(user=user, item=item)
