"""Inner products of chosen pairs equal the plain gather, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmgrec.generator.ragged import BLOCK, ragged_dot


def pairs(
    num_pairs: int, rows: int = 5, columns: int = 7, dim: int = 3, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dim, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    y = torch.randn(columns, dim, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    row = torch.randint(rows, (num_pairs,), generator=g).sort().values
    return x, y, row, torch.randint(columns, (num_pairs,), generator=g)


def gradients(out: Tensor, x: Tensor, y: Tensor, seed: int = 9) -> tuple[Tensor, Tensor]:
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.autograd.grad((out * weight.to(out.dtype)).sum(), (x, y))  # type: ignore[return-value]


@pytest.mark.parametrize("num_pairs", [0, 1, 40, BLOCK, 2 * BLOCK + 17])
def test_values_and_gradients_are_those_of_the_gather(num_pairs: int) -> None:
    x, y, row, column = pairs(num_pairs)
    exact_x, exact_y = (side.detach().double().requires_grad_() for side in (x, y))
    exact = (exact_x[row] * exact_y[column]).sum(1)
    out = ragged_dot(x, y, row, column)
    torch.testing.assert_close(out, exact.float())
    for gradient, wanted in zip(gradients(out, x, y), gradients(exact, exact_x, exact_y), strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-4)


def test_double_precision_passes_gradcheck() -> None:
    x, y, row, column = pairs(12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a, b: ragged_dot(a, b, row, column), (x, y))


def test_a_pair_named_twice_counts_twice() -> None:
    x, y = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[3.0, 4.0]], requires_grad=True)
    zero = torch.zeros(3, dtype=torch.int64)
    out = ragged_dot(x, y, zero, zero)
    assert out.tolist() == [11.0] * 3
    out.sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.tolist() == [[9.0, 12.0]]
    assert y.grad.tolist() == [[3.0, 6.0]]


def test_rows_without_a_pair_get_zero_gradient() -> None:
    x, y, _, _ = pairs(0)
    out = ragged_dot(x, y, torch.tensor([1, 1, 4]), torch.tensor([0, 6, 2]))
    to_x, to_y = gradients(out, x, y)
    assert to_x[[0, 2, 3]].eq(0).all()
    assert to_y[[1, 3, 4, 5]].eq(0).all()
    assert to_x[[1, 4]].ne(0).any(1).all()


def test_no_rows_at_all() -> None:
    x = torch.zeros(0, 3, requires_grad=True)
    y = torch.ones(2, 3, requires_grad=True)
    none = torch.zeros(0, dtype=torch.int64)
    out = ragged_dot(x, y, none, none)
    to_x, to_y = torch.autograd.grad(out.sum(), (x, y))
    assert (out.shape, to_x.shape) == ((0,), (0, 3))
    assert to_y.eq(0).all()


@pytest.mark.parametrize("which", [0, 1])
def test_one_side_alone_may_be_learnt(which: int) -> None:
    x, y, row, column = pairs(9)
    (y, x)[which].requires_grad_(False)
    learnt = (x, y)[which]
    (grad,) = torch.autograd.grad(ragged_dot(x, y, row, column).sum(), learnt)
    (wanted,) = torch.autograd.grad((x[row] * y[column]).sum(), learnt)
    torch.testing.assert_close(grad, wanted)


def test_the_backward_pass_is_the_same_to_the_bit() -> None:
    x, y, row, column = pairs(5000)
    first, second = (gradients(ragged_dot(x, y, row, column), x, y) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
