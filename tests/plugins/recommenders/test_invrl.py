"""InvRL finds environments and closes the gates of features that hold in some of them only."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from shared_baselines import (
    SHORT,
    SMALL,
    TINY,
    learns_from_the_features,
    learns_the_same_from_the_same_seed,
    makes_do_with_a_sparse_modality,
    says_that_there_are_no_features,
)
from torch import Tensor

from mmgrec.data import Bag, Interactions
from mmgrec.interfaces import Context, Representations
from mmgrec.training import TrainingSettings, seeded, train
from mmgrec_plugins.recommenders.multimodal.invariance import (
    EnvironmentTask,
    Frozen,
    GateTask,
    LabelledBatch,
    variance_penalty,
)
from mmgrec_plugins.recommenders.multimodal.invrl import InvRL
from mmgrec_plugins.recommenders.multimodal.ultragcn import UltraGCNNetwork, side_by_side
from mmgrec_plugins.representations.ranking import EdgeBatch

BRIEF: dict[str, Any] = {"rounds": 1, "moves": 1, "environment_epochs": 2, "gate_epochs": 3}


def test_it_learns_far_more_than_popularity_and_from_the_features() -> None:
    learns_from_the_features(InvRL(**SMALL, **BRIEF, learning_rate=2e-2))


def test_the_loss_is_that_of_ultragcn() -> None:
    with seeded(torch.Generator().manual_seed(1)):
        network = UltraGCNNetwork(
            TINY,
            dim=4,
            content=side_by_side(TINY, 4),
            num_negatives=3,
            negative_weight=7.0,
            projection_decay=0.2,
        )
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    batch = EdgeBatch(user=TINY.train.user[:6], item=TINY.train.item[:6], negative=torch.tensor([1, 4, 7, 0, 0, 0]))
    user, item = (one.detach() for one in network())
    total = 0.0
    of_user, of_item = TINY.train.user_degree.tolist(), TINY.train.item_degree.tolist()

    def beta(u: int, i: int) -> float:
        return math.sqrt(of_user[u] + 1) / of_user[u] / math.sqrt(of_item[i] + 1)

    def y(u: int, i: int) -> float:
        return float(user[u] @ item[i])

    for u, i in zip(batch.user.tolist(), batch.item.tolist(), strict=True):
        total += (1 + beta(u, i)) * math.log1p(math.exp(-y(u, i))) / 6
        total += 7 * sum((1 + beta(u, j)) * math.log1p(math.exp(y(u, j))) / 3 for j in (1, 4, 7)) / 6
    found = network.extra(batch, user, item, torch.Generator())
    assert float(found["ultragcn"]) == pytest.approx(total, rel=1e-4)
    assert float(found["projection"].detach()) == pytest.approx(
        0.1 * float(network.projection.weight.detach().pow(2).sum()), rel=1e-4
    )
    assert len(network.free(batch)[2]) == 3


def test_features_stand_side_by_side_and_missing_ones_are_zero() -> None:
    content = side_by_side(TINY, 4)
    assert content.shape == (10, 7)
    assert not content[~TINY.has_feature("visual"), :4].any()
    assert not content[~TINY.has_feature("text"), 4:].any()


def test_a_bag_keeps_the_inner_products_of_its_rows() -> None:
    """Principal directions: all but the last of them lose only what the last holds."""
    generator = torch.Generator().manual_seed(0)
    item, word = torch.randint(10, (50,), generator=generator), torch.randint(5, (50,), generator=generator)
    bag = Bag.of(item, word, torch.ones(50), num_items=10, num_words=5)
    data = replace(TINY, features={}, bags={"words": bag})
    table = torch.zeros(10, 5, dtype=torch.float64)
    table[torch.repeat_interleave(torch.arange(10), bag.offsets.diff()), bag.word] = bag.weight.double()
    left, values, _ = torch.linalg.svd(F.normalize(table, dim=1), full_matrices=False)
    wanted = (left[:, :4] * values[:4]) @ (left[:, :4] * values[:4]).T
    content = side_by_side(data, 64)
    torch.testing.assert_close(content @ content.T, wanted.float())
    assert side_by_side(data, 2).shape == (10, 2)


def test_the_penalty_is_the_variance_of_gradients_behind_the_gate() -> None:
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    gate = torch.tensor([0.5, 0.25])
    losses = [(weight * factor).sum() + (weight**2).sum() for factor in (1.0, 3.0, 5.0)]
    # gradients differ by factor alone: sum of squared differences 4 + 0 + 4 in each of the four places
    assert variance_penalty(losses, weight, gate).item() == pytest.approx(2 * ((8 * 0.5) ** 2 + (8 * 0.25) ** 2))
    slope = torch.tensor(2.0, requires_grad=True)
    learnt = variance_penalty([(weight * slope).sum(), (weight * 3.0).sum()], weight, gate)
    assert torch.autograd.grad(learnt, slope)[0] != 0


def two_worlds() -> tuple[Frozen, Tensor]:
    """Feature 0 tells what everybody likes; feature 1 what half of the users like and the others do not.

    Users want ``c_u = 1``; the first 40 choose items with features (+, +), the others with (+, -).
    """
    item = torch.arange(40)
    content = torch.stack([torch.where(item < 20, 1.0, -1.0), torch.where(item % 2 == 0, 1.0, -1.0)], dim=1)
    user = torch.arange(80).repeat_interleave(8)
    generator = torch.Generator().manual_seed(0)
    liked = torch.cat([torch.randperm(10, generator=generator)[:8] * 2 + int(u >= 40) for u in range(80)])
    part = Interactions.of(user, liked, num_users=80, num_items=40)
    frozen = Frozen(
        train=part,
        user=torch.cat([torch.zeros(80, 1), torch.ones(80, 1)], dim=1),
        item=torch.zeros(40, 1),
        content=content,
        negative_weight=1.0,
    )
    return frozen, (part.user >= 40).long()


def test_the_feature_that_holds_in_one_environment_only_is_shut_out() -> None:
    frozen, world = two_worlds()
    settings: dict[str, Any] = {"num_environments": 2, "size": 640, "negatives": 40}
    with seeded(torch.Generator().manual_seed(0)):
        task = GateTask(frozen, world, **settings, invariance=1e-4, gate_decay=0.0, noise=0.01)
    train(task, TrainingSettings(epochs=150, learning_rate=1e-2), Context(), "gates")
    kept, dropped = task.gates.gate().tolist()
    assert kept > dropped + 0.3


def test_environments_are_found_by_what_their_interactions_have_in_common() -> None:
    """From a start that favours the truth a little, each interaction goes where its like are."""
    frozen, world = two_worlds()
    generator = torch.Generator().manual_seed(2)
    guess = torch.where(torch.rand(world.numel(), generator=generator) < 0.35, 1 - world, world)
    with seeded(torch.Generator().manual_seed(0)):
        task = EnvironmentTask(frozen, guess, torch.ones(2), num_environments=2, size=640, negatives=40)
    train(task, TrainingSettings(epochs=100, learning_rate=2e-2), Context(), "environments")
    assert float((task.assigned() == world).float().mean()) > 0.95


def test_environments_see_the_variant_features_alone() -> None:
    """What the gate keeps from them has no gradient."""
    frozen, world = two_worlds()
    with seeded(torch.Generator().manual_seed(0)):
        task = EnvironmentTask(frozen, world, torch.tensor([0.0, 1.0]), num_environments=2, size=640, negatives=40)
    batch = LabelledBatch(user=frozen.train.user, item=frozen.train.item, environment=world, negative=torch.arange(9))
    task.loss(batch, torch.Generator())["loss"].backward()
    grad = task.models.weight.grad
    assert grad is not None
    assert not grad[:, :, 0].any()
    assert grad[:, :, 1].all()


def test_frozen_vectors_are_those_of_the_pretrained_model() -> None:
    found = Representations(user=torch.randn(12, 6), item=torch.randn(10, 6))
    frozen = Frozen.of(TINY.train, found, side_by_side(TINY, 4), 2.0)
    assert frozen.dim == 3
    weight = torch.randn(3, 7)
    batch = LabelledBatch(
        user=TINY.train.user[:4],
        item=TINY.train.item[:4],
        environment=torch.zeros(4, dtype=torch.int64),
        negative=torch.tensor([3]),
    )
    gate = torch.rand(7)
    item = torch.cat([found.item[:, :3], (frozen.content * gate) @ weight.T], dim=1)
    plain = [float(found.user[u] @ item[i]) for u, i in zip(batch.user, batch.item, strict=True)]
    other = [float(found.user[u] @ item[3]) for u in batch.user]
    of_user, of_item = TINY.train.user_degree.float(), TINY.train.item_degree.float()
    beta = (of_user[batch.user] + 1).sqrt() / of_user[batch.user]
    wanted = (1 + beta / (of_item[batch.item] + 1).sqrt()) * F.softplus(-torch.tensor(plain))
    wanted = wanted + 2.0 * (1 + beta / (of_item[3] + 1).sqrt()) * F.softplus(torch.tensor(other))
    torch.testing.assert_close(frozen.loss(batch, weight, gate), wanted)


def test_the_same_seed_learns_the_same_vectors() -> None:
    learns_the_same_from_the_same_seed(InvRL(**SHORT, **BRIEF))


def test_a_sparse_modality_will_do_and_none_will_not() -> None:
    makes_do_with_a_sparse_modality(InvRL(**SHORT, **BRIEF))
    says_that_there_are_no_features(InvRL(**SHORT, **BRIEF))
