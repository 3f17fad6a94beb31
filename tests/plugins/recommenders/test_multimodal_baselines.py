"""VBPR, MMGCN and GRCN compute what their papers say, learn, and really read the features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from shared_baselines import (
    DATA,
    FEATURED,
    SEVERAL,
    SMALL,
    chooses_from_the_grid_by_validation,
    learns_far_more_than_popularity,
    puts_the_missing_item_of_a_checkerboard_first,
    recall,
    says_that_there_are_no_features,
    shuffled,
)
from torch import Tensor, nn

from mmgrec.data import Bag, Dataset
from mmgrec.interfaces import Context
from mmgrec_plugins.recommenders.graph.factors import FactorRecommender
from mmgrec_plugins.recommenders.multimodal.grcn import GRCN, GRCNNetwork
from mmgrec_plugins.recommenders.multimodal.mmgcn import MMGCN, MMGCNNetwork
from mmgrec_plugins.recommenders.multimodal.vbpr import VBPR, VBPRNetwork
from mmgrec_plugins.representations.modalities import ModalityProjection
from mmgrec_plugins.representations.ranking import RankingNetwork

SETTINGS: dict[str, Any] = {**SMALL, "learning_rate": 1e-2}
KINDS: list[type[FactorRecommender]] = [VBPR, MMGCN, GRCN]
EACH = pytest.mark.parametrize("kind", KINDS, ids=["vbpr", "mmgcn", "grcn"])


def with_words() -> Dataset:
    """Dense modalities and a bag; item 4 has no word."""
    generator = torch.Generator().manual_seed(0)
    item, word = (torch.randint(most, (400,), generator=generator) for most in (DATA.num_items, 12))
    keep = item != 4
    bag = Bag.of(item[keep], word[keep], torch.ones(int(keep.sum())), num_items=DATA.num_items, num_words=12)
    return replace(DATA, bags={"words": bag})


def found(network: RankingNetwork) -> Tensor:
    with torch.no_grad():
        return torch.cat(network.eval()())


def unsettle(network: nn.Module) -> None:
    """No parameter at a special value, placeholders neither."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def neighbours(data: Dataset) -> list[list[int]]:
    """Of each node, users first."""
    out: list[list[int]] = [[] for _ in range(data.num_users + data.num_items)]
    for user, item in zip(data.train.user.tolist(), data.train.item.tolist(), strict=True):
        out[user].append(item + data.num_users)
        out[item + data.num_users].append(user)
    return out


@EACH
def test_it_learns_far_more_than_popularity(kind: type[FactorRecommender]) -> None:
    learns_far_more_than_popularity(kind(**SETTINGS))


@EACH
def test_the_missing_item_of_a_checkerboard_comes_first(kind: type[FactorRecommender]) -> None:
    puts_the_missing_item_of_a_checkerboard_first(kind(**SETTINGS))


@pytest.mark.parametrize(
    ("kind", "regularization"), [(VBPR, 0.01), (MMGCN, 3.0), (GRCN, 0.3)], ids=["vbpr", "mmgcn", "grcn"]
)
def test_features_of_other_items_are_worse_than_ones_own(kind: type[FactorRecommender], regularization: float) -> None:
    """Few interactions and clear features: who reads them loses when they are dealt out anew."""
    recommender = kind(**{**SETTINGS, "epochs": 60, "regularization": (regularization,)})
    own, others = recall(recommender, FEATURED, seeds=SEVERAL), recall(recommender, shuffled(FEATURED), seeds=SEVERAL)
    assert own > 1.1 * others


@EACH
def test_validation_chooses_from_the_grid(kind: type[FactorRecommender]) -> None:
    chooses_from_the_grid_by_validation(kind, **SETTINGS)


@EACH
def test_sparse_modalities_are_read_too(kind: type[FactorRecommender]) -> None:
    """Every weight of every modality is learnt, also of a bag with an item without words."""
    data = with_words()
    network = kind().network(data, dim=6, context=Context())
    user, item = network()
    (user.square().sum() + item.square().sum() + (user @ item.T).sum()).backward()
    read = [module for module in network.modules() if isinstance(module, ModalityProjection)]
    assert len(read) == 4
    assert all(module.weight.grad is not None and module.weight.grad.any() for module in read)


@EACH
def test_without_features_it_says_so(kind: type[FactorRecommender]) -> None:
    says_that_there_are_no_features(kind(**SETTINGS))


def test_vbpr_is_its_equation() -> None:
    torch.manual_seed(0)
    data = with_words()
    network = VBPRNetwork(data, dim=3)
    unsettle(network)
    user, item = network()
    content = sum(projection() for projection in network.content.values())
    assert isinstance(content, Tensor)
    for u, i in ((0, 0), (5, 4), (159, 99)):
        gamma, theta = network.user[u, :3], network.user[u, 3:]
        wanted = network.item[i, 3] + gamma @ network.item[i, :3] + theta @ content[i, :3] + content[i, 3]
        torch.testing.assert_close(user[u] @ item[i], wanted)


@pytest.mark.parametrize("combination", ["concat", "sum"])
def test_mmgcn_is_its_equation(combination: Any) -> None:
    torch.manual_seed(0)
    data = with_words()
    network = MMGCNNetwork(data, dim=4, num_layers=2, combination=combination)
    unsettle(network)
    identity = torch.cat([network.user, network.item]).detach()
    near, out = neighbours(data), []
    for graph in network.graphs:
        weight = {name: value.detach() for name, value in graph.named_parameters()}
        x = torch.cat([weight["preference"], graph.get_submodule("content")().detach()])
        x = x / x.norm(dim=1, keepdim=True)
        for layer in ("layers.0", "layers.1"):
            w1, w2, w3 = (weight[f"{layer}.{name}.weight"] for name in ("neighbours", "own", "joined"))
            rows = []
            for node, others in enumerate(near):
                mean = x[others].mean(0) if others else torch.zeros(4)
                h = F.leaky_relu(w1 @ mean)
                c = F.leaky_relu(w2 @ x[node] + weight[f"{layer}.own.bias"]) + identity[node]
                joined = w3 @ torch.cat([h, c]) if combination == "concat" else w3 @ h + c
                rows.append(F.leaky_relu(joined + weight[f"{layer}.joined.bias"]))
            x = torch.stack(rows)
        out.append(x)
    torch.testing.assert_close(found(network), sum(out) / len(out), rtol=1e-4, atol=1e-5)


def test_grcn_is_its_equation() -> None:
    torch.manual_seed(0)
    data = with_words()
    network = GRCNNetwork(data, dim=4, num_layers=2, num_routing=2)
    unsettle(network)
    near, num_users = neighbours(data), data.num_users
    size = len(near)
    vectors, affinities = [], []
    for prototype, content in zip(network.prototype, network.content.values(), strict=True):
        item = F.normalize(F.leaky_relu(content().detach()), dim=1)
        x = torch.cat([F.normalize(prototype.detach(), dim=1), item])
        for _ in range(2):
            routed = x.clone()
            for user in range(num_users):
                share = (x[near[user]] @ x[user]).softmax(0)
                routed[user] = F.normalize(x[user] + share @ x[near[user]], dim=0)
            x = routed
        affinity = torch.zeros(size, size)
        for node, others in enumerate(near):
            affinity[node, others] = (x[others] @ x[node]).softmax(0)
        vectors.append(x + F.leaky_relu(affinity @ x))
        affinities.append(affinity)
    confidence = network.confidence.detach()
    confidence[:, ::7] -= 2.0  # some edges are pruned
    weight = torch.stack([c * affinity for c, affinity in zip(confidence, affinities, strict=True)]).amax(0).relu()
    assert (weight[affinities[0] > 0] == 0).any()
    first = F.normalize(torch.cat([network.user, network.item]).detach(), dim=1)
    ids = first + weight @ first + weight @ weight @ first
    torch.testing.assert_close(found(network), torch.cat([ids, *vectors], dim=1), rtol=1e-4, atol=1e-5)


def test_grcn_learns_whom_to_trust() -> None:
    """Confidences have gradients: they start at one, and training moves those of nodes with edges."""
    network = GRCN().network(DATA, dim=4, context=Context())
    user, item = network()
    (user @ item.T).sum().backward()
    assert isinstance(network, GRCNNetwork)
    assert bool((network.confidence == 1).all())
    assert network.confidence.grad is not None
    used = torch.cat([DATA.train.user_degree, DATA.train.item_degree]) > 0
    moved = network.confidence.grad.ne(0).any(0)
    assert not (moved & ~used).any()
    assert moved[used].float().mean() > 0.9
