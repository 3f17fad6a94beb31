"""What parts return is held against the interfaces: the right passes as it is, the wrong names its maker and a code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.errors import PluginError
from mmgrec.guards import (
    checked_data,
    checked_decoded,
    checked_definition,
    checked_fitted,
    checked_lists,
    checked_measure,
    checked_position,
    checked_quantization,
    checked_rec_ids,
    checked_weights,
)
from mmgrec.interfaces import (
    Context,
    ItemWeights,
    Metric,
    NoMemory,
    PositionalScheme,
    Quantization,
    RankedTruth,
    Recommendations,
    Representations,
)
from mmgrec.recid import Codes, RecIDTable
from mmgrec.testing import tiny_data
from mmgrec_plugins.decoders.exact import Exact
from mmgrec_plugins.positions.none import NoPosition
from mmgrec_plugins.recommenders.simple.popularity import FittedPopularity

DATA = tiny_data()
CODES = Codes(token=torch.arange(DATA.num_items)[:, None], level_sizes=(DATA.num_items,))
NINE = replace(CODES, token=CODES.token[:9])
REC_IDS = RecIDTable(token=CODES.token, level_sizes=CODES.level_sizes)
QUANTIZATION = Quantization(
    representations=Representations(user=torch.zeros(DATA.num_users, 4), item=torch.zeros(DATA.num_items, 4)),
    codes=CODES,
)
NAN = torch.full((DATA.num_items, 4), torch.nan)
SPOKEN = ItemWeights(index=torch.tensor([[1, -1]] * DATA.num_items), weight=torch.tensor([[0.5, 0.0]] * DATA.num_items))
USERS = torch.arange(3)
LISTS = Recommendations(user=USERS, item=torch.zeros(3, 5).long(), score=torch.zeros(3, 5))


class Maker:
    """Stands for the part whose fault it is."""


def beyond(data: Dataset) -> Dataset:
    """Its test part names an item that there is not."""
    user, item = torch.tensor([0]), torch.tensor([data.num_items])
    test = Interactions.of(user, item, num_users=data.num_users, num_items=data.num_items + 1)
    changed = replace(data)
    object.__setattr__(changed, "test", test)
    return changed


def with_feature(data: Dataset, table: Tensor) -> Dataset:
    changed = replace(data)
    object.__setattr__(changed, "features", {"smell": table})
    return changed


def with_vectors(user: Tensor, item: Tensor) -> Quantization:
    return replace(QUANTIZATION, representations=Representations(user=user, item=item))


def speaking(**changes: Any) -> ItemWeights:
    return replace(SPOKEN, **changes)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (lambda value: checked_data(value, Maker()), DATA),
        (lambda value: checked_quantization(value, DATA, Maker()), QUANTIZATION),
        (lambda value: checked_rec_ids(value, CODES, Maker()), REC_IDS),
        (lambda value: checked_weights(value, DATA, Maker()), SPOKEN),
        (lambda value: checked_weights(value, DATA, Maker()), NoMemory().fit(DATA, lambda users: NAN, Context())),
        (lambda value: checked_fitted(value, Maker()), FittedPopularity(popularity=torch.ones(4))),
        (lambda value: checked_lists(value, USERS, 5, Maker()), LISTS),
        (lambda value: checked_measure(value, 3, Maker()), torch.zeros(3)),
        (lambda value: checked_measure(value, 3, Maker()), torch.tensor(0.5)),
    ],
)
def test_what_is_right_passes_as_it_is(check: Callable[[object], object], value: object) -> None:
    assert check(value) is value


@pytest.mark.parametrize(
    ("check", "code", "named"),
    [
        (lambda: checked_data(None, Maker()), "guards.wrong-type", "None, not a Dataset"),
        (lambda: checked_data(with_feature(DATA, NAN[1:]), Maker()), "guards.wrong-shape", "47 rows for 48 items"),
        (lambda: checked_data(with_feature(DATA, NAN), Maker()), "guards.not-finite", "'smell'"),
        (lambda: checked_data(beyond(DATA), Maker()), "guards.out-of-range", "the test part"),
        (lambda: checked_quantization(CODES, DATA, Maker()), "guards.wrong-type", "of type Codes"),
        (lambda: checked_quantization(with_vectors(torch.zeros(79, 4), NAN), DATA, Maker()), "guards.wrong-shape",
         "79 user representations"),
        (lambda: checked_quantization(with_vectors(torch.zeros(80, 4), NAN), DATA, Maker()), "guards.not-finite",
         "item representations"),
        (lambda: checked_quantization(replace(QUANTIZATION, codes=NINE), DATA, Maker()), "guards.wrong-shape",
         "9 items for 48"),
        (lambda: checked_rec_ids(CODES, CODES, Maker()), "guards.wrong-type", "of type Codes"),
        (lambda: checked_rec_ids(replace(REC_IDS, token=REC_IDS.token[:9]), CODES, Maker()), "guards.wrong-shape",
         "9 items for 48"),
        (lambda: checked_weights(SPOKEN.weight, DATA, Maker()), "guards.wrong-type", "of type Tensor, not ItemWeights"),
        (lambda: checked_weights(speaking(index=SPOKEN.index.tolist()), DATA, Maker()), "guards.wrong-type",
         "the items that fit returned are a value of type list"),
        (lambda: checked_weights(speaking(weight=SPOKEN.weight.numpy()), DATA, Maker()), "guards.wrong-type",
         "the weights that fit returned are a value of type ndarray"),
        (lambda: checked_weights(speaking(index=SPOKEN.index[:9]), DATA, Maker()), "guards.wrong-shape",
         "[9, 2] items and [48, 2] weights for 48 items"),
        (lambda: checked_weights(speaking(index=SPOKEN.index[:9], weight=SPOKEN.weight[:9]), DATA, Maker()),
         "guards.wrong-shape", "[9, 2] items and [9, 2] weights"),
        (lambda: checked_weights(speaking(index=SPOKEN.index[:, 0], weight=SPOKEN.weight[:, 0]), DATA, Maker()),
         "guards.wrong-shape", "[48] items"),
        (lambda: checked_weights(speaking(weight=SPOKEN.weight * torch.inf), DATA, Maker()), "guards.not-finite",
         "NaN or infinity"),
        (lambda: checked_weights(speaking(decay=0.0), DATA, Maker()), "guards.not-finite", "the decay"),
        (lambda: checked_weights(speaking(decay=torch.nan), DATA, Maker()), "guards.not-finite", "the decay"),
        (lambda: checked_weights(speaking(index=SPOKEN.index + 47), DATA, Maker()), "guards.out-of-range",
         "beyond the 48"),
        (lambda: checked_weights(speaking(index=SPOKEN.index - 1), DATA, Maker()), "guards.out-of-range",
         "beyond the 48"),
        (lambda: checked_weights(speaking(weight=SPOKEN.weight + 1), DATA, Maker()), "guards.out-of-range",
         "no item is named"),
        (lambda: checked_fitted(Maker(), Maker()), "guards.wrong-type", "of type Maker"),
        (lambda: checked_lists(LISTS.item, USERS, 5, Maker()), "guards.wrong-type", "of type Tensor"),
        (lambda: checked_lists(LISTS, USERS, 6, Maker()), "guards.wrong-shape", "[3, 5] items, not [3, 6]"),
        (lambda: checked_measure(0.5, 3, Maker()), "guards.wrong-type", "of type float"),
        (lambda: checked_measure(torch.zeros(4), 3, Maker()), "guards.wrong-shape", "[4]"),
        (lambda: checked_measure(torch.tensor([0, 1, torch.nan]), 3, Maker()), "guards.not-finite", "NaN"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_maker(check: Callable[[], object], code: str, named: str) -> None:
    with pytest.raises(PluginError) as error:
        check()
    assert error.value.code == code
    assert named in str(error.value)
    assert error.value.where == f"{__name__}.Maker"


@pytest.mark.parametrize(
    ("lists", "code"),
    [
        (None, "guards.wrong-type"),
        ((LISTS.item,), "guards.wrong-type"),
        ((LISTS.item, [[0.0]]), "guards.wrong-type"),
        ((LISTS.item[:2], LISTS.score[:2]), "guards.wrong-shape"),
        ((LISTS.item, LISTS.score[:, :4]), "guards.wrong-shape"),
        ((LISTS.item, LISTS.score), ""),
    ],
)
def test_a_decoder_gives_items_and_scores(lists: object, code: str) -> None:
    if not code:
        item, score = checked_decoded(lists, 3, 5, Exact())
        assert item is LISTS.item
        assert score is LISTS.score
        return
    with pytest.raises(PluginError) as error:
        checked_decoded(lists, 3, 5, Exact())
    assert error.value.code == code
    assert "exact" in str(error.value)  # shipped parts have a name


class Passing(nn.Module):
    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor, user: Tensor, keep: Tensor) -> Any:
        return self.change(x)


@dataclass(frozen=True, kw_only=True)
class Scheme(PositionalScheme):
    attended: Callable[[Tensor], Any] = lambda x: x
    encoded: Callable[[Tensor], Any] = lambda x: x
    is_module: bool = True

    def encode(self, x: Tensor) -> Tensor:
        return self.encoded(x)  # type: ignore[no-any-return]

    def attention(self, *, dim: int, num_heads: int, head_dim: int, user_dim: int) -> nn.Module:
        return Passing(self.attended) if self.is_module else self.attended  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("scheme", "code"),
    [
        (Scheme(is_module=False), "guards.wrong-type"),
        (Scheme(encoded=lambda x: None), "guards.wrong-type"),
        (Scheme(encoded=lambda x: x[:, :2]), "guards.wrong-shape"),
        (Scheme(encoded=lambda x: x / 0), "guards.not-finite"),
        (Scheme(attended=lambda x: (x, x)), "guards.wrong-type"),
        (Scheme(attended=lambda x: x[..., :4]), "guards.wrong-shape"),
        (Scheme(attended=lambda x: x * torch.nan), "guards.not-finite"),
    ],
)
def test_a_positional_scheme_is_tried_before_it_is_used(scheme: Scheme, code: str) -> None:
    with pytest.raises(PluginError) as error:
        checked_position(scheme, dim=8, num_heads=2, head_dim=4)
    assert error.value.code == code


def test_trying_a_positional_scheme_draws_from_nobodys_numbers() -> None:
    before = torch.get_rng_state()
    checked_position(Scheme(), dim=8, num_heads=2, head_dim=4)
    checked_position(NoPosition(), dim=8, num_heads=2, head_dim=4)
    assert torch.equal(torch.get_rng_state(), before)


@dataclass(frozen=True, kw_only=True)
class Defined(Metric):
    formula: Any

    @property
    def definition(self) -> str:
        return self.formula  # type: ignore[no-any-return]

    def measure(self, judged: RankedTruth, top_k: int) -> Tensor:
        raise NotImplementedError


def test_a_definition_is_a_line_of_text() -> None:
    assert checked_definition(Defined(formula="hits / K")) == "hits / K"
    with pytest.raises(PluginError) as error:
        checked_definition(Defined(formula=3))
    assert error.value.code == "guards.wrong-type"
