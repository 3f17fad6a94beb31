"""Attention of an encoder layer: equal to the definition, and blind to order except where positions are added."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from mmgrec.generator import sinusoidal_positions
from mmgrec.interfaces import PositionalScheme
from mmgrec.training import seeded
from mmgrec_plugins.positions.none import NoPosition
from mmgrec_plugins.positions.relation_aware import RelationAttention, RelationAware
from mmgrec_plugins.positions.sinusoidal import Sinusoidal

B, T, DIM, HEADS, HEAD_DIM, USER_DIM = 3, 6, 8, 2, 4, 5
SCHEMES = [RelationAware(), RelationAware(gain="vector"), NoPosition(), Sinusoidal()]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def attention(scheme: PositionalScheme) -> nn.Module:
    """In float64, all parameters away from their start."""
    with seeded(generator(0)):
        attention = scheme.attention(dim=DIM, num_heads=HEADS, head_dim=HEAD_DIM, user_dim=USER_DIM).double()
        for parameter in attention.parameters():
            parameter.data.add_(0.3 * torch.randn(parameter.shape))
    return attention


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(B, T, DIM, generator=generator(1), dtype=torch.float64)
    user = torch.randn(B, USER_DIM, generator=generator(2), dtype=torch.float64)
    keep = torch.arange(T) < torch.tensor([[6], [3], [1]])
    return x, user, keep


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_attention_is_equivariant_to_permutation(scheme: PositionalScheme) -> None:
    module, (x, user, keep) = attention(scheme), inputs()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(
        module(x[:, order], user, keep[:, order]), module(x, user, keep)[:, order], rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_padding_is_not_looked_at(scheme: PositionalScheme) -> None:
    module, (x, user, keep) = attention(scheme), inputs()
    other = torch.where(keep[..., None], x, 100 * torch.randn(x.shape, generator=generator(7), dtype=x.dtype))
    torch.testing.assert_close(module(other, user, keep)[keep], module(x, user, keep)[keep], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gain", ["scalar", "vector"])
def test_relation_attention_is_equations_14_to_19(gain: Literal["scalar", "vector"]) -> None:
    module, (x, user, keep) = attention(RelationAware(gain=gain)), inputs()
    assert isinstance(module, RelationAttention)
    mixed = module(x, user, keep)
    gains = module.gains(user)  # Eq. 18
    width = gains.shape[1] // 3
    w_q, w_k, w_v = module.qkv.weight.view(3, HEADS, HEAD_DIM, DIM)
    b_q, b_k, b_v = module.qkv.bias.view(3, HEADS, HEAD_DIM)
    u_q, u_k, u_v = module.relation.weight.view(3, HEAD_DIM, DIM)
    for row in range(B):
        items = x[row, keep[row]]
        g_q, g_k, g_v = gains[row].view(3, width)
        r_q, r_k, r_v = g_q * (items @ u_q.T), g_k * (items @ u_k.T), g_v * (items @ u_v.T)
        heads = []
        for head in range(HEADS):
            q, k, v = (items @ w[head].T + b[head] for w, b in ((w_q, b_q), (w_k, b_k), (w_v, b_v)))
            scores = (q @ k.T + r_q @ r_k.T) / math.sqrt(HEAD_DIM)
            heads.append(scores.softmax(1) @ (v + r_v))
        wanted = module.out(torch.cat(heads, 1))
        torch.testing.assert_close(mixed[row, keep[row]], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("gain", ["scalar", "vector"])
def test_relations_start_at_a_gain_of_one_for_everybody(gain: Literal["scalar", "vector"]) -> None:
    module = RelationAware(gain=gain).attention(dim=DIM, num_heads=HEADS, head_dim=HEAD_DIM, user_dim=USER_DIM)
    assert isinstance(module, RelationAttention)
    gains = module.gains(torch.randn(B, USER_DIM, generator=generator(2)))
    assert gains.shape == (B, 3 if gain == "scalar" else 3 * HEAD_DIM)
    assert gains.eq(1).all()


def test_the_user_tunes_relations_and_not_plain_attention() -> None:
    x, user, keep = inputs()
    for scheme, tunes in ((RelationAware(), True), (NoPosition(), False), (Sinusoidal(), False)):
        module = attention(scheme)
        assert torch.equal(module(x, user, keep), module(x, user.roll(1, 0), keep)) != tunes


def test_sinusoidal_positions_are_added_to_the_input() -> None:
    x, _, _ = inputs()
    torch.testing.assert_close(Sinusoidal().encode(x), x + sinusoidal_positions(T, DIM).double())


@pytest.mark.parametrize("scheme", [RelationAware(), NoPosition()], ids=repr)
def test_the_others_add_none(scheme: PositionalScheme) -> None:
    x, _, _ = inputs()
    assert torch.equal(scheme.encode(x), x)


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_gradients_pass_gradcheck(scheme: PositionalScheme) -> None:
    module, (x, user, keep) = attention(scheme), inputs()
    x, user = x[:2, :3].clone().requires_grad_(), user[:2].clone().requires_grad_()
    keep = keep[:2, :3]
    keep[1, 2] = False
    assert torch.autograd.gradcheck(lambda a, b: module(a, b, keep)[keep], (x, user), atol=1e-5)
