"""Contracts of the parts that rank, load and measure: decoders, recommenders, dataset sources, metrics."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mmgrec.data import Dataset
from mmgrec.evaluation import find_defects, judge
from mmgrec.interfaces import (
    Context,
    DatasetSource,
    Decoder,
    Exclusion,
    FittedRecommender,
    ItemScores,
    Metric,
    Recommender,
    exclusion_of,
)
from mmgrec.recid import Trie
from mmgrec.synthetic import checkerboard
from mmgrec.testing.learning import PartContract
from mmgrec.testing.values import eight_items, same, table_stepper, tiny_data, without_test

__all__ = ["DatasetContract", "DecoderContract", "MetricContract", "RecommenderContract"]


class DecoderContract(PartContract[Decoder]):
    """What may be asked of every decoder, held against scores that can be added up by hand."""

    exhaustive: ClassVar[bool] = True  # does it find the best of eight items for certain?

    def decode(self, top_k: int, seen: Tensor | None = None, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        stepper = table_stepper(eight_items())
        exclusion = Exclusion(seen=torch.full((3, 1), -1) if seen is None else seen, allowed=allowed)
        return self.make().decode(stepper, Trie.of(eight_items()), top_k=top_k, exclusion=exclusion)

    def expected(self, banned: Tensor) -> tuple[Tensor, Tensor]:
        """All items of each user, best first, those banned ``[3, 8]`` as -1 at the end."""
        score = table_stepper(eight_items()).score(eight_items()).masked_fill(banned, -torch.inf)
        best = score.sort(dim=1, descending=True, stable=True)
        return best.indices.masked_fill(best.values.isinf(), -1), best.values

    def test_the_best_items_come_first(self) -> None:
        item, score = self.decode(8)
        wanted, value = self.expected(torch.zeros(3, 8, dtype=torch.bool))
        assert item.shape == (3, 8)
        if self.exhaustive:
            assert torch.equal(item.cpu(), wanted)
            torch.testing.assert_close(score.cpu(), value)

    def test_excluded_items_never_come(self) -> None:
        seen = torch.tensor([[2, 5, -1], [0, -1, -1], [6, 4, 3]])
        banned = torch.zeros(3, 9, dtype=torch.bool).scatter(1, seen % 9, True)[:, :8]
        item, _ = self.decode(8, seen=seen)
        if self.exhaustive:
            assert torch.equal(item.cpu(), self.expected(banned)[0])
        for row, ban in zip(item.tolist(), banned.tolist(), strict=True):
            assert not [chosen for chosen in row if chosen >= 0 and ban[chosen]]

    def test_only_allowed_items_come(self) -> None:
        allowed = torch.tensor([False, True, False, True, False, False, False, True])
        item, score = self.decode(4, allowed=allowed)
        assert [sorted(row) for row in item.tolist()] == [[-1, 1, 3, 7]] * 3
        assert bool(score[:, 3].isneginf().all())

    def test_too_few_items_are_filled_up_with_minus_one(self) -> None:
        item, score = self.decode(11)
        assert item.shape == (3, 11)
        assert [sorted(row[:8]) for row in item.tolist()] == [list(range(8))] * 3
        assert bool((item[:, 8:] == -1).all() and score[:, 8:].isneginf().all())

    def test_nothing_left_is_an_empty_list(self) -> None:
        item, _ = self.decode(2, seen=torch.arange(8).repeat(3, 1))
        assert item.tolist() == [[-1, -1]] * 3

    def test_item_scores_are_added_where_it_says_so(self) -> None:
        """For and against, of excluded items too, and of nobody's: the second user's history says nothing."""
        decoder, seen = self.make(), torch.tensor([[2, 5], [0, -1], [6, 4]])
        if not decoder.adds_item_scores:
            return
        scores = ItemScores(
            item=torch.tensor([[2, 3, 6], [-1, -1, -1], [0, 7, -1]]),
            value=torch.tensor([[30.0, 20.0, -20.0], [0.0, 0.0, 0.0], [-20.0, 20.0, 0.0]]),
        )
        item, score = decoder.decode(
            table_stepper(eight_items()),
            Trie.of(eight_items()),
            top_k=8,
            exclusion=Exclusion(seen=seen),
            item_scores=scores,
        )
        assert [row[0] for row in item.tolist()][::2] == [3, 7], "items that are spoken for come first"
        assert [row[5] for row in item.tolist()][::2] == [6, 0], "items that are spoken against come last"
        for row, ban in zip(item.tolist(), seen.tolist(), strict=True):
            assert not set(row) & (set(ban) - {-1}), "an excluded item came"
        alone, value = self.decode(8, seen=seen)
        assert torch.equal(item[1].cpu(), alone[1].cpu()), "a user of whom nothing is said gets another list"
        log_p = torch.full((3, 9), -torch.inf).scatter(1, alone.cpu() % 9, value.cpu())  # -1 has the last column
        rest = score.cpu() - scores.of(item.cpu())
        torch.testing.assert_close(rest, log_p.gather(1, item.cpu() % 9), atol=1e-4, rtol=1e-4)


class RecommenderContract(PartContract[Recommender]):
    """What may be asked of every recommender."""

    def data(self) -> Dataset:
        return tiny_data()

    def fit(self, data: Dataset | None = None, seed: int = 0) -> FittedRecommender:
        return self.make().fit(data or self.data(), Context(seed=seed))

    def lists(self, fitted: FittedRecommender, data: Dataset, top_k: int = 10) -> tuple[Tensor, Tensor]:
        users = torch.arange(data.num_users)
        """Items and scores for all users, who are not to be given their training items."""
        lists = fitted.recommend(users, top_k=top_k, exclusion=exclusion_of(data.train, users))
        assert torch.equal(lists.user, users)
        return lists.item, lists.score

    def test_lists_hold_valid_unseen_distinct_items_best_first(self) -> None:
        data = self.data()
        item, score = self.lists(self.fit(data), data)
        defects = vars(find_defects(item, score, torch.arange(data.num_users), data.train))
        assert not any(defects.values()), f"found in the lists: {defects}"

    def test_more_than_there_are_is_filled_up_with_minus_one(self) -> None:
        data = self.data()
        item, _ = self.lists(self.fit(data), data, top_k=data.num_items)
        assert torch.equal((item >= 0).sum(1), data.num_items - data.train.user_degree)

    def test_only_allowed_items_come(self) -> None:
        data, users = self.data(), torch.arange(5)
        allowed = torch.zeros(data.num_items, dtype=torch.bool)
        allowed[[1, 4, 9]] = True
        exclusion = Exclusion(seen=torch.empty(5, 0, dtype=torch.int64), allowed=allowed)
        item = self.fit(data).recommend(users, top_k=3, exclusion=exclusion).item
        assert [sorted(row) for row in item.tolist()] == [[1, 4, 9]] * 5

    def test_the_same_seed_gives_the_same_lists(self) -> None:
        data = self.data()
        assert same(self.lists(self.fit(data, 5), data), self.lists(self.fit(data, 5), data))

    def test_the_global_random_state_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        self.fit()
        assert torch.equal(before, torch.get_rng_state()), "draw from context.generator(...), not from torch's global"

    def test_the_test_part_is_not_looked_at(self) -> None:
        data = self.data()
        assert same(self.lists(self.fit(data), data), self.lists(self.fit(without_test(data)), data))


class DatasetContract(PartContract[DatasetSource]):
    """What may be asked of every dataset source."""

    def load(self, seed: int = 0) -> Dataset:
        return self.make().load(Context(seed=seed))

    def test_the_parts_do_not_overlap(self) -> None:
        data = self.load()
        merged = data.train.merged(data.valid).merged(data.test)
        assert len(merged) == data.num_interactions, "an interaction is in two parts"

    def test_there_is_something_to_learn_from(self) -> None:
        assert len(self.load().train) > 0

    def test_features_are_finite_floats(self) -> None:
        for name, table in self.load().features.items():
            assert table.dtype == torch.float32, f"{name}: float32 expected, got {table.dtype}"
            assert bool(table.isfinite().all()), f"{name} holds NaN or infinity"

    def test_loading_twice_gives_the_same_data(self) -> None:
        assert self.load().fingerprint == self.load().fingerprint


class MetricContract(PartContract[Metric]):
    """What may be asked of every metric."""

    def measured(self, item: Tensor, top_k: int) -> Tensor:
        data = checkerboard()
        users = torch.tensor([0, 1, 4, 5, 8, 9])  # those with a test item
        return self.make().measure(judge(item, users, data.test, data.train.item_degree), top_k)

    def lists(self) -> Tensor:
        return torch.arange(10).repeat(6, 1)

    def test_it_has_a_definition(self) -> None:
        assert self.make().definition.strip()

    def test_a_finite_float64_for_each_user_or_for_all(self) -> None:
        value = self.measured(self.lists(), 5)
        assert value.dtype == torch.float64, f"float64 expected, got {value.dtype}"
        assert value.shape in {(6,), ()}
        assert bool(value.isfinite().all())

    def test_what_stands_below_k_does_not_count(self) -> None:
        changed = self.lists()
        changed[:, 5:] = -1
        assert same(self.measured(self.lists(), 5), self.measured(changed, 5))

    def test_empty_lists_are_measured(self) -> None:
        assert bool(self.measured(torch.full((6, 10), -1), 5).isfinite().all())
