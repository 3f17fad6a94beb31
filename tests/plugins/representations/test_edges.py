"""Sums, products and shares along edges are those of dense matrices, and so are their gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgrec_plugins.representations.edges import Edges
from mmgrec_plugins.representations.sparse import bipartite, row_mean

NUM_RECEIVERS, NUM_SENDERS, DIM = 7, 5, 4


def some_edges() -> tuple[Edges, Tensor]:
    """Edges in no order, receiver 3 has none, and their dense mask."""
    has = torch.rand(NUM_RECEIVERS, NUM_SENDERS, generator=torch.Generator().manual_seed(1)) < 0.5
    has[3] = False
    receiver, sender = has.nonzero(as_tuple=True)
    order = torch.randperm(receiver.numel(), generator=torch.Generator().manual_seed(2))
    edges = Edges.of(receiver[order], sender[order], num_receivers=NUM_RECEIVERS, num_senders=NUM_SENDERS)
    return edges, has


def vectors(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def dense(edges: Edges, weight: Tensor) -> Tensor:
    return torch.zeros(NUM_RECEIVERS, NUM_SENDERS).index_put((edges.receiver, edges.sender), weight)


def test_edges_are_put_in_the_order_of_their_receivers() -> None:
    edges, has = some_edges()
    assert torch.equal(torch.stack([edges.receiver, edges.sender]), torch.stack(has.nonzero(as_tuple=True)))


def test_attention_is_that_of_dense_matrices_and_so_are_its_gradients() -> None:
    edges, has = some_edges()
    x, y = vectors(NUM_RECEIVERS, 3), vectors(NUM_SENDERS, 4)
    direction = vectors(NUM_RECEIVERS, 5).detach()
    mixed = edges.sum(edges.softmax(edges.dot(x, y)), y)
    found_grad = torch.autograd.grad((mixed * direction).sum(), (x, y))

    logits = (x @ y.T).masked_fill(~has, -torch.inf)
    wanted = logits[has.any(1)].softmax(1) @ y
    wanted = torch.zeros(NUM_RECEIVERS, DIM).index_put((has.any(1).nonzero().flatten(),), wanted)
    wanted_grad = torch.autograd.grad((wanted * direction).sum(), (x, y))
    torch.testing.assert_close(mixed, wanted)
    for one, other in zip(found_grad, wanted_grad, strict=True):
        torch.testing.assert_close(one, other)


def test_a_receiver_without_edges_gets_nothing() -> None:
    edges, _ = some_edges()
    weight = torch.ones(edges.receiver.numel())
    assert not edges.sum(weight, vectors(NUM_SENDERS, 6))[3].any()


def test_shares_of_a_receiver_are_one_whatever_the_size_of_the_logits() -> None:
    edges, has = some_edges()
    share = edges.softmax(torch.linspace(-200, 900, edges.receiver.numel()))
    torch.testing.assert_close(dense(edges, share).sum(1), has.any(1).float())


def test_the_mean_of_neighbours() -> None:
    user, item = torch.tensor([0, 0, 2]), torch.tensor([0, 1, 1])
    mean = row_mean(bipartite(user, item, num_users=3, num_items=2))
    x = torch.tensor([[1.0], [2.0], [4.0], [8.0], [32.0]])
    assert (mean @ x).flatten().tolist() == [20.0, 0.0, 32.0, 1.0, 2.5]
