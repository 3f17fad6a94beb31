"""LightGT reads histories as sets, and its equations are those of one user computed alone."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from shared_baselines import (
    FEATURED,
    SHORT,
    SMALL,
    TINY,
    drawn,
    learns_from_the_features,
    learns_the_same_from_the_same_seed,
    makes_do_with_a_sparse_modality,
    says_that_there_are_no_features,
)
from torch import Tensor, nn

from mmgrec.data import Dataset, Interactions
from mmgrec.training import seeded
from mmgrec_plugins.recommenders.multimodal.history_attention import Histories, LightAttention, blocks
from mmgrec_plugins.recommenders.multimodal.lightgt import LightGT, LightGTNetwork, ModalityEncoder
from mmgrec_plugins.recommenders.multimodal.shared import propagated
from mmgrec_plugins.representations.ranking import EdgeBatch, Loss


def made(data: Dataset = TINY, *, id_weight: float = 0.3, hide_targets: bool = False) -> LightGTNetwork:
    """Every parameter random, so that no term of an equation is zero."""
    with seeded(torch.Generator().manual_seed(1)):
        network = LightGTNetwork(
            data,
            dim=5,
            num_layers=3,
            num_encoder_layers=2,
            id_weight=id_weight,
            max_history=50,
            dropout=0.0,
            hide_targets=hide_targets,
        )
    drawn(network)
    return network


def alone(network: LightGTNetwork, data: Dataset, user: int, items: list[int]) -> dict[str, Tensor]:
    """``s_u [D]`` of each modality, one user alone, position by position."""
    positions = []
    for number in (1, 2):
        both = propagated(network.adjacency, network.user, network.item, num_layers=number)
        positions.append([both[0][user], *(both[1][i] for i in items)])
    wanted = {}
    for name, module in network.encoders.items():
        encoder = cast(ModalityEncoder, module)
        has = [True, *data.has_feature(name)[items].tolist()]
        x = torch.stack([network.reader[user], *(encoder.projection()[i] for i in items)])[torch.tensor(has)]
        for layer, position in zip(cast(list[LightAttention], encoder.layers), positions, strict=True):
            p = torch.sigmoid(encoder.place(torch.stack(position)[torch.tensor(has)]))
            logits = layer.query(x + p) @ (x + p).T / math.sqrt(5)
            x = layer.norm(layer.value(logits.softmax(1) @ x))
        wanted[name] = F.leaky_relu(encoder.dense(x[0]))
    return wanted


def margins(network: LightGTNetwork, batch: EdgeBatch) -> Tensor:
    """``y_ui - y_uj`` as the loss sees them."""
    x_u, x_i, x_j = network.train().compared(batch, *network())
    return (x_u * (x_i - x_j)).sum(1)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_it_learns_far_more_than_popularity_and_from_the_features(loss: Loss) -> None:
    learns_from_the_features(LightGT(**SMALL, losses=(loss,), num_encoder_layers=2, learning_rate=2e-2))


def test_vectors_are_those_of_each_user_alone() -> None:
    network = made().eval()
    user, item = network()
    x_u, x_i = propagated(network.adjacency, network.user, network.item, num_layers=3)
    torch.testing.assert_close(item[:, :5], x_i)
    torch.testing.assert_close(user[:, :5], 0.3 * x_u)
    for number, (name, encoder) in enumerate(network.encoders.items(), start=1):
        torch.testing.assert_close(item[:, 5 * number : 5 * number + 5], cast(ModalityEncoder, encoder).projection())
        for reader in range(TINY.num_users):
            history = TINY.train.item[TINY.train.user == reader].tolist()
            wanted = 0.7 * alone(network, TINY, reader, history)[name]
            torch.testing.assert_close(user[reader, 5 * number : 5 * number + 5], wanted, rtol=1e-4, atol=1e-5)


def test_training_ranks_as_inference_does() -> None:
    """The loss computes only the users of its batch; their scores are those of the whole table."""
    network = made()
    batch = EdgeBatch(
        user=TINY.train.user[3:15], item=TINY.train.item[3:15], negative=torch.arange(12).remainder(TINY.num_items)
    )
    user, item = network.eval()()
    margin = (user[batch.user] * (item[batch.item] - item[batch.negative])).sum(1)
    torch.testing.assert_close(margins(network, batch), margin)


def test_what_is_to_be_found_is_hidden_from_the_history() -> None:
    """The vectors of the users of a batch are those of their other items; the other users' are not asked for."""
    network = made(hide_targets=True)
    assert len(TINY.train) >= 6
    first, second = (TINY.train.user_degree >= 3).nonzero().flatten()[:2].tolist()
    batch = EdgeBatch(
        user=torch.tensor([first, first, second]),
        item=TINY.train.padded(torch.tensor([first, second]))[[0, 0, 1], [0, 2, 1]],
        negative=torch.tensor([1, 2, 3]),
    )
    x_u, x_i = propagated(network.adjacency, network.user, network.item, num_layers=3)
    better = x_i[batch.item] - x_i[batch.negative]
    margin = list(0.3 * (x_u[batch.user] * better).sum(1))
    for row, user in enumerate(batch.user.tolist()):
        mine = TINY.train.item[TINY.train.user == user].tolist()
        left = [number for number in mine if number not in batch.item[batch.user == user].tolist()]
        for name, wanted in alone(network, TINY, user, left).items():
            table = cast(ModalityEncoder, network.encoders[name]).projection()
            margin[row] = margin[row] + 0.7 * wanted @ (table[batch.item[row]] - table[batch.negative[row]])
    torch.testing.assert_close(margins(network, batch), torch.stack(margin), rtol=1e-4, atol=1e-5)


def test_positions_teach_nothing_to_the_tables() -> None:
    """What histories want has no gradient in LightGCN's vectors."""
    network = made(id_weight=0.0)
    batch = EdgeBatch(user=TINY.train.user[:9], item=TINY.train.item[:9], negative=torch.arange(9))
    margins(network, batch).sum().backward()
    assert network.user.grad is None or not network.user.grad.any()
    assert network.item.grad is None or not network.item.grad.any()
    assert network.reader.grad is not None
    assert network.reader.grad.any()


def encoded(items: Tensor, *, seed: int = 0) -> Tensor:
    network = made().eval()
    encoder = cast(ModalityEncoder, network.encoders["text"])
    generator = torch.Generator().manual_seed(seed)
    place_user = [torch.rand(items.shape[0], 5, generator=generator) for _ in range(2)]
    place_item = [torch.rand(TINY.num_items, 5, generator=generator) for _ in range(2)]
    return encoder(network.reader[: items.shape[0]], items, encoder.projection(), place_user, place_item)


def test_padding_never_matters() -> None:
    items = torch.tensor([[2, 5, 7, -1], [1, -1, -1, -1], [-1, -1, -1, -1]])
    wider = torch.cat([items, torch.full((3, 6), -1)], dim=1)
    torch.testing.assert_close(encoded(items), encoded(wider))
    assert encoded(items).isfinite().all()


def test_a_history_is_a_set() -> None:
    items = torch.tensor([[2, 5, 7, 0], [1, 3, 8, 9]])
    torch.testing.assert_close(encoded(items), encoded(items[:, [3, 1, 0, 2]]))


def test_an_item_without_the_modality_is_not_read() -> None:
    missing = int((~TINY.has_feature("text")).nonzero()[0])
    others = [i for i in range(TINY.num_items) if TINY.has_feature("text")[i]][:3]
    torch.testing.assert_close(
        encoded(torch.tensor([[*others, missing]])), encoded(torch.tensor([[*others, -1]])), rtol=1e-5, atol=1e-6
    )


def test_a_layer_is_standard_attention_with_its_products_taken_together() -> None:
    """M = W_q^T W_k, V = W_o W_v: PyTorch's own attention with one head gives the same."""
    with seeded(torch.Generator().manual_seed(4)):
        standard, layer = nn.MultiheadAttention(6, 1, batch_first=True), LightAttention(6, 0.0)
        x, position = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
        nn.init.normal_(standard.in_proj_bias)
        nn.init.normal_(standard.out_proj.bias)
    (w_q, w_k, w_v), (b_q, _, b_v) = standard.in_proj_weight.chunk(3), standard.in_proj_bias.chunk(3)
    with torch.no_grad():
        layer.query.weight.copy_(w_k.T @ w_q)
        layer.query.bias.copy_(b_q @ w_k)
        layer.value.weight.copy_(standard.out_proj.weight @ w_v)
        layer.value.bias.copy_(standard.out_proj.weight @ b_v + standard.out_proj.bias)
    keep = torch.tensor([[True, True, False, True], [True] * 4, [True, False, False, False]])
    wanted, _ = standard(x + position, x + position, x, key_padding_mask=~keep)
    torch.testing.assert_close(layer(x, position, keep), layer.norm(wanted), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer(x, position, keep, rows=1), layer(x, position, keep)[:, :1])


def test_long_histories_are_read_in_part_and_others_whole() -> None:
    train = Interactions.of(torch.tensor([0] * 9 + [2] * 3), torch.arange(12).remainder(9), num_users=3, num_items=9)
    seen = torch.zeros(9)
    for seed in range(200):
        part = Histories.drawn(train, 4, torch.Generator().manual_seed(seed)).padded(torch.tensor([0, 1, 2]))
        assert sorted(part[2].tolist()) == [-1, 0, 1, 2]
        assert part[1].tolist() == [-1] * 4
        assert part[0].unique().numel() == 4
        seen[part[0]] += 1
    torch.testing.assert_close(seen / 200, torch.full((9,), 4 / 9), atol=0.12, rtol=0)


def test_blocks_hold_every_user_once_with_their_own_items() -> None:
    users = torch.randperm(FEATURED.num_users, generator=torch.Generator().manual_seed(0))[:150]
    whole = Histories.drawn(FEATURED.train, 1000)
    histories = {}
    for chosen, items in blocks(whole, users):
        for number, row in zip(chosen.tolist(), items.tolist(), strict=True):
            assert number not in histories
            histories[number] = [item for item in row if item >= 0]
    assert histories == {
        n: FEATURED.train.item[FEATURED.train.user == u].tolist() for n, u in enumerate(users.tolist())
    }


def test_the_same_seed_learns_the_same_vectors() -> None:
    learns_the_same_from_the_same_seed(LightGT(**SHORT, max_history=3))


def test_a_sparse_modality_will_do_and_none_will_not() -> None:
    makes_do_with_a_sparse_modality(LightGT(**SHORT))
    says_that_there_are_no_features(LightGT(**SHORT))
