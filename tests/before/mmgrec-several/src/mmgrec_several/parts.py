"""A quantizer, a recommender and a metric, each as small as it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from mmgrec import Codes, Context, Dataset, Interactions, Metric, Quantization, Quantizer, Representations
from mmgrec.interfaces import Exclusion, FittedRecommender, Judged, Recommendations, Recommender
from mmgrec.recid import RecIDTable, Trie  # noqa: F401  # where they were


@dataclass(frozen=True, kw_only=True)
class Parity(Quantizer):
    """Tokens are binary digits, representations are cached sums."""

    num_levels: Annotated[int, Ge(1)] = 4
    dim: Annotated[int, Ge(1)] = 8

    def fit(self, data: Dataset, context: Context) -> Quantization:
        token = (torch.arange(data.num_items)[:, None] >> torch.arange(self.num_levels)) % 2
        groups, _ = context.kept(self, lambda: ({"vectors": self._vectors(data, context)}, {}))
        return Quantization(
            representations=Representations(user=groups["vectors"]["user"], item=groups["vectors"]["item"]),
            codes=Codes(token=token, level_sizes=(2,) * self.num_levels),
        )

    def _vectors(self, data: Dataset, context: Context) -> dict[str, Tensor]:
        item = torch.randn(data.num_items, self.dim, generator=context.generator("items"))
        user = torch.zeros(data.num_users, self.dim).index_add(0, data.train.user, item[data.train.item])
        return {"user": user, "item": item}


@dataclass(frozen=True, kw_only=True)
class MeanVector(Recommender):
    """Random item vectors, users the sum of theirs."""

    dim: Annotated[int, Ge(1)] = 16

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        item = torch.randn(data.num_items, self.dim, generator=context.generator("items"))
        return Fitted(item=item, history=data.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted(FittedRecommender):
    item: Tensor
    history: Interactions

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        mine = self.history.padded(users)
        vectors = self.item[mine.clamp(min=0)] * (mine >= 0)[:, :, None]
        scores = vectors.sum(1) @ self.item.T
        seen = exclusion.seen
        rows = torch.arange(users.numel())[:, None].expand_as(seen)
        scores[rows[seen >= 0], seen[seen >= 0]] = -torch.inf
        if exclusion.allowed is not None:
            scores[:, ~exclusion.allowed] = -torch.inf
        order = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :top_k]
        score = scores.gather(1, order)
        item = torch.where(score.isfinite(), order, -1)
        missing = top_k - item.shape[1]
        if missing > 0:
            item = torch.nn.functional.pad(item, (0, missing), value=-1)
            score = torch.nn.functional.pad(score, (0, missing), value=-torch.inf)
        return Recommendations(user=users, item=item, score=score)


@dataclass(frozen=True, kw_only=True)
class FirstHit(Metric):
    """1 where the first item of a list is relevant."""

    @property
    def definition(self) -> str:
        return "[the first item is relevant]"

    def measure(self, judged: Judged, top_k: int) -> Tensor:
        return judged.hit[:, :1].any(1).double()
