"""One user seen through MMGRec: the gains and the map of their relations, and why an item was recommended to them.

The map and the gains come from attention modules that can tell them (`TellsRelations`, the paper's relation-aware
scheme); of other schemes there is none. Why an item was recommended is asked in `mmgrec.insight.one_item`. Part of
`mmgrec.insight`.
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
from mmgrec.insight.one_item import memory_part, named, path_levels, paths_of
from mmgrec.insight.user_values import OneUser, RelationMap
from mmgrec.insight.values import GainSpread, LayerGains
from mmgrec.interfaces import TellsRelations
from mmgrec.recommender import FittedMMGRec

__all__ = ["TellsRelations", "attention_inputs", "gains", "one_user"]

_USERS, _BATCH = 4096, 512  # whose gains are looked at, at most and at a time
_BARS = 30  # of a histogram
_PLACES = 24  # items of a history in the map
_LAYERS = 3  # whose maps are kept
_SHORT, _LONG = 5, 25  # items of a history that makes a readable map
_LETTERS = 80  # of an id or a title


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
    item = int(lists[row, place])
    (steps,) = paths_of(fitted, memory, torch.tensor([item]))
    known = masked.items_of(user)[1]
    return OneUser(
        user=data.user_id(int(user))[:_LETTERS],
        hits=int(hit[row].sum()),
        list=lists.shape[1],
        items=tuple(named(data, one, letters=_LETTERS) for one in history[history >= 0].tolist()),
        layers=_maps(layers, history),
        item=named(data, item, letters=_LETTERS),
        place=place + 1,
        liked=bool(hit[row, place]),
        log_probability=short(sum(step.log_probability for step in steps), 7),
        path=path_levels(steps, fitted.trie, data, known, letters=_LETTERS),
        memory=memory_part(fitted, data, int(user), item, letters=_LETTERS),
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
