"""Compressed rows against dense matrices."""

from __future__ import annotations

import subprocess
import sys

import torch

from mmgrec_kernels.csr import csr_tensor, sampled_products


def places() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A dense pattern ``[7, 5]`` with an empty row and an empty column, and its compressed rows."""
    dense = torch.rand(7, 5, generator=torch.Generator().manual_seed(3)) < 0.5
    dense[2], dense[:, 4] = False, False
    first = torch.cat([torch.zeros(1, dtype=torch.int64), dense.sum(1).cumsum(0)])
    return dense, first, dense.nonzero()[:, 1]


def test_products_are_those_of_the_dense_matrix_at_its_places() -> None:
    dense, first, column = places()
    generator = torch.Generator().manual_seed(4)
    rows, columns = torch.randn(7, 3, generator=generator), torch.randn(5, 3, generator=generator)
    torch.testing.assert_close(sampled_products(first, column, rows, columns), (rows @ columns.T)[dense])
    nothing = sampled_products(torch.zeros(8, dtype=torch.int64), column[:0], rows, columns)
    assert nothing.shape == (0,)


def test_a_matrix_is_taken_as_it_is() -> None:
    dense, first, column = places()
    matrix = csr_tensor(first, column, torch.ones(column.numel()), (7, 5))
    assert torch.equal(matrix.to_dense(), dense.float())


def test_a_process_hears_no_warning() -> None:
    """In a process of its own: torch warns only once in each."""
    told = "first, column = torch.tensor([0, 1]), torch.tensor([0])"
    once = "csr_tensor(first, column, torch.ones(1), (1, 1))"
    both = f"sampled_products(first, column, torch.ones(1, 2), torch.ones(1, 2)); {once}"
    imports = "import warnings, torch; from mmgrec_kernels.csr import csr_tensor, sampled_products"
    lines = [imports, "warnings.simplefilter('error')", told, once, both]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
