"""GraphSAGE, NGCF and GAT compute what their papers say, learn, and read the graph alone."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from shared_baselines import (
    DATA,
    SHORT,
    SMALL,
    chooses_from_the_grid_by_validation,
    learns_far_more_than_popularity,
    looks_at_neither_features_nor_test_items,
    puts_the_missing_item_of_a_checkerboard_first,
)
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.errors import SettingsError
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.graph.gat import GAT, GATNetwork
from mmgrec_plugins.recommenders.graph.graphsage import GraphSAGE, GraphSAGENetwork
from mmgrec_plugins.recommenders.graph.ngcf import NGCF, NGCFNetwork
from mmgrec_plugins.representations.graph_network import GraphNetwork
from mmgrec_plugins.representations.ranking import RankingNetwork

SETTINGS: dict[str, Any] = {**SMALL, "learning_rate": 1e-2}
KINDS: list[type[FactorRecommender]] = [GraphSAGE, NGCF, GAT]
EACH = pytest.mark.parametrize("kind", KINDS, ids=["graphsage", "ngcf", "gat"])


def adjacency(data: Dataset) -> Tensor:
    """Dense ``[U + I, U + I]``."""
    size = data.num_users + data.num_items
    out = torch.zeros(size, size)
    out[data.train.user, data.train.item + data.num_users] = 1.0
    return out + out.T


def found(network: RankingNetwork) -> Tensor:
    """All vectors, users first, as they are when nothing is dropped."""
    with torch.no_grad():
        return torch.cat(network.eval()())


def start(network: RankingNetwork) -> Tensor:
    return torch.cat([network.user, network.item]).detach()


@EACH
def test_it_learns_far_more_than_popularity(kind: type[FactorRecommender]) -> None:
    learns_far_more_than_popularity(kind(**SETTINGS))


@EACH
def test_the_missing_item_of_a_checkerboard_comes_first(kind: type[FactorRecommender]) -> None:
    puts_the_missing_item_of_a_checkerboard_first(kind(**SETTINGS))


@EACH
def test_validation_chooses_from_the_grid(kind: type[FactorRecommender]) -> None:
    chooses_from_the_grid_by_validation(kind, **SETTINGS)


@EACH
def test_features_and_test_items_have_no_part_in_it(kind: type[FactorRecommender]) -> None:
    looks_at_neither_features_nor_test_items(kind(**SHORT))


def test_graphsage_is_its_equation_and_that_of_an_independent_layer() -> None:
    from torch_geometric.nn import SAGEConv

    torch.manual_seed(0)
    network = GraphSAGENetwork(DATA, dim=6, num_layers=2)
    graph = adjacency(DATA)
    mean = graph / graph.sum(1, keepdim=True).clamp_min(1)
    edges = graph.nonzero().T.flip(0)
    naive = other = start(network)
    for depth in range(2):
        own, neighbours = cast(torch.nn.Linear, network.own[depth]), cast(torch.nn.Linear, network.neighbours[depth])
        layer = SAGEConv(6, 6)
        layer.load_state_dict(
            {"lin_l.weight": neighbours.weight, "lin_l.bias": own.bias, "lin_r.weight": own.weight}, strict=True
        )
        with torch.no_grad():
            naive = naive @ own.weight.T + (mean @ naive) @ neighbours.weight.T + own.bias
            other = layer(other, edges)
        if depth == 0:
            naive, other = F.leaky_relu(naive), F.leaky_relu(other)
    torch.testing.assert_close(found(network), naive.detach())
    torch.testing.assert_close(found(network), other)


def test_ngcf_is_its_equation() -> None:
    torch.manual_seed(0)
    network = NGCFNetwork(DATA, dim=6, num_layers=2, dropout=0.5)
    graph = adjacency(DATA)
    scale = graph.sum(1).clamp_min(1e-9).rsqrt() * (graph.sum(1) > 0)
    laplacian = scale[:, None] * graph * scale
    x = start(network)
    layers = [x]
    for depth in range(2):
        plain, crossed = cast(torch.nn.Linear, network.plain[depth]), cast(torch.nn.Linear, network.crossed[depth])
        kept = (laplacian + torch.eye(len(x))) @ x @ plain.weight.T + plain.bias
        x = kept + ((laplacian @ x) * x) @ crossed.weight.T
        x = torch.where(x > 0, x, 0.2 * x)
        layers.append(x / x.norm(dim=1, keepdim=True))
    torch.testing.assert_close(found(network), torch.cat(layers, dim=1).detach())


def test_ngcf_drops_messages_in_training_alone() -> None:
    torch.manual_seed(0)
    network = NGCFNetwork(DATA, dim=6, num_layers=1, dropout=0.5)
    assert torch.equal(found(network), found(network))
    network.train()
    assert not torch.equal(network()[0], network()[0])


def test_gat_is_its_equation_and_that_of_an_independent_layer() -> None:
    from torch_geometric.nn import GATConv

    torch.manual_seed(0)
    network = GATNetwork(DATA, dim=6, num_layers=2, num_heads=3)
    graph = adjacency(DATA)
    linked = (graph + torch.eye(len(graph))) > 0
    naive = other = start(network)
    for depth, layer in enumerate(network.layers):
        weight, p, q = (dict(layer.named_parameters())[name] for name in ("linear.weight", "receiver", "sender"))
        twin = GATConv(6, 2, heads=3, bias=False)
        twin.load_state_dict({"lin.weight": weight, "att_dst": p[None], "att_src": q[None]}, strict=True)
        if depth:
            naive, other = F.elu(naive), F.elu(other)
        heads = []
        for head in range(3):
            projected = naive @ weight.T[:, 2 * head : 2 * head + 2]
            logits = F.leaky_relu((projected @ p[head])[:, None] + (projected @ q[head])[None], 0.2)
            heads.append(logits.masked_fill(~linked, -torch.inf).softmax(1) @ projected)
        naive = torch.cat(heads, dim=1)
        with torch.no_grad():
            other = twin(other, graph.nonzero().T.flip(0))
    torch.testing.assert_close(found(network), naive.detach())
    torch.testing.assert_close(found(network), other)


def test_lightgcn_is_that_of_an_independent_implementation() -> None:
    from torch_geometric.nn import LightGCN

    torch.manual_seed(0)
    network = GraphNetwork(DATA, dim=6, num_layers=3)
    twin = LightGCN(DATA.num_users + DATA.num_items, 6, num_layers=3)
    with torch.no_grad():
        twin.embedding.weight.copy_(start(network))
        other = twin.get_embedding(adjacency(DATA).nonzero().T)
    torch.testing.assert_close(found(network), other)


def test_heads_that_do_not_share_the_dim_equally_are_a_mistake() -> None:
    with pytest.raises(SettingsError) as error:
        GAT(dim=(10,), epochs=1).fit(DATA, Context())
    assert error.value.code == "recommenders.dim-not-divisible"
    assert "dim 10" in str(error.value)
    assert "4 heads" in str(error.value)
