"""Contracts of the parts that learn or encode: quantizers, collision resolvers, positional schemes, item memories."""

from __future__ import annotations

import dataclasses
import tomllib
from abc import abstractmethod
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import (
    CollisionResolver,
    Context,
    ItemMemory,
    ItemWeights,
    PositionalScheme,
    Quantization,
    Quantizer,
)
from mmgrec.recid import Codes, RecIDTable
from mmgrec.settings import build, plain, toml_text
from mmgrec.testing.values import same, tiny_data, without_test

__all__ = ["CollisionContract", "ItemMemoryContract", "PartContract", "PositionContract", "QuantizerContract"]

P = TypeVar("P")


class PartContract(Generic[P]):
    """Rules for the settings of every kind of part."""

    @abstractmethod
    def make(self) -> P:
        """The part under test, small enough to work in a second or two."""

    def test_is_a_frozen_keyword_only_dataclass(self) -> None:
        cls = cast(Any, type(self.make()))  # Any: that it is a dataclass is what is tested
        assert "__dataclass_fields__" in vars(cls), f"{cls.__name__} needs @dataclass(frozen=True, kw_only=True)"
        assert vars(cls)["__dataclass_params__"].frozen, f"{cls.__name__} must be frozen: fit returns, it never stores"
        assert all(field.kw_only for field in dataclasses.fields(cls)), f"{cls.__name__}'s fields must be keyword-only"

    def test_settings_survive_a_configuration_file(self) -> None:
        part = self.make()
        again = build(type(part), tomllib.loads(toml_text(plain(part))), "part")
        assert again == part, f"{part} became {again} on its way through TOML"

    def test_equal_settings_make_equal_parts(self) -> None:
        assert self.make() == self.make()


class QuantizerContract(PartContract[Quantizer]):
    """What may be asked of every quantizer."""

    def data(self) -> Dataset:
        """Override for a quantizer that needs other data."""
        return tiny_data()

    def fit(self, data: Dataset | None = None, seed: int = 0) -> Quantization:
        return self.make().fit(data or self.data(), Context(seed=seed))

    def test_every_item_has_tokens_and_every_row_a_vector(self) -> None:
        data, quantization = self.data(), self.fit()
        assert quantization.codes.token.shape[0] == data.num_items
        assert quantization.codes.num_levels >= 1
        assert quantization.representations.item.shape[0] == data.num_items
        assert quantization.representations.user.shape[0] == data.num_users

    def test_representations_are_finite_floats(self) -> None:
        representations = self.fit().representations
        for table in (representations.user, representations.item):
            assert table.dtype == torch.float32, f"float32 expected, got {table.dtype}"
            assert bool(table.isfinite().all()), "a representation holds NaN or infinity"
            assert not table.requires_grad, "detach what is returned"

    def test_codebooks_if_any_fit_the_levels(self) -> None:
        codes = self.fit().codes
        for level, book in enumerate(codes.codebooks or ()):
            assert book.shape[0] == codes.level_sizes[level], f"level {level}: one codeword a token"

    def test_the_same_seed_gives_the_same_bits(self) -> None:
        first, second = self.fit(seed=3), self.fit(seed=3)
        assert same(first.codes, second.codes), "the codes of two runs with one seed differ"
        assert same(first.representations, second.representations), "so do the representations"

    def test_the_global_random_state_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        self.fit()
        assert torch.equal(before, torch.get_rng_state()), "draw from context.generator(...), not from torch's global"

    def test_the_global_random_state_is_not_read(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = self.fit().codes
            torch.manual_seed(2)
            assert same(first, self.fit().codes), "draw from context.generator(...), not from torch's global"

    def test_the_test_part_is_not_looked_at(self) -> None:
        data = self.data()
        hidden = self.fit(without_test(data))
        assert same(self.fit(data).codes, hidden.codes), "the codes change with the test items"
        assert same(self.fit(data).representations, hidden.representations), "the vectors change with the test items"


class CollisionContract(PartContract[CollisionResolver]):
    """What may be asked of every collision resolver."""

    #: Items 0, 2, 3 share a tuple, and so do 1 and 5.
    codes: ClassVar[Codes] = Codes(
        token=torch.tensor([[0, 1], [1, 1], [0, 1], [0, 1], [1, 0], [1, 1]]), level_sizes=(2, 2)
    )
    popularity: ClassVar[Tensor] = torch.tensor([5, 1, 9, 5, 0, 7])

    def resolve(self, seed: int = 0) -> RecIDTable:
        return self.make().resolve(self.codes, self.popularity, Context(seed=seed))

    def test_one_token_is_appended(self) -> None:
        assert self.resolve().token.shape == (6, 3)

    def test_rec_ids_are_unique(self) -> None:
        assert torch.unique(self.resolve().token, dim=0).shape[0] == 6

    def test_semantic_tokens_stay(self) -> None:
        assert torch.equal(self.resolve().token[:, :2], self.codes.token)

    def test_a_group_uses_the_tokens_from_zero(self) -> None:
        token = self.resolve().token
        assert sorted(token[[0, 2, 3], 2].tolist()) == [0, 1, 2]
        assert sorted(token[[1, 5], 2].tolist()) == [0, 1]
        assert int(token[4, 2]) == 0

    def test_the_same_seed_gives_the_same_table(self) -> None:
        assert same(self.resolve(2).token, self.resolve(2).token)

    def test_codes_without_collisions_get_zeros(self) -> None:
        codes = Codes(token=torch.tensor([[0, 0], [0, 1], [1, 0]]), level_sizes=(2, 2))
        table = self.make().resolve(codes, torch.tensor([1, 1, 1]), Context())
        assert table.token[:, 2].tolist() == [0, 0, 0]

    def test_many_equal_items_are_told_apart(self) -> None:
        codes = Codes(token=torch.zeros(40, 2, dtype=torch.int64), level_sizes=(4, 4))
        table = self.make().resolve(codes, torch.arange(40), Context())
        assert torch.unique(table.token, dim=0).shape[0] == 40


class PositionContract(PartContract[PositionalScheme]):
    """What may be asked of every positional scheme."""

    equivariant: ClassVar[bool] = True  # does shuffling the history only shuffle the output?

    def attention(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.make().attention(dim=8, num_heads=2, head_dim=4, user_dim=5).eval()

    def inputs(self, length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(3, length, 8, generator=generator)
        user = torch.randn(3, 5, generator=generator)
        keep = torch.ones(3, length, dtype=torch.bool)
        keep[1, length // 2 :] = False
        return x, user, keep

    def outputs(self, x: Tensor, user: Tensor, keep: Tensor) -> Tensor:
        out = self.attention()(self.make().encode(x), user, keep)
        assert isinstance(out, Tensor)
        return out

    def test_shape_and_type_stay(self) -> None:
        x, user, keep = self.inputs()
        out = self.outputs(x, user, keep)
        assert (out.shape, out.dtype) == (x.shape, x.dtype)

    def test_padding_changes_nothing(self) -> None:
        x, user, keep = self.inputs()
        other = x.masked_fill(~keep[:, :, None], 7.0)
        here, there = self.outputs(x, user, keep), self.outputs(other, user, keep)
        torch.testing.assert_close(here[keep], there[keep])

    def test_rows_of_padding_alone_stay_finite(self) -> None:
        x, user, keep = self.inputs()
        keep[2] = False
        assert bool(self.outputs(x, user, keep).isfinite().all())

    def test_order_matters_exactly_where_it_is_said_to(self) -> None:
        x, user, _ = self.inputs()
        keep = torch.ones(x.shape[:2], dtype=torch.bool)
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        here, there = self.outputs(x, user, keep)[:, order], self.outputs(x[:, order], user, keep)
        assert torch.allclose(here, there, atol=1e-5) is self.equivariant

    def test_every_parameter_gets_a_gradient(self) -> None:
        module = self.attention()
        x, user, keep = self.inputs()
        module(self.make().encode(x), user, keep)[keep].square().sum().backward()
        idle = [name for name, parameter in module.named_parameters() if parameter.grad is None]
        assert not idle, f"no gradient reaches {idle}"

    def test_single_items_work(self) -> None:
        x, user, _ = self.inputs(1)
        assert bool(self.outputs(x, user, torch.ones(3, 1, dtype=torch.bool)).isfinite().all())


class ItemMemoryContract(PartContract[ItemMemory]):
    """What may be asked of every item memory, beside scores of chance."""

    def data(self) -> Dataset:
        """Override for a memory that needs other data."""
        return tiny_data()

    def fit(self, data: Dataset | None = None, seed: int = 0) -> ItemWeights:
        given = data or self.data()
        scores = torch.randn(given.num_users, given.num_items, generator=torch.Generator().manual_seed(7))
        return self.make().fit(given, lambda users: scores[users], Context(seed=seed))

    def test_every_item_has_a_row_of_items_and_weights(self) -> None:
        data, weights = self.data(), self.fit()
        index, weight = weights.index, weights.weight
        assert index.shape == weight.shape, f"as many weights as items expected, got {weight.shape} and {index.shape}"
        assert index.shape[0] == data.num_items, f"one row for each of {data.num_items} items expected"
        assert index.dtype == torch.int64, f"int64 expected, got {index.dtype}"
        assert bool(((index >= -1) & (index < data.num_items)).all()), "an item is named that there is not"
        assert not bool(weight[index < 0].any()), "there is a weight where no item is named (-1)"

    def test_weights_are_finite_floats_on_the_cpu(self) -> None:
        weights = self.fit()
        assert weights.weight.dtype == torch.float32, f"float32 expected, got {weights.weight.dtype}"
        assert bool(weights.weight.isfinite().all()), "a weight is NaN or infinite"
        assert weights.index.device.type == weights.weight.device.type == "cpu", "histories are summed up on the CPU"
        assert not weights.weight.requires_grad, "detach what is returned"
        assert 0 < weights.decay < float("inf"), f"a positive decay expected, got {weights.decay}"

    def test_histories_are_summed_up(self) -> None:
        data = self.data()
        scores = self.fit().scores(data.train, torch.arange(data.num_users))
        assert scores.item.shape == scores.value.shape
        assert bool(scores.value.isfinite().all())

    def test_it_works_without_validation_items(self) -> None:
        data = self.data()
        nothing = data.without_test().test
        assert self.fit(dataclasses.replace(data, valid=nothing)).index.shape[0] == data.num_items

    def test_items_without_interactions_are_no_obstacle(self) -> None:
        data = self.data()
        few, train = data.num_items // 2, data.train
        keep = train.item < few
        time = None if train.time is None else train.time[keep]
        fewer = Interactions(
            user=train.user[keep], item=train.item[keep], time=time, num_users=data.num_users, num_items=data.num_items
        )
        assert bool(self.fit(dataclasses.replace(data, train=fewer)).weight.isfinite().all())

    def test_the_data_are_left_alone(self) -> None:
        data = self.data()
        before = data.fingerprint
        self.fit(data)
        assert dataclasses.replace(data).fingerprint == before, "the data were written over"

    def test_the_same_seed_gives_the_same_bits(self) -> None:
        assert same(self.fit(seed=3), self.fit(seed=3)), "the weights of two runs with one seed differ"

    def test_the_global_random_state_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        self.fit()
        assert torch.equal(before, torch.get_rng_state()), "draw from context.generator(...), not from torch's global"

    def test_the_global_random_state_is_not_read(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = self.fit()
            torch.manual_seed(2)
            assert same(first, self.fit()), "draw from context.generator(...), not from torch's global"

    def test_the_test_part_is_not_looked_at(self) -> None:
        data = self.data()
        assert same(self.fit(data), self.fit(without_test(data))), "the weights change with the test items"
