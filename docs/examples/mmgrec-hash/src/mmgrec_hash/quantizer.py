"""A quantizer that learns nothing: tokens are hash values, representations a random sketch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge

from mmgrec import Codes, Context, Dataset, Quantization, Quantizer, Representations


@dataclass(frozen=True, kw_only=True)
class HashQuantizer(Quantizer):
    """What graph-rqvae is worth shows against this."""

    num_levels: Annotated[int, Ge(1)] = 3
    codebook_size: Annotated[int, Ge(2)] = 64
    dim: Annotated[int, Ge(1)] = 64  # of the representations

    def fit(self, data: Dataset, context: Context) -> Quantization:
        item = torch.arange(data.num_items)[:, None]  # [I, 1]
        level = torch.arange(self.num_levels)  # [L]
        mixed = (item + 1) * (2654435761 + 2246822518 * level) % 2**32  # multiplicative, another factor a level
        token = (mixed >> 13) % self.codebook_size  # [I, L]
        context.reporter.note(f"hash: {data.num_items} items, {self.num_levels} levels")
        return Quantization(
            representations=self._representations(data, context),
            codes=Codes(token=token, level_sizes=(self.codebook_size,) * self.num_levels),
        )

    def _representations(self, data: Dataset, context: Context) -> Representations:
        """A random sketch of who chose what: items with common users are near each other."""
        user, item = data.train.user, data.train.item
        sketch = torch.randn(data.num_users, self.dim, generator=context.generator("sketch"))
        items = torch.zeros(data.num_items, self.dim).index_add(0, item, sketch[user])
        items = torch.nn.functional.normalize(items)
        users = torch.zeros(data.num_users, self.dim).index_add(0, user, items[item])
        return Representations(user=users, item=items)
