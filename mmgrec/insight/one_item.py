"""Why one item is recommended to one user: the way to its Rec-ID, and what the item memory adds.

The path of an item asks the network the questions that a decoder asks, one level at a time; the memory is asked which
items of the history speak for the item and which against it. The log-probability along the path and what they say
together are the score by which the search ranks it. Part of `mmgrec.insight`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.generator import Encoded
from mmgrec.insight.bins import short
from mmgrec.insight.user_values import MemoryPart, NamedItem, PathLevel, TokenChoice, Voice
from mmgrec.interfaces import NodeScores, TokenScores
from mmgrec.recid import Trie
from mmgrec.recommender import FittedMMGRec

__all__ = ["PathStep", "memory_part", "named", "path_levels", "paths_of"]

_OTHERS = 4  # alternatives of a step that are named
_VOICES = 5  # on each side that are named


def named(data: Dataset, item: int, *, letters: int | None = None) -> NamedItem:
    """An item by its id and title, each cut to so many letters."""
    title = "" if data.item_titles is None else str(data.item_titles[item] or "")
    return NamedItem(id=data.item_id(item)[:letters], title=title[:letters])


# --------------------------------------------------------------------------- the path


@dataclass(frozen=True, kw_only=True, eq=False)
class PathStep:
    """One level on the way to an item."""

    level: int
    node: Tensor  # [C] int64, the children that exist there, as nodes of `level`
    probability: Tensor  # [C] float64; head `tokens`: they may sum to less than 1, as tokens of no child have some
    chosen: int  # the place of the item's own child

    @property
    def log_probability(self) -> float:
        return float(self.probability[self.chosen].log())


@torch.no_grad()
def paths_of(fitted: FittedMMGRec, encoded: Encoded, items: Tensor) -> list[list[PathStep]]:
    """Level by level, the probability of each child of an item's prefix, for one encoded user.

    Args:
        fitted: the model.
        encoded: the user.
        items: ``[M]`` int64, which the network is asked about together.

    Returns:
        The steps to each item.
    """
    trie, stepper = fitted.trie, fitted.network.stepper(encoded)
    if not items.numel():
        return []
    items = items.to(trie.leaf_item.device)
    prefix, beam = torch.zeros_like(items), torch.zeros_like(items)  # at first, all go on from the root's one beam
    steps: list[list[PathStep]] = [[] for _ in range(items.numel())]
    scores = stepper.start()
    for level in range(trie.num_levels):
        row, child = trie.children(level - 1, prefix)
        mine = trie.node_of_item(level)[items]
        probability = _log_probability(scores, trie, level, beam[row], child, row).exp()
        sizes = row.bincount(minlength=items.numel()).tolist()
        parts = zip(torch.split(child.cpu(), sizes), torch.split(probability.cpu(), sizes), mine.tolist(), strict=True)
        for path, (node, each, own) in zip(steps, parts, strict=True):
            path.append(PathStep(level=level, node=node, probability=each, chosen=int((node == own).nonzero())))
        if level + 1 < trie.num_levels:
            scores = stepper.advance(beam[None], trie.node_token(level)[mine][None])
        prefix, beam = mine, torch.arange(items.numel(), device=items.device)
    return steps


def _log_probability(
    scores: TokenScores | NodeScores, trie: Trie, level: int, beam: Tensor, child: Tensor, row: Tensor
) -> Tensor:
    """``[C]`` float64, of the children ``[C]`` of the beams ``[C]``; the children of one prefix have one `row`."""
    if isinstance(scores, TokenScores):
        return scores.logits[0].double().log_softmax(1)[beam, trie.node_token(level)[child]]
    logit = (scores.vectors[child].double() * scores.state[0, beam].double()).sum(1) + scores.bias[child].double()
    count = int(row[-1]) + 1
    most = logit.new_full((count,), -torch.inf).scatter_reduce(0, row, logit, "amax")
    total = logit.new_zeros(count).index_add_(0, row, (logit - most[row]).exp())
    return logit - (most + total.log())[row]


def path_levels(
    steps: Sequence[PathStep], trie: Trie, data: Dataset, known: Tensor, *, letters: int | None = None
) -> tuple[PathLevel, ...]:
    """The steps to an item as they are shown.

    Args:
        steps: from `paths_of`.
        trie: the model's.
        data: names, titles and popularity.
        known: ``[N]`` int64, items that are not recommended to the user.
        letters: to which names are cut.
    """
    unknown = torch.ones(trie.num_items, dtype=torch.int64)
    unknown[known] = 0
    leaf_item = trie.leaf_item.long().cpu()
    before = torch.nn.functional.pad(unknown[leaf_item].cumsum(0), (1, 0))  # items new to them, left of each leaf
    return tuple(_path_level(step, trie, data, leaf_item, before, letters) for step in steps)


def _path_level(
    step: PathStep, trie: Trie, data: Dataset, leaf_item: Tensor, before: Tensor, letters: int | None
) -> PathLevel:
    """A step as it is shown; rivals, and the rank among them, are of the children with an item new to the user."""
    token = trie.node_token(step.level).cpu()
    start, end = (edge.long().cpu() for edge in trie.leaf_interval(step.level))
    new = (before[end] - before[start])[step.node]
    order = step.probability.argsort(descending=True, stable=True)
    order = order[(new[order] > 0) | (order == step.chosen)]
    others = [child for child in order[: _OTHERS + 1].tolist() if child != step.chosen][:_OTHERS]

    def choice(child: int) -> TokenChoice:
        node = int(step.node[child])
        items = leaf_item[start[node] : end[node]]
        example = items[data.train.item_degree[items].argmax()]
        return TokenChoice(
            token=int(token[node]),
            probability=short(float(step.probability[child])),
            items=items.numel(),
            new=int(new[child]),
            example=named(data, int(example), letters=letters),
        )

    return PathLevel(
        level=step.level,
        taken=choice(step.chosen),
        rank=int((order == step.chosen).nonzero()) + 1,
        open=order.numel(),
        children=step.node.numel(),
        others=tuple(choice(child) for child in others),
    )


# --------------------------------------------------------------------------- the memory


def memory_part(
    fitted: FittedMMGRec, data: Dataset, user: int, item: int, *, letters: int | None = None
) -> MemoryPart | None:
    """What the memory adds to an item's score for a user, and from whom; None where the model has none.

    Args:
        fitted: the model, reading the history that is meant.
        data: names and titles.
        user: row number.
        item: row number.
        letters: to which names are cut.
    """
    if fitted.weights is None or not fitted.weights.active:
        return None
    mine, value = fitted.weights.spoken(fitted.history, user, item)
    first = int(fitted.history.offsets[user])
    age = None if fitted.history.time is None else fitted.history.age[first : first + mine.numel()].tolist()

    def voices(sign: int) -> tuple[Voice, ...]:
        loudest = (sign * value).argsort(descending=True, stable=True)
        places = loudest[sign * value[loudest] > 0][:_VOICES]
        return tuple(
            Voice(
                item=named(data, int(mine[place]), letters=letters),
                value=short(float(value[place])),
                age=None if age is None else age[place],
            )
            for place in places.tolist()
        )

    return MemoryPart(
        value=short(float(value.double().sum()), 7),
        voices=int((value != 0).sum()),
        history=mine.numel(),
        speak_for=voices(1),
        speak_against=voices(-1),
    )
