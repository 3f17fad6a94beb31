"""Where plugins' values come into the core: each is held against its interface, and a wrong one named with its maker.

A plugin may return anything. What is caught here is told in one sentence with the plugin's name, distribution and
version; unchecked, it would end as a wrong number somewhere else. Does not know what a part computes.
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
    Metric,
    PositionalScheme,
    Quantization,
    Recommendations,
)
from mmgrec.recid import Codes, RecIDTable

__all__ = [
    "checked_data",
    "checked_definition",
    "checked_fitted",
    "checked_found",
    "checked_lists",
    "checked_measure",
    "checked_position",
    "checked_quantization",
    "checked_rec_ids",
]

_USER_DIM = 4  # of the user that a positional scheme is tried with
_REMEDY = "tell its author; its contract test (mmgrec.testing) shows it"


def checked_data(made: object, part: object) -> Dataset:
    """What a `DatasetSource` returned."""
    if not isinstance(made, Dataset):
        raise _wrong(part, f"load returned {_kind(made)}, not a Dataset")
    for name, table in made.features.items():
        if table.shape[0] != made.num_items:
            raise _wrong(part, f"feature {name!r} has {table.shape[0]} rows for {made.num_items} items")
        if not bool(torch.isfinite(table).all()):
            raise _wrong(part, f"feature {name!r} holds NaN or infinity")
    for name, rows in (("train", made.train), ("valid", made.valid), ("test", made.test)):
        for what, number, most in (("user", rows.user, made.num_users), ("item", rows.item, made.num_items)):
            if number.numel() and not 0 <= int(number.min()) <= int(number.max()) < most:
                raise _wrong(part, f"the {name} part names {what}s beyond the {most} that there are")
    return made


def checked_quantization(made: object, data: Dataset, part: object) -> Quantization:
    """What a `Quantizer` returned."""
    if not isinstance(made, Quantization):
        raise _wrong(part, f"fit returned {_kind(made)}, not a Quantization")
    tables = {"user": made.representations.user, "item": made.representations.item}
    for name, rows in (("user", data.num_users), ("item", data.num_items)):
        table = tables[name]
        if table.shape[0] != rows:
            raise _wrong(part, f"fit returned {table.shape[0]} {name} representations for {rows} {name}s")
        if not bool(torch.isfinite(table).all()):
            raise _wrong(part, f"the {name} representations hold NaN or infinity")
    if made.codes.num_items != data.num_items:
        raise _wrong(part, f"fit returned codes of {made.codes.num_items} items for {data.num_items}")
    return made


def checked_rec_ids(made: object, codes: Codes, part: object) -> RecIDTable:
    """What a `CollisionResolver` returned."""
    if not isinstance(made, RecIDTable):
        raise _wrong(part, f"resolve returned {_kind(made)}, not a RecIDTable")
    if made.num_items != codes.num_items:
        raise _wrong(part, f"resolve returned Rec-IDs of {made.num_items} items for {codes.num_items}")
    return made


def checked_position(part: PositionalScheme, *, dim: int, num_heads: int, head_dim: int) -> None:
    """Try a `PositionalScheme` on a history of two items and a place of padding, before anything is learnt."""
    given = torch.linspace(-1, 1, 3 * dim).view(1, 3, dim)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # its weights are drawn from nobody's numbers
        module = part.attention(dim=dim, num_heads=num_heads, head_dim=head_dim, user_dim=_USER_DIM)
        if not isinstance(module, nn.Module):
            raise _wrong(part, f"attention returned {_kind(module)}, not a torch module")
        x = part.encode(given)
        _same_size(x, given, "encode", part)
        out = module.eval()(x, torch.ones(1, _USER_DIM), torch.tensor([[True, True, False]]))
        _same_size(out, given, "its attention", part)


def _same_size(made: object, given: Tensor, who: str, part: object) -> None:
    if not isinstance(made, Tensor) or made.shape != given.shape:
        what = _shape(made) if isinstance(made, Tensor) else _kind(made)
        raise _wrong(part, f"{who} returned {what} for {_shape(given)}")
    if not bool(torch.isfinite(made).all()):
        raise _wrong(part, f"{who} returned NaN or infinity")


def checked_found(made: object, num_users: int, top_k: int, part: Decoder) -> tuple[Tensor, Tensor]:
    """What a `Decoder` returned; what is in the lists is the evaluation's to judge."""
    if not isinstance(made, tuple) or len(made) != 2 or not all(isinstance(one, Tensor) for one in made):
        raise _wrong(part, f"decode returned {_kind(made)}, not two tensors, items and scores")
    item, score = made
    if item.shape != (num_users, top_k) or score.shape != item.shape:
        raise _wrong(part, f"decode returned {_shape(item)} items, {_shape(score)} scores, not {[num_users, top_k]}")
    return item, score


def checked_fitted(made: object, part: object) -> FittedRecommender:
    """What `Recommender.fit` returned."""
    if not isinstance(made, FittedRecommender):
        raise _wrong(part, f"fit returned {_kind(made)}, not a FittedRecommender")
    return made


def checked_lists(made: object, users: Tensor, top_k: int, part: object) -> Recommendations:
    """What a `FittedRecommender` returned; what is in the lists is the evaluation's to judge."""
    if not isinstance(made, Recommendations):
        raise _wrong(part, f"recommend returned {_kind(made)}, not Recommendations")
    if made.item.shape != (users.numel(), top_k):
        raise _wrong(part, f"recommend returned {_shape(made.item)} items, not {[users.numel(), top_k]}")
    return made


def checked_measure(made: object, num_users: int, part: object) -> Tensor:
    """What a `Metric` returned."""
    if not isinstance(made, Tensor):
        raise _wrong(part, f"measure returned {_kind(made)}, not a Tensor")
    if made.shape not in {torch.Size([num_users]), torch.Size([])}:
        raise _wrong(part, f"measure returned {_shape(made)}, not a value for each of {num_users} users, or one")
    if not bool(torch.isfinite(made).all()):
        raise _wrong(part, "measure returned NaN or infinity")
    return made


def checked_definition(metric: Metric) -> str:
    """The formula of a `Metric`."""
    made: object = metric.definition
    if not isinstance(made, str):
        raise _wrong(metric, f"its definition is {_kind(made)}, not a line of text")
    return made


def _wrong(part: object, what: str) -> PluginError:
    return PluginError(what, where=origin(type(part)), remedy=_REMEDY)


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _shape(value: Tensor) -> list[int]:
    return list(value.shape)
