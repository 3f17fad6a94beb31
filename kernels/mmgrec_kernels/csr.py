"""torch's sparse matrices by compressed rows, and inner products at their places alone.

Here only because torch warns, once a process, that its CSR support is a beta; what uses it is told in our own words.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

__all__ = ["csr_tensor", "sampled_products"]


def csr_tensor(first: Tensor, column: Tensor, weight: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse CSR tensor, taken as it is without a check.

    Args:
        first: ``[R + 1]`` integers, where the entries of each row begin, and their number.
        column: ``[E]`` integers of the same type.
        weight: ``[E]``.
        shape: ``(R, columns)``.
    """
    _hear_the_warning()
    return torch.sparse_csr_tensor(first, column, weight, shape, check_invariants=False)


def sampled_products(first: Tensor, column: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``[E]``: ``rows[r] . columns[column[e]]`` for e from ``first[r]`` to ``first[r + 1]``; no other is computed.

    Args:
        first: ``[R + 1]`` integers.
        column: ``[E]`` integers of the same type.
        rows: ``[R, D]`` float32.
        columns: ``[C, D]`` float32.
    """
    pattern = csr_tensor(first, column, rows.new_zeros(column.numel()), (rows.shape[0], columns.shape[0]))
    product: Tensor = torch.sparse.sampled_addmm(pattern, rows, columns.T, beta=0.0)
    return product.values()


@cache
def _hear_the_warning() -> None:
    """torch's one warning, heard here; filters belong to all threads, so they are not touched at every call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR", category=UserWarning)
        first, column = torch.tensor([0, 0]), torch.tensor([], dtype=torch.int64)
        torch.sparse_csr_tensor(first, column, torch.tensor([]), (1, 1), check_invariants=False)
