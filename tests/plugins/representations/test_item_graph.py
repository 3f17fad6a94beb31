"""Item graphs against brute force with Python lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.synthetic import planted
from mmgrec.training import ValidationRecall
from mmgrec_plugins.representations.item_graph import (
    joined_item_graph,
    modality_graphs,
    modality_weights,
    nearest_items,
)
from mmgrec_plugins.representations.sparse import FixedMatrix, bipartite, normalized

DATA = planted(num_users=60, num_items=40, mean_interactions=10, missing=0.2, seed=2)


def edges(neighbor: Tensor) -> set[tuple[int, int]]:
    return {
        (item, other) for item, row in enumerate(neighbor.tolist()) for other in row if other >= 0 and other != item
    }


def brute_nearest(features: Tensor, has: Tensor, count: int) -> list[set[int]]:
    """Per item the `count` most similar others, in float64."""
    x = features.double() - features[has].double().mean(0)
    out = []
    for item in range(len(x)):
        others = [other for other in range(len(x)) if other != item and has[item] and has[other]]
        others.sort(key=lambda other: -float(x[item] @ x[other] / (x[item].norm() * x[other].norm())))
        out.append(set(others[:count]))
    return out


def dense(graph: FixedMatrix) -> Tensor:
    return torch.from_numpy(graph.matrix.toarray())


def by_hand(pairs: set[tuple[int, int]], num_items: int) -> Tensor:
    """``D^-1/2 G D^-1/2`` of the union of both directions."""
    both = torch.zeros(num_items, num_items)
    for item, other in pairs:
        both[item, other] = both[other, item] = 1
    degree = both.sum(1).clamp_min(1)
    return both / (degree[:, None] * degree[None]).sqrt()


@pytest.mark.parametrize("chunk", [7, 2048])
def test_nearest_items_are_those_of_brute_force(chunk: int) -> None:
    has = DATA.has_feature("text")
    assert not has.all()
    neighbours = nearest_items(DATA.features["text"], has, num_neighbors=5, chunk=chunk)
    assert [set(row[row >= 0].tolist()) for row in neighbours] == brute_nearest(DATA.features["text"], has, 5)


def test_items_without_the_modality_have_no_edges() -> None:
    has = DATA.has_feature("text")
    neighbours = nearest_items(DATA.features["text"], has, num_neighbors=5)
    assert neighbours[~has].eq(-1).all()
    assert has[neighbours[has].flatten()].all()
    graph = dense(modality_graphs(DATA, num_neighbors=5)["text"])
    assert graph[~has].eq(0).all()
    assert graph[:, ~has].eq(0).all()


def test_no_item_is_its_own_neighbour_and_copies_are() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.1]])
    neighbours = nearest_items(features, torch.ones(4, dtype=torch.bool), num_neighbors=1)
    assert neighbours.tolist() == [[1], [0], [3], [2]]


def test_fewer_items_than_neighbours() -> None:
    has = torch.tensor([True, True, False])
    neighbours = nearest_items(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), has, num_neighbors=10)
    assert neighbours.tolist() == [[1, -1], [0, -1], [-1, -1]]


def test_a_modality_that_no_item_has_gives_an_empty_graph() -> None:
    data = replace(DATA, features={"text": torch.zeros(DATA.num_items, 3)})
    assert modality_graphs(data, num_neighbors=4)["text"].matrix.nnz == 0


def test_graphs_are_the_symmetric_union_normalised_by_degrees() -> None:
    for modality, graph in modality_graphs(DATA, num_neighbors=4).items():
        nearest = brute_nearest(DATA.features[modality], DATA.has_feature(modality), 4)
        pairs = {(item, other) for item, others in enumerate(nearest) for other in others}
        wanted = by_hand(pairs, DATA.num_items)
        torch.testing.assert_close(dense(graph), wanted)
        assert torch.equal(dense(graph), dense(graph).T)
        assert dense(graph).diagonal().eq(0).all()


def test_a_given_graph_is_used_without_its_self_edges() -> None:
    given = torch.randint(-1, DATA.num_items, (DATA.num_items, 3), generator=torch.Generator().manual_seed(1))
    given[:, 0] = torch.arange(DATA.num_items)
    data = replace(DATA, graphs={"text_knn3": given})
    graphs = modality_graphs(data, num_neighbors=4)
    torch.testing.assert_close(dense(graphs["text"]), by_hand(edges(given), DATA.num_items))
    torch.testing.assert_close(dense(graphs["visual"]), dense(modality_graphs(DATA, num_neighbors=4)["visual"]))


def informative(share: float) -> Dataset:
    """One modality shows an item's whole meaning, the other is noise."""
    data = planted(num_users=150, num_items=80, mean_interactions=15, seed=5)
    noise = torch.randn(data.num_items, 10, generator=torch.Generator().manual_seed(2))
    truth = share * data.latent["item_meaning"] + (1 - share) * torch.randn(
        data.num_items, data.latent["item_meaning"].shape[1], generator=torch.Generator().manual_seed(3)
    )
    return replace(data, features={"noise": noise, "truth": truth})


def test_the_modality_that_tells_taste_weighs_more() -> None:
    data = informative(1.0)
    weights = modality_weights(data, modality_graphs(data, num_neighbors=8), ValidationRecall(data))
    assert weights["truth"] > 2 * weights["noise"]
    assert sum(weights.values()) == pytest.approx(1)


def test_weights_are_recalls_of_summed_edges() -> None:
    graphs, recall = modality_graphs(DATA, num_neighbors=5), ValidationRecall(DATA)
    liked = torch.zeros(DATA.num_users, DATA.num_items)
    liked[DATA.train.user, DATA.train.item] = 1
    value = {
        name: recall.of_scores(lambda users, graph=graph: liked[users] @ dense(graph))  # type: ignore[misc]
        for name, graph in graphs.items()
    }
    weights = modality_weights(DATA, graphs, recall)
    assert weights == pytest.approx({name: share / sum(value.values()) for name, share in value.items()})


def test_without_a_hit_modalities_weigh_the_same() -> None:
    data = replace(DATA, valid=replace(DATA.valid, user=DATA.valid.user[:0], item=DATA.valid.item[:0]))
    weights = modality_weights(data, modality_graphs(data, num_neighbors=5), ValidationRecall(data))
    assert weights == pytest.approx(dict.fromkeys(data.features, 1 / 3))


def test_graphs_are_joined_by_weight() -> None:
    graphs = modality_graphs(DATA, num_neighbors=5)
    weights = {"visual": 0.5, "acoustic": 0.2, "text": 0.3}
    wanted = sum(weights[name] * dense(graph) for name, graph in graphs.items())
    assert isinstance(wanted, Tensor)
    torch.testing.assert_close(dense(joined_item_graph(graphs, weights)), wanted)


# --------------------------------------------------------------------------- fixed sparse matrices


def test_a_product_has_the_gradient_of_the_dense_product() -> None:
    matrix = next(iter(modality_graphs(DATA, num_neighbors=5).values()))
    lopsided = FixedMatrix((matrix.matrix * np.arange(1, 41, dtype=np.float32)[:, None]).tocsr())
    x = torch.randn(DATA.num_items, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = torch.randn(DATA.num_items, 3, generator=torch.Generator().manual_seed(2))
    out = lopsided @ x
    torch.testing.assert_close(out, dense(lopsided) @ x)
    (grad,) = torch.autograd.grad((out * weight).sum(), x)
    torch.testing.assert_close(grad, dense(lopsided).T @ weight)


def test_users_and_items_are_joined_both_ways_and_normalised() -> None:
    user, item = torch.tensor([0, 0, 1]), torch.tensor([0, 2, 2])
    graph = dense(normalized(bipartite(user, item, num_users=3, num_items=3)))
    wanted = torch.zeros(6, 6)
    wanted[0, 3] = 1 / 2**0.5
    wanted[0, 5] = 1 / 2
    wanted[1, 5] = 1 / 2**0.5
    torch.testing.assert_close(graph, wanted + wanted.T)
