"""EASE (Steck, WWW 2019): a linear item-item model in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context, Exclusion, FittedRecommender, Recommendations, Recommender
from mmgrec.memory import ease_weights
from mmgrec.ranking import rank_items

__all__ = ["EASE", "FittedEASE", "require_few_items"]


def require_few_items(data: Dataset, max_items: int, *, name: str) -> None:
    """Refuse a catalogue for which a dense table of items by items would be too large.

    Args:
        name: of the model, for the message.

    Raises:
        SettingsError: if there are more than `max_items`.
    """
    if data.num_items > max_items:
        raise SettingsError(
            [f"{name} would need {data.num_items}² weights, but max_items is {max_items}"],
            remedy="use itemknn, or raise max_items",
            code="recommenders.too-many-items",
        )


@dataclass(frozen=True, kw_only=True)
class EASE(Recommender):
    """B minimises |X - X B|² + l2 |B|² with a zero diagonal; a user's scores are the sum of their items' rows of B."""

    l2: Annotated[float, Gt(0)] = 200.0  # λ
    max_items: Annotated[int, Ge(1)] = 20_000  # B is dense: 4 bytes x items², three times that while fitting

    def fit(self, data: Dataset, context: Context) -> FittedRecommender:
        require_few_items(data, self.max_items, name="EASE")
        weight = ease_weights(data.train, l2=self.l2, device=context.device)
        return FittedEASE(weight=weight, history=data.train)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedEASE(FittedRecommender):
    """Sums, for each user, the rows of a dense table of weights that their history names."""

    weight: Tensor  # [num_items, num_items] float32: from an item of the history to a candidate
    history: Interactions

    def with_history(self, history: Interactions) -> FittedEASE:
        return replace(self, history=history)

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        count = self.history.user_degree[users]
        _, item = self.history.items_of(users)
        offsets = count.cumsum(0) - count
        device = self.weight.device
        scores = F.embedding_bag(item.to(device), self.weight, offsets.to(device), mode="sum")  # [B, num_items]
        return rank_items(users, scores, top_k=top_k, exclusion=exclusion)

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight}
