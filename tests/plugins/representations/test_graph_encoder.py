"""Graph representations: convolutions against PyG and by hand, losses by hand, and what may touch them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import LGConv

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context, Representations
from mmgrec.synthetic import planted
from mmgrec.training import ValidationRecall, seeded
from mmgrec_plugins.representations.graph_encoder import EncoderFit, GraphEncoder, place_cold_items
from mmgrec_plugins.representations.graph_network import GraphNetwork
from mmgrec_plugins.representations.item_graph import joined_item_graph, modality_graphs
from mmgrec_plugins.representations.modalities import centred_features
from mmgrec_plugins.representations.ranking import RankingTask, best_of

DATA = planted(num_users=50, num_items=30, mean_interactions=8, cold_items=0.1, seed=7)
COLD = DATA.train.item_degree == 0
TINY = GraphEncoder(dim=8, epochs=3, batch_size=100, num_negatives=20, regularization=(1e-2,), item_graph_scale=(1.0,))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nothing() -> Interactions:
    none = torch.empty(0, dtype=torch.int64)
    return Interactions.of(none, none, num_users=DATA.num_users, num_items=DATA.num_items)


def network(data: Dataset = DATA, **given: Any) -> GraphNetwork:
    plain: dict[str, Any] = {
        "dim": 6, "num_layers": 3, "convolution": "light", "fuse": False,
        "item_graph": None, "graph_scale": 0.0, "graph_first": False,
    }  # fmt: skip
    with seeded(generator(1)):
        return GraphNetwork(data, **{**plain, **given})


def edge_index(data: Dataset = DATA) -> Tensor:
    pairs = torch.stack([data.train.user, data.train.item + data.num_users])
    return torch.cat([pairs, pairs.flip(0)], 1)


def bits(given: Representations) -> tuple[Tensor, Tensor]:
    return given.user, given.item


def same(a: Representations, b: Representations) -> bool:
    return torch.equal(a.user, b.user) and torch.equal(a.item, b.item)


# --------------------------------------------------------------------------- convolution


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_light_is_the_mean_of_lgconv_over_layers(num_layers: int) -> None:
    net, conv = network(num_layers=num_layers), LGConv()
    x = torch.cat([net.user, net.item])
    layers = [x]
    for _ in range(num_layers):
        layers.append(conv(layers[-1], edge_index()))
    wanted = torch.stack(layers).mean(0)
    torch.testing.assert_close(torch.cat(net()), wanted)
    weight = torch.randn(wanted.shape, generator=generator(2))
    found = torch.autograd.grad((torch.cat(net()) * weight).sum(), (net.user, net.item))
    by_pyg = torch.autograd.grad((wanted * weight).sum(), (net.user, net.item))
    for a, b in zip(found, by_pyg, strict=True):
        torch.testing.assert_close(a, b)


def test_sage_is_equation_five() -> None:
    net = network(convolution="sage", num_layers=2, dim=5)
    x = torch.cat([net.user, net.item])
    neighbors: list[list[int]] = [[] for _ in range(x.shape[0])]
    for source, target in edge_index().T.tolist():
        neighbors[target].append(source)
    for layer in net.sage:
        mean = torch.stack([x[one].mean(0) if one else torch.zeros(5) for one in neighbors])
        x = F.leaky_relu(x @ layer.lin_r.weight.T + mean @ layer.lin_l.weight.T + layer.lin_l.bias)
    torch.testing.assert_close(torch.cat(net()), x)


def test_fused_items_start_at_their_features_and_a_vector_of_their_own() -> None:
    net = network(fuse=True)
    assert net.fused is not None
    features = torch.cat([centred_features(DATA, name) for name in DATA.features], 1)
    torch.testing.assert_close(net.start()[1], features @ net.fused.weight.T + net.item)  # Eq. 4
    assert torch.equal(net.start()[0], net.user)


def test_centred_features_leave_missing_rows_at_zero() -> None:
    table = DATA.features["text"].clone()
    table[:5] = 0
    data = replace(DATA, features={"text": table})
    found, has = centred_features(data, "text"), data.has_feature("text")
    assert found[~has].eq(0).all()
    torch.testing.assert_close(found[has].mean(0), torch.zeros(table.shape[1]), atol=1e-6, rtol=0)
    assert float(found[has].norm(dim=1).mean()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_the_item_graph_enters_before_or_after_the_convolution(first: bool) -> None:
    graph = joined_item_graph(modality_graphs(DATA, num_neighbors=4), dict.fromkeys(DATA.features, 1 / 3))
    table = torch.from_numpy(graph.matrix.toarray())
    with_graph = network(item_graph=graph, graph_scale=0.7, graph_first=first)
    without = network()
    if first:
        without.item.data.add_(0.7 * (table @ without.item.data))
        user, item = without()
    else:
        user, item = without()
        item = item + 0.7 * (table @ without.item)
    torch.testing.assert_close(with_graph()[0], user)
    torch.testing.assert_close(with_graph()[1], item)


# --------------------------------------------------------------------------- losses


def task(loss: Any, regularization: float = 0.1, data: Dataset = DATA) -> RankingTask:
    return RankingTask(
        network(data), data, loss=loss, regularization=regularization, temperature=0.5, num_negatives=7,
        batch_size=64, recall=ValidationRecall(data),
    )  # fmt: skip


def test_the_bpr_loss_by_hand() -> None:
    ranking = task("bpr")
    batch = next(ranking.batches(0, generator(3)))
    net = ranking.network
    user, item = net()
    total = torch.zeros(())
    for u, i, j in zip(batch.user.tolist(), batch.item.tolist(), batch.negative.tolist(), strict=True):
        total = total - torch.sigmoid(user[u] @ item[i] - user[u] @ item[j]).log()
        total = total + 0.05 * (net.user[u].square().sum() + net.item[i].square().sum() + net.item[j].square().sum())
    losses = ranking.loss(batch, generator())
    torch.testing.assert_close(losses["loss"], total / 64, rtol=1e-4, atol=1e-5)
    assert float(losses["bpr"].detach()) < float(losses["loss"].detach())


def test_the_softmax_loss_by_hand() -> None:
    ranking = task("softmax")
    batch = next(ranking.batches(0, generator(3)))
    assert batch.negative.shape == (7,)
    user, item = (F.normalize(side, dim=1) for side in ranking.network())
    total = torch.zeros(())
    for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True):
        logits = torch.cat([user[u] @ item[[i]].T, user[u] @ item[batch.negative].T]) / 0.5
        total = total - logits.log_softmax(0)[0]
    torch.testing.assert_close(ranking.loss(batch, generator())["loss"], total / 64, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_an_epoch_has_every_training_edge_once(loss: str) -> None:
    ranking = task(loss)
    batches = list(ranking.batches(0, generator(4)))
    assert len(batches) == ranking.steps_per_epoch()
    pairs = sorted((u, i) for batch in batches for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True))
    assert pairs == sorted(zip(DATA.train.user.tolist(), DATA.train.item.tolist(), strict=True))


def test_softmax_representations_are_cosines_over_the_temperature() -> None:
    representations = task("softmax").representations()
    torch.testing.assert_close(representations.user.norm(dim=1), torch.full((DATA.num_users,), 2.0))
    torch.testing.assert_close(representations.item.norm(dim=1), torch.ones(DATA.num_items))


# --------------------------------------------------------------------------- what may touch them


@pytest.fixture(scope="module")
def fitted() -> Representations:
    return TINY.fit(DATA, Context(seed=2))


def test_the_test_part_has_no_part_in_it(fitted: Representations) -> None:
    for test in (DATA.valid, nothing()):
        assert same(TINY.fit(replace(DATA, test=test), Context(seed=2)), fitted)


def test_validation_items_are_not_in_the_graph() -> None:
    """With nothing to choose or stop on, what the validation part holds changes no weight."""
    ends = []
    for valid in (DATA.valid, DATA.test):
        ranking = task("bpr", data=replace(DATA, valid=valid, test=nothing()))
        ends.append(ranking.representations())
        losses = ranking.loss(next(ranking.batches(0, generator(5))), generator())
        ends.append(Representations(user=losses["loss"].detach().view(1, 1), item=losses["loss"].detach().view(1, 1)))
    assert same(ends[0], ends[2])
    assert same(ends[1], ends[3])


def test_it_is_seeded_and_leaves_the_global_random_state_alone(fitted: Representations) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again = TINY.fit(DATA, Context(seed=2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(again, fitted)
    assert not same(TINY.fit(DATA, Context(seed=3)), fitted)


@pytest.mark.parametrize("encoder", [TINY, replace(TINY, convolution="sage", fuse_features=True, losses=("bpr",))])
def test_a_fit_that_finds_its_checkpoints_ends_in_the_same_bits(encoder: GraphEncoder, tmp_path: Path) -> None:
    first = encoder.fit(DATA, Context(seed=2, checkpoints=tmp_path))
    assert same(encoder.fit(DATA, Context(seed=2, checkpoints=tmp_path)), first)
    assert same(encoder.fit(DATA, Context(seed=2)), first)


def test_members_are_folded_to_the_rank() -> None:
    data = replace(DATA, valid=nothing())  # then no member is left out
    assert TINY.fit(data, Context(seed=2)).dim == 24
    assert replace(TINY, rank=0).fit(data, Context(seed=2)).dim == 24
    assert replace(TINY, rank=5).fit(data, Context(seed=2)).dim == 5


def test_the_softmax_has_a_member_for_each_depth() -> None:
    data = replace(DATA, valid=nothing())
    softmax = replace(TINY, losses=("softmax",), rank=0)
    assert softmax.fit(data, Context(seed=2)).dim == 16
    deep, flat = (replace(softmax, softmax_layers=(layers,)).fit(data, Context(seed=2)) for layers in (2, 0))
    assert deep.dim == flat.dim == 8
    assert not torch.allclose(deep.item, flat.item)


def test_sharpness_multiplies_the_scores(fitted: Representations) -> None:
    sharp = replace(TINY, sharpness=2.0).fit(DATA, Context(seed=2))
    torch.testing.assert_close(sharp.user @ sharp.item.T, 2 * (fitted.user @ fitted.item.T))


@pytest.mark.parametrize(
    "data", [replace(DATA, features={}), replace(DATA, valid=nothing())], ids=["features", "valid"]
)
def test_it_works_without(data: Dataset) -> None:
    fitted = TINY.fit(data, Context())
    assert all(side.isfinite().all() for side in bits(fitted))


# --------------------------------------------------------------------------- choices


def test_the_best_task_on_validation_is_chosen() -> None:
    strengths = (1e-2, 1e3)  # the second keeps all vectors at zero
    fit = EncoderFit.of(replace(TINY, item_graph_scale=(0.0,)), DATA, Context())
    tasks = [(f"{strength}", fit.task("bpr", regularization=strength)) for strength in strengths]
    best = best_of(tasks, replace(TINY, epochs=30).training(DATA), Context(), "s")
    values = [task.validate() for _, task in tasks]
    assert best.score == max(value for value in values if value is not None)
    assert same(best.representations, tasks[best.place][1].representations())


# --------------------------------------------------------------------------- cold items


def test_cold_items_take_the_mean_of_the_items_they_resemble() -> None:
    graph = joined_item_graph(modality_graphs(DATA, num_neighbors=4), dict.fromkeys(DATA.features, 1 / 3))
    given = Representations(
        user=torch.randn(DATA.num_users, 4, generator=generator(1)),
        item=torch.randn(DATA.num_items, 4, generator=generator(2)),
    )
    placed = place_cold_items(given, DATA, graph, ValidationRecall(DATA))
    assert torch.equal(placed.item[~COLD], given.item[~COLD])
    assert torch.equal(placed.user, given.user)
    weight = torch.from_numpy(graph.matrix.toarray()).masked_fill(COLD, 0.0)[COLD]
    assert weight.sum(1).min() > 0
    guess = weight @ given.item / weight.sum(1, keepdim=True)
    factor = float((placed.item[COLD] / guess).median())
    assert min(abs(factor - allowed) for allowed in (0.25, 0.5, 0.75, 1.0)) < 1e-5
    torch.testing.assert_close(placed.item[COLD], factor * guess)


def test_a_cold_item_like_nothing_takes_the_mean_of_all() -> None:
    given = Representations(
        user=torch.ones(DATA.num_users, 2), item=torch.randn(DATA.num_items, 2, generator=generator())
    )
    placed = place_cold_items(
        given, replace(DATA, valid=nothing()), None, ValidationRecall(replace(DATA, valid=nothing()))
    )
    torch.testing.assert_close(placed.item[COLD], given.item[~COLD].mean(0).expand(int(COLD.sum()), 2))


@pytest.mark.parametrize(
    "encoder",
    [
        TINY,
        replace(TINY, item_graph_scale=(0.0,)),
        replace(TINY, convolution="sage", fuse_features=True, losses=("bpr",), item_graph_scale=(0.0,)),
    ],
    ids=["item graph", "none", "fused"],
)
def test_cold_items_have_vectors_of_their_own(encoder: GraphEncoder) -> None:
    """Where they all shared one, they would all share one code."""
    assert int(COLD.sum()) >= 3
    item = encoder.fit(DATA, Context()).item[COLD]
    assert torch.unique(item, dim=0).shape[0] == int(COLD.sum())
