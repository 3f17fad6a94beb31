"""Checks what parts return, where it comes into the core: a type, shapes, numbers that are finite and in range.

A plugin may return anything, and unchecked that would end as a wrong number somewhere else. Each function here takes
what a part returned and gives it back with its type known, or raises a `PluginError` that names the plugin, its
distribution and its version. Read this file to see what is checked of each kind of part; what is merely bad (a list
with a seen item in it) is counted by the evaluation instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgrec.data import Dataset
from mmgrec.errors import PluginError
from mmgrec.guards.attribution import origin
from mmgrec.interfaces import (
    Decoder,
    FittedRecommender,
    ItemWeights,
    Metric,
    PositionalScheme,
    Quantization,
    Recommendations,
)
from mmgrec.recid import Codes, RecIDTable

__all__ = [
    "checked_data",
    "checked_decoded",
    "checked_definition",
    "checked_fitted",
    "checked_lists",
    "checked_measure",
    "checked_position",
    "checked_quantization",
    "checked_rec_ids",
    "checked_weights",
]

_USER_DIM = 4  # of the user that a positional scheme is tried with
_REMEDY = "tell its author; its contract test (mmgrec.testing) shows it"


def checked_data(loaded: object, part: object) -> Dataset:
    """What a `DatasetSource` returned."""
    if not isinstance(loaded, Dataset):
        raise _wrong_type(part, f"load returned {_kind(loaded)}, not a Dataset")
    for name, table in loaded.features.items():
        if table.shape[0] != loaded.num_items:
            raise _wrong_shape(part, f"feature {name!r} has {table.shape[0]} rows for {loaded.num_items} items")
        if not bool(torch.isfinite(table).all()):
            raise _not_finite(part, f"feature {name!r} holds NaN or infinity")
    for name, rows in (("train", loaded.train), ("valid", loaded.valid), ("test", loaded.test)):
        for side, number, limit in (("user", rows.user, loaded.num_users), ("item", rows.item, loaded.num_items)):
            if number.numel() and not 0 <= int(number.min()) <= int(number.max()) < limit:
                sentence = f"the {name} part names {side}s beyond the {limit} that there are"
                raise _error(part, sentence, code="guards.out-of-range")
    return loaded


def checked_quantization(quantization: object, data: Dataset, part: object) -> Quantization:
    """What a `Quantizer` returned."""
    if not isinstance(quantization, Quantization):
        raise _wrong_type(part, f"fit returned {_kind(quantization)}, not a Quantization")
    tables = {"user": quantization.representations.user, "item": quantization.representations.item}
    for name, rows in (("user", data.num_users), ("item", data.num_items)):
        table = tables[name]
        if table.shape[0] != rows:
            raise _wrong_shape(part, f"fit returned {table.shape[0]} {name} representations for {rows} {name}s")
        if not bool(torch.isfinite(table).all()):
            raise _not_finite(part, f"the {name} representations hold NaN or infinity")
    if quantization.codes.num_items != data.num_items:
        raise _wrong_shape(part, f"fit returned codes of {quantization.codes.num_items} items for {data.num_items}")
    return quantization


def checked_rec_ids(rec_ids: object, codes: Codes, part: object) -> RecIDTable:
    """What a `CollisionResolver` returned."""
    if not isinstance(rec_ids, RecIDTable):
        raise _wrong_type(part, f"resolve returned {_kind(rec_ids)}, not a RecIDTable")
    if rec_ids.num_items != codes.num_items:
        raise _wrong_shape(part, f"resolve returned Rec-IDs of {rec_ids.num_items} items for {codes.num_items}")
    return rec_ids


def checked_weights(weights: object, data: Dataset, part: object) -> ItemWeights:
    """What an `ItemMemory` returned."""
    if not isinstance(weights, ItemWeights):
        raise _wrong_type(part, f"fit returned {_kind(weights)}, not ItemWeights")
    index, weight = weights.index, weights.weight
    for name, table in (("items", index), ("weights", weight)):
        if not isinstance(table, Tensor):
            raise _wrong_type(part, f"the {name} that fit returned are {_kind(table)}, not a Tensor")
    if index.shape != weight.shape or index.ndim != 2 or index.shape[0] != data.num_items:
        raise _wrong_shape(
            part, f"fit returned {_shape(index)} items and {_shape(weight)} weights for {data.num_items} items"
        )
    if not bool(torch.isfinite(weight).all()) or not 0 < weights.decay < float("inf"):
        raise _not_finite(part, "the weights hold NaN or infinity, or the decay is no positive number")
    if index.numel() and not -1 <= int(index.min()) <= int(index.max()) < data.num_items:
        raise _error(
            part, f"the weights name items beyond the {data.num_items} that there are", code="guards.out-of-range"
        )
    if bool(weight[index < 0].any()):
        raise _error(part, "there are weights where no item is named (-1)", code="guards.out-of-range")
    return weights


def checked_position(part: PositionalScheme, *, dim: int, num_heads: int, head_dim: int) -> None:
    """Try a `PositionalScheme` on a history of two items and one row of padding, before anything is learnt."""
    history = torch.linspace(-1, 1, 3 * dim).view(1, 3, dim)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # its weights are drawn from nobody's numbers
        module = part.attention(dim=dim, num_heads=num_heads, head_dim=head_dim, user_dim=_USER_DIM)
        if not isinstance(module, nn.Module):
            raise _wrong_type(part, f"attention returned {_kind(module)}, not a torch module")
        encoded = part.encode(history)
        _check_same_size(encoded, history, "encode", part)
        attended = module.eval()(encoded, torch.ones(1, _USER_DIM), torch.tensor([[True, True, False]]))
        _check_same_size(attended, history, "its attention", part)


def _check_same_size(output: object, given: Tensor, who: str, part: object) -> None:
    """A tensor of finite numbers, of the shape that was given."""
    if not isinstance(output, Tensor):
        raise _wrong_type(part, f"{who} returned {_kind(output)} for {_shape(given)}")
    if output.shape != given.shape:
        raise _wrong_shape(part, f"{who} returned {_shape(output)} for {_shape(given)}")
    if not bool(torch.isfinite(output).all()):
        raise _not_finite(part, f"{who} returned NaN or infinity")


def checked_decoded(lists: object, num_users: int, top_k: int, part: Decoder) -> tuple[Tensor, Tensor]:
    """What a `Decoder` returned, items and scores; what is in the lists is the evaluation's to judge."""
    if not isinstance(lists, tuple) or len(lists) != 2 or not all(isinstance(each, Tensor) for each in lists):
        raise _wrong_type(part, f"decode returned {_kind(lists)}, not two tensors, items and scores")
    item, score = lists
    if item.shape != (num_users, top_k) or score.shape != item.shape:
        raise _wrong_shape(
            part, f"decode returned {_shape(item)} items, {_shape(score)} scores, not {[num_users, top_k]}"
        )
    return item, score


def checked_fitted(fitted: object, part: object) -> FittedRecommender:
    """What `Recommender.fit` returned."""
    if not isinstance(fitted, FittedRecommender):
        raise _wrong_type(part, f"fit returned {_kind(fitted)}, not a FittedRecommender")
    return fitted


def checked_lists(lists: object, users: Tensor, top_k: int, part: object) -> Recommendations:
    """What a `FittedRecommender` returned; what is in the lists is the evaluation's to judge."""
    if not isinstance(lists, Recommendations):
        raise _wrong_type(part, f"recommend returned {_kind(lists)}, not Recommendations")
    if lists.item.shape != (users.numel(), top_k):
        raise _wrong_shape(part, f"recommend returned {_shape(lists.item)} items, not {[users.numel(), top_k]}")
    return lists


def checked_measure(value: object, num_users: int, part: object) -> Tensor:
    """What a `Metric` returned."""
    if not isinstance(value, Tensor):
        raise _wrong_type(part, f"measure returned {_kind(value)}, not a Tensor")
    if value.shape not in {torch.Size([num_users]), torch.Size([])}:
        raise _wrong_shape(part, f"measure returned {_shape(value)}, not a value for each of {num_users} users, or one")
    if not bool(torch.isfinite(value).all()):
        raise _not_finite(part, "measure returned NaN or infinity")
    return value


def checked_definition(metric: Metric) -> str:
    """The formula of a `Metric`."""
    formula: object = metric.definition
    if not isinstance(formula, str):
        raise _wrong_type(metric, f"its definition is {_kind(formula)}, not a line of text")
    return formula


def _error(part: object, sentence: str, *, code: str) -> PluginError:
    return PluginError(sentence, where=origin(type(part)), remedy=_REMEDY, code=code)


def _wrong_type(part: object, sentence: str) -> PluginError:
    return _error(part, sentence, code="guards.wrong-type")


def _wrong_shape(part: object, sentence: str) -> PluginError:
    return _error(part, sentence, code="guards.wrong-shape")


def _not_finite(part: object, sentence: str) -> PluginError:
    return _error(part, sentence, code="guards.not-finite")


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _shape(value: Tensor) -> list[int]:
    return list(value.shape)
