"""Relation-aware attention against other ways to the same result: forward, backward and both."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from harness import Book, Limits, device, limits
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from mmgrec_kernels import relation_attention
from mmgrec_kernels.relation_attention import checks, reference

FLEX = "FlexAttention, captured bias"


#: On a GPU: forward and backward together, by the rivals' names and by the length of the histories
GPU_RATIOS = {"published formula": 5.0, "SDPA on concatenation": 2.0, FLEX: 2.0, "SDPA with float mask": 1.5}
GPU_MOST = {32: 0.27, 200: 1.2}  # ms


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


def flex(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> Tensor:
    """FlexAttention with the relation scores as a captured bias; it is to be compiled, and has no backward on a CPU."""
    alive = keep.any(dim=1)
    bias = ((rq * (s_qk / math.sqrt(q.shape[-1]))[:, None, None]) @ rk.mT).float()
    bias = bias.masked_fill(~(keep | ~alive[:, None])[:, None, :], float("-inf"))

    def with_bias(score: Tensor, user: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + bias[user, query, key]

    out = flex_attention(q, k, v + (s_v[:, None, None] * rv)[:, None], score_mod=with_bias)
    assert isinstance(out, Tensor)
    return out.masked_fill(~alive[:, None, None, None], 0.0)


FORMS: dict[str, checks.Form] = {
    "mmgrec": relation_attention,
    "published formula": published,
    "naive, shared relation": reference.relation_attention,
    "SDPA on concatenation": sdpa_concat,
    "SDPA with float mask": sdpa_float_mask,
}


def floors_ms(
    chip: Limits, users: int, heads: int, length: int, size: int, dtype: torch.dtype
) -> tuple[float, float, float]:
    """Least time of forward, backward and both by memory traffic: each pass reads its inputs and writes its results."""
    wide, inputs = users * heads * length * size, 3 * users * length * size * (heads + 1)
    forward = inputs + wide  # out
    backward = inputs + 2 * wide + inputs  # the inputs again, out and d_out; gradients
    unit = dtype.itemsize / chip.bytes_a_second * 1e3
    return forward * unit, backward * unit, (forward + backward) * unit


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
    forms = dict(FORMS)
    if device().type == "cuda":
        torch._dynamo.reset()  # shapes of other cases count towards its limit, beyond which it no longer compiles
        forms[FLEX] = torch.compile(flex, dynamic=False)

    @functools.cache
    def verify(name: str) -> str:
        try:
            return "; ".join(checks.problems(forms[name], small))
        except Exception as error:  # a rival's compiler may not take the shape
            if name == "mmgrec":
                raise
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    outputs = {name: form(*leaves, case.keep) for name, form in forms.items() if not verify(name)}

    def forward(form: checks.Form) -> Tensor:
        with torch.no_grad():
            return form(*leaves, case.keep)

    def backward(name: str) -> tuple[Tensor, ...]:
        return torch.autograd.grad(outputs[name], leaves, case.d_out, retain_graph=True)

    def full(form: checks.Form) -> tuple[Tensor, ...]:
        return torch.autograd.grad(form(*leaves, case.keep), leaves, case.d_out)

    chip = limits()
    floors = (None, None, None) if chip is None else floors_ms(chip, users, heads, length, size, dtype)
    book.race(
        f"attention forward, {sizes}",
        {name: functools.partial(forward, form) for name, form in forms.items()},
        verify=verify,
        floor_ms=floors[0],
    )
    book.race(
        f"attention backward, {sizes}",
        {name: functools.partial(backward, name) for name in forms},
        verify=verify,
        floor_ms=floors[1],
    )
    medians = book.race(
        f"attention forward + backward, {sizes}",
        {name: functools.partial(full, form) for name, form in forms.items()},
        verify=verify,
        floor_ms=floors[2],
    )
    assert "mmgrec" in medians, "our form gave a wrong result and was not timed"
    if device().type == "cuda" and dtype == torch.bfloat16:
        for rival, least in GPU_RATIOS.items():
            if rival in medians:
                what = f"attention, {sizes}: {rival} takes at least {least:g} x our time"
                book.goal(what, medians[rival] / medians["mmgrec"], least=least)
        book.goal(f"attention, {sizes}: at most {GPU_MOST[length]:g} ms", medians["mmgrec"], most=GPU_MOST[length])
    if which == 0 and device().type == "cpu":
        others = [median for name, median in medians.items() if name != "mmgrec"]
        book.goal(
            "attention: the published form takes at least 1.5 x our time",
            medians["published formula"] / medians["mmgrec"],
            least=1.5,
        )
        book.goal("attention: at most 1.1 x the fastest torch form", medians["mmgrec"] / min(others), most=1.1)
