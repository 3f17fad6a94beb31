"""Joining, folding and scaling of representations, against dense score matrices."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import Representations
from mmgrec.synthetic import affinity, planted
from mmgrec.training import ValidationRecall, calibrated
from mmgrec_plugins.representations.joining import folded, joined

DATA = planted(num_users=150, num_items=60, mean_interactions=15, seed=4)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(dim: int = 5, seed: int = 0, scale: float = 1.0) -> Representations:
    g = generator(seed)
    return Representations(
        user=scale * torch.randn(DATA.num_users, dim, generator=g), item=torch.randn(DATA.num_items, dim, generator=g)
    )


def truth() -> Representations:
    return Representations(user=DATA.latent["user_taste"], item=DATA.latent["item_meaning"])


def scores(given: Representations) -> Tensor:
    return (given.user.double() @ given.item.double().T).double()


def centred(table: Tensor) -> Tensor:
    return table - table.mean(1, keepdim=True)


# --------------------------------------------------------------------------- folding


@pytest.mark.parametrize("rank", [18, 25])
def test_at_full_rank_the_centred_scores_stay(rank: int) -> None:
    small = folded(truth(), rank)
    torch.testing.assert_close(scores(small), centred(scores(truth())), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 3, 10, 17])
def test_at_lower_rank_it_is_the_best_fit_there_is(rank: int) -> None:
    full = truth()
    small = folded(full, rank)
    assert small.dim == rank
    wanted = centred(scores(full))
    u, s, v = torch.linalg.svd(wanted, full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    torch.testing.assert_close(scores(small), best, rtol=1e-3, atol=1e-3 * float(wanted.std()))
    error = float((scores(small) - wanted).square().sum())
    assert error == pytest.approx(float(s[rank:].square().sum()), rel=1e-3)


def test_redundant_dimensions_are_folded_without_loss() -> None:
    once = truth()
    twice = Representations(user=torch.cat([once.user, once.user], 1), item=torch.cat([once.item, once.item], 1))
    torch.testing.assert_close(scores(folded(twice, 18)), 2 * centred(scores(once)), rtol=1e-3, atol=1e-3)


# --------------------------------------------------------------------------- joining


def test_a_single_member_is_only_folded() -> None:
    only = noise()
    alone, weights = joined([only], ValidationRecall(DATA), rank=5)
    torch.testing.assert_close(scores(alone), scores(folded(only, 5)))
    assert weights == (1.0,)


@pytest.mark.parametrize("good", [0, 1])
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_good_member_outweighs_noise_whatever_its_scale(good: int, scale: float) -> None:
    members = [noise(scale=scale), noise(seed=3)]
    members[good] = Representations(user=scale * truth().user, item=truth().item)
    both, weights = joined(members, ValidationRecall(DATA), rank=10_000)
    assert weights[good] == 1.0
    assert weights[1 - good] < 1.0
    recall = ValidationRecall(DATA)

    def value(representations: Representations) -> float:
        return recall.of_scores(lambda users: representations.user[users] @ representations.item.T)

    assert value(both) >= value(members[good])


def test_members_of_equal_worth_add_their_scores_per_deviation() -> None:
    """Without validation items all weigh the same."""
    data = replace(DATA, valid=replace(DATA.valid, user=DATA.valid.user[:0], item=DATA.valid.item[:0]))
    members = [noise(scale=30.0), truth()]
    both, weights = joined(members, ValidationRecall(data), rank=10_000)
    assert weights == (1.0, 1.0)
    wanted = torch.zeros(DATA.num_users, DATA.num_items, dtype=torch.float64)
    for member in members:
        deviation = centred(scores(member)).square().mean().sqrt()
        wanted += centred(scores(member)) / deviation
    torch.testing.assert_close(scores(both), wanted, rtol=1e-4, atol=1e-4)


def test_members_are_judged_by_what_folding_leaves_of_them() -> None:
    """Beside loud noise the truth survives the full rank, but not a low one: there it stands alone."""
    recall = ValidationRecall(DATA)

    def value(representations: Representations) -> float:
        return recall.of_scores(lambda users: representations.user[users] @ representations.item.T)

    members = [truth(), noise(seed=3)]
    both, _ = joined(members, recall, rank=2)
    assert value(both) >= value(folded(members[0], 2))


# --------------------------------------------------------------------------- calibration


def likelihood(user: Tensor, item: Tensor, data: Dataset = DATA) -> float:
    """Mean log-likelihood of validation items under the softmax over unseen items, in float64."""
    table = user.double() @ item.double().T
    table[data.train.user, data.train.item] = -torch.inf
    return float(table.log_softmax(1)[data.valid.user, data.valid.item].mean())


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_no_other_scale_makes_the_validation_items_likelier(scale: float) -> None:
    scaled = calibrated(Representations(user=scale * truth().user, item=truth().item), DATA, generator(0))
    best = likelihood(scaled.user, scaled.item)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        assert best >= likelihood(factor * scaled.user, scaled.item) - 1e-6


def test_the_scale_before_does_not_matter() -> None:
    first, second = (
        calibrated(Representations(user=scale * truth().user, item=truth().item), DATA, generator(0))
        for scale in (0.1, 10.0)
    )
    torch.testing.assert_close(scores(first), scores(second), rtol=2e-2, atol=2e-2)


def test_the_ranking_stays() -> None:
    scaled = calibrated(truth(), DATA, generator(0))
    ratio = scores(scaled) / scores(truth())
    torch.testing.assert_close(ratio, ratio[0, 0].expand(ratio.shape), rtol=1e-3, atol=0)
    assert float(ratio[0, 0]) > 0


def test_planted_affinities_are_already_calibrated() -> None:
    """Users choose by the softmax of their affinity (some noise aside): the scalar is near one."""
    data = planted(num_users=400, num_items=60, mean_interactions=12, interaction_noise=0.0, seed=6)
    planted_vectors = Representations(
        user=torch.cat([data.latent["user_taste"], torch.ones(data.num_users, 1)], 1),
        item=torch.cat([data.latent["item_meaning"], data.latent["item_popularity"][:, None]], 1),
    )
    torch.testing.assert_close(
        scores(planted_vectors), affinity(data, torch.arange(data.num_users)).double(), rtol=1e-4, atol=1e-4
    )
    scaled = calibrated(planted_vectors, data, generator(0))
    assert float(scores(scaled).std() / scores(planted_vectors).std()) == pytest.approx(1.0, abs=0.3)


def test_noise_is_turned_down() -> None:
    scaled = calibrated(noise(scale=3.0), DATA, generator(0))
    assert float(scores(scaled).std()) < 0.3


def test_without_validation_items_scores_deviate_by_one() -> None:
    data = replace(DATA, valid=replace(DATA.valid, user=DATA.valid.user[:0], item=DATA.valid.item[:0]))
    scaled = calibrated(noise(scale=7.0), data, generator(0))
    assert float(centred(scores(scaled)).square().mean().sqrt()) == pytest.approx(1.0, rel=1e-3)
