"""The extension points, and the values that pass between them.

A part is a frozen keyword-only dataclass whose fields *are* its settings, so that ``repr``, equality, saving, ``--set``
and the documentation follow for free. Constructing describes, `fit` works, results are returned and never stored.
Read this file to write a plugin. Three more things to build on live elsewhere: `mmgrec.readers.FileSource` for another
file format, `mmgrec.training.Task` for a training loop of one's own, `mmgrec.ranking.rank_items` for a recommender that
scores the whole catalogue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from mmgrec.context import CachedResult, Context, Reporter, ResultCache, Silent
from mmgrec.data import Dataset, Interactions
from mmgrec.memory import ItemScores, ItemWeights
from mmgrec.recid import Codes, RecIDTable, Trie

__all__ = [
    "CachedResult", "CollisionResolver", "Context", "DatasetSource", "Decoder", "Exclusion", "FittedRecommender",
    "ItemMemory", "ItemScores", "ItemWeights", "Metric", "NoMemory", "NodeScores", "PositionalScheme", "Quantization",
    "Quantizer", "RankedTruth", "Recommendations", "Recommender", "RecordableDecoder", "Reporter", "Representations",
    "ResultCache", "ScoresOfUsers", "Silent", "Stepper", "TellsRelations", "TokenScores",
]  # fmt: skip


# --------------------------------------------------------------------------- what flows


@dataclass(frozen=True, kw_only=True, eq=False)
class Representations:
    """Learnt vectors; their inner product ranks items for a user (the teacher's scores)."""

    user: Tensor  # [num_users, dim] float32
    item: Tensor  # [num_items, dim] float32

    def __post_init__(self) -> None:
        if self.user.ndim != 2 or self.item.ndim != 2 or self.user.shape[1] != self.item.shape[1]:
            raise ValueError(f"user [U, D] and item [I, D] expected, got {self.user.shape} and {self.item.shape}")

    @property
    def dim(self) -> int:
        return self.item.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantization:
    """What a Quantizer returns."""

    representations: Representations
    codes: Codes
    history: Mapping[str, list[dict[str, float]]] = field(default_factory=dict)  # stage -> one row of losses an epoch


@dataclass(frozen=True, kw_only=True, eq=False)
class Recommendations:
    """The best items of each user, best first. Where fewer than K may be recommended: item -1, score -inf."""

    user: Tensor  # [B] int64
    item: Tensor  # [B, K] int64
    score: Tensor  # [B, K] float32, descending; equal scores: lower item first

    def __post_init__(self) -> None:
        if self.item.shape != self.score.shape or self.item.shape[0] != self.user.numel():
            raise ValueError(
                f"[B], [B, K], [B, K] expected, got {self.user.shape}, {self.item.shape}, {self.score.shape}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Exclusion:
    """What must not be recommended to a batch of users."""

    seen: Tensor  # [B, S] int64 items of each user, filled up with -1; S may be 0
    allowed: Tensor | None = None  # [num_items] bool, True = may be recommended to anybody; None: all may


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenScores:
    """Head `tokens`: logits over the vocabulary of the next level. Log-softmax is over the whole vocabulary."""

    logits: Tensor  # [B, W, V]


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeScores:
    """Head `tree`: child v of a beam has the logit ``state . vectors[v] + bias[v]``; softmax over existing children."""

    state: Tensor  # [B, W, D]
    vectors: Tensor  # [num_nodes of the next level, D]
    bias: Tensor  # [num_nodes of the next level]


class Stepper(ABC):
    """A network seen through a keyhole: all a Decoder may ask of it. Hides the cache and the output head."""

    num_users: int  # B

    @abstractmethod
    def start(self) -> TokenScores | NodeScores:
        """Scores of level 0, for one beam (the empty prefix) per user: W = 1. Called again, it begins anew."""

    @abstractmethod
    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        """Go down one level with all beams, and score the level after it.

        Args:
            parent: ``[B, W]`` int64, which of the previous beams each beam continues.
            token: ``[B, W]`` int64, the token it takes. Dead beams carry parent 0 and token 0.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class RankedTruth:
    """Recommendations held against the truth, for users with at least one relevant item."""

    item: Tensor  # [U, K] int64, -1 = none
    hit: Tensor  # [U, K] bool
    num_relevant: Tensor  # [U] int64, > 0
    popularity: Tensor  # [num_items] int64, training interactions of each item
    num_users: int  # of the data set
    num_items: int


# --------------------------------------------------------------------------- the extension points


class Quantizer(ABC):
    """Learns representations of users and items and turns each item into a tuple of tokens.

    A whole plugin::

        @dataclass(frozen=True, kw_only=True)
        class HashQuantizer(Quantizer):
            num_levels: int = 3

            def fit(self, data, context): ...
    """

    @abstractmethod
    def fit(self, data: Dataset, context: Context) -> Quantization:
        """Use `data.train`, features and graphs; `data.valid` only to stop early; never `data.test`."""


class CollisionResolver(ABC):
    """Gives items with equal semantic tokens a last token of their own (Eqs. 11, 12)."""

    @abstractmethod
    def resolve(self, codes: Codes, popularity: Tensor, context: Context) -> RecIDTable:
        """Append the collision token.

        Args:
            codes: tokens of all items.
            popularity: ``[num_items]`` int64, training interactions.
        """


#: Scores of all items for some users: ``[B]`` int64 -> ``[B, num_items]`` float32, which may be written over.
ScoresOfUsers: TypeAlias = Callable[[Tensor], Tensor]


class ItemMemory(ABC):
    """Knows which items of a history speak for which others: what has no low rank, and so no place in a network."""

    @abstractmethod
    def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        """Learn the weights, as heavy as they should be where their sums are added to other scores.

        Args:
            data: as for `Quantizer.fit`.
            beside: the scores they are added to, in natural units (log-probabilities of items, but for a constant of
                each user), by users' numbers: what settings can be chosen by, on validation.
            context: for what is drawn.

        Returns:
            The weights; all of them zero where the memory has nothing to add.
        """


@dataclass(frozen=True, kw_only=True)
class NoMemory(ItemMemory):
    """The generator alone: no item speaks for another."""

    def fit(self, data: Dataset, beside: ScoresOfUsers, context: Context) -> ItemWeights:
        nothing = torch.empty(data.num_items, 0)
        return ItemWeights(index=nothing.long(), weight=nothing)


class PositionalScheme(ABC):
    """What the encoder knows of the places and relations of the items in a history."""

    def encode(self, x: Tensor) -> Tensor:
        """Add positions to the encoder's input ``[B, T, D]``; by default a history has none."""
        return x

    @abstractmethod
    def attention(self, *, dim: int, num_heads: int, head_dim: int, user_dim: int) -> nn.Module:
        """The self-attention of one encoder layer.

        The module is called as ``module(x, user, keep)`` with x ``[B, T, dim]``, user ``[B, user_dim]``, keep
        ``[B, T]`` bool (True = real), and returns ``[B, T, dim]``, the output projection included. Rows of padding
        may hold anything finite. The page of a run shows a map and gains of a module that is `TellsRelations` too.
        """


@runtime_checkable
class TellsRelations(Protocol):
    """A self-attention (of `PositionalScheme.attention`) whose scores are a content part and a relation part."""

    def user_gains(self, user: Tensor) -> Tensor:
        """Gains of query, key and value ``[B, 3, W]`` of users ``[B, user_dim]``; W is 1, or one for each dimension."""

    def score_parts(self, x: Tensor, user: Tensor) -> tuple[Tensor, Tensor]:
        """The content part ``[B, H, T, T]`` and the relation part ``[B, T, T]`` of the scores before the softmax."""


class Decoder(ABC):
    """The search strategy: which leaves of the trie are most probable under the network."""

    #: True: `decode` takes ``item_scores`` and adds them to the log-probabilities of their items within the search.
    #: False: it is never given any; where there is a memory, what it found is ranked anew with it.
    adds_item_scores: ClassVar[bool] = False

    @abstractmethod
    def decode(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """Find the best items.

        Args:
            stepper: the network.
            trie: the Rec-IDs that exist.
            top_k: length K of the lists.
            exclusion: what must not be found.
            item_scores: what an item memory adds to the log-probabilities of a few items, on any device; a decoder
                that does not say `adds_item_scores` may leave this argument out.

        Returns:
            item ``[B, K]`` int64 and score ``[B, K]`` float32 (log-probabilities, and what was added to them), in the
            order and with the padding of `Recommendations`. Never an invalid, duplicate or excluded item.
        """


class RecordableDecoder(Decoder):
    """A Decoder that can search with static shapes and without a value going back to the host: a GPU may record it."""

    @abstractmethod
    def cannot_record(self, trie: Trie, *, top_k: int, dtype: torch.dtype) -> str:
        """Why `decode_static` would not be static on a GPU, in words, for scores of `dtype`; empty when it would be."""

    @abstractmethod
    def decode_static(
        self, stepper: Stepper, trie: Trie, *, top_k: int, exclusion: Exclusion, item_scores: ItemScores | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `decode`, but reading no value on the host: the exclusion is known to fit the trie."""


class FittedRecommender(ABC):
    """What a Recommender returns from `fit`."""

    @abstractmethod
    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        """The best `top_k` items of the users ``[B]`` (one batch: choose its size by memory)."""

    def with_history(self, history: Interactions) -> FittedRecommender:
        """The same model, reading another history of each user; nothing is learnt anew.

        Evaluation calls it where validation items come before test items in time (`Dataset.ordered`): there the
        history at test time is training and validation items. A model that reads no history is its own answer.
        """
        return self

    def state(self) -> dict[str, Tensor]:
        """All tensors needed to rank again."""
        raise NotImplementedError(f"{type(self).__name__} cannot be saved")


class Recommender(ABC):
    """A whole method: MMGRec, or a rival in the same harness."""

    @abstractmethod
    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        """Use `data.train`, features and graphs; `data.valid` only to stop early; never `data.test`."""


class DatasetSource(ABC):
    """Where a Dataset comes from."""

    @abstractmethod
    def load(self, context: Context) -> Dataset:
        """Read or make the data, with their split."""


class Metric(ABC):
    """A number from judged recommendations."""

    @property
    @abstractmethod
    def definition(self) -> str:
        """The formula in one line; it is stored with every result."""

    @abstractmethod
    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        """Per user ``[U]`` float64, or ``[]`` where the metric belongs to all lists together (coverage)."""


#: Names before 0.2, for plugins that import them.
Judged, Kept, Shelf = RankedTruth, CachedResult, ResultCache


def no_exclusion(num_users: int) -> Exclusion:
    """Nothing is excluded, for `num_users` users."""
    return Exclusion(seen=torch.empty(num_users, 0, dtype=torch.int64))


def exclusion_of(seen: Interactions, users: Tensor) -> Exclusion:
    """Exclude what the users ``[B]`` have in `seen`."""
    return Exclusion(seen=seen.padded(users))
