"""Inner products of chosen pairs of rows, without holding the pairs' vectors.

For the head `tree` in training: each prefix with its children, of which there are few, and not equally many.

On the CPU the forward pass works through blocks that fit a core's cache and the backward pass is two sparse products
(scipy), several times faster than gathering both sides; on a GPU it is the plain gather.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BLOCK", "ragged_dot"]

BLOCK = 1024  # pairs that the CPU works on at a time


def ragged_dot(x: Tensor, y: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """``out[r] = x[row[r]] . y[column[r]]``, differentiable in x and y.

    Args:
        x: ``[M, D]`` float32.
        y: ``[N, D]`` float32.
        row: ``[R]`` int64, ascending, in M.
        column: ``[R]`` int64, in N.

    >>> ragged_dot(torch.eye(2), torch.tensor([[3.0, 4.0]]), torch.tensor([0, 1]), torch.tensor([0, 0])).tolist()
    [3.0, 4.0]
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return (F.embedding(row, x) * F.embedding(column, y)).sum(1)
    return _RaggedDot.apply(x, y, row, column)  # type: ignore[no-any-return, no-untyped-call]


class _RaggedDot(torch.autograd.Function):
    """`ragged_dot` on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, row: Tensor, column: Tensor) -> Tensor:  # Any: torch has no type for it
        ctx.save_for_backward(x, y, row, column)
        out = x.new_empty(row.numel())
        for start in range(0, row.numel(), BLOCK):
            block = slice(start, start + BLOCK)
            torch.sum(x[row[block]].mul_(y[column[block]]), dim=1, out=out[block])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        import scipy.sparse as sp

        x, y, row, column = ctx.saved_tensors
        first = np.searchsorted(row.numpy(), np.arange(x.shape[0] + 1))
        pairs = sp.csr_array((grad.contiguous().numpy(), column.numpy(), first), shape=(x.shape[0], y.shape[0]))
        to_x = torch.from_numpy(pairs @ y.detach().contiguous().numpy()) if ctx.needs_input_grad[0] else None
        to_y = torch.from_numpy(pairs.T.tocsr() @ x.detach().contiguous().numpy()) if ctx.needs_input_grad[1] else None
        return to_x, to_y, None, None
