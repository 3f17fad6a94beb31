"""`seeded` lends the global generator a seed, and gives it back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmgrec.training.randomness import seeded


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_global_generator_is_as_it_was() -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    with seeded(generator(0)):
        torch.rand(5)
    assert torch.equal(torch.rand(3), wanted)


def test_it_is_given_back_after_an_error() -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="negative dimension"), seeded(generator(0)):
        torch.rand(5).new_empty(-int(torch.rand(1) + 2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_drawn_depends_on_the_generator_alone() -> None:
    drawn = []
    for outside, inside in ((1, 4), (2, 4), (1, 5)):
        torch.manual_seed(outside)
        with seeded(generator(inside)):
            drawn.append(nn.Linear(3, 3).weight.detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_generator_moves_on() -> None:
    g = generator(4)
    drawn = []
    for _ in range(2):
        with seeded(g):
            drawn.append(torch.rand(3))
    assert not torch.equal(*drawn)
