"""Graph RQ-VAE: graph representations fused from features and interactions, quantized residually (Sec. 3.2.1).

Decisions:

- `two-stage` (the released code): the ranking loss first, then the autoencoder on frozen representations.
- `alternating` (the paper): an epoch of the ranking loss, which moves the graph, and an epoch of the quantization loss,
  which moves the autoencoder alone, by turns; needs a single ranking loss. (With the quantization's gradient reaching
  the graph too, the representations lose their ranking: see docs/explanation/decisions.md.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context, Quantization, Quantizer, Representations
from mmgrec.training import Task, calibrated, train
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings, ResidualAutoencoder, fit_autoencoder
from mmgrec_plugins.representations.graph_encoder import EncoderFit, GraphEncoder
from mmgrec_plugins.representations.ranking import RankingTask

__all__ = ["GraphRQVAE"]


@dataclass(frozen=True, kw_only=True)
class GraphRQVAE(Quantizer):
    """The paper's quantizer (Eqs. 4-10)."""

    num_levels: Annotated[int, Ge(1)] = 3  # L
    codebook_size: Annotated[int, Ge(2)] = 128  # C
    schedule: Literal["alternating", "two-stage"] = "two-stage"
    graph: GraphEncoder = field(default_factory=GraphEncoder)
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)

    def fit(self, data: Dataset, context: Context) -> Quantization:
        if self.schedule == "alternating":
            return self._alternating(data, context)
        representations = self.graph.fit(data, context)
        autoencoder, _ = fit_autoencoder(
            representations.item,
            num_levels=self.num_levels,
            codebook_size=self.codebook_size,
            settings=self.autoencoder,
            context=context,
        )
        return _quantized(representations, autoencoder.cpu())

    def _alternating(self, data: Dataset, context: Context) -> Quantization:
        """One ranking loss and the autoencoder, an epoch each by turns."""
        graph = self.graph
        if (
            len(graph.losses) > 1
            or len(graph.item_graph_scale) > 1
            or (graph.losses == ("bpr",) and len(graph.regularization) > 1)
        ):
            raise SettingsError(
                ["the alternating schedule trains one ranking loss at one regularization and one item_graph_scale"],
                where="quantizer.graph",
                remedy="give losses, regularization and item_graph_scale one value each, or set schedule=two-stage",
                code="quantizers.several-choices",
            )
        fit = EncoderFit.of(graph, data, context)
        ranking = fit.task(graph.losses[0], regularization=graph.regularization[0])
        autoencoder = ResidualAutoencoder(
            graph.dim,
            num_levels=self.num_levels,
            codebook_size=min(self.codebook_size, data.num_items),
            settings=self.autoencoder,
            generator=context.generator("autoencoder"),
        ).to(context.device)
        task = _AlternatingTask(ranking, autoencoder, context.generator("codebooks"))
        train(task, graph.training(data), context, "graph-rqvae")
        if not autoencoder.codebooks.any():  # the best epoch came before the first turn of the autoencoder
            autoencoder.start(ranking.representations().item.to(context.device), context.generator("codebooks"))
        placed = fit.with_cold_items(ranking.representations())
        quantized = _quantized(placed, autoencoder.cpu())
        return Quantization(
            representations=calibrated(placed, data, context.generator("calibration")), codes=quantized.codes
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Turn:
    ranking: Any  # a batch of the ranking task, or None in a turn of the autoencoder
    item: Tensor | None  # [B, dim], representations of items to be quantized


class _AlternatingTask(Task[_Turn]):
    """Even epochs: the ranking loss. Odd epochs: the quantization loss on the representations as they are."""

    def __init__(self, ranking: RankingTask, autoencoder: ResidualAutoencoder, generator: torch.Generator) -> None:
        self.ranking, self.autoencoder, self.generator = ranking, autoencoder, generator
        self.module = nn.ModuleDict({"graph": ranking.network, "autoencoder": autoencoder})
        self.num_items = ranking.data.num_items
        self.batch_size = autoencoder.settings.batch_items(self.num_items)

    def steps_per_epoch(self) -> int:
        return max(self.ranking.steps_per_epoch(), -(-self.num_items // self.batch_size))

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[_Turn]:
        if epoch % 2 == 0:
            for batch in self.ranking.batches(epoch, generator):
                yield _Turn(ranking=batch, item=None)
            return
        with torch.no_grad():
            x = self.ranking.vectors()[1]
            if epoch == 1:
                self.autoencoder.start(x, self.generator)
            else:
                self.autoencoder.measure(x)  # the representations grow while the ranking loss has its turns
        for items in torch.split(torch.randperm(self.num_items, generator=generator), self.batch_size):
            yield _Turn(ranking=None, item=x[items])

    def loss(self, batch: _Turn, generator: torch.Generator) -> dict[str, Tensor]:
        if batch.item is None:
            return self.ranking.loss(batch.ranking, generator)
        return self.autoencoder.losses(batch.item)

    def after_epoch(self, epoch: int, generator: torch.Generator) -> None:
        if epoch % 2 == 1:
            with torch.no_grad():
                self.autoencoder.tend(self.ranking.vectors()[1], generator)

    def validate(self) -> float | None:
        return self.ranking.validate()


def _quantized(representations: Representations, autoencoder: ResidualAutoencoder) -> Quantization:
    return Quantization(representations=representations, codes=autoencoder.codes(representations.item))
