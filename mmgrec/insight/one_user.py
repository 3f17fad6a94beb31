"""One user seen through MMGRec: the gains and the map of their relations, and why an item was recommended to them.

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
from mmgrec.generator import Encoded, EncoderLayer, Network, fixed_history
from mmgrec.insight.bins import matrix, short
from mmgrec.insight.user_values import NamedItem, OneUser, PathLevel, RelationMap, TokenChoice
from mmgrec.insight.values import GainSpread, LayerGains
from mmgrec.interfaces import NodeScores, TellsRelations, TokenScores
from mmgrec.recid import Trie
from mmgrec.recommender import FittedMMGRec

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
def attention_inputs(network: Network, users: Tensor, history: Tensor) -> tuple[Encoded, list[_Attended]]:
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

    handles = [cast(EncoderLayer, layer).attention.register_forward_pre_hook(note) for layer in network.encoder]
    try:
        memory = network.encode(users, history)
    finally:
        for handle in handles:
            handle.remove()
    return memory, seen


def _read(fitted: FittedMMGRec, users: Tensor) -> tuple[Encoded, list[_Attended]]:
    device = fitted.network.begin.device
    history = fixed_history(fitted.history, users, fitted.network.settings.history_length)
    return attention_inputs(fitted.network, users.to(device), history.to(device))


@torch.no_grad()
def gains(fitted: FittedMMGRec, users: Tensor) -> tuple[LayerGains, ...]:
    """Layer by layer: how the gains of query, key and value spread over users; layers without gains are left out."""
    sample = users[torch.linspace(0, users.numel() - 1, min(users.numel(), _USERS)).round().long()]
    if not any(isinstance(cast(EncoderLayer, layer).attention, TellsRelations) for layer in fitted.network.encoder):
        return ()
    batches: dict[int, list[Tensor]] = {}  # layer -> gains [B, 3, W] of each batch
    for batch in torch.split(sample, _BATCH):
        _, layers = _read(fitted, batch)
        for layer, attended in enumerate(layers):
            if isinstance(attended.attention, TellsRelations):
                batches.setdefault(layer, []).append(attended.attention.user_gains(attended.user).float().cpu())
    return tuple(_layer_gains(layer, torch.cat(values)) for layer, values in sorted(batches.items()))


def _layer_gains(layer: int, values: Tensor) -> LayerGains:
    """values: ``[U, 3, W]``."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-3:  # nobody differs
        low, high = low - 0.5, high + 0.5
    edges = torch.linspace(low, high, _BARS + 1)
    query, key, value = (_spread(gain.flatten(), edges) for gain in values.unbind(1))
    return LayerGains(
        layer=layer,
        users=values.shape[0],
        width=values.shape[2],
        edges=tuple(short(edge) for edge in edges.tolist()),
        query=query,
        key=key,
        value=value,
    )


def _spread(values: Tensor, edges: Tensor) -> GainSpread:
    """values: ``[N]``; edges of the bars: ``[B + 1]``."""
    count = torch.histogram(values, edges).hist
    return GainSpread(
        share=tuple(short(bar) for bar in (count / values.numel()).tolist()),
        mean=short(float(values.mean())),
        deviation=short(float(values.std(correction=0))),
    )


# --------------------------------------------------------------------------- one user


@torch.no_grad()
def one_user(
    fitted: FittedMMGRec, data: Dataset, lists: Tensor, users: Tensor, *, liked: Interactions, masked: Interactions
) -> OneUser | None:
    """A user whose list has many hits: their history, its map, and the path of the first hit; None without any list.

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
    return OneUser(
        user=data.user_id(int(user))[:_TITLE],
        hits=int(hit[row].sum()),
        list=lists.shape[1],
        items=tuple(_name(data, item) for item in history[history >= 0].tolist()),
        layers=_maps(layers, history),
        item=_name(data, int(lists[row, place])),
        place=place + 1,
        liked=bool(hit[row, place]),
        log_probability=short(sum(step.log_probability for step in steps), 7),
        path=tuple(_path_level(step, fitted.trie, data, known) for step in steps),
    )


def _maps(layers: list[_Attended], history: Tensor) -> tuple[RelationMap, ...]:
    """Scores of the history's items for each other, mean over the heads; what is no item is left out of the map."""
    maps = []
    for layer, attended in enumerate(layers[:_LAYERS]):
        if not isinstance(attended.attention, TellsRelations):
            continue
        content, relation = attended.attention.score_parts(attended.x, attended.user)
        score = (content + relation[:, None]).masked_fill(~attended.keep[:, None, None, :], -torch.inf)
        first = attended.x.shape[1] - history.numel()  # learnt token, user
        part = slice(first, first + min(int((history >= 0).sum()), _PLACES))
        maps.append(
            RelationMap(
                layer=layer,
                content=matrix(content.mean(1)[0, part, part].cpu()),
                relation=matrix(relation[0, part, part].cpu()),
                attention=matrix(score.softmax(-1).mean(1)[0, part, part].cpu()),
            )
        )
    return tuple(maps)


def _name(data: Dataset, item: int) -> NamedItem:
    title = "" if data.item_titles is None else str(data.item_titles[item] or "")
    return NamedItem(id=data.item_id(item)[:_TITLE], title=title[:_TITLE])


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
def path_of(fitted: FittedMMGRec, memory: Encoded, item: int) -> list[PathStep]:
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


def _path_level(step: PathStep, trie: Trie, data: Dataset, known: Tensor) -> PathLevel:
    """A step as it is shown; rivals, and the rank among them, are of the children with an item new to the user."""
    token = trie.node_token(step.level).cpu()
    start, end = (edge.long().cpu() for edge in trie.leaf_interval(step.level))
    leaf_item = trie.leaf_item.long().cpu()
    unknown = torch.ones(trie.num_items, dtype=torch.int64)
    unknown[known] = 0
    before = torch.nn.functional.pad(unknown[leaf_item].cumsum(0), (1, 0))
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
            example=_name(data, int(example)),
        )

    return PathLevel(
        level=step.level,
        taken=choice(step.chosen),
        rank=int((order == step.chosen).nonzero()) + 1,
        open=order.numel(),
        children=step.node.numel(),
        others=tuple(choice(child) for child in others),
    )
