"""TIGER (Rajput et al., NeurIPS 2023): generative retrieval, the tokens of a history in, those of the next item out.

Decisions:

- Tokens (its Sec. 3.1): the residual-quantized autoencoder of the features alone, three levels of 256, and a last token
  that tells items with equal tokens apart, kept in the history as in the output. The other kind of codes is residual
  k-means of the features themselves.
- Network (Sec. 3.2): see `tiger_network`. Smaller than the paper's; the encoder is causal, so that one pass over a
  user's history serves several targets. The token of the user, one of 2,000 by hashing, is a setting and off.
- Training: of each user, at each step, some places are drawn; each one's item is to be written after the items before
  it. Cross-entropy over the whole vocabulary of each level.
- Inference: beam search with 50 beams. The paper's may write Rec-IDs that no item has; ours walks the trie.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le, Lt
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.generator import NetworkSettings
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations, Recommender
from mmgrec.recid import Codes, RecIDTable, Trie
from mmgrec.training import Task, ValidationRecall, seeded, train
from mmgrec_plugins.collisions.random_order import RandomOrder
from mmgrec_plugins.decoders.trie_beam import TrieBeam
from mmgrec_plugins.quantizers.autoencoder import AutoencoderSettings, fit_autoencoder
from mmgrec_plugins.quantizers.rq_kmeans import residual_codes
from mmgrec_plugins.quantizers.rqvae import fused_features
from mmgrec_plugins.recommenders.sequential.sequences import (
    SequenceTraining,
    history_from,
    history_state,
    last_items,
    load_network,
    network_state,
    require_order,
    window_batches,
)
from mmgrec_plugins.recommenders.sequential.tiger_network import HistoryMemory, TokenNetwork, TokenStepper

__all__ = ["TIGER", "FittedTIGER", "TIGERTask", "TIGERTraining"]


@dataclass(frozen=True, kw_only=True)
class TIGERTraining(SequenceTraining):
    """How the Transformer is trained."""

    epochs: Annotated[int, Ge(0)] = 66
    warmup_steps: Annotated[int, Ge(0)] = 200
    clip_norm: Annotated[float, Ge(0)] = 1.0
    validate_every: Annotated[int, Ge(1)] = 3  # epochs
    patience: Annotated[int, Ge(1)] = 8  # validations
    validation_users: Annotated[int, Ge(1)] = 2000  # at most, a seeded sample
    targets_per_user: Annotated[int, Ge(1)] = 8  # per step, at most
    label_smoothing: Annotated[float, Ge(0), Le(1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class TIGER(Recommender):
    """Needs the order of the interactions and features of the items."""

    codes: Literal["rqvae", "rq-kmeans"] = "rqvae"  # the paper's, or residual k-means of the features
    num_levels: Annotated[int, Ge(1)] = 3  # of these codes; the collision token comes after
    codebook_size: Annotated[int, Ge(2)] = 256  # the paper's
    max_dim: Annotated[int, Ge(1)] = 256  # wider features are reduced to their first principal components
    dim: Annotated[int, Ge(1)] = 128  # the paper's
    num_encoder_layers: Annotated[int, Ge(1)] = 1  # the paper has 4
    num_decoder_layers: Annotated[int, Ge(1)] = 1  # the paper has 4
    num_heads: Annotated[int, Ge(1)] = 4  # the paper has 6 of 64
    head_dim: Annotated[int, Ge(1)] = 32
    feedforward_dim: Annotated[int, Ge(1)] = 256  # the paper has 1024
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1  # the paper's
    history_length: Annotated[int, Ge(1)] = 20  # items that are read; the paper's
    user_tokens: Annotated[int, Ge(0)] = 0  # 2000: the paper's; 0: one token for all users
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)
    collisions: RandomOrder = field(default_factory=RandomOrder)
    decoder: TrieBeam = field(default_factory=TrieBeam)
    training: TIGERTraining = field(default_factory=TIGERTraining)

    def fit(self, data: Dataset, context: Context) -> FittedTIGER:
        """Quantize the features, then train the Transformer and stop on validation recall.

        Raises:
            DataError: if the interactions have no times, or the items no features.
        """
        require_order(data, "TIGER")
        codes = self._codes(data, context.within("quantizer"))
        rec_ids = self.collisions.resolve(codes, data.train.item_degree, context.within("collisions"))
        fitted = self.untrained(rec_ids, data.train, context)
        recall = ValidationRecall(
            data,
            max_users=self.training.validation_users,
            generator=context.generator("validation users"),
            batch_size=256,
        )
        train(TIGERTask(fitted, recall), self.training, context, "train")
        return fitted

    def _codes(self, data: Dataset, context: Context) -> Codes:
        features = fused_features(data, self.max_dim)
        if self.codes == "rq-kmeans":
            return residual_codes(features, self.num_levels, self.codebook_size, context.generator("kmeans"))
        autoencoder, _ = fit_autoencoder(
            features,
            num_levels=self.num_levels,
            codebook_size=self.codebook_size,
            settings=self.autoencoder,
            context=context,
        )
        return autoencoder.codes(features)

    def restore(self, state: dict[str, Tensor]) -> FittedTIGER:
        """The fitted model again, from its `state`."""
        sizes = tuple(state["rec_ids.level_sizes"].tolist())
        rec_ids = RecIDTable(token=state["rec_ids.token"], level_sizes=sizes)
        fitted = self.untrained(rec_ids, history_from(state), Context())
        load_network(fitted.network, state)
        return fitted

    def untrained(self, rec_ids: RecIDTable, history: Interactions, context: Context) -> FittedTIGER:
        """With first weights drawn from the context; the history is what it reads."""
        trie = Trie.of(rec_ids)
        shape = NetworkSettings(
            dim=self.dim,
            num_encoder_layers=self.num_encoder_layers,
            num_decoder_layers=self.num_decoder_layers,
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            feedforward_dim=self.feedforward_dim,
            dropout=self.dropout,
            history_length=self.history_length,
        )
        with seeded(context.generator("network")):
            network = TokenNetwork(shape, rec_ids=rec_ids, trie=trie, user_tokens=self.user_tokens)
        return FittedTIGER(
            method=self,
            rec_ids=rec_ids,
            trie=trie.to(context.device),
            network=network.to(context.device).eval(),
            history=history,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedTIGER(FittedRecommender):
    """Rec-IDs, their trie, and a network that writes the next one."""

    method: TIGER
    rec_ids: RecIDTable
    trie: Trie
    network: TokenNetwork
    history: Interactions  # what is read

    @torch.no_grad()
    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        stepper = TokenStepper(self.network, self.read(users))
        item, score = self.method.decoder.decode(stepper, self.trie, top_k=top_k, exclusion=exclusion)
        return Recommendations(user=users, item=item.cpu(), score=score.cpu())

    def read(self, users: Tensor) -> HistoryMemory:
        """The histories of some users ``[B]``, encoded."""
        history = last_items(self.history, users, self.method.history_length)
        device = self.network.begin.device
        return self.network.encode(users.to(device), history.to(device))

    def with_history(self, history: Interactions) -> FittedTIGER:
        return replace(self, history=history)

    def state(self) -> dict[str, Tensor]:
        return {
            "rec_ids.token": self.rec_ids.token,
            "rec_ids.level_sizes": torch.tensor(self.rec_ids.level_sizes),
            **history_state(self.history),
            **network_state(self.network),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    user: Tensor  # [B] int64
    items: Tensor  # [B, T + 1] int64, -1 on the left
    column: Tensor  # [B, P] int64: places of targets in `items`
    real: Tensor  # [B, P] bool: True = there is a target, with an item before it


class TIGERTask(Task[_Batch]):
    """Some places of every training sequence are targets: their items are written after the items before them."""

    def __init__(self, fitted: FittedTIGER, recall: ValidationRecall) -> None:
        self.module = self.network = fitted.network
        self.fitted, self.recall = fitted, recall
        self.settings = fitted.method.training
        self.device = fitted.network.begin.device
        self.users = (fitted.history.user_degree > 1).nonzero().flatten()

    def steps_per_epoch(self) -> int:
        return -(-self.users.numel() // self.settings.batch_size)

    def batches(self, epoch: int, generator: torch.Generator) -> Iterator[_Batch]:
        length = self.fitted.method.history_length + 1
        for users, items in window_batches(
            self.fitted.history, self.users, self.settings.batch_size, length, generator
        ):
            able = F.pad(items[:, :-1] >= 0, (1, 0))  # has an item before it
            key = torch.rand(items.shape, generator=generator).masked_fill(~able, 2.0)
            column = key.argsort(dim=1)[:, : min(self.settings.targets_per_user, items.shape[1] - 1)]
            yield _Batch(
                user=users.to(self.device),
                items=items.to(self.device),
                column=column.to(self.device),
                real=able.gather(1, column).to(self.device),
            )

    def loss(self, batch: _Batch, generator: torch.Generator) -> dict[str, Tensor]:
        network = self.network
        memory = network.encode(batch.user, batch.items[:, :-1])
        tokens = network.rec_id[batch.items.gather(1, batch.column).clamp_min(0)]  # [B, P, L]
        state = network.decode(memory, batch.column, tokens)[batch.real]  # [M, L, dim]
        wanted = tokens[batch.real]
        losses = {
            f"level{level}": F.cross_entropy(
                network.head.scores(level, state[:, level]).logits,
                wanted[:, level],
                label_smoothing=self.settings.label_smoothing,
            )
            for level in range(network.num_levels)
        }
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self) -> float | None:
        if not len(self.recall):
            return None
        return self.recall.of_items(
            lambda users, seen: self.fitted.recommend(users, top_k=10, exclusion=Exclusion(seen=seen)).item
        )
