"""Small data and tables with known answers, and equality to the last bit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.interfaces import NodeScores, Stepper, TokenScores
from mmgrec.recid import RecIDTable
from mmgrec.synthetic import planted

__all__ = ["TableStepper", "eight_items", "same", "table_stepper", "tiny_data", "without_test"]


def tiny_data() -> Dataset:
    """80 users, 48 items, two modalities, planted tastes, one item without a training interaction: fits in a blink."""
    return planted(num_users=80, num_items=48, mean_interactions=10.0, modalities={"visual": 8, "text": 6}, name="tiny")


def without_test(data: Dataset) -> Dataset:
    """The same data with an empty test part: a part that fits differently on it has looked at the test items."""
    return data.without_test()


def eight_items() -> RecIDTable:
    """Three levels, eight items; items 2 and 5 differ in the last token alone.

    >>> eight_items().key.argsort().tolist()
    [3, 0, 7, 1, 2, 5, 4, 6]
    """
    token = [[0, 1, 0], [1, 1, 0], [2, 0, 0], [0, 0, 0], [2, 2, 0], [2, 0, 1], [2, 2, 1], [1, 0, 0]]
    return RecIDTable(token=torch.tensor(token), level_sizes=(3, 3, 2))


@dataclass(frozen=True, kw_only=True, eq=False)
class TableStepper(Stepper):
    """A network that is a table: the score of a token depends on its level and token alone, for each user.

    The log-likelihood of an item is then the sum of its tokens' entries, which anybody can add up.
    """

    log_p: tuple[Tensor, ...]  # per level [B, level_size], log-probabilities over the level's vocabulary
    level: list[int] = dataclasses.field(default_factory=lambda: [0])  # where the walk is

    @property
    def num_users(self) -> int:  # type: ignore[override]  # the interface has an attribute
        return self.log_p[0].shape[0]

    def start(self) -> TokenScores | NodeScores:
        self.level[0] = 0
        return TokenScores(logits=self.log_p[0][:, None, :])

    def advance(self, parent: Tensor, token: Tensor) -> TokenScores | NodeScores:
        self.level[0] += 1
        table = self.log_p[self.level[0]]
        return TokenScores(logits=table[:, None, :].expand(-1, parent.shape[1], -1))

    def score(self, table: RecIDTable) -> Tensor:
        """``[B, num_items]``: the log-likelihood of every item."""
        return sum((self.log_p[n][:, table.token[:, n]] for n in range(table.num_levels)), start=torch.tensor(0.0))


def table_stepper(table: RecIDTable, *, num_users: int = 3, seed: int = 0) -> TableStepper:
    """A `TableStepper` with random entries for the levels of a table."""
    generator = torch.Generator().manual_seed(seed)
    return TableStepper(
        log_p=tuple(torch.randn(num_users, size, generator=generator).log_softmax(1) for size in table.level_sizes)
    )


def same(a: object, b: object) -> bool:
    """Equal, tensors bit by bit, through dataclasses, tuples and dicts."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(
            same(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)
