"""Output heads on a trie of eight items, against the definition written with lists."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from mmgrec.generator.heads import Children, Head, TokensHead, TreeHead
from mmgrec.recid.table import RecIDTable
from mmgrec.recid.trie import Trie
from mmgrec.training.randomness import seeded

ROWS = [(2, 0, 0), (0, 1, 0), (0, 1, 1), (2, 3, 0), (0, 0, 0), (1, 2, 0), (2, 0, 1), (2, 0, 2)]
SIZES = (3, 4, 3)
DIM = 5
LEVELS = [0, 1, 2]
Name = Literal["tree", "tokens"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


TRIE = Trie.of(RecIDTable(token=torch.tensor(ROWS), level_sizes=SIZES))
ITEM = torch.randn(len(ROWS), DIM, generator=generator(1))


def nodes(level: int) -> list[tuple[int, ...]]:
    """The prefixes of a level in the order of the trie's nodes; level -1 holds the root."""
    return sorted({row[: level + 1] for row in ROWS})


def below(prefix: tuple[int, ...]) -> list[int]:
    return [item for item, row in enumerate(ROWS) if row[: len(prefix)] == prefix]


def children_of_all(level: int) -> Children:
    """The children of every prefix, once each."""
    prefixes, mine = nodes(level - 1), nodes(level)
    pairs = [(prefixes.index(node[:-1]), number) for number, node in enumerate(mine)]
    row, node = torch.tensor(pairs).T
    return Children(row=row, node=node, level=level, num_rows=len(prefixes))


def states(level: int, seed: int = 3) -> Tensor:
    return torch.randn(len(nodes(level - 1)), DIM, generator=generator(seed))


def tree(gain: float = 1.0, *, item: Tensor = ITEM, moment_axes: int = 0) -> TreeHead:
    return TreeHead(trie=TRIE, item_vectors=item, state_dim=4, gain=gain, moment_axes=moment_axes)


def disturbed(head: Head) -> Head:
    """All that is trained, away from its start."""
    with torch.no_grad():
        for number, parameter in enumerate(head.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=generator(20 + number)))
    return head


def tokens() -> TokensHead:
    with seeded(generator(4)):
        return TokensHead(trie=TRIE, state_dim=DIM)


@pytest.mark.parametrize("level", LEVELS)
def test_the_untrained_tree_is_the_tree_of_centroids(level: int) -> None:
    h = states(level)
    log_prob = tree().log_prob(h, children_of_all(level))
    wanted = []
    for row, prefix in enumerate(nodes(level - 1)):
        logit = {
            node: float(h[row].double() @ ITEM[below(node)].double().mean(0)) + math.log(len(below(node)))
            for node in nodes(level)
            if node[:-1] == prefix
        }
        total = math.log(sum(math.exp(value) for value in logit.values()))
        wanted += [value - total for value in logit.values()]
    torch.testing.assert_close(log_prob, torch.tensor(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_the_trained_tree_adds_token_vectors_and_biases(level: int) -> None:
    head = tree()
    disturbed(head)
    h = states(level)
    log_prob = head.log_prob(h, children_of_all(level))
    wanted: list[float] = []
    for row, prefix in enumerate(nodes(level - 1)):
        mine = [node for node in nodes(level) if node[:-1] == prefix]
        logit = []
        for node in mine:
            own = head.inner[level][nodes(level).index(node)] if level < 2 else ITEM[below(node)[0]]
            vector = head.codeword[level][node[-1]] + own
            logit.append(h[row] @ vector + head.bias[level][node[-1]] + math.log(len(below(node))))
        wanted += torch.stack(logit).log_softmax(0).tolist()
    torch.testing.assert_close(log_prob, torch.tensor(wanted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0, 1])
def test_with_moments_the_untrained_tree_is_right_to_second_order(level: int) -> None:
    """``log sum_i exp(t h . x_i)`` of a node: without moments wrong by t², with them by t³."""
    children, h = children_of_all(level), states(level)
    item = ITEM[:, :1] * torch.eye(1, DIM) + ITEM.mean(0)  # they differ along one axis

    def wrong(t: float, axes: int) -> float:
        head = tree(item=item, moment_axes=axes)
        squares = (t * h @ head.axes).square()
        log_prob = head.log_prob(torch.cat([t * h, squares], dim=1), children).detach().double()
        exact = [math.log(sum(math.exp(t * float(h[row] @ item[i])) for i in below(nodes(level)[node])))
                 for row, node in zip(children.row.tolist(), children.node.tolist(), strict=True)]  # fmt: skip
        whole = torch.zeros(children.num_rows).double().index_add(0, children.row, torch.tensor(exact).double().exp())
        return float((log_prob - (torch.tensor(exact).double() - whole.log()[children.row])).abs().max())

    assert wrong(0.2, 1) < 0.2 * wrong(0.2, 0)
    assert wrong(0.2, 0) / wrong(0.1, 0) == pytest.approx(4, abs=1)
    assert wrong(0.2, 1) / wrong(0.1, 1) > 5.5


def test_the_state_holds_its_squares_along_the_axes() -> None:
    head = tree(moment_axes=3)
    disturbed(head)
    decoded, user = torch.randn(2, 6, 4, generator=generator(1)), torch.randn(2, DIM, generator=generator(2))
    state = head.state(decoded, user)
    h = (user @ head.from_user.weight.T * head.gain)[:, None] + head.from_decoder(decoded)
    torch.testing.assert_close(state, torch.cat([h, (h @ head.axes).square()], dim=2))
    assert tree(moment_axes=99).axes.shape == (DIM, DIM), "no more axes than dimensions"


@pytest.mark.parametrize("level", LEVELS)
def test_probabilities_of_existing_children_sum_to_one(level: int) -> None:
    head = disturbed(tree())
    children = children_of_all(level)
    probability = head.log_prob(30 * states(level), children).exp()
    total = torch.zeros(children.num_rows).index_add(0, children.row, probability)
    torch.testing.assert_close(total, torch.ones(children.num_rows))


@pytest.mark.parametrize("level", LEVELS)
def test_tokens_are_normalised_over_the_whole_vocabulary(level: int) -> None:
    head, h, children = tokens(), states(level), children_of_all(level)
    every = head.logits[level](h).double().log_softmax(1)
    token = [nodes(level)[node][-1] for node in children.node.tolist()]
    wanted = every[children.row, torch.tensor(token)]
    assert every.shape[1] == SIZES[level]
    torch.testing.assert_close(head.log_prob(h, children).double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_prefix_may_be_asked_several_times() -> None:
    head, h = disturbed(tree()), torch.randn(3, DIM, generator=generator(8))
    once = [
        head.log_prob(h[[row]], Children(row=torch.zeros(3).long(), node=torch.tensor([4, 5, 6]), level=2, num_rows=1))
        for row in range(3)
    ]
    row = torch.arange(3).repeat_interleave(3)
    both = head.log_prob(h, Children(row=row, node=torch.tensor([4, 5, 6] * 3), level=2, num_rows=3))
    torch.testing.assert_close(both, torch.cat(once))


@pytest.mark.parametrize("level", [1, 2])
def test_gradients_are_those_of_the_dense_definition(level: int) -> None:
    ragged, dense = tree(), tree().double()
    disturbed(ragged)
    dense.load_state_dict(ragged.state_dict())
    children, h = children_of_all(level), states(level)
    weight = torch.randn(children.row.numel(), generator=generator(6))
    h_ragged, h_dense = h.clone().requires_grad_(), h.double().requires_grad_()
    (ragged.log_prob(h_ragged, children) * weight).sum().backward()
    vectors, bias = dense.vectors(level)
    logit = h_dense @ vectors.T + bias
    mine = torch.zeros(logit.shape, dtype=torch.bool)
    mine[children.row, children.node] = True
    log_prob = logit.masked_fill(~mine, -torch.inf).log_softmax(1)[children.row, children.node]
    (log_prob * weight).sum().backward()
    pairs = zip([h_ragged, *ragged.parameters()], [h_dense, *dense.parameters()], strict=True)
    compared = 0
    for a, b in pairs:
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-5)
            compared += 1
    assert compared >= 3  # the state, token vectors and biases at least


def test_an_untrained_tree_does_not_hear_the_decoder_network() -> None:
    head = tree(gain=0.5)
    user = torch.randn(2, DIM, generator=generator(2))
    state = head.state(torch.randn(2, 3, 4, generator=generator(5)), user)
    torch.testing.assert_close(state, 0.5 * user[:, None].expand(2, 3, DIM))


def test_a_leaf_of_the_tree_has_its_items_own_vector() -> None:
    vectors, bias = tree().vectors(2)
    assert torch.equal(vectors, ITEM[TRIE.leaf_item.long()])
    assert bias.eq(0).all()
    assert "leaves" not in tree().state_dict()


@pytest.mark.parametrize("level", LEVELS)
def test_scores_for_decoders_say_the_same(level: int) -> None:
    children = children_of_all(level)
    h = states(level)
    for head in (disturbed(tree()), tokens()):
        scores = head.scores(level, h[None])
        if isinstance(head, TreeHead):
            logit = scores.state[0] @ scores.vectors.T + scores.bias  # type: ignore[union-attr]
            mine = torch.zeros(logit.shape, dtype=torch.bool)
            mine[children.row, children.node] = True
            log_prob = logit.masked_fill(~mine, -torch.inf).log_softmax(1)[children.row, children.node]
        else:
            token = TRIE.node_token(level)[children.node]
            log_prob = scores.logits[0].log_softmax(1)[children.row, token]  # type: ignore[union-attr]
        torch.testing.assert_close(head.log_prob(h, children), log_prob, rtol=1e-4, atol=1e-5)


def test_levels_have_vocabularies_of_their_own() -> None:
    sizes = [layer.weight.shape[0] for layer in tokens().logits]
    assert sizes == list(SIZES)
    head = tree(moment_axes=3)
    assert [tuple(table.shape) for table in head.codeword] == [(size, DIM) for size in SIZES]
    storage = {parameter.data_ptr() for parameter in head.parameters()}
    assert len(storage) == len(list(head.parameters()))
