"""Relation-aware attention on the CPU: the definition against hand-made answers, the fast form against it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmgrec_kernels import relation_attention


def inputs(
    users: int = 3, heads: int = 2, length: int = 7, size: int = 16, *, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    wide, narrow = (users, heads, length, size), (users, length, size)
    floats = [
        draw(*wide),
        draw(*wide),
        draw(*wide),
        draw(*narrow),
        draw(*narrow),
        draw(*narrow),
        draw(users),
        draw(users),
    ]
    return [*floats, torch.rand(users, length, generator=generator) > 0.3]


def test_equal_scores_average_the_real_values() -> None:
    zero = torch.zeros(1, 1, 3, 4)
    values = torch.tensor([1.0, 3.0, 100.0])[None, None, :, None].expand(1, 1, 3, 4)
    relation_values = torch.tensor([10.0, 10.0, 100.0])[None, :, None].expand(1, 3, 4)
    one, keep = torch.ones(1), torch.tensor([[True, True, False]])
    out = relation_attention(
        zero, zero, values, zero[0], zero[0], relation_values, one, 0.5 * one, keep, impl="reference"
    )
    assert torch.equal(out, torch.full((1, 1, 3, 4), 7.0))  # (1 + 3) / 2 + 0.5 * 10


def test_relation_scores_are_shared_by_heads_and_scaled_by_the_gain() -> None:
    zero = torch.zeros(1, 2, 2, 1)
    rq, rk = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]])
    values = torch.tensor([0.0, 1.0])[None, None, :, None].expand(1, 2, 2, 1)
    out = relation_attention(
        zero,
        zero,
        values,
        rq,
        rk,
        0 * rk,
        torch.tensor([3.0]),
        torch.zeros(1),
        torch.ones(1, 2, dtype=torch.bool),
        impl="reference",
    )
    wanted = torch.tensor([1 / (1 + math.exp(-3)), 0.5])
    assert torch.allclose(out[0, :, :, 0], wanted.expand(2, 2))


def test_the_definition_is_differentiable_in_all_eight_inputs() -> None:
    *floats, keep = inputs(2, 2, 3, 4)
    keep[1] = False
    torch.autograd.gradcheck(lambda *x: relation_attention(*x, keep, impl="reference"), floats)


def test_the_fast_form_equals_the_definition_with_every_gradient() -> None:
    *floats, keep = inputs()
    keep[1] = False
    weight = torch.randn(floats[0].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    wanted = relation_attention(*floats, keep, impl="reference")
    out = relation_attention(*floats, keep)
    assert torch.allclose(out, wanted, rtol=0, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad(out, floats, weight), torch.autograd.grad(wanted, floats, weight), strict=True
    ):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_a_user_without_real_items_gets_zeros_and_no_gradient(impl: str) -> None:
    *floats, keep = inputs(dtype=torch.float32)
    keep[1] = False
    out = relation_attention(*floats, keep, impl=impl)
    out.sum().backward()
    assert not out[1].any()
    assert all(not x.grad[1].any() and x.grad[0].any() and x.grad.isfinite().all() for x in floats)


def test_shuffling_a_history_shuffles_the_output() -> None:
    *floats, keep = inputs()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    shuffled = [x[:, :, order] if x.dim() == 4 else x[:, order] if x.dim() == 3 else x for x in floats]
    out = relation_attention(*shuffled, keep[:, order])
    assert torch.allclose(out, relation_attention(*floats, keep)[:, :, order], atol=1e-12)


@pytest.mark.parametrize(
    ("index", "broken", "message"),
    [
        (0, torch.zeros(2, 3), r"q must be \[B, H, T, K\]"),
        (3, torch.zeros(3, 2, 7, 16), "rq must be"),
        (6, torch.zeros(3, 1), r"s_qk must be \[3\]"),
        (4, torch.zeros(3, 7, 16), "rk is torch.float32, q is torch.float64"),
        (8, torch.zeros(3, 7), "keep must be bool"),
    ],
)
def test_wrong_inputs_are_named(index: int, broken: Tensor, message: str) -> None:
    given = inputs()
    given[index] = broken
    with pytest.raises(ValueError, match=message):
        relation_attention(*given)


def test_an_explicit_triton_is_refused_without_a_gpu() -> None:
    with pytest.raises(ValueError, match="impl='triton' cannot run"):
        relation_attention(*inputs(), impl="triton")


def test_an_unknown_impl_is_refused() -> None:
    with pytest.raises(ValueError, match="use 'auto', 'triton' or 'reference'"):
        relation_attention(*inputs(), impl="fast")
