"""The attention kernels in the interpreter: forward and every gradient against float64."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_kernels import relation_attention
from mmgrec_kernels.relation_attention import checks
from mmgrec_kernels.relation_attention.sizes import WHOLE_LENGTH, plan

WAYS = [(20, torch.float32), (70, torch.bfloat16), (70, torch.float32)]
triton_form = functools.partial(relation_attention, impl="triton")


def case(
    users: int, heads: int, length: int, size: int, dtype: torch.dtype = torch.float32, *, split: bool = False
) -> checks.Case:
    generator = torch.Generator().manual_seed(users + 10 * length + size)
    return checks.draw_case(users, heads, length, size, generator=generator, dtype=dtype, split=split)


def test_fresh_memory_is_nan() -> None:
    assert torch.empty(3).isnan().all()


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("length", [1, 7, 20, 32, 50, 65])
def test_output_and_gradients_in_float32(length: int, size: int) -> None:
    assert checks.problems(triton_form, case(3, 2, length, size)) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [7, 32, 65])
def test_output_and_gradients_in_16_bits(length: int, dtype: torch.dtype) -> None:
    assert checks.problems(triton_form, case(3, 2, length, 32, dtype)) == []


@pytest.mark.parametrize(
    ("length", "dtype"), [(200, torch.float32), (200, torch.bfloat16), (256, torch.float16), (300, torch.bfloat16)]
)
def test_long_histories(length: int, dtype: torch.dtype) -> None:
    assert checks.problems(triton_form, case(1, 1, length, 16, dtype)) == []


def test_the_cases_here_take_every_way() -> None:
    ways = {plan(length=length, size=16, dtype=dtype, chip=90).way for length, dtype in WAYS}
    assert ways == {"whole", "blocked"}


def test_heads_of_128_dimensions() -> None:
    assert checks.problems(triton_form, case(2, 1, 9, 128)) == []


def test_a_projection_split_into_heads_is_taken_as_it_lies() -> None:
    assert checks.problems(triton_form, case(2, 3, 20, 16, split=True)) == []


def test_inputs_of_any_strides() -> None:
    drawn = case(2, 2, 14, 32)
    sparse = tuple(torch.stack([x, x.neg()], dim=-1)[..., 0] for x in drawn.floats)
    mixed = (sparse[0].transpose(1, 2).contiguous().transpose(1, 2), *sparse[1:])
    strided = checks.Case(
        floats=mixed, keep=drawn.keep[:, :1].expand(2, 14), d_out=drawn.d_out[:, :1].expand(2, 2, 14, 32)
    )
    assert not any(x.is_contiguous() for x in (*mixed, strided.keep, strided.d_out))
    assert checks.problems(triton_form, strided) == []


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    users=st.integers(1, 3),
    heads=st.integers(1, 3),
    length=st.integers(1, WHOLE_LENGTH + 10),
    size=st.sampled_from([16, 32]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_shapes_nobody_chose(users: int, heads: int, length: int, size: int, dtype: torch.dtype) -> None:
    assert checks.problems(triton_form, case(users, heads, length, size, dtype)) == []


@pytest.mark.parametrize(("length", "dtype"), WAYS)
def test_gradients_are_bit_identical_run_to_run(length: int, dtype: torch.dtype) -> None:
    drawn = case(2, 2, length, 16, dtype)
    first, second = checks.measure(triton_form, drawn), checks.measure(triton_form, drawn)
    assert all(torch.equal(first[name], second[name]) for name in checks.NAMES)


@pytest.mark.parametrize(("length", "dtype"), WAYS)
def test_huge_scores_do_not_overflow(length: int, dtype: torch.dtype) -> None:
    drawn = case(2, 1, length, 16, dtype)
    q, k, *rest = drawn.floats
    loud = checks.Case(floats=(q * 100, k * 10, *rest), keep=drawn.keep, d_out=drawn.d_out)
    assert all(result.isfinite().all() for result in checks.measure(triton_form, loud).values())


@pytest.mark.parametrize(("length", "dtype"), [(5, torch.float32), (66, torch.bfloat16)])
def test_the_operation_keeps_the_rules_of_torch_library(length: int, dtype: torch.dtype) -> None:
    drawn = case(1, 2, length, 16, dtype, split=True)
    leaves = [x.clone().requires_grad_() for x in drawn.floats]
    torch.library.opcheck(torch.ops.mmgrec.relation_attention.default, (*leaves, drawn.keep), rtol=1e-4, atol=1e-4)


def test_compiling_around_the_operation_keeps_its_results() -> None:
    drawn = case(2, 2, 6, 16)
    compiled = torch.compile(lambda *x: triton_form(*x) * 2, backend="aot_eager", fullgraph=True)
    doubled = checks.measure(compiled, drawn)
    plain = checks.measure(triton_form, drawn)
    assert all(torch.equal(doubled[name], 2 * plain[name]) for name in checks.NAMES)
