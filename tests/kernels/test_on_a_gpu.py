"""The attention and look-up kernels on a device, at the sizes they are made for."""

from __future__ import annotations

import functools

import pytest
import torch

from mmgrec_kernels import relation_attention, residual_lookup
from mmgrec_kernels.relation_attention import checks as attention_checks
from mmgrec_kernels.residual_lookup import checks as lookup_checks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

attention = functools.partial(relation_attention, impl="triton")
lookup = functools.partial(residual_lookup, impl="triton")

SHAPES = [  # users, heads, length, size, dtype
    (3000, 4, 32, 64, torch.bfloat16),
    (3000, 4, 32, 64, torch.float32),
    (3000, 4, 32, 16, torch.float32),
    (512, 4, 50, 64, torch.bfloat16),
    (512, 2, 50, 128, torch.float32),
    (128, 8, 200, 64, torch.bfloat16),
    (128, 8, 200, 64, torch.float16),
    (128, 8, 200, 64, torch.float32),
    (64, 2, 200, 128, torch.bfloat16),
    (16, 2, 500, 64, torch.bfloat16),
    (5, 3, 1, 16, torch.float32),
    (5, 3, 65, 32, torch.bfloat16),
]


def case(users: int, heads: int, length: int, size: int, dtype: torch.dtype) -> attention_checks.Case:
    generator = torch.Generator().manual_seed(length)
    return attention_checks.draw_case(
        users, heads, length, size, generator=generator, dtype=dtype, device="cuda", split=True
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradients(shape: tuple[int, int, int, int, torch.dtype]) -> None:
    assert attention_checks.problems(attention, case(*shape)) == []


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_bit_identical_run_to_run(shape: tuple[int, int, int, int, torch.dtype]) -> None:
    drawn = case(*shape)
    first, second = attention_checks.measure(attention, drawn), attention_checks.measure(attention, drawn)
    assert all(torch.equal(first[name], second[name]) for name in attention_checks.NAMES)


def test_no_map_of_scores_is_in_memory() -> None:
    drawn = case(256, 8, 200, 64, torch.bfloat16)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        attention(*drawn.floats, drawn.keep)
    taken = torch.cuda.max_memory_allocated() - before
    assert taken < 256 * 8 * 200 * 200 * 2


@pytest.mark.parametrize(("num", "dim", "codes"), [(10_000_000, 64, 256), (10_000_000, 4, 128), (1_000_000, 200, 100)])
def test_every_token_is_the_nearest(num: int, dim: int, codes: int) -> None:
    generator = torch.Generator(device="cuda").manual_seed(dim)
    z = torch.randn(num, dim, generator=generator, device="cuda")
    books = [0.7**level * torch.randn(codes, dim, generator=generator, device="cuda") for level in range(3)]
    tokens = lookup(z, books).tokens
    some = torch.randint(num, (200_000,), generator=generator, device="cuda")
    assert lookup_checks.wrong_tokens(tokens[some], z[some], books) == 0
    assert lookup_checks.problems(lookup, z[-1000:], books) == []


def test_ties_and_near_ties() -> None:
    generator = torch.Generator(device="cuda").manual_seed(0)
    z = torch.randn(100_000, 32, generator=generator, device="cuda")
    book = torch.randn(80, 32, generator=generator, device="cuda")
    books = [torch.cat([book + 3e-7 * book.sign(), book, book]), torch.ones(5, 32, device="cuda")]
    assert lookup_checks.problems(lookup, z, books) == []
