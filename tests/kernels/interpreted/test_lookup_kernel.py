"""The look-up kernel in the interpreter: every token exact, residuals and sums bit by bit."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmgrec_kernels import residual_lookup
from mmgrec_kernels.residual_lookup import checks

triton_form = functools.partial(residual_lookup, impl="triton")


def draw(num: int, dim: int, codes: tuple[int, ...], *, offset: float = 0.0) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(num + dim)
    z = torch.randn(num, dim, generator=generator) + offset
    books = [torch.randn(size, dim, generator=generator) * 0.6**level for level, size in enumerate(codes)]
    books[0] += offset
    return z, books


@pytest.mark.parametrize(
    ("num", "dim", "codes"),
    [
        (1, 1, (1,)),
        (1, 64, (256, 256, 256)),
        (1000, 4, (128, 128, 128)),
        (700, 64, (256, 256, 256)),
        (129, 16, (64,)),
        (64, 24, (65, 1, 3)),
        (65, 3, (17, 100)),
        (50, 200, (40, 40)),
    ],
)
def test_every_token_is_the_nearest(num: int, dim: int, codes: tuple[int, ...]) -> None:
    assert checks.problems(triton_form, *draw(num, dim, codes)) == []


@pytest.mark.parametrize("dim", [4, 32])
def test_an_offset_a_thousand_times_the_spread_changes_no_token(dim: int) -> None:
    assert checks.problems(triton_form, *draw(300, dim, (64, 64), offset=1000.0)) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_vectors(dtype: torch.dtype) -> None:
    z, books = draw(200, 32, (64, 30))
    assert checks.problems(triton_form, z.to(dtype), [book.to(dtype) for book in books]) == []


@pytest.mark.parametrize("dim", [2, 16])
def test_points_of_a_grid_tie_and_the_lowest_index_wins(dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    z = torch.randint(-2, 3, (200, dim), generator=generator).float()
    books = [torch.randint(-2, 3, (90, dim), generator=generator).float() for _ in range(2)]
    assert checks.problems(triton_form, z, books) == []


def test_codewords_that_differ_by_a_rounding_step_are_told_apart() -> None:
    z, (book,) = draw(400, 32, (80,))
    twins = torch.cat([book, book + 3e-7 * book.sign(), book])[torch.arange(240) * 7 % 240]
    assert checks.problems(triton_form, z, [twins]) == []


def test_all_codewords_equal() -> None:
    z, _ = draw(100, 16, (1,))
    assert checks.problems(triton_form, z, [torch.ones(40, 16), torch.zeros(3, 16)]) == []


def test_vectors_that_are_not_finite_get_tokens_in_range_and_disturb_no_neighbour() -> None:
    z, books = draw(70, 16, (40, 40))
    wanted = triton_form(z, books).tokens
    z[3], z[40, 2] = float("nan"), float("inf")
    tokens = triton_form(z, books).tokens
    others = torch.arange(70)[(torch.arange(70) != 3) & (torch.arange(70) != 40)]
    assert tokens.min() >= 0
    assert tokens.max() < 40
    assert torch.equal(tokens[others], wanted[others])


def test_views_are_taken_as_they_are() -> None:
    z, books = draw(60, 48, (30, 20))
    assert checks.problems(triton_form, z[:, ::2], [book.t().contiguous().t()[:, ::2] for book in books]) == []


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    num=st.integers(1, 150),
    dim=st.integers(1, 70),
    codes=st.lists(st.integers(1, 90), min_size=1, max_size=3),
)
def test_shapes_nobody_chose(num: int, dim: int, codes: list[int]) -> None:
    assert checks.problems(triton_form, *draw(num, dim, tuple(codes))) == []


def test_the_operation_keeps_the_rules_of_torch_library() -> None:
    torch.library.opcheck(torch.ops.mmgrec.residual_lookup.default, draw(40, 16, (20, 8)))
