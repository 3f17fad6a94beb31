"""Quantizer `rq-kmeans`: residual k-means over graph representations; nothing is trained beyond the graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Quantization, Quantizer
from mmgrec.recid import Codes
from mmgrec_plugins.quantizers.kmeans import residual_kmeans
from mmgrec_plugins.representations.graph_encoder import GraphEncoder

__all__ = ["RQKMeans", "residual_codes"]


@dataclass(frozen=True, kw_only=True)
class RQKMeans(Quantizer):
    """Tokens = clusters of the item representations, then of what the clusters leave over, level by level.

    A level has never more codewords than there are items; its codebook is in the space of the representations.
    """

    num_levels: Annotated[int, Ge(1)] = 3
    codebook_size: Annotated[int, Ge(2)] = 128  # the paper tries 64, 128, 256
    iterations: Annotated[int, Ge(1)] = 50  # at most, of each k-means
    graph: GraphEncoder = field(default_factory=GraphEncoder)

    def fit(self, data: Dataset, context: Context) -> Quantization:
        representations = self.graph.fit(data, context)
        codes = residual_codes(
            representations.item,
            self.num_levels,
            self.codebook_size,
            context.generator("kmeans"),
            iterations=self.iterations,
        )
        return Quantization(representations=representations, codes=codes)


def residual_codes(
    x: Tensor, num_levels: int, codebook_size: int, generator: torch.Generator, *, iterations: int = 50
) -> Codes:
    """Codes ``[num_items, num_levels]`` of the rows of x ``[num_items, D]``; arguments as `residual_kmeans`."""
    token, codebooks = residual_kmeans(x, num_levels, codebook_size, generator, iterations=iterations)
    return Codes(
        token=token.cpu(),
        level_sizes=tuple(codebook.shape[0] for codebook in codebooks),
        codebooks=tuple(codebook.cpu() for codebook in codebooks),
    )
