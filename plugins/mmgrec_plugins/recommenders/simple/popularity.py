"""The most popular items that the user has not seen."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations, Recommender
from mmgrec.ranking import rank_items

__all__ = ["Popularity"]


@dataclass(frozen=True, kw_only=True)
class Popularity(Recommender):
    """Ranks items by their number of training interactions; ties by lower item number."""

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        return FittedPopularity(popularity=data.train.item_degree)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPopularity(FittedRecommender):
    popularity: Tensor  # [num_items] int64

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        scores = self.popularity.double().repeat(users.numel(), 1)  # [B, num_items]; counts stay exact
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)

    def state(self) -> dict[str, Tensor]:
        return {"popularity": self.popularity}
