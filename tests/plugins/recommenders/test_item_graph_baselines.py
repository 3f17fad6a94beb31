"""FREEDOM, LATTICE and BM3: they read features, and their equations are those of a dense computation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from shared_baselines import (
    FEATURED,
    SHORT,
    SMALL,
    TINY,
    dense_lightgcn,
    drawn,
    learns_from_the_features,
    learns_the_same_from_the_same_seed,
    makes_do_with_a_sparse_modality,
    puts_the_missing_item_of_a_checkerboard_first,
    recall,
    says_that_there_are_no_features,
    shuffled,
)
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.evaluation import evaluate
from mmgrec.interfaces import Context, Silent
from mmgrec.training import seeded
from mmgrec_plugins.recommenders.multimodal.bm3 import BM3, BM3Network
from mmgrec_plugins.recommenders.multimodal.freedom import FREEDOM, FreedomNetwork
from mmgrec_plugins.recommenders.multimodal.lattice import LATTICE, LatticeNetwork, nearest_rows
from mmgrec_plugins.recommenders.simple.popularity import Popularity
from mmgrec_plugins.representations.item_graph import joined_item_graph, modality_graphs
from mmgrec_plugins.representations.modalities import ModalityProjection, centred_features
from mmgrec_plugins.representations.ranking import EdgeBatch, Loss

Kind = type[FREEDOM] | type[LATTICE] | type[BM3]
SETTINGS: dict[str, Any] = {**SMALL, "learning_rate": 2e-2}
BM3_SETTINGS: dict[str, Any] = {**SMALL, "epochs": 30, "batch_size": 200, "learning_rate": 1e-2}
EACH = pytest.mark.parametrize("kind", [FREEDOM, LATTICE, BM3])


def freedom(data: Dataset = TINY, *, pruned: float = 0.5, modal_weight: float = 0.7) -> FreedomNetwork:
    graphs = modality_graphs(data, num_neighbors=3)
    with seeded(torch.Generator().manual_seed(1)):
        network = FreedomNetwork(
            data,
            dim=5,
            num_layers=2,
            num_item_layers=2,
            item_graph=joined_item_graph(graphs, dict.fromkeys(graphs, 0.5)),
            pruned=pruned,
            modal_weight=modal_weight,
        )
    drawn(network)
    return network


def lattice(data: Dataset = TINY, *, kept: float = 0.3) -> LatticeNetwork:
    with seeded(torch.Generator().manual_seed(1)):
        network = LatticeNetwork(data, dim=5, num_layers=2, num_item_layers=2, num_neighbors=3, kept=kept)
    drawn(network)
    return network


@pytest.mark.parametrize("loss", ["bpr", "softmax"])
@pytest.mark.parametrize("kind", [FREEDOM, LATTICE])
def test_it_learns_far_more_than_popularity_and_from_the_features(kind: Kind, loss: Loss) -> None:
    learns_from_the_features(kind(**{**SETTINGS, "losses": (loss,)}))


@pytest.mark.parametrize("kind", [FREEDOM, LATTICE])
def test_the_missing_item_of_a_checkerboard_comes_first(kind: Kind) -> None:
    puts_the_missing_item_of_a_checkerboard_first(kind(**SETTINGS))


@EACH
def test_the_same_seed_learns_the_same_vectors(kind: Kind) -> None:
    learns_the_same_from_the_same_seed(kind(**SHORT))


@EACH
def test_a_sparse_modality_will_do(kind: Kind) -> None:
    makes_do_with_a_sparse_modality(kind(**SHORT))


@EACH
def test_without_features_it_says_so(kind: Kind) -> None:
    says_that_there_are_no_features(kind(**SHORT))


def test_freedom_adds_the_item_graph_to_lightgcn() -> None:
    network = freedom().eval()
    wanted_user, wanted_item = dense_lightgcn(TINY, network.user, network.item, 2)
    graph = torch.from_numpy(network.item_graph.matrix.toarray())
    user, item = network()
    torch.testing.assert_close(user, wanted_user)
    torch.testing.assert_close(item, wanted_item + graph @ graph @ network.item)


def test_freedom_trains_on_the_edges_that_are_left_and_normalizes_them_anew() -> None:
    network = freedom()
    network.begin_epoch(torch.Generator().manual_seed(3))
    block = torch.from_numpy(network.kept.matrix.toarray())[: TINY.num_users, TINY.num_users :]
    user, item = block.nonzero(as_tuple=True)
    assert user.numel() == len(TINY.train) // 2
    left = Interactions.of(user, item, num_users=TINY.num_users, num_items=TINY.num_items)
    assert len(TINY.train.merged(left)) == len(TINY.train)
    wanted_user, _ = dense_lightgcn(replace(TINY, train=left), network.user, network.item, 2)
    torch.testing.assert_close(network.train()()[0], wanted_user)


def test_freedom_keeps_edges_of_rare_nodes_more_often() -> None:
    """Chances of one edge of four to be the only one kept: proportional to 1 / sqrt(d_u d_i)."""
    part = Interactions.of(torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 2]), num_users=2, num_items=3)
    table = torch.eye(3)
    data = replace(TINY, train=part, valid=part, test=part, features={"visual": table}, latent={})
    network = freedom(data, pruned=0.75)
    count = torch.zeros(2, 3)
    for seed in range(600):
        network.begin_epoch(torch.Generator().manual_seed(seed))
        count += torch.from_numpy(network.kept.matrix.toarray())[:2, 2:] > 0
    weight = torch.tensor([[3**-0.5, 3**-0.5, 6**-0.5], [0.0, 0.0, 2**-0.5]])
    torch.testing.assert_close(count / 600, weight / weight.sum(), atol=0.06, rtol=0)


@pytest.mark.parametrize("negatives", [20, 7, 33])
def test_freedom_ranks_by_each_projected_modality_too(negatives: int) -> None:
    """One negative item for each interaction, whether the batch has as many, fewer, or more."""
    network = freedom()
    negative = torch.arange(20).remainder(negatives).remainder(TINY.num_items)
    batch = EdgeBatch(
        user=TINY.train.user[:20],
        item=TINY.train.item[:20],
        negative=torch.arange(negatives).remainder(TINY.num_items),
    )
    user, item = network.eval()()
    total = torch.tensor(0.0)
    for name in TINY.features:
        table, has = network.projections[name](), TINY.has_feature(name)
        for u, i, j in zip(batch.user.tolist(), batch.item.tolist(), negative.tolist(), strict=True):
            if has[i] and has[j]:
                total = total - torch.log(torch.sigmoid(user[u] @ (table[i] - table[j])).clamp_min(1e-30)) / 20
    found = network.extra(batch, user, item, torch.Generator())
    torch.testing.assert_close(found["modal"], 0.7 * total, rtol=1e-4, atol=1e-5)


def dense_lattice(network: LatticeNetwork, data: Dataset = TINY) -> Tensor:
    """``h [I, D]`` by dense similarity matrices."""
    whole = torch.zeros(data.num_items, data.num_items)
    for index, name in enumerate(data.features):
        has = data.has_feature(name)
        unit = F.normalize(network.projections[name](), dim=1)
        similarity = (unit @ unit.T).clamp_min(0.0)
        similarity[~has] = 0.0
        similarity[:, ~has] = 0.0
        similarity.fill_diagonal_(0.0)
        worst = similarity.topk(3, dim=1).values[:, -1:]
        nearest = similarity * (similarity >= worst)
        degree = nearest.sum(1)
        scale = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), 0.0)
        learnt = scale[:, None] * nearest * scale
        given = torch.from_numpy(modality_graphs(data, num_neighbors=3)[name].matrix.toarray())
        whole = whole + network.share.softmax(0)[index] * (network.kept * given + (1 - network.kept) * learnt)
    return whole @ whole @ network.item


def test_lattice_mixes_given_and_learnt_graphs() -> None:
    network = lattice().eval()
    wanted_user, wanted_item = dense_lightgcn(TINY, network.user, network.item, 2)
    user, item = network()
    torch.testing.assert_close(user, wanted_user)
    torch.testing.assert_close(item, wanted_item + F.normalize(dense_lattice(network), dim=1))


def test_lattice_teaches_its_projections_in_the_first_batch_of_an_epoch() -> None:
    network = lattice().train()
    network.begin_epoch(torch.Generator())
    first, second = network()[1], network()[1]
    torch.testing.assert_close(first, second)
    aim = torch.randn(first.shape, generator=torch.Generator().manual_seed(5))
    wanted = torch.autograd.grad((F.normalize(dense_lattice(network), dim=1) * aim).sum(), list(parameters(network)))
    gradients = torch.autograd.grad((first * aim).sum(), list(parameters(network)), retain_graph=True)
    for mine, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)
    assert torch.autograd.grad((second * aim).sum(), list(parameters(network)), allow_unused=True) == (None,) * 5


def parameters(network: LatticeNetwork) -> list[Tensor]:
    """What only the learnt graph is made of."""
    return [
        network.share,
        *(p for projection in network.projections.values() for p in (projection.weight, projection.bias)),
    ]


def test_lattice_is_judged_by_the_graph_of_its_parameters() -> None:
    """A graph kept from the last epoch must not reach inference, or the best epoch could not be restored."""
    network = lattice().train()
    network.begin_epoch(torch.Generator())
    network()
    drawn(network, seed=9)
    fresh = lattice()
    drawn(fresh, seed=9)
    assert torch.equal(network.eval()()[1], fresh.eval()()[1])


def test_neighbours_are_the_same_in_chunks_and_none_is_missing() -> None:
    table = F.normalize(torch.randn(30, 4, generator=torch.Generator().manual_seed(2)), dim=1)
    has = torch.arange(30) != 7
    nearest = nearest_rows(table, has, num_neighbors=4, chunk=11)
    similarity = (table @ table.T).fill_diagonal_(-torch.inf)
    similarity[:, 7] = -torch.inf
    assert torch.equal(nearest[has], similarity.topk(4, dim=1).indices[has])
    assert (nearest[7] == 7).all()


def bm3(*, dropout: float = 0.0) -> BM3Network:
    with seeded(torch.Generator().manual_seed(1)):
        network = BM3Network(TINY, dim=5, num_layers=2, dropout=dropout, modal_weight=0.4, train_features=True)
    drawn(network)
    return network


def test_bm3_is_lightgcn_with_the_free_vector_again_and_a_predictor() -> None:
    network = bm3()
    wanted_user, wanted_item = dense_lightgcn(TINY, network.user, network.item, 2)
    user, item = network.train()()
    torch.testing.assert_close(user, wanted_user)
    torch.testing.assert_close(item, wanted_item + network.item)
    ranked_user, ranked_item = network.eval()()
    weight, bias = network.predictor.weight, network.predictor.bias
    torch.testing.assert_close(ranked_user, user @ weight.T + bias)
    torch.testing.assert_close(ranked_item, item @ weight.T + bias)


def test_bm3_predicts_users_items_and_modalities_from_one_another() -> None:
    """Without dropout a target is its vector; one interaction after the other."""
    network = bm3()
    user, item = network.train()()
    some = slice(0, 20)
    batch = EdgeBatch(user=TINY.train.user[some], item=TINY.train.item[some], negative=TINY.train.item[some])
    terms = network.extra(batch, user, item, torch.Generator())
    wanted = dict.fromkeys(("reconstruction", "between", "within"), torch.tensor(0.0))
    for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True):
        p_u, p_i = network.predictor(user[u]), network.predictor(item[i])
        wanted["reconstruction"] = wanted["reconstruction"] + (2 - cosine(p_u, item[i]) - cosine(p_i, user[u])) / 20
        for name in TINY.features:
            if TINY.has_feature(name)[i]:
                h = network.projections[name]()[i]
                wanted["between"] = wanted["between"] + 0.4 * (1 - cosine(network.predictor(h), item[i])) / 20
                wanted["within"] = wanted["within"] + 0.4 * (1 - cosine(network.predictor(h), h)) / 20
    assert terms.keys() == wanted.keys()
    for name, value in terms.items():
        torch.testing.assert_close(value, wanted[name])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return a @ b / (a.norm() * b.norm())


def test_bm3_targets_have_no_gradient() -> None:
    """Only the predicting side learns: the gradient of an item's vector does not pass where it is a target."""
    network = bm3()
    user, item = (one.detach().requires_grad_() for one in network.train()())
    one = torch.tensor([0])
    batch = EdgeBatch(user=one, item=one, negative=one)
    similarity = F.cosine_similarity(network.predictor(user[0]), item[0].detach(), dim=0)
    wanted = torch.autograd.grad(-similarity, user)[0]
    loss = network.extra(batch, user, item, torch.Generator())["reconstruction"]
    torch.testing.assert_close(torch.autograd.grad(loss, user)[0], wanted)


def test_bm3_trains_the_features_on_if_it_is_to() -> None:
    for trained in (True, False):
        with seeded(torch.Generator().manual_seed(1)):
            network = BM3Network(TINY, dim=5, num_layers=1, dropout=0.0, modal_weight=0.4, train_features=trained)
        parameters = {name for name, _ in network.named_parameters()}
        for name in TINY.features:
            assert (f"projections.{name}.table" in parameters) is trained
            table = cast(ModalityProjection, network.projections[name]).table
            torch.testing.assert_close(table.detach(), centred_features(TINY, name))


class Losses(Silent):
    def __init__(self) -> None:
        self.last: dict[str, float] = {}

    def update(self, stage: str, done: int, facts: Mapping[str, float]) -> None:
        self.last = dict(facts)


def test_bm3_learns_far_more_than_popularity_and_aligns_what_belongs_together() -> None:
    """Features of other items do not fit the vectors of those who are liked by the same users, if they are what they
    are."""
    settings = {**BM3_SETTINGS, "num_layers": 2, "dropout": 0.0, "train_features": False}
    apart = []
    for data in (FEATURED, shuffled(FEATURED)):
        heard = Losses()
        fitted = BM3(**settings).fit(data, Context(seed=1, reporter=heard))
        apart.append(heard.last["between"])
        value = evaluate(fitted, data, top_k=(10,)).metrics["recall@10"]
        assert value > 1.3 * recall(Popularity(), FEATURED)
    assert apart[0] < 0.8 * apart[1]
