"""Edges whose weights are learnt: attention over neighbours and weighted sums, with gradients in weights and vectors.

Where the weights are constants, `sparse.FixedMatrix` is the simpler thing. On the CPU sums are weighted bags of rows,
and inner products torch's sampled ones: many times faster than gathering a vector for each edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgrec_kernels.csr import sampled_products
from mmgrec_plugins.representations.sparse import weighted_rows

__all__ = ["Edges"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges:
    """Directed edges in the order of their receivers; build with `Edges.of`, which sorts."""

    receiver: Tensor  # [E] int64, ascending
    sender: Tensor  # [E] int64, ascending for each receiver
    num_receivers: int
    num_senders: int

    @classmethod
    def of(cls, receiver: Tensor, sender: Tensor, *, num_receivers: int, num_senders: int) -> Edges:
        order = (receiver * num_senders + sender).argsort()
        return cls(receiver=receiver[order], sender=sender[order], num_receivers=num_receivers, num_senders=num_senders)

    def dot(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """``[E]``: inner product of both ends; receivers ``[num_receivers, D]``, senders ``[num_senders, D]``."""
        if receivers.device.type != "cpu":
            receiver, sender = self._on(receivers.device)
            return (F.embedding(receiver, receivers) * F.embedding(sender, senders)).sum(1)
        return _Dot.apply(receivers, senders, self)  # type: ignore[no-any-return, no-untyped-call]

    def softmax(self, logits: Tensor) -> Tensor:
        """``[E]`` -> ``[E]``: shares among the edges of each receiver."""
        receiver, _ = self._on(logits.device)
        empty = logits.new_zeros(self.num_receivers)
        highest = empty.scatter_reduce(0, receiver, logits.detach(), "amax", include_self=False)
        weight = (logits - highest[receiver]).exp()
        total = empty.index_add(0, receiver, weight)
        return weight / total[receiver]

    def sum(self, weight: Tensor, senders: Tensor) -> Tensor:
        """``[num_receivers, D]``: for each receiver the sum of ``weight [E]`` times ``senders [num_senders, D]``."""
        if senders.device.type != "cpu":
            receiver, sender = self._on(senders.device)
            gathered = weight[:, None] * F.embedding(sender, senders)
            return senders.new_zeros(self.num_receivers, senders.shape[1]).index_add(0, receiver, gathered)
        return _Sum.apply(weight, senders, self)  # type: ignore[no-any-return, no-untyped-call]

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.receiver.to(device), self.sender.to(device)

    def products(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """`dot` without a gradient, on the CPU."""
        return sampled_products(*self._rows, receivers.detach(), senders.detach())

    def sums(self, weight: Tensor, senders: Tensor) -> Tensor:
        """`sum` without a gradient, on the CPU."""
        return weighted_rows(*self._rows, weight, senders)

    def sums_of_receivers(self, weight: Tensor, receivers: Tensor) -> Tensor:
        """``[num_senders, D]``: the same against the direction of the edges."""
        return weighted_rows(*self._columns, weight.detach()[self._by_sender], receivers)

    @cached_property
    def _by_sender(self) -> Tensor:
        return (self.sender * self.num_receivers + self.receiver).argsort()

    @cached_property
    def _rows(self) -> tuple[Tensor, Tensor]:
        return _compressed(self.receiver, self.sender, self.num_receivers)

    @cached_property
    def _columns(self) -> tuple[Tensor, Tensor]:
        return _compressed(self.sender[self._by_sender], self.receiver[self._by_sender], self.num_senders)


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, receivers: Tensor, senders: Tensor, edges: Edges) -> Tensor:  # Any: torch has no type for it
        ctx.save_for_backward(receivers, senders)
        ctx.edges = edges
        return edges.products(receivers, senders)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        receivers, senders = ctx.saved_tensors
        edges: Edges = ctx.edges
        to_receivers = edges.sums(grad, senders) if ctx.needs_input_grad[0] else None
        to_senders = edges.sums_of_receivers(grad, receivers) if ctx.needs_input_grad[1] else None
        return to_receivers, to_senders, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, senders: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(weight, senders)
        ctx.edges = edges
        return edges.sums(weight, senders)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, senders = ctx.saved_tensors
        edges: Edges = ctx.edges
        to_weight = edges.products(grad, senders) if ctx.needs_input_grad[0] else None
        to_senders = edges.sums_of_receivers(weight, grad) if ctx.needs_input_grad[1] else None
        return to_weight, to_senders, None


def _compressed(row: Tensor, column: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Row pointers and columns, int32."""
    return torch.searchsorted(row, torch.arange(num_rows + 1)).int(), column.int()
