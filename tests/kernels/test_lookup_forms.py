"""Residual look-up on the CPU: the definition against hand-made answers, the chunked form against the definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec_kernels import nearest_codeword, residual_lookup


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_levels_quantize_what_is_left(impl: str) -> None:
    books = [torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])]
    lookup = residual_lookup(torch.tensor([[3.0, 0.25], [0.0, 1.0]]), books, impl=impl)
    assert lookup.tokens.tolist() == [[1, 1], [0, 0]]
    assert lookup.quantized.tolist() == [[3.0, 0.0], [0.0, 1.0]]
    assert lookup.residuals.tolist() == [[0.0, 0.25], [0.0, 0.0]]


@pytest.mark.parametrize("impl", ["auto", "reference"])
def test_the_lowest_index_wins_a_tie(impl: str) -> None:
    codebook = torch.tensor([[5.0], [1.0], [-1.0], [1.0]])
    assert nearest_codeword(torch.tensor([[0.0], [1.0], [3.0]]), codebook, impl=impl).tolist() == [1, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_chunked_codes_are_the_definitions(dtype: torch.dtype) -> None:
    z = draw(3001, 12, dtype=dtype)
    books = [draw(size, 12, dtype=dtype) for size in (64, 1, 100)]
    lookup, wanted = residual_lookup(z, books), residual_lookup(z, books, impl="reference")
    assert torch.equal(lookup.tokens, wanted.tokens)
    assert torch.equal(lookup.residuals, wanted.residuals)
    assert torch.equal(lookup.quantized, wanted.quantized)


def test_an_offset_a_thousand_times_the_spread_changes_no_code() -> None:
    z = draw(2000, 16) + 1000
    books = [draw(64, 16) + 1000, draw(64, 16) / 4]
    assert torch.equal(residual_lookup(z, books).tokens, residual_lookup(z, books, impl="reference").tokens)


def test_repeated_codewords_never_give_the_later_index() -> None:
    codebook = draw(32, 8).repeat(3, 1)
    assert nearest_codeword(draw(5000, 8), codebook).max() < 32


def test_views_are_taken_as_they_are() -> None:
    wide, books = draw(50, 24), [draw(24, 20).t()[:, ::2]]
    z = wide[:, ::2]
    assert torch.equal(residual_lookup(z, books).tokens, residual_lookup(z, books, impl="reference").tokens)


def test_no_vectors_give_no_tokens() -> None:
    lookup = residual_lookup(torch.zeros(0, 4), [torch.ones(3, 4), torch.ones(2, 4)])
    assert (lookup.tokens.shape, lookup.residuals.shape) == ((0, 2), (0, 4))


@pytest.mark.parametrize(
    ("z", "books", "message"),
    [
        (torch.zeros(3), [torch.zeros(2, 3)], r"z must be \[N, D\]"),
        (torch.zeros(3, 2, dtype=torch.int64), [torch.zeros(2, 2)], "z must be floating point"),
        (torch.zeros(3, 2), [], "there is no codebook"),
        (torch.zeros(3, 2), [torch.zeros(0, 2)], "codebook 0 must be"),
        (torch.zeros(3, 2), [torch.zeros(4, 2), torch.zeros(4, 3)], "codebook 1 has dim 3, z has dim 2"),
        (torch.zeros(3, 2), [torch.zeros(4, 2).double()], "codebook 0 is torch.float64, z is torch.float32"),
    ],
)
def test_wrong_inputs_are_named(z: Tensor, books: list[Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        residual_lookup(z, books)
