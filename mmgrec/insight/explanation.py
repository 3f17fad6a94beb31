"""Why a user is recommended what they are: `explain`, which ``mmgrec explain`` asks, and any other program may.

For each item of a user's list, or one item that is asked about: the probabilities along its Rec-ID, what the item
memory adds, and which items of the user's history say so. All of it is worked out from the fitted model, nothing is
learnt or estimated: the parts of a score add up to what the search ranked the item by.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.evaluation import Known, known
from mmgrec.generator import Encoded, fixed_history
from mmgrec.insight.one_item import memory_part, named, path_levels, paths_of
from mmgrec.insight.user_values import MemoryPart, NamedItem, PathLevel
from mmgrec.interfaces import exclusion_of
from mmgrec.recommender import FittedMMGRec
from mmgrec.storage import Json, record_json

__all__ = ["ExplainedItem", "Explanation", "explain"]


@dataclass(frozen=True, kw_only=True)
class ExplainedItem:
    """Why an item stands where it does for a user."""

    rank: int | None  # in the user's list, from 1; None: it is not in the list
    item: NamedItem
    had: bool  # whether it is among the user's own items, which are not recommended again
    score: float  # what it is ranked by: the two parts below together
    log_probability: float  # natural logarithm of the Rec-ID's probability
    path: tuple[PathLevel, ...]  # one for each token of the Rec-ID
    memory: MemoryPart | None  # None: the model has no memory


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a user is recommended what they are."""

    user: str  # the data's own id
    history: int  # items of the user that the model knows of
    exclude: Known  # the parts of the data whose items are not recommended again
    top_k: int  # length of the list
    items: tuple[ExplainedItem, ...]  # the list, best first; or the one item that was asked about

    def to_json(self) -> Json:
        """What ``mmgrec explain --json`` prints."""
        return {"schema": 1, **record_json(self)}


@torch.no_grad()
def explain(
    fitted: FittedMMGRec,
    data: Dataset,
    user: int,
    *,
    item: int | None = None,
    top_k: int = 10,
    exclude: Known = "train+valid",
) -> Explanation:
    """Explain a user's list, or one item.

    Args:
        fitted: the model.
        data: its data.
        user: row number of the user.
        item: row number of an item; it may be one that is not in the list. None: all items of the list.
        top_k: length of the list.
        exclude: the parts of the data whose items the user is not given again, as in `mmgrec.serving.recommend`.
    """
    rule = known(data, exclude)
    if rule.history is not data.train:
        fitted = fitted.with_history(rule.history)
    users = torch.tensor([user])
    found, scores = fitted.search(users, top_k=top_k, exclusion=exclusion_of(rule.items, users))
    found, scores = found[found >= 0].cpu(), scores[found >= 0].cpu()
    wanted = found if item is None else torch.tensor([item])
    ranked = dict(zip(found.tolist(), enumerate(scores.tolist(), start=1), strict=True))
    own = rule.items.items_of(users)[1]
    explained = []
    for one, steps in zip(wanted.tolist(), paths_of(fitted, _encoded(fitted, users), wanted), strict=True):
        memory = memory_part(fitted, data, user, one)
        log_probability = sum(step.log_probability for step in steps)
        together = log_probability + (0.0 if memory is None else memory.value)
        rank, score = ranked.get(one, (None, together))
        explained.append(
            ExplainedItem(
                rank=rank,
                item=named(data, one),
                had=bool((own == one).any()),
                score=score,
                log_probability=log_probability,
                path=path_levels(steps, fitted.trie, data, own),
                memory=memory,
            )
        )
    return Explanation(
        user=data.user_id(user),
        history=int(fitted.history.user_degree[user]),
        exclude=exclude,
        top_k=top_k,
        items=tuple(explained),
    )


def _encoded(fitted: FittedMMGRec, users: Tensor) -> Encoded:
    device = fitted.network.begin.device
    history = fixed_history(fitted.history, users, fitted.network.settings.history_length)
    return fitted.network.encode(users.to(device), history.to(device))
