"""k-means in torch: of a whole table, of its residuals, and of all segments of a table at once.

One implementation serves all three: a flat k-means is the case of one segment. Lloyd's algorithm from a k-means++
start; empty clusters are started again at the points that are farthest from their centroids. All randomness comes from
the given generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmgrec_kernels.residual_lookup import nearest_codeword

__all__ = ["Clusters", "hierarchical_kmeans", "kmeans", "refine", "residual_kmeans", "segmented_kmeans"]

_BLOCK = 1 << 24  # distances held at once by the padded assignment, numbers
_TOLERANCE = 1e-5  # Lloyd ends when the inertia falls by less than this share of itself


@dataclass(frozen=True, kw_only=True, eq=False)
class Clusters:
    """The outcome of k-means: clusters of segment v are rows ``first[v] .. first[v] + count[v]`` of `centroid`."""

    token: Tensor  # [N] int64, cluster of each point, counted within its segment
    centroid: Tensor  # [sum of count, D]
    count: Tensor  # [V] int64, clusters of each segment: never more than it has points
    inertia: float  # sum of squared distances of the points to their centroids


@dataclass(frozen=True, eq=False)
class _Segments:
    """Runs of rows of a table, and how many clusters each run gets."""

    size: Tensor  # [V] int64, rows of each segment, > 0
    count: Tensor  # [V] int64, clusters of each segment, 1 .. size

    @cached_property
    def start(self) -> Tensor:
        """``[V]``: first row of each segment."""
        return self.size.cumsum(0) - self.size

    @cached_property
    def first(self) -> Tensor:
        """``[V]``: first cluster of each segment."""
        return self.count.cumsum(0) - self.count

    @cached_property
    def of_row(self) -> Tensor:
        """``[N]``: segment of each row."""
        return torch.repeat_interleave(torch.arange(self.size.numel(), device=self.size.device), self.size)

    @cached_property
    def of_cluster(self) -> Tensor:
        """``[sum of count]``: segment of each cluster."""
        return torch.repeat_interleave(torch.arange(self.size.numel(), device=self.size.device), self.count)


@dataclass(frozen=True, eq=False)
class _Block:
    """Segments of nearly one size, padded to a rectangle."""

    row: Tensor  # [V, M] int64, rows of each segment; padding repeats row 0 of the segment
    keep: Tensor  # [V, M] bool, True = real
    cluster: Tensor  # [V, K] int64, clusters of each segment; padding repeats its first
    real: Tensor  # [V, K] bool, True = real
    first: Tensor  # [V, 1] int64


def kmeans(x: Tensor, num_clusters: int, generator: torch.Generator, *, iterations: int = 50) -> Clusters:
    """Cluster the rows of a table.

    Args:
        x: ``[N, D]`` floating point, N > 0.
        num_clusters: at most this many; never more than there are rows.
        generator: a CPU generator.
        iterations: the most steps of Lloyd's algorithm.

    >>> x = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    >>> kmeans(x, 2, torch.Generator().manual_seed(0)).token.unique(return_counts=True)[1].tolist()
    [2, 2]
    """
    return segmented_kmeans(x, torch.tensor([x.shape[0]]), num_clusters, generator, iterations=iterations)


def segmented_kmeans(
    x: Tensor, size: Tensor, num_clusters: int, generator: torch.Generator, *, iterations: int = 50
) -> Clusters:
    """Cluster each segment of a table on its own, all segments at once.

    Args:
        x: ``[N, D]``, the rows of a segment side by side.
        size: ``[V]`` int64, rows of each segment, > 0; they add up to N.
        num_clusters: clusters of each segment; a smaller segment gets as many as it has rows.
        generator: a CPU generator.
        iterations: the most steps of Lloyd's algorithm.
    """
    if x.ndim != 2 or x.shape[0] == 0 or num_clusters < 1:
        raise ValueError(f"k-means needs [N, D] with rows and at least one cluster, got {tuple(x.shape)}")
    size = size.to(x.device)
    if int(size.sum()) != x.shape[0] or int(size.min()) < 1:
        raise ValueError(f"segments of {int(size.sum())} rows in a table of {x.shape[0]}; none may be empty")
    x = x.detach()
    segments = _Segments(size, size.clamp(max=num_clusters))
    centroid = x.index_select(0, _seed(x, segments, generator))
    return _lloyd(x, segments, centroid, iterations)


def refine(x: Tensor, centroid: Tensor, *, iterations: int = 10) -> Clusters:
    """Lloyd's algorithm from given centroids ``[C, D]``; C may exceed the rows of x, the surplus then stays unused."""
    size = torch.tensor([x.shape[0]], device=x.device)
    count = torch.tensor([centroid.shape[0]], device=x.device)
    return _lloyd(x.detach(), _Segments(size, count), centroid.detach(), iterations)


def residual_kmeans(
    x: Tensor, num_levels: int, codebook_size: int, generator: torch.Generator, *, iterations: int = 50
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """k-means, then k-means of what is left, `num_levels` times.

    Returns:
        token ``[N, L]`` int64, as `residual_lookup` would give them; codebooks, ``[min(codebook_size, N), D]`` each.
    """
    residual, tokens, codebooks = x.detach(), [], []
    for _ in range(num_levels):
        clusters = kmeans(residual, codebook_size, generator, iterations=iterations)
        residual = residual - clusters.centroid.index_select(0, clusters.token)
        tokens.append(clusters.token)
        codebooks.append(clusters.centroid)
    return torch.stack(tokens, dim=1), tuple(codebooks)


def hierarchical_kmeans(
    x: Tensor, num_levels: int, branching: int, generator: torch.Generator, *, iterations: int = 50
) -> tuple[Tensor, tuple[int, ...]]:
    """Split the table by k-means, then each part by a k-means of its own, `num_levels` times.

    Returns:
        token ``[N, L]`` int64, the branches on the way to each row; the most branches of any node of each level.
    """
    order = torch.arange(x.shape[0], device=x.device)  # rows, those of a node side by side
    size = torch.tensor([x.shape[0]], device=x.device)  # [num_nodes] rows of each node
    token = torch.empty(x.shape[0], num_levels, dtype=torch.int64, device=x.device)
    widths = []
    for level in range(num_levels):
        clusters = segmented_kmeans(x.index_select(0, order), size, branching, generator, iterations=iterations)
        token[order, level] = clusters.token
        widths.append(int(clusters.count.max()))
        node = torch.repeat_interleave(clusters.count.cumsum(0) - clusters.count, size) + clusters.token
        order = order[torch.argsort(node, stable=True)]
        size = torch.bincount(node)
        size = size[size > 0]
    return token, tuple(widths)


# --------------------------------------------------------------------------- Lloyd's algorithm


def _lloyd(x: Tensor, segments: _Segments, centroid: Tensor, iterations: int) -> Clusters:
    """Lloyd's algorithm in all segments at once, until nothing moves or the inertia hardly falls."""
    blocks = _blocks(segments)
    cluster = _assign(x, segments, centroid, blocks)
    distance = _distance(x, centroid, cluster)
    inertia = float(distance.sum(dtype=torch.float64))
    for _ in range(iterations):
        centroid = _revive(x, segments, _means(x, cluster, centroid), cluster, distance)
        before, inertia_before = cluster, inertia
        cluster = _assign(x, segments, centroid, blocks)
        distance = _distance(x, centroid, cluster)
        inertia = float(distance.sum(dtype=torch.float64))
        if torch.equal(cluster, before) or inertia_before - inertia <= _TOLERANCE * inertia_before:
            break
    token = cluster - segments.first[segments.of_row]
    return Clusters(token=token, centroid=centroid, count=segments.count, inertia=inertia)


def _distance(x: Tensor, centroid: Tensor, cluster: Tensor) -> Tensor:
    """``[N]`` squared distance of each row to its centroid."""
    return (x - centroid.index_select(0, cluster)).square_().sum(dim=1)


def _means(x: Tensor, cluster: Tensor, centroid: Tensor) -> Tensor:
    """The mean of each cluster's rows; an empty cluster keeps its centroid."""
    size = torch.bincount(cluster, minlength=centroid.shape[0])
    total = torch.zeros_like(centroid).index_add_(0, cluster, x)
    return torch.where(size[:, None] > 0, total / size.clamp(min=1)[:, None].to(x.dtype), centroid)


def _revive(x: Tensor, segments: _Segments, centroid: Tensor, cluster: Tensor, distance: Tensor) -> Tensor:
    """Start the empty clusters of each segment again at its farthest points; points on a centroid do not count."""
    empty = (torch.bincount(cluster, minlength=centroid.shape[0]) == 0).nonzero()[:, 0]  # [E], by segment
    if empty.numel() == 0:
        return centroid
    far = torch.argsort(distance, descending=True, stable=True)
    far = far[torch.argsort(segments.of_row[far], stable=True)]  # [N] by segment, then farthest first
    home = segments.of_cluster[empty]
    rank = torch.arange(empty.numel(), device=x.device)
    rank = rank - torch.searchsorted(home, home)  # the number of each empty cluster within its segment
    fits = rank < segments.size[home]
    point = far[segments.start[home] + rank.minimum(segments.size[home] - 1)]
    fits &= distance[point] > 0
    centroid = centroid.clone()
    centroid[empty[fits]] = x[point[fits]]
    return centroid


def _seed(x: Tensor, segments: _Segments, generator: torch.Generator) -> Tensor:
    """k-means++: ``[sum of count]`` rows, each drawn in proportion to the squared distance to those drawn before it."""
    chosen = torch.empty(int(segments.count.sum()), dtype=torch.int64, device=x.device)
    row = torch.arange(x.shape[0], device=x.device)  # rows of the segments that still draw
    live = torch.arange(segments.size.numel(), device=x.device)  # those segments
    distance = torch.ones(x.shape[0], dtype=torch.float64, device=x.device)
    points, home, apart = x, segments.of_row, torch.empty_like(x)  # vectors, segments and a workspace of those rows
    for draw in range(int(segments.count.max())):
        going = segments.count[live] > draw
        if not bool(going.all()):
            stays = torch.repeat_interleave(going, segments.size[live])
            row, distance, points, home = row[stays], distance[stays], points[stays], home[stays]
            live, apart = live[going], apart[: row.numel()]
        size = segments.size[live]
        end = size.cumsum(0)
        mass = distance.cumsum(0)
        low = torch.where(end > size, mass[(end - size - 1).clamp(min=0)], 0.0)
        share = torch.rand(live.numel(), generator=generator, dtype=torch.float64).to(x.device)
        drawn = torch.searchsorted(mass, low + share * (mass[end - 1] - low), right=True)
        drawn = drawn.clamp(min=end - size, max=end - 1)  # rounding, and segments whose points all are drawn
        chosen[segments.first[live] + draw] = row[drawn]
        torch.index_select(x, 0, chosen[segments.first[home] + draw], out=apart)
        fresh = apart.sub_(points).square_().sum(dim=1).double()
        distance = fresh if draw == 0 else distance.minimum(fresh)
    return chosen


# --------------------------------------------------------------------------- nearest centroid of the own segment


def _assign(x: Tensor, segments: _Segments, centroid: Tensor, blocks: list[_Block]) -> Tensor:
    """``[N]`` int64: the nearest centroid of each row among those of its segment, counted over all segments."""
    if segments.size.numel() == 1:
        return nearest_codeword(x, centroid)
    cluster = torch.empty(x.shape[0], dtype=torch.int64, device=x.device)
    half = centroid.square().sum(dim=1) / 2
    for block in blocks:
        centres = centroid[block.cluster]  # [V, K, D]
        score = half[block.cluster].masked_fill(~block.real, torch.inf)  # [V, K]
        score = torch.baddbmm(score[:, None, :], x[block.row], centres.transpose(1, 2), alpha=-1)  # [V, M, K]
        nearest = score.argmin(dim=2) + block.first
        cluster[block.row[block.keep]] = nearest[block.keep]
    return cluster


def _blocks(segments: _Segments) -> list[_Block]:
    """Put segments of nearly one size (up to the next power of two) together, so that padding at most doubles."""
    if segments.size.numel() == 1:
        return []
    exponent = torch.ceil(torch.log2(segments.size.double())).long()
    blocks = []
    for power in sorted(set(exponent.tolist())):
        members = (exponent == power).nonzero()[:, 0]
        width, most = int(segments.size[members].max()), int(segments.count[members].max())
        column = torch.arange(width, device=members.device)
        branch = torch.arange(most, device=members.device)
        for part in members.split(max(1, _BLOCK // (width * most))):
            keep = column < segments.size[part, None]
            real = branch < segments.count[part, None]
            first = segments.first[part, None]
            row = segments.start[part, None] + column * keep
            blocks.append(_Block(row, keep, first + branch * real, real, first))
    return blocks
