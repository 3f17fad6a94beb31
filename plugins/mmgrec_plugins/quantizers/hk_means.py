"""Quantizer `hk-means`: top-down hierarchical k-means over graph representations, the paper's rival of the RQ-VAE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Quantization, Quantizer
from mmgrec.recid import Codes
from mmgrec_plugins.quantizers.kmeans import hierarchical_kmeans
from mmgrec_plugins.representations.graph_encoder import GraphEncoder

__all__ = ["HKMeans"]


@dataclass(frozen=True, kw_only=True)
class HKMeans(Quantizer):
    """Tokens = the way down a tree in which each node is split by a k-means of its own (Sec. 4.4 of the paper).

    A node has never more branches than items, so on a small catalogue the lower levels have small vocabularies. A token
    means something only together with the tokens before it: there are no codebooks.
    """

    num_levels: Annotated[int, Ge(1)] = 3
    codebook_size: Annotated[int, Ge(2)] = 128  # branches of a node, at most
    iterations: Annotated[int, Ge(1)] = 50  # at most, of each k-means
    graph: GraphEncoder = field(default_factory=GraphEncoder)

    def fit(self, data: Dataset, context: Context) -> Quantization:
        representations = self.graph.fit(data, context)
        token, widths = hierarchical_kmeans(
            representations.item,
            self.num_levels,
            self.codebook_size,
            context.generator("kmeans"),
            iterations=self.iterations,
        )
        return Quantization(representations=representations, codes=Codes(token=token.cpu(), level_sizes=widths))
