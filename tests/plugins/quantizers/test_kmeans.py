"""k-means: planted clusters, scikit-learn as an oracle, segments, odd inputs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from mmgrec_kernels.residual_lookup import residual_lookup
from mmgrec_plugins.quantizers.kmeans import hierarchical_kmeans, kmeans, refine, residual_kmeans, segmented_kmeans


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(num_points: int, dim: int, num_blobs: int, spread: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points ``[N, D]`` around far centres, and the centre of each ``[N]``; every centre has points."""
    g = generator(seed)
    label = torch.arange(num_points) % num_blobs
    centre = 10 * torch.randn(num_blobs, dim, generator=g)
    return centre[label] + spread * torch.randn(num_points, dim, generator=g), label


def test_well_separated_clusters_are_found() -> None:
    x, label = blobs(300, 8, 10)
    token = kmeans(x, 10, generator(1)).token
    assert adjusted_rand_score(label, token) == 1.0


def test_centroids_are_the_means_of_their_clusters() -> None:
    x, label = blobs(120, 5, 4)
    clusters = kmeans(x, 4, generator())
    for blob in range(4):
        cluster = clusters.token[label == blob][0]
        torch.testing.assert_close(clusters.centroid[cluster], x[label == blob].mean(0))


@pytest.mark.parametrize(("num_points", "dim", "num_clusters"), [(500, 16, 32), (2000, 32, 64)])
def test_inertia_is_as_good_as_scikit_learns(num_points: int, dim: int, num_clusters: int) -> None:
    x = torch.randn(num_points, dim, generator=generator(3))
    ours = sum(kmeans(x, num_clusters, generator(seed)).inertia for seed in range(3)) / 3
    theirs = sum(
        KMeans(num_clusters, n_init=1, max_iter=50, random_state=seed).fit(x.numpy()).inertia_ for seed in range(3)
    )
    assert ours < 1.01 * theirs / 3


def test_reported_inertia_is_that_of_the_returned_clusters() -> None:
    x = torch.randn(200, 6, generator=generator(5))
    clusters = kmeans(x, 12, generator(), iterations=2)
    assert clusters.inertia == pytest.approx(float((x - clusters.centroid[clusters.token]).square().sum()), rel=1e-5)


def test_same_seed_gives_the_same_bits_and_another_seed_another_start() -> None:
    x = torch.randn(400, 8, generator=generator(2))
    one, two, other = kmeans(x, 30, generator(7)), kmeans(x, 30, generator(7)), kmeans(x, 30, generator(8))
    assert torch.equal(one.centroid, two.centroid)
    assert torch.equal(one.token, two.token)
    assert not torch.equal(one.token, other.token)


def test_more_clusters_than_points_gives_each_point_its_own() -> None:
    x = torch.randn(5, 3, generator=generator())
    clusters = kmeans(x, 64, generator())
    assert clusters.centroid.shape == (5, 3)
    assert sorted(clusters.token.tolist()) == [0, 1, 2, 3, 4]
    assert clusters.inertia == 0.0


def test_equal_points_share_a_cluster_and_nothing_is_nan() -> None:
    clusters = kmeans(torch.ones(6, 2), 3, generator())
    assert clusters.token.tolist() == [0] * 6
    assert clusters.centroid.isfinite().all()


def test_an_empty_cluster_starts_again_at_the_farthest_point() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [50.0]])
    far_away = torch.tensor([[1.0], [1e6]])  # nobody is near the second centroid
    clusters = refine(x, far_away)
    assert clusters.token.tolist() == [0, 0, 0, 1]
    assert clusters.centroid.flatten().tolist() == [1.0, 50.0]


def test_segments_are_clustered_as_if_each_were_alone() -> None:
    one, label_one = blobs(40, 4, 4, seed=1)
    two, label_two = blobs(90, 4, 3, seed=2)
    three, label_three = blobs(2, 4, 2, seed=3)
    size = torch.tensor([40, 90, 2])
    clusters = segmented_kmeans(torch.cat([one, two, three]), size, 4, generator(4))
    assert clusters.count.tolist() == [4, 4, 2]
    parts = clusters.token.split(size.tolist())
    assert adjusted_rand_score(label_one, parts[0]) == 1.0
    assert all(parts[1][label_two == blob].unique().numel() < 3 for blob in range(3))  # four clusters for three blobs
    assert sorted(parts[2].tolist()) == [0, 1]
    assert label_three.tolist() == [0, 1]


def test_many_segments_reach_the_inertia_of_k_means_one_by_one() -> None:
    size = torch.randint(1, 70, (25,), generator=generator(1))
    x = torch.randn(int(size.sum()), 6, generator=generator(2))
    together = segmented_kmeans(x, size, 8, generator(3)).inertia
    alone = sum(kmeans(part, 8, generator(3)).inertia for part in x.split(size.tolist()))
    assert together == pytest.approx(alone, rel=0.05)


def test_a_point_is_in_the_nearest_cluster_of_its_own_segment() -> None:
    size = torch.tensor([17, 33, 5])
    x = torch.randn(55, 3, generator=generator(9))
    clusters = segmented_kmeans(x, size, 6, generator(1))
    centroids = clusters.centroid.split(clusters.count.tolist())
    for part, token, centroid in zip(
        x.split(size.tolist()), clusters.token.split(size.tolist()), centroids, strict=True
    ):
        assert torch.equal(torch.cdist(part, centroid).argmin(1), token)


def test_residual_tokens_are_what_the_lookup_gives() -> None:
    x = torch.randn(300, 12, generator=generator(4))
    token, codebooks = residual_kmeans(x, 3, 16, generator())
    assert [book.shape for book in codebooks] == [(16, 12)] * 3
    assert torch.equal(residual_lookup(x, codebooks).tokens, token)


def test_each_residual_level_reduces_the_error() -> None:
    x = torch.randn(400, 10, generator=generator(6))
    token, codebooks = residual_kmeans(x, 4, 32, generator())
    error, left = [float(x.square().sum())], x
    for level, book in enumerate(codebooks):
        left = left - book[token[:, level]]
        error.append(float(left.square().sum()))
    assert all(after < 0.9 * before for before, after in pairwise(error))


def test_hierarchy_gives_the_planted_two_levels() -> None:
    g = generator(5)
    coarse, fine = torch.arange(240) % 4, torch.arange(240) // 4 % 3
    place = 1000 * torch.randn(4, 6, generator=g)[coarse] + 30 * torch.randn(4, 3, 6, generator=g)[coarse, fine]
    token, widths = hierarchical_kmeans(place + 0.1 * torch.randn(240, 6, generator=g), 2, 4, generator(1))
    assert widths == (4, 4)
    assert adjusted_rand_score(coarse, token[:, 0]) == 1.0
    for branch in range(4):
        inside = fine[coarse == branch]
        tokens = token[coarse == branch, 1]
        assert all(inside[tokens == one].unique().numel() == 1 for one in tokens.unique())  # never two planted nodes


def test_hierarchy_stops_splitting_at_single_items() -> None:
    x = torch.randn(20, 4, generator=generator(8))
    token, widths = hierarchical_kmeans(x, 3, 5, generator())
    assert torch.unique(token, dim=0).shape[0] == 20
    assert widths[0] == 5
    assert widths[2] < 5


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(ValueError, match="needs"):
        kmeans(torch.empty(0, 3), 2, generator())
