"""Re-ranking: the search's candidates ranked once more, by the generator and other scores together.

`Rescoring` holds the settings. Its `fit` chooses by validation how much each score counts and gives a `Reranker`, which
does it. A generator with a reranker is what pages and tables call a hybrid.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, Gt, MinLen
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.memory import ItemWeights, ease_weights
from mmgrec.interfaces import Context, Representations
from mmgrec.training import ValidationRecall

__all__ = ["Reranker", "Rescoring", "reranked"]

Weights = Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)]


@dataclass(frozen=True, kw_only=True)
class Rescoring:
    """Candidates are ranked by ``log p(Rec-ID of i | u) + λ x_u . x_i + μ Σ_j B_ji`` over the items j of the history.

    B are the weights of EASE. With λ and μ zero the search's order stays.
    """

    weight: Weights = (0.0,)  # λ, of the inner product; several: validation chooses
    item_weight: Weights = (0.0,)  # μ, of EASE's item-item weights; several: validation chooses
    l2: Annotated[float, Gt(0)] = 200.0  # of the squared weights in EASE
    items_kept: Annotated[int, Ge(1)] = 100  # of the strongest weights to each item
    max_items: Annotated[int, Ge(1)] = 20_000  # with μ: 12 bytes x items² while fitting
    candidates: Annotated[int, Ge(1)] = 50  # taken from the search for each list, where there is a weight
    validation_users: Annotated[int, Ge(1)] = 10_000  # at most, a seeded sample: for the choice of λ and μ

    def fit(
        self,
        data: Dataset,
        representations: Representations,
        search: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]],
        context: Context,
    ) -> Reranker:
        """Choose the weights by validation recall; of equally good ones the first. Without validation items, the first.

        Args:
            data: train and valid are used.
            representations: x_u and x_i.
            search: users ``[B]``, seen ``[B, S]`` and a width to items and scores ``[B, width]``, without re-ranking.
            context: for what is drawn.
        """
        items = self._item_weights(data, context) if max(self.item_weight) else None
        choices = [
            Reranker(weight=weight, item_weight=item_weight, candidates=self.candidates, items=items)
            for weight, item_weight in itertools.product(self.weight, self.item_weight)
        ]
        recall = ValidationRecall(
            data, max_users=self.validation_users, generator=context.generator("rescoring"), batch_size=128
        )
        if len(choices) == 1 or not len(recall):
            return choices[0]
        candidates: dict[int, tuple[Tensor, Tensor]] = {}  # first user of a batch -> the search's answer, for all

        def recommend(reranker: Reranker, users: Tensor, seen: Tensor) -> Tensor:
            first = int(users[0])
            if first not in candidates:
                item, score = search(users, seen, reranker.width(10))
                candidates[first] = item.cpu(), score.cpu()
            item, score = candidates[first]
            return reranker(item, score, users=users, representations=representations, history=seen, top_k=10)[0]

        values = [recall.of_items(partial(recommend, choice)) for choice in choices]
        index = max(range(len(choices)), key=values.__getitem__)
        best, value = choices[index], values[index]
        context.reporter.note(
            f"rescoring: weight {best.weight:g}, item weight {best.item_weight:g}, "
            f"recall@10 {value:.4f} on validation, {values[0]:.4f} with {choices[0].weight:g} and "
            f"{choices[0].item_weight:g}"
        )
        return best

    def check(self, data: Dataset) -> None:
        """Refuse, before anything is trained, what cannot be done with these data.

        Raises:
            SettingsError: if there are more than `max_items` and a μ.
        """
        if max(self.item_weight) and data.num_items > self.max_items:
            raise SettingsError(
                [f"rescoring.item_weight would need {data.num_items}² weights, but max_items is {self.max_items}"],
                remedy="use rescoring.weight alone, or raise rescoring.max_items",
                code="generator.too-many-items",
            )

    def _item_weights(self, data: Dataset, context: Context) -> ItemWeights:
        """The strongest weights of EASE, on the CPU."""
        weights = ease_weights(data.train, l2=self.l2, device=context.device)
        strongest = ItemWeights.strongest(weights, self.items_kept)
        return ItemWeights(index=strongest.index.cpu(), weight=strongest.weight.cpu())

    def restore(self, state: Mapping[str, Tensor]) -> Reranker:
        """The reranker again, from `Reranker.state`."""
        items = None
        if "rescoring.items.index" in state:
            items = ItemWeights(index=state["rescoring.items.index"].long(), weight=state["rescoring.items.weight"])
        return Reranker(
            weight=float(state["rescoring.weight"]),
            item_weight=float(state["rescoring.item_weight"]),
            candidates=self.candidates,
            items=items,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Reranker:
    """A `Rescoring` whose weights are chosen. Called, it ranks candidates anew."""

    weight: float = 0.0  # λ
    item_weight: float = 0.0  # μ
    candidates: int = 50
    items: ItemWeights | None = None  # where there may be a μ

    @property
    def active(self) -> bool:
        """Whether there is anything but the search's order."""
        return bool(self.weight or self.item_weight)

    def width(self, top_k: int) -> int:
        """How many candidates the search is asked for, for lists of `top_k`."""
        return max(top_k, self.candidates)

    def __call__(
        self,
        item: Tensor,
        score: Tensor,
        *,
        users: Tensor,
        representations: Representations,
        history: Tensor,
        top_k: int,
    ) -> tuple[Tensor, Tensor]:
        """Rank candidates anew.

        Args:
            item: ``[B, M]`` int64 candidates, -1 = none.
            score: ``[B, M]`` their log-probabilities, -inf where there is none.
            users: ``[B]`` int64.
            representations: x_u and x_i, on the CPU.
            history: ``[B, T]`` int64, all items of the users' histories, -1 = none; on the CPU. Read with μ only.
            top_k: K, at most M are named.

        Returns:
            item and score ``[B, K]``, best first; equal scores: lower item first; -1 and -inf where there are fewer.
        """
        total = score
        if self.weight:
            x_u = representations.user[users.cpu()]
            x_i = representations.item[item.clamp_min(0).cpu()]
            total = total + self.weight * (x_i @ x_u[:, :, None])[..., 0].to(score.device)
        if self.item_weight and self.items is not None:
            total = total + self.item_weight * self.items.of(history, item.cpu()).to(score.device)
        return reranked(item, total, top_k=top_k)

    def state(self) -> dict[str, Tensor]:
        """What `Rescoring.restore` needs; the item weights only where they count."""
        state = {
            "rescoring.weight": torch.tensor(self.weight, dtype=torch.float64),
            "rescoring.item_weight": torch.tensor(self.item_weight, dtype=torch.float64),
        }
        if self.item_weight and self.items is not None:
            state["rescoring.items.index"] = self.items.index.to(torch.int32)
            state["rescoring.items.weight"] = self.items.weight
        return state


def reranked(item: Tensor, score: Tensor, *, top_k: int) -> tuple[Tensor, Tensor]:
    """The best `top_k` of candidates ``[B, M]`` by new scores; equal scores: lower item first; -1 = none."""
    total = torch.where(item >= 0, score, -torch.inf)
    by_number = torch.where(item >= 0, item, item.new_full((), torch.iinfo(item.dtype).max)).argsort(dim=1, stable=True)
    item, total = item.gather(1, by_number), total.gather(1, by_number)
    best = total.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    item, total = item.gather(1, best), total.gather(1, best)
    if item.shape[1] < top_k:
        more = top_k - item.shape[1]
        item = torch.nn.functional.pad(item, (0, more), value=-1)
        total = torch.nn.functional.pad(total, (0, more), value=-torch.inf)
    return item, total
