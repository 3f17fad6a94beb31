"""Quantizer `rqvae`: codes from the features alone, the paper's ablation "ID w/o" (Sec. 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import DataError
from mmgrec.generator import principal_axes
from mmgrec.interfaces import Context, Quantization, Quantizer, Representations
from mmgrec.training import calibrated
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings, fit_autoencoder
from mmgrec_plugins.representations.graph_encoder import GraphEncoder
from mmgrec_plugins.representations.modalities import centred_features

__all__ = ["RQVAE", "fused_features"]


@dataclass(frozen=True, kw_only=True)
class RQVAE(Quantizer):
    """The autoencoder of Eqs. 6-10 on the features of items; interactions have no part in the codes.

    The Transformer still needs representations. With ``graph`` they are the graph's, so that against `graph-rqvae` only
    the Rec-IDs change, as in the paper; with ``features`` nothing but the features is used, and a user is the mean of
    their items.
    """

    num_levels: Annotated[int, Ge(1)] = 3  # L
    codebook_size: Annotated[int, Ge(2)] = 128  # C
    representations: Literal["features", "graph"] = "graph"
    max_dim: Annotated[int, Ge(1)] = 128  # wider features are reduced to their first principal components
    graph: GraphEncoder = field(default_factory=GraphEncoder)
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)

    def fit(self, data: Dataset, context: Context) -> Quantization:
        features = fused_features(data, self.max_dim)
        autoencoder, history = fit_autoencoder(
            features,
            num_levels=self.num_levels,
            codebook_size=self.codebook_size,
            settings=self.autoencoder,
            context=context,
        )
        if self.representations == "graph":
            representations = self.graph.fit(data, context)
        else:
            given = Representations(user=_means_of_users(data, features), item=features)
            representations = calibrated(given, data, context.generator("calibration"))
        codes = autoencoder.codes(features)
        return Quantization(representations=representations, codes=codes, history={"autoencoder": history})


def fused_features(data: Dataset, max_dim: int) -> Tensor:
    """All modalities side by side, each centred and of mean norm one; a missing row counts as the mean.

    Returns:
        ``[num_items, min(sum of dims, max_dim)]`` float32.

    Raises:
        DataError: if the data have no features.
    """
    if not data.features:
        raise DataError(
            "there are no features, and this quantizer knows nothing else",
            where=data.name,
            remedy="add features/<modality>.npy, or take another quantizer",
            code="quantizers.no-features",
        )
    fused = torch.cat([centred_features(data, name).float() for name in data.features], dim=1)
    if fused.shape[1] <= max_dim:
        return fused
    fused = fused - fused.mean(dim=0)
    return fused @ principal_axes(fused, max_dim).float()


def _means_of_users(data: Dataset, item: Tensor) -> Tensor:
    """``[num_users, dim]``: the mean of each user's training items; 0 without any."""
    total = item.new_zeros(data.num_users, item.shape[1])
    total.index_add_(0, data.train.user, item.index_select(0, data.train.item))
    return total / data.train.user_degree.clamp(min=1)[:, None]
