"""One user seen through MMGRec: the gains and the map of his relations, and why an item was recommended to him.

The map and the gains come from attention modules that can tell them (`TellsRelations`, the paper's relation-aware
scheme); of other schemes there is none. The path of an item asks the network the questions that a decoder asks, one
level at a time. Part of `mmgrec.insight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import contains
from mmgrec.generator import EncoderLayer, Memory, Network, fixed_history
from mmgrec.insight.bins import matrix, short
from mmgrec.interfaces import NodeScores, TellsRelations, TokenScores
from mmgrec.recid import Trie
from mmgrec.recommender import FittedMMGRec
from mmgrec.storage import Json

__all__ = ["PathStep", "TellsRelations", "attention_inputs", "gains", "one_user", "path_of"]


_USERS, _BATCH = 4096, 512  # whose gains are looked at, at most and at a time
_BARS = 30  # of a histogram
_PLACES = 24  # items of a history in the map
_LAYERS = 3  # whose maps are kept
_OTHERS = 4  # alternatives of a step that are named
_SHORT, _LONG = 5, 25  # items of a history that makes a readable map
_TITLE = 80  # letters


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attended:
    """What the self-attention of one encoder layer was given."""

    attention: nn.Module
    x: Tensor  # [B, S, dim]
    user: Tensor  # [B, user_dim]
    keep: Tensor  # [B, S] bool


@torch.no_grad()
def attention_inputs(network: Network, users: Tensor, history: Tensor) -> tuple[Memory, list[_Attended]]:
    """Encode a batch, and note what the attention of each layer is given.

    Args:
        network: in evaluation mode.
        users: ``[B]`` int64.
        history: ``[B, T]`` int64 items, filled up with -1.
    """
    seen: list[_Attended] = []

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        x, user, keep = given
        seen.append(_Attended(attention=module, x=x, user=user, keep=keep))

    handles = [cast(EncoderLayer, one).attention.register_forward_pre_hook(note) for one in network.encoder]
    try:
        memory = network.encode(users, history)
    finally:
        for handle in handles:
            handle.remove()
    return memory, seen


def _read(fitted: FittedMMGRec, users: Tensor) -> tuple[Memory, list[_Attended]]:
    device = fitted.network.begin.device
    history = fixed_history(fitted.history, users, fitted.network.settings.history_length)
    return attention_inputs(fitted.network, users.to(device), history.to(device))


@torch.no_grad()
def gains(fitted: FittedMMGRec, users: Tensor) -> list[Json]:
    """Layer by layer: how the gains of query, key and value spread over users; layers without gains are left out."""
    sample = users[torch.linspace(0, users.numel() - 1, min(users.numel(), _USERS)).round().long()]
    if not any(isinstance(cast(EncoderLayer, one).attention, TellsRelations) for one in fitted.network.encoder):
        return []
    found: dict[int, list[Tensor]] = {}
    for batch in torch.split(sample, _BATCH):
        _, layers = _read(fitted, batch)
        for layer, one in enumerate(layers):
            if isinstance(one.attention, TellsRelations):
                found.setdefault(layer, []).append(one.attention.user_gains(one.user).float().cpu())
    return [
        {"layer": layer, "users": sample.numel(), **_spread(torch.cat(values))}
        for layer, values in sorted(found.items())
    ]


def _spread(values: Tensor) -> Json:
    """values: ``[U, 3, W]``."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-3:  # nobody differs
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, _BARS + 1)
    out: Json = {"width": values.shape[2], "edges": [short(one) for one in edges.tolist()]}
    for place, name in enumerate(("query", "key", "value")):
        one = values[:, place].flatten()
        count = torch.histogram(one, edges).hist
        out[name] = {
            "share": [short(bar) for bar in (count / one.numel()).tolist()],
            "mean": short(float(one.mean())),
            "deviation": short(float(one.std(correction=0))),
        }
    return out


# --------------------------------------------------------------------------- one user


@torch.no_grad()
def one_user(
    fitted: FittedMMGRec, data: Dataset, lists: Tensor, users: Tensor, *, liked: Interactions, masked: Interactions
) -> Json | None:
    """A user whose list has many hits, what he is known by, his map, and the path of his first hit.

    Args:
        fitted: the model.
        data: names and titles.
        lists: ``[U, K]`` int64, -1 = none.
        users: ``[U]`` int64.
        liked: what the users liked afterwards.
        masked: what is not recommended to them.
    """
    hit = contains(liked, users, lists)
    length = fitted.history.user_degree[users]
    readable = (length >= _SHORT) & (length <= _LONG)
    order = hit.sum(1) + (lists.shape[1] + 1) * readable.long()  # a readable map first, then many hits
    row = int(order.argmax())
    if not bool((lists[row] >= 0).any()):
        return None
    user = users[row : row + 1]
    place = int(hit[row].long().argmax()) if bool(hit[row].any()) else 0
    memory, layers = _read(fitted, user)
    history = fixed_history(fitted.history, user, fitted.network.settings.history_length)[0]
    steps = path_of(fitted, memory, int(lists[row, place]))
    known = masked.items_of(user)[1]
    return {
        "user": data.user_id(int(user))[:_TITLE],
        "hits": int(hit[row].sum()),
        "list": lists.shape[1],
        "items": [_name(data, item) for item in history[history >= 0].tolist()],
        "layers": _maps(layers, history),
        "item": _name(data, int(lists[row, place])),
        "place": place + 1,
        "liked": bool(hit[row, place]),
        "log_probability": short(sum(step.log_probability for step in steps), 7),
        "path": [_told(step, fitted.trie, data, known) for step in steps],
    }


def _maps(layers: list[_Attended], history: Tensor) -> list[Json]:
    """Scores of the history's items for each other, mean over the heads; what is no item is left out of the map."""
    maps = []
    for layer, one in enumerate(layers[:_LAYERS]):
        if not isinstance(one.attention, TellsRelations):
            continue
        content, relation = one.attention.score_parts(one.x, one.user)
        score = (content + relation[:, None]).masked_fill(~one.keep[:, None, None, :], -torch.inf)
        first = one.x.shape[1] - history.numel()  # learnt token, user
        part = slice(first, first + min(int((history >= 0).sum()), _PLACES))
        parts = {"content": content.mean(1), "relation": relation, "attention": score.softmax(-1).mean(1)}
        maps.append({"layer": layer, **{name: matrix(value[0, part, part].cpu()) for name, value in parts.items()}})
    return maps


def _name(data: Dataset, item: int) -> dict[str, str]:
    title = "" if data.item_titles is None else str(data.item_titles[item] or "")
    return {"id": data.item_id(item)[:_TITLE], "title": title[:_TITLE]}


# --------------------------------------------------------------------------- why an item


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
def path_of(fitted: FittedMMGRec, memory: Memory, item: int) -> list[PathStep]:
    """Level by level, the probability of each child of the item's prefix, for one encoded user."""
    trie, stepper = fitted.trie, fitted.network.stepper(memory)
    scores = stepper.start()
    steps, prefix = [], torch.zeros(1, dtype=torch.int64, device=trie.leaf_item.device)
    zero = torch.zeros(1, 1, dtype=torch.int64, device=prefix.device)
    for level in range(trie.num_levels):
        _, child = trie.children(level - 1, prefix)
        mine = trie.node_of_item(level)[item]
        chosen = int((child == mine).nonzero())
        probability = _log_probability(scores, trie, level, child).exp().cpu()
        steps.append(PathStep(level=level, node=child.cpu(), probability=probability, chosen=chosen))
        prefix = mine[None]
        if level + 1 < trie.num_levels:
            scores = stepper.advance(zero, trie.node_token(level)[mine].view(1, 1))
    return steps


def _log_probability(scores: TokenScores | NodeScores, trie: Trie, level: int, child: Tensor) -> Tensor:
    """``[C]`` float64, of the children ``[C]`` of one beam."""
    if isinstance(scores, TokenScores):
        return scores.logits[0, 0].double().log_softmax(0)[trie.node_token(level)[child]]
    logit = scores.vectors[child].double() @ scores.state[0, 0].double() + scores.bias[child].double()
    return logit.log_softmax(0)


def _told(step: PathStep, trie: Trie, data: Dataset, known: Tensor) -> Json:
    """A step in words' material; rivals, and the rank among them, are of the children with an item new to the user."""
    token = trie.node_token(step.level).cpu()
    start, end = (edge.long().cpu() for edge in trie.leaf_interval(step.level))
    leaf_item = trie.leaf_item.long().cpu()
    unknown = torch.ones(trie.num_items, dtype=torch.int64)
    unknown[known] = 0
    before = torch.nn.functional.pad(unknown[leaf_item].cumsum(0), (1, 0))
    new = (before[end] - before[start])[step.node]
    order = step.probability.argsort(descending=True, stable=True)
    order = order[(new[order] > 0) | (order == step.chosen)]
    others = [int(one) for one in order[: _OTHERS + 1] if int(one) != step.chosen][:_OTHERS]

    def told(place: int) -> Json:
        node = int(step.node[place])
        items = leaf_item[start[node] : end[node]]
        example = items[data.train.item_degree[items].argmax()]
        return {
            "token": int(token[node]),
            "probability": short(float(step.probability[place])),
            "items": items.numel(),
            "new": int(new[place]),  # items that the user does not have yet
            "example": _name(data, int(example)),  # the most popular one
        }

    return {
        "level": step.level,
        **told(step.chosen),
        "rank": int((order == step.chosen).nonzero()) + 1,
        "open": order.numel(),  # children with an item new to the user
        "children": step.node.numel(),
        "others": [told(place) for place in others],
    }
