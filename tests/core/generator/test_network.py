"""The Transformer: one level at a time equals all at once, and what padding, order and users may change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mmgrec.generator.layers import NetworkSettings, sinusoidal_positions
from mmgrec.generator.network import Network
from mmgrec.interfaces import PositionalScheme, Representations, TokenScores
from mmgrec.recid.table import RecIDTable
from mmgrec.recid.trie import Trie
from mmgrec.training.randomness import seeded
from mmgrec_plugins.positions.none import NoPosition
from mmgrec_plugins.positions.relation_aware import RelationAware
from mmgrec_plugins.positions.sinusoidal import Sinusoidal

NUM_USERS, NUM_ITEMS, USER_DIM = 7, 30, 6
SIZES = (4, 3, 5)
SMALL: dict[str, Any] = {"dim": 8, "num_heads": 2, "head_dim": 4, "feedforward_dim": 12, "dropout": 0.2}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rec_ids() -> RecIDTable:
    chosen = torch.randperm(4 * 3 * 5, generator=generator(2))[:NUM_ITEMS]
    return RecIDTable(token=torch.stack([chosen // 15, chosen // 5 % 3, chosen % 5], 1), level_sizes=SIZES)


def representations() -> Representations:
    g = generator(1)
    return Representations(
        user=2 * torch.randn(NUM_USERS, USER_DIM, generator=g), item=torch.randn(NUM_ITEMS, USER_DIM, generator=g)
    )


def network(position: PositionalScheme | None = None, **settings: Any) -> Network:
    """A network all of whose parameters are away from their start, in float64 and evaluation mode."""
    table = rec_ids()
    with seeded(generator(3)):
        net = Network(
            NetworkSettings(**{**SMALL, **settings}),
            representations=representations(),
            rec_ids=table,
            trie=Trie.of(table),
            position=position or RelationAware(),
        )
        for parameter in net.parameters():
            parameter.data.add_(0.2 * torch.randn(parameter.shape))
    return net.double().eval()


USERS = torch.tensor([4, 0, 5])
HISTORY = torch.tensor([[3, 9, 27, -1, -1], [1, 2, 3, 4, 5], [8, -1, -1, -1, -1]])

SHAPES = [
    {"num_decoder_layers": layers, "norm": norm, "head": head, "user_input": user}
    for layers in (1, 2)
    for norm in ("pre", "post")
    for head in ("tree", "tokens")
    for user in ("representation", "history")
]


def scored(net: Network, level: int, state: Tensor) -> Tensor:
    scores = net.head.scores(level, state)
    if isinstance(scores, TokenScores):
        return scores.logits
    return scores.state @ scores.vectors.T + scores.bias


@pytest.mark.parametrize("settings", SHAPES, ids=lambda settings: "-".join(map(str, settings.values())))
@torch.no_grad()
def test_step_by_step_equals_all_at_once(settings: dict[str, Any]) -> None:
    net, beams = network(**settings), 6
    memory = net.encode(USERS, HISTORY)
    leaf = torch.randint(NUM_ITEMS, (3, beams), generator=generator(4))
    tokens = rec_ids().token[leaf]  # [B, P, L]
    places = torch.arange(beams * 3).expand(3, -1)
    state = net.decode(memory, tokens, places).view(3, beams, 3, -1)
    stepper = net.stepper(memory)
    scores = stepper.start()
    for level in range(3):
        if level:
            # the beams change places at every level: their past must follow them
            order = torch.stack([torch.randperm(beams, generator=generator(10 * level + user)) for user in range(3)])
            parent = order if level > 1 else torch.zeros_like(order)
            tokens = tokens.gather(1, order[..., None].expand(-1, -1, 3))
            state = state.gather(1, order[..., None, None].expand(state.shape))
            scores = stepper.advance(parent, tokens[..., level - 1])
        wanted = scored(net, level, state[:, :, level] if level else state[:, :1, 0])
        logits = (
            scores.logits
            if isinstance(scores, TokenScores)
            else torch.einsum("bwd,vd->bwv", scores.state, scores.vectors) + scores.bias
        )
        torch.testing.assert_close(logits, wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_stepper_can_begin_anew() -> None:
    net = network()
    stepper = net.stepper(net.encode(USERS, HISTORY))
    first = stepper.start()
    stepper.advance(torch.zeros(3, 2).long(), torch.ones(3, 2).long())
    again = stepper.start()
    assert torch.equal(first.state, again.state)  # type: ignore[union-attr]


@torch.no_grad()
def test_one_beam_may_have_many_children() -> None:
    """Two beams that go on from the same parent by the same token are the same beam."""
    net = network(num_decoder_layers=2)
    stepper = net.stepper(net.encode(USERS, HISTORY))
    stepper.start()
    stepper.advance(torch.zeros(3, 3).long(), torch.tensor([[0, 1, 2]] * 3))
    scores = stepper.advance(torch.tensor([[2, 0, 2, 1]] * 3), torch.tensor([[1, 1, 1, 1]] * 3))
    state = scores.state  # type: ignore[union-attr]
    torch.testing.assert_close(state[:, 0], state[:, 2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(state[:, 0], state[:, 1])


@torch.no_grad()
def test_only_wanted_places_are_told() -> None:
    net = network(num_decoder_layers=2)
    memory = net.encode(USERS, HISTORY)
    tokens = rec_ids().token[torch.randint(NUM_ITEMS, (3, 4), generator=generator(4))]
    every = net.decode(memory, tokens, torch.arange(12).expand(3, -1))
    wanted = torch.tensor([[11, 0, 5], [3, 3, 2], [7, 8, 1]])
    some = net.decode(memory, tokens, wanted)
    torch.testing.assert_close(some, every.gather(1, wanted[..., None].expand(some.shape)), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_token_does_not_see_what_comes_after_it() -> None:
    net = network(num_decoder_layers=2)
    memory = net.encode(USERS, HISTORY)
    tokens = torch.zeros(3, 1, 3, dtype=torch.int64)
    other = tokens.clone()
    other[..., 1] = 2  # of level 1: level 2 alone may change
    states = [net.decode(memory, each, torch.arange(3).expand(3, -1)) for each in (tokens, other)]
    torch.testing.assert_close(states[0][:, :2], states[1][:, :2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(states[0][:, 2], states[1][:, 2])
    other[..., 2] = 1  # the last token is never an input
    assert torch.equal(net.decode(memory, other, torch.arange(3).expand(3, -1)), states[1])


@torch.no_grad()
def test_the_same_token_means_something_else_on_another_level() -> None:
    net = network()
    rows = [net.token_table(torch.tensor(0) + offset) for offset in net.level_offset]
    assert len({tuple(row.tolist()) for row in rows}) == 3
    assert net.token_table.num_embeddings == sum(SIZES)


def outputs(net: Network, history: Tensor, users: Tensor = USERS) -> Tensor:
    """All states of a few Rec-IDs."""
    with torch.no_grad():
        memory = net.encode(users, history)
        tokens = rec_ids().token[torch.arange(4)].expand(users.numel(), 4, 3)
        return net.decode(memory, tokens, torch.arange(12).expand(users.numel(), -1))


SCHEMES = [RelationAware(), RelationAware(gain="vector"), NoPosition(), Sinusoidal()]
SETS = [scheme for scheme in SCHEMES if not isinstance(scheme, Sinusoidal)]


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_padding_changes_nothing(scheme: PositionalScheme, norm: str) -> None:
    net = network(scheme, norm=norm, num_encoder_layers=2)
    wider = torch.cat([HISTORY, torch.full((3, 4), -1)], 1)
    torch.testing.assert_close(outputs(net, wider), outputs(net, HISTORY), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
def test_others_in_the_batch_change_nothing(scheme: PositionalScheme) -> None:
    net = network(scheme)
    together = outputs(net, HISTORY)
    for row in range(3):
        alone = outputs(net, HISTORY[[row]], USERS[[row]])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scheme", SETS, ids=repr)
def test_a_history_has_no_order(scheme: PositionalScheme) -> None:
    net = network(scheme, num_encoder_layers=2)
    shuffled = HISTORY[:, torch.tensor([4, 1, 3, 0, 2])]
    torch.testing.assert_close(outputs(net, shuffled), outputs(net, HISTORY), rtol=1e-9, atol=1e-9)


def test_sinusoidal_positions_give_it_one() -> None:
    net = network(Sinusoidal(), num_encoder_layers=2)
    change = outputs(net, HISTORY.flip(1)[[1]], USERS[[1]]) - outputs(net, HISTORY[[1]], USERS[[1]])
    assert float(change.abs().max()) > 1e-3


def test_an_empty_history_is_no_error() -> None:
    net = network()
    nothing = outputs(net, torch.full((3, 2), -1))
    assert nothing.isfinite().all()
    torch.testing.assert_close(outputs(net, torch.empty(3, 0, dtype=torch.int64)), nothing, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("head", ["tree", "tokens"])
def test_with_user_input_history_nothing_of_the_user_is_read(head: str) -> None:
    net = network(user_input="history", head=head)
    before = outputs(net, HISTORY)
    net.user_vectors.fill_(torch.nan)
    assert torch.equal(outputs(net, HISTORY), before)
    assert torch.equal(outputs(net, HISTORY, USERS.roll(1)), before)


def test_with_user_input_representation_the_user_is_read() -> None:
    net = network()
    assert not torch.allclose(outputs(net, HISTORY), outputs(net, HISTORY, USERS.roll(1)))


def test_user_input_history_is_the_sum_of_its_items_over_the_root_of_their_number() -> None:
    net = network(user_input="history")
    memory = net.encode(USERS, HISTORY)
    item = representations().item.double() / float(representations().item.std())
    torch.testing.assert_close(memory.user[0], item[[3, 9, 27]].sum(0) / 3**0.5)
    torch.testing.assert_close(memory.user[2], item[8])


def test_learnt_inputs_do_not_read_the_representations_of_items() -> None:
    net = network(NoPosition(), item_input="learnt", head="tokens")
    before = outputs(net, HISTORY)
    net.item_vectors.fill_(0.5)
    assert torch.equal(outputs(net, HISTORY), before)


@pytest.mark.parametrize("settings", SHAPES, ids=lambda settings: "-".join(map(str, settings.values())))
def test_every_parameter_gets_a_gradient(settings: dict[str, Any]) -> None:
    net = network(**settings)
    memory = net.encode(USERS, HISTORY)
    tokens = rec_ids().token[torch.arange(30)].expand(3, 30, 3)
    state = net.decode(memory, tokens, torch.arange(90).expand(3, -1)).view(3, 30, 3, -1)
    totals = [scored(net, level, state[:, :, level]).pow(2).sum() for level in range(3)]
    torch.stack(totals).sum().backward()
    assert [name for name, weights in net.named_parameters() if weights.grad is None or not weights.grad.any()] == []


def test_buffers_that_follow_from_the_inputs_are_not_saved() -> None:
    saved = set(network().state_dict())
    assert saved == {name for name, _ in network().named_parameters()}


def test_sinusoidal_positions_are_the_usual_ones() -> None:
    table = sinusoidal_positions(3, 4)
    torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    angles = torch.tensor([2.0, 2.0, 0.02, 0.02])
    torch.testing.assert_close(
        table[2], torch.stack([angles.sin()[0], angles.cos()[1], angles.sin()[2], angles.cos()[3]])
    )
    assert sinusoidal_positions(2, 5).shape == (2, 5)


def test_constructing_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = network()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = network()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_levels_may_share_one_vocabulary() -> None:
    """Token t of one level is token t of another, in the table and in the head; else they are different parameters."""
    shared, apart = network(head="tokens", shared_vocabulary=True), network(head="tokens")
    assert shared.token_table.num_embeddings == max(SIZES)
    assert apart.token_table.num_embeddings == sum(SIZES)
    assert len({id(layer.weight) for layer in shared.head.logits}) == 1  # type: ignore[attr-defined]
    assert len({id(layer.weight) for layer in apart.head.logits}) == len(SIZES)  # type: ignore[attr-defined]
    state = torch.randn(2, 3, 8, dtype=torch.float64)
    assert torch.equal(scored(shared, 0, state), scored(shared, 2, state))


def test_with_a_shared_vocabulary_one_level_at_a_time_still_equals_all_at_once() -> None:
    net = network(head="tokens", shared_vocabulary=True)
    memory = net.encode(USERS, HISTORY)
    tokens = torch.tensor([[[1, 2, 4]], [[0, 1, 3]], [[3, 0, 0]]])
    at_once = net.decode(memory, tokens, torch.arange(3).expand(3, 3))
    stepper = net.stepper(memory)
    steps = [stepper.start()]
    steps += [stepper.advance(torch.zeros(3, 1, dtype=torch.int64), tokens[..., level]) for level in (0, 1)]
    for level, step in enumerate(steps):
        assert isinstance(step, TokenScores)
        torch.testing.assert_close(step.logits[:, 0], scored(net, level, at_once[:, level]))


def test_layer_norms_may_be_left_untrained() -> None:
    def norms(net: Network) -> set[bool]:
        norms = [module for module in net.modules() if isinstance(module, torch.nn.LayerNorm)]
        return {weights.requires_grad for norm in norms for weights in norm.parameters()}

    assert (norms(network(train_norms=False)), norms(network())) == ({False}, {True})
