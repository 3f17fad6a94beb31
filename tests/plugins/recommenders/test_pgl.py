"""PGL reads features, and its equations are those of a dense computation, on the whole graph and both subgraphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

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
    says_that_there_are_no_features,
)
from torch import Tensor

from mmgrec.data import Dataset, Interactions
from mmgrec.interfaces import Context
from mmgrec.training import seeded
from mmgrec_plugins.recommenders.multimodal.pgl import PGL, PGLNetwork, principal_graph
from mmgrec_plugins.representations.item_graph import joined_item_graph, modality_graphs
from mmgrec_plugins.representations.modalities import ModalityProjection
from mmgrec_plugins.representations.ranking import EdgeBatch, Loss
from mmgrec_plugins.representations.sparse import FixedMatrix

Subgraph = Literal["local", "global"]
SETTINGS: dict[str, Any] = {
    **SMALL,
    "regularization": (0.0,),
    "epochs": 20,
    "batch_size": 400,
    "learning_rate": 2e-2,
    "train_features": False,
}
BOTH = pytest.mark.parametrize("subgraph", ["local", "global"])
BATCH = EdgeBatch(user=TINY.train.user[:20], item=TINY.train.item[:20], negative=TINY.train.item[:20])


def network(
    data: Dataset = TINY, *, principal: FixedMatrix | None = None, pruned: float = 0.5, dropout: float = 0.0
) -> PGLNetwork:
    graphs = modality_graphs(data, num_neighbors=3)
    with seeded(torch.Generator().manual_seed(1)):
        made = PGLNetwork(
            data,
            dim=5,
            num_layers=2,
            num_item_layers=2,
            item_graph=joined_item_graph(graphs, dict.fromkeys(graphs, 0.5)),
            principal=principal,
            pruned=pruned,
            contrast_weight=0.7,
            contrast_temperature=0.3,
            dropout=dropout,
            train_features=True,
        )
    drawn(made)
    return made


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@BOTH
@pytest.mark.parametrize("loss", ["bpr", "softmax"])
def test_it_learns_far_more_than_popularity_and_from_the_features(subgraph: Subgraph, loss: Loss) -> None:
    learns_from_the_features(PGL(**{**SETTINGS, "losses": (loss,)}, subgraph=subgraph))


def test_the_missing_item_of_a_checkerboard_comes_first() -> None:
    puts_the_missing_item_of_a_checkerboard_first(PGL(**SETTINGS))


@BOTH
def test_the_same_seed_learns_the_same_vectors(subgraph: Subgraph) -> None:
    learns_the_same_from_the_same_seed(PGL(**SHORT, subgraph=subgraph))


def test_a_sparse_modality_will_do() -> None:
    makes_do_with_a_sparse_modality(PGL(**SHORT))


def test_without_features_it_says_so() -> None:
    says_that_there_are_no_features(PGL(**SHORT))


def test_the_two_subgraphs_teach_different_vectors() -> None:
    fits = [PGL(**SHORT, subgraph=subgraph).fit(FEATURED, Context(seed=1)) for subgraph in ("local", "global")]
    assert not torch.equal(fits[0].state()["item"], fits[1].state()["item"])


def test_features_are_unit_vectors_side_by_side_and_zero_where_there_are_none() -> None:
    made = network()
    sides = made.features().split(5, dim=1)
    for side, name in zip(sides, TINY.modalities, strict=True):
        has, projection = TINY.has_feature(name), made.projections[name]
        assert isinstance(projection, ModalityProjection)
        assert has.any()
        assert not has.all()
        assert not side[~has].any()
        raw = projection.table @ projection.weight.T + projection.bias
        torch.testing.assert_close(side[has], (raw / raw.norm(dim=1, keepdim=True))[has])


def test_it_ranks_by_lightgcn_over_features_on_the_whole_graph_and_by_the_item_graph() -> None:
    made = network().eval()
    made.begin_epoch(random())
    features, graph = made.features(), torch.from_numpy(made.item_graph.matrix.toarray())
    wanted_user, wanted_item = dense_lightgcn(TINY, made.user, features, 2)
    user, item = made()
    torch.testing.assert_close(user, wanted_user)
    torch.testing.assert_close(item, wanted_item + graph @ graph @ features)


def test_it_trains_on_the_edges_of_an_epoch_and_normalizes_them_anew() -> None:
    made = network().train()
    seen = []
    for seed in (3, 4):
        made.begin_epoch(torch.Generator().manual_seed(seed))
        block = torch.from_numpy(made.kept.matrix.toarray())[: TINY.num_users, TINY.num_users :]
        user, item = block.nonzero(as_tuple=True)
        assert user.numel() == len(TINY.train) // 2
        left = Interactions.of(user, item, num_users=TINY.num_users, num_items=TINY.num_items)
        assert len(TINY.train.merged(left)) == len(TINY.train)
        wanted_user, _ = dense_lightgcn(replace(TINY, train=left), made.user, made.features(), 2)
        torch.testing.assert_close(made()[0], wanted_user)
        seen.append(block)
    assert not torch.equal(seen[0], seen[1])


def normalized_block(data: Dataset) -> Tensor:
    liked = torch.zeros(data.num_users, data.num_items, dtype=torch.float64)
    liked[data.train.user, data.train.item] = 1.0
    scale_u, scale_i = liked.sum(1).clamp_min(1).rsqrt(), liked.sum(0).clamp_min(1).rsqrt()
    return scale_u[:, None] * liked * scale_i


@pytest.mark.parametrize("chunk", [5, 2048])
def test_the_global_subgraph_is_the_first_singular_triples_without_small_entries(chunk: int) -> None:
    left, value, right = torch.linalg.svd(normalized_block(TINY), full_matrices=False)
    wanted = (left[:, :3] * value[:3]) @ right[:3]
    assert value[2] > value[3] + 1e-3, "the third triple is one, not a choice among equals"
    wanted = wanted.masked_fill(wanted.abs() < 0.05, 0.0)
    found = torch.from_numpy(principal_graph(TINY, 3, 0.05, random(), chunk=chunk).matrix.toarray())
    torch.testing.assert_close(found[: TINY.num_users, TINY.num_users :], wanted.float())
    assert torch.equal(found, found.T)
    assert not found[: TINY.num_users, : TINY.num_users].any()
    assert not found[TINY.num_users :, TINY.num_users :].any()
    assert 0 < (wanted == 0).sum() < wanted.numel()


def test_a_small_matrix_has_fewer_singular_triples() -> None:
    found = torch.from_numpy(principal_graph(TINY, 99, 0.0, random()).matrix.toarray())
    left, value, right = torch.linalg.svd(normalized_block(TINY), full_matrices=False)
    wanted = (left[:, :-1] * value[:-1]) @ right[:-1]
    torch.testing.assert_close(found[: TINY.num_users, TINY.num_users :], wanted.float(), rtol=1e-4, atol=1e-6)


def test_the_global_subgraph_is_that_of_all_training() -> None:
    principal = principal_graph(TINY, 3, 0.05, random())
    made = network(principal=principal).train()
    made.begin_epoch(random())
    assert made.kept is principal
    layers = [torch.cat([made.user, made.features()])]
    for _ in range(2):
        layers.append(torch.from_numpy(principal.matrix.toarray()) @ layers[-1])
    torch.testing.assert_close(made()[0], torch.stack(layers).mean(0)[: TINY.num_users])
    torch.testing.assert_close(made.eval()()[0], dense_lightgcn(TINY, made.user, made.features(), 2)[0])


def test_users_and_items_of_a_batch_are_told_apart() -> None:
    """Without dropout both views are the vector: what is left is how near the others of the batch are."""
    made = network().train()
    user, item = made()
    total = torch.tensor(0.0)
    for x in (user[BATCH.user], item[BATCH.item]):
        for row in range(20):
            near = torch.stack([F.cosine_similarity(x[row], x[other], dim=0) for other in range(20)]) / 0.3
            total = total - (near[row] - near.exp().sum().log()) / 20 / 2
    found = made.extra(BATCH, user, item, random())
    assert found.keys() == {"contrast"}
    torch.testing.assert_close(found["contrast"], 0.7 * total)


def test_the_two_views_have_a_dropout_each() -> None:
    made = network(dropout=0.5).train()
    user, item = made()
    losses = []
    for seed in (1, 1, 2):
        with seeded(torch.Generator().manual_seed(seed)):
            losses.append(made.extra(BATCH, user, item, random())["contrast"])
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])
    with seeded(torch.Generator().manual_seed(1)):
        same_view = made.extra(replace(BATCH, user=BATCH.user[:1], item=BATCH.item[:1]), user, item, random())
    assert same_view["contrast"] == 0, "one alone has nobody to be told apart from"
    alike = network(dropout=0.0).train().extra(BATCH, user, item, random())["contrast"]
    assert losses[0] > alike


def test_without_contrast_only_the_ranking_is_left() -> None:
    made = network()
    made.contrast_weight = 0.0
    assert made.extra(BATCH, *made(), random()) == {}


def test_l2_would_shrink_the_users_of_a_batch_and_nothing_else() -> None:
    made = network()
    (found,) = made.free(BATCH)
    assert torch.equal(found, made.user[BATCH.user])


def test_dense_features_are_trained_on_unless_they_are_not_to_be() -> None:
    names = {name for name, _ in network().named_parameters()}
    assert {"projections.visual.table", "projections.text.table", "user"} <= names
    fixed = PGL(**SHORT, train_features=False).network(TINY, dim=4, context=Context())
    assert not any(name.endswith("table") for name, _ in fixed.named_parameters())
    assert fixed.user.shape == (TINY.num_users, 8)
