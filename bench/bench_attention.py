"""Relation-aware attention against other ways to the same result: forward, backward and both."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from _harness import Book, device
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmgrec_kernels import relation_attention
from mmgrec_kernels.relation_attention import checks, reference

H200_BYTES_A_SECOND = 4.3e12


def published(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """The formula as published: every head multiplies the relation matrices again."""
    heads = q.shape[1]
    alive = keep.any(dim=1)
    relation_q = (s_qk[:, None, None] * rq)[:, None].repeat(1, heads, 1, 1)
    relation_k = rk[:, None].repeat(1, heads, 1, 1)
    scores = (q @ k.mT + relation_q @ relation_k.mT) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~(keep | ~alive[:, None])[:, None, None, :], float("-inf"))
    out = scores.softmax(dim=-1) @ (v + (s_v[:, None, None] * rv)[:, None])
    return out.masked_fill(~alive[:, None, None, None], 0.0)


def sdpa_concat(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """Fused attention on ``[q; s rq] . [k; rk]``: the same scores, twice as wide."""
    alive = keep.any(dim=1)
    both_q = torch.cat([q, (s_qk[:, None, None] * rq)[:, None].expand_as(q)], dim=-1)
    both_k = torch.cat([k, rk[:, None].expand_as(k)], dim=-1)
    values = v + (s_v[:, None, None] * rv)[:, None]
    mask = (keep | ~alive[:, None])[:, None, None, :]
    out = scaled_dot_product_attention(both_q, both_k, values, attn_mask=mask, scale=1 / math.sqrt(q.shape[-1]))
    return out.masked_fill(~alive[:, None, None, None], 0.0)


def sdpa_float_mask(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """Fused attention with the relation scores as its float mask."""
    alive = keep.any(dim=1)
    bias = (rq * (s_qk / math.sqrt(q.shape[-1]))[:, None, None]) @ rk.mT
    bias = bias.masked_fill(~(keep | ~alive[:, None])[:, None, :], float("-inf"))
    values = v + (s_v[:, None, None] * rv)[:, None]
    out = scaled_dot_product_attention(q, k, values, attn_mask=bias[:, None])
    return out.masked_fill(~alive[:, None, None, None], 0.0)


FORMS: dict[str, checks.Form] = {
    "mmgrec": relation_attention,
    "published formula": published,
    "naive, shared relation": reference.relation_attention,
    "SDPA on concatenation": sdpa_concat,
    "SDPA with float mask": sdpa_float_mask,
}


def floor_ms(users: int, heads: int, length: int, size: int, dtype: torch.dtype) -> float:
    """Least time of forward and backward by memory traffic on an H200: inputs read twice, results written once."""
    wide, narrow = users * heads * length * size, users * length * size
    moved = (3 * wide + 3 * narrow) * 2 + wide * 2 + (3 * wide + 3 * narrow)  # inputs twice, out and d_out, gradients
    return moved * dtype.itemsize / H200_BYTES_A_SECOND * 1e3


def cases(book: Book) -> list[tuple[int, int, int, int, torch.dtype]]:
    if device().type == "cuda":
        return [
            (book.sized(512, 3000), 4, 32, 64, torch.bfloat16),
            (book.sized(64, 1024), 8, 200, 64, torch.bfloat16),
            (book.sized(512, 3000), 4, 32, 64, torch.float32),
        ]
    return [(book.sized(512, 3000), 4, 32, 64, torch.float32), (book.sized(16, 1024), 8, 200, 64, torch.float32)]


@pytest.mark.parametrize("which", range(3))
def test_relation_attention(which: int, book: Book) -> None:
    shapes = cases(book)
    if which >= len(shapes):
        pytest.skip("fewer shapes on a CPU")
    users, heads, length, size, dtype = shapes[which]
    generator = torch.Generator().manual_seed(0)
    small = checks.draw_case(8, heads, length, size, generator=generator, dtype=dtype, device=device())
    case = checks.draw_case(users, heads, length, size, generator=generator, dtype=dtype, device=device())
    leaves = [x.requires_grad_() for x in case.floats]
    sizes = f"B {users}, T {length}, H {heads}, K {size}, {str(dtype).removeprefix('torch.')}"
    outputs = {name: form(*leaves, case.keep) for name, form in FORMS.items()}

    @functools.cache
    def verify(name: str) -> str:
        return "; ".join(checks.problems(FORMS[name], small))

    def forward(form: checks.Form) -> Tensor:
        with torch.no_grad():
            return form(*leaves, case.keep)

    def backward(name: str) -> tuple[Tensor, ...]:
        return torch.autograd.grad(outputs[name], leaves, case.d_out, retain_graph=True)

    def full(form: checks.Form) -> tuple[Tensor, ...]:
        return torch.autograd.grad(form(*leaves, case.keep), leaves, case.d_out)

    floor = floor_ms(users, heads, length, size, dtype) if device().type == "cuda" else None
    book.race(
        f"attention forward, {sizes}",
        {name: functools.partial(forward, form) for name, form in FORMS.items()},
        verify=verify,
    )
    book.race(
        f"attention backward, {sizes}", {name: functools.partial(backward, name) for name in FORMS}, verify=verify
    )
    medians = book.race(
        f"attention forward + backward, {sizes}",
        {name: functools.partial(full, form) for name, form in FORMS.items()},
        verify=verify,
        floor_ms=floor,
    )
    assert "mmgrec" in medians, "our form gave a wrong result and was not timed"
