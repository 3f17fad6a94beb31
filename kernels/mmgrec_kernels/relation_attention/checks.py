"""How exact a form of relation-aware attention is: output and all eight gradients against a float64 oracle.

Used by the tests on every machine and by the benchmarks before they time anything. The tolerance comes from the data:
an error may be twice the definition's own in the same dtype, plus one rounding step of the terms that were summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmgrec_kernels.relation_attention import reference

__all__ = ["NAMES", "Case", "Form", "draw_case", "errors", "measure", "problems"]

NAMES = ("out", "dq", "dk", "dv", "drq", "drk", "drv", "ds_qk", "ds_v")
Form = Callable[..., Tensor]  # the public function's nine tensors -> [B, H, T, K]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Inputs of one check."""

    floats: tuple[Tensor, ...]  # q, k, v [B, H, T, K]; rq, rk, rv [B, T, K]; s_qk, s_v [B]
    keep: Tensor  # [B, T] bool
    d_out: Tensor  # [B, H, T, K]

    def to(self, dtype: torch.dtype) -> Case:
        return replace(self, floats=tuple(x.to(dtype) for x in self.floats), d_out=self.d_out.to(dtype))


def draw_case(
    users: int,
    heads: int,
    length: int,
    size: int,
    *,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    split: bool = False,
) -> Case:
    """Random inputs with a random share of padding; of the last of several users all is padding.

    Args:
        users: B.
        heads: H.
        length: T.
        size: K.
        generator: Draws everything, on the CPU.
        dtype: Of the floats.
        device: Where the case is to be.
        split: Lay the heads out as a projection split into heads does, ``[B, T, H, K]`` in memory.
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    def draw_heads() -> Tensor:
        if split:
            return draw(users, length, heads, size).transpose(1, 2)
        return draw(users, heads, length, size)

    wide = [draw_heads() for _ in range(3)]
    narrow = [draw(users, length, size) for _ in range(3)]
    keep = torch.rand(users, length, generator=generator) < 0.75
    keep[:, length // 2] = False
    keep[:, 0] = keep[:, -1] = True  # what lies at an edge matters
    if users > 1:
        keep[-1] = False
    floats = (*wide, *narrow, draw(users), draw(users))
    return Case(floats=floats, keep=keep.to(device), d_out=draw_heads())


def measure(form: Form, case: Case) -> dict[str, Tensor]:
    """Output and gradients of a form, by the names in ``NAMES``."""
    leaves = [x.detach().requires_grad_() for x in case.floats]
    out = form(*leaves, case.keep)
    gradients = torch.autograd.grad(out, leaves, case.d_out)
    return dict(zip(NAMES, (out.detach(), *gradients), strict=True))


def _mass(case: Case) -> dict[str, Tensor]:
    """What each result would be if no two terms of its sums cancelled: rounding errors grow with it."""
    q, k, v, rq, rk, rv, s_qk, s_v = (x.abs() for x in case.to(torch.float64).floats)
    d_out = case.d_out.double().abs()
    scale = 1 / math.sqrt(q.shape[-1])
    weights = _weights(case.to(torch.float64))
    values = v + (s_v[:, None, None] * rv)[:, None]
    relation = rq @ rk.mT
    scores = (q @ k.mT + (s_qk[:, None, None] * relation)[:, None]) * scale
    # An error of a score is one of its weight, relatively: weights carry 1 + |score| steps.
    loose = weights * (1 + scores + (weights * scores).sum(dim=-1, keepdim=True))
    d_weights = d_out @ values.mT
    d_scores = loose * (d_weights + (weights * d_weights).sum(dim=-1, keepdim=True)) * scale
    d_map = d_scores.sum(dim=1)
    d_values = loose.mT @ d_out
    d_shared = d_values.sum(dim=1)
    s_qk, s_v = s_qk[:, None, None], s_v[:, None, None]
    sums = (
        loose @ values,
        d_scores @ k,
        d_scores.mT @ q,
        d_values,
        s_qk * (d_map @ rk),
        s_qk * (d_map.mT @ rq),
        s_v * d_shared,
        (d_map * relation).sum(dim=(1, 2)),
        (d_shared * rv).sum(dim=(1, 2)),
    )
    return dict(zip(NAMES, sums, strict=True))


def _weights(case: Case) -> Tensor:
    """Attention weights by the definition: its output when the values are the unit vectors."""
    q, k, _, rq, rk, _, s_qk, _ = case.floats
    length = q.shape[2]
    alive = case.keep.any(dim=1)
    scores = (q @ k.mT + (s_qk[:, None, None] * (rq @ rk.mT))[:, None]) / math.sqrt(q.shape[-1])
    hidden = ~case.keep & alive[:, None]
    weights = scores.masked_fill(hidden[:, None, None, :], float("-inf")).softmax(dim=-1)
    assert weights.shape[-1] == length
    return weights * alive[:, None, None, None]


def errors(results: Mapping[str, Tensor], case: Case) -> dict[str, float]:
    """Worst error of each result as a share of what is allowed: 1 is the limit, NaN counts as infinite."""
    exact = measure(reference.relation_attention, case.to(torch.float64))
    twin = measure(reference.relation_attention, case)
    mass = _mass(case)
    step = torch.finfo(case.d_out.dtype).eps
    worst = {}
    for name in NAMES:
        allowed = 2 * (twin[name].double() - exact[name]).abs().max() + step * mass[name]
        off = (results[name].double() - exact[name]).abs().nan_to_num(nan=float("inf"))
        share = torch.where(off == 0, 0.0, off / allowed)  # nothing is allowed where there is nothing to sum
        worst[name] = float(share.max())
    return worst


def problems(form: Form, case: Case) -> list[str]:
    """What is wrong with a form, in words; empty when nothing is."""
    results = measure(form, case)
    said = [
        f"{name} is {share:.3g} times the error allowed" for name, share in errors(results, case).items() if share > 1
    ]
    dead = ~case.keep.any(dim=1)
    said += [f"{name} of a user without a real item is not zero" for name in NAMES if results[name][dead].any()]
    return said
