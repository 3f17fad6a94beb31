"""How healthy the Rec-IDs are: use of codewords, collisions, and alarms in words when a level collapses.

Uniqueness hides collapse: with 3 of 128 codewords alive at level 0, four in five tuples may still be unique. So each
level is looked at by itself. A run writes the report into ``rec_ids.json``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmgrec.recid.table import Codes, RecIDTable

__all__ = ["Health", "health_report"]

LOW_USAGE = 0.2  # of the codewords that could be used
LOW_PERPLEXITY = 0.1  # of the codewords that could be used
LOW_UNIQUE = 0.5  # of the items
FEW_LEFT = 0.05  # of the items; a level that has fewer to tell apart may be as uneven as it likes
BIG_GROUP = 0.02  # of the items
SMALL_GROUP = 16  # items; a group up to this size is never an alarm


@dataclass(frozen=True, kw_only=True)
class Health:
    """Figures per level, the collision token's last, and of the groups of items with equal semantic tokens."""

    num_items: int
    level_sizes: tuple[int, ...]  # [L + 1]
    usage: tuple[float, ...]  # [L + 1] share of the vocabulary that some item has
    entropy: tuple[float, ...]  # [L + 1] nats
    perplexity: tuple[float, ...]  # [L + 1] exp(entropy): as many equally frequent tokens would be as varied
    reconstruction: tuple[float, ...] | None  # [L] share of the items' variance left after each level; None: unknown
    unique_before_collision: float  # share of items that are alone in their group
    distinct_before_collision: float  # groups / items
    largest_group: int  # items
    group_sizes: dict[int, int]  # size of a group -> number of groups of this size
    hash: str  # of the Rec-IDs
    alarms: tuple[str, ...]  # one sentence each

    @property
    def num_levels(self) -> int:
        """Tokens of a Rec-ID, the collision token included."""
        return len(self.level_sizes)

    def as_dict(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        return {
            "num_levels": self.num_levels,
            "num_items": self.num_items,
            "level_sizes": list(self.level_sizes),
            "usage": list(self.usage),
            "entropy": list(self.entropy),
            "perplexity": list(self.perplexity),
            "reconstruction": None if self.reconstruction is None else list(self.reconstruction),
            "unique_before_collision": self.unique_before_collision,
            "distinct_before_collision": self.distinct_before_collision,
            "largest_group": self.largest_group,
            "group_sizes": {str(size): count for size, count in self.group_sizes.items()},
            "hash": self.hash,
            "alarms": list(self.alarms),
        }


def health_report(
    codes: Codes,
    rec_ids: RecIDTable,
    *,
    vectors: Tensor | None = None,
) -> Health:
    """Look at the tokens of all items.

    Args:
        codes: tokens before collisions were resolved.
        rec_ids: the same items' Rec-IDs.
        vectors: ``[num_items, dim]``, what was quantized; codebooks in its space then tell the error, where the codes
            do not know it themselves.

    Raises:
        ValueError: if the two tables are not of the same items and levels.
    """
    if rec_ids.num_items != codes.num_items or rec_ids.num_levels != codes.num_levels + 1:
        raise ValueError(
            f"codes are {tuple(codes.token.shape)}, Rec-IDs {tuple(rec_ids.token.shape)}; one token more was expected"
        )
    num_items, levels = codes.num_items, range(codes.num_levels)
    columns = [*(codes.token[:, level] for level in levels), rec_ids.token[:, -1]]
    sizes = (*codes.level_sizes, rec_ids.level_sizes[-1])
    counts = [torch.bincount(column, minlength=size) for column, size in zip(columns, sizes, strict=True)]
    entropy = tuple(_entropy(count) for count in counts)
    mixed, group = _prefixes(codes)
    reconstruction = codes.reconstruction
    if reconstruction is None and vectors is not None and codes.codebooks is not None:
        reconstruction = _reconstruction(codes.token, codes.codebooks, vectors)
    size, number = torch.unique(group, return_counts=True)
    report = Health(
        num_items=num_items,
        level_sizes=sizes,
        usage=tuple(float((count > 0).double().mean()) for count in counts),
        entropy=entropy,
        perplexity=tuple(math.exp(value) for value in entropy),
        reconstruction=reconstruction,
        unique_before_collision=1.0 - float(mixed[-1].double().mean()) if num_items else 1.0,
        distinct_before_collision=group.numel() / max(num_items, 1),
        largest_group=int(group.max()) if group.numel() else 0,
        group_sizes=dict(zip(size.tolist(), number.tolist(), strict=True)),
        hash=rec_ids.hash,
        alarms=(),
    )
    return _with_alarms(report, codes, mixed)


def _entropy(count: Tensor) -> float:
    """Of a histogram, in nats."""
    share = count[count > 0].double() / count.sum().clamp(min=1)
    return float(-(share * share.log()).sum()) + 0.0  # no negative zero


def _prefixes(codes: Codes) -> tuple[list[Tensor], Tensor]:
    """Which items are not alone under the first 0 … L tokens, each ``[num_items]``; sizes ``[G]`` of all groups."""
    node = torch.zeros(codes.num_items, dtype=torch.int64)
    group = torch.tensor([codes.num_items])
    mixed = [group[node] > 1]
    for level, size in enumerate(codes.level_sizes):
        _, node, group = torch.unique(node * size + codes.token[:, level], return_inverse=True, return_counts=True)
        mixed.append(group[node] > 1)
    return mixed, group


def _reconstruction(token: Tensor, codebooks: tuple[Tensor, ...], vectors: Tensor) -> tuple[float, ...]:
    """Squared error after each level, as a share of the squared distance to the items' mean."""
    left = vectors.double()
    total = (left - left.mean(dim=0)).square().sum().clamp(min=1e-30)
    errors = []
    for level, codebook in enumerate(codebooks):
        left = left - codebook.double()[token[:, level]]
        errors.append(float(left.square().sum() / total))
    return tuple(errors)


def _with_alarms(report: Health, codes: Codes, mixed: list[Tensor]) -> Health:
    """Say what is wrong. How evenly a level is used is asked of the items that the tokens before it leave `mixed`."""
    alarms = []
    for level, size in enumerate(codes.level_sizes):
        possible = min(size, report.num_items)
        used = round(report.usage[level] * size)
        left = codes.token[mixed[level], level]
        even = math.exp(_entropy(torch.bincount(left)))
        if possible > 1 and used < LOW_USAGE * possible:
            alarms.append(f"level {level} has collapsed: items use {used} of {size} codewords")
        elif left.numel() > FEW_LEFT * report.num_items and even < LOW_PERPLEXITY * min(size, left.numel()):
            alarms.append(
                f"level {level} is close to collapse: {used} of {size} codewords are used, but so unevenly that "
                f"{even:.1f} would do (perplexity of the {left.numel()} items that it has to tell apart)"
            )
    if report.largest_group > max(SMALL_GROUP, BIG_GROUP * report.num_items):
        share = report.largest_group / report.num_items
        alarms.append(f"{report.largest_group} items ({share:.1%}) share one tuple of semantic tokens")
    if report.num_items and report.unique_before_collision < LOW_UNIQUE:
        alarms.append(
            f"only {report.unique_before_collision:.1%} of the items have semantic tokens of their own; "
            "the collision token tells the rest apart"
        )
    return replace(report, alarms=tuple(alarms))
