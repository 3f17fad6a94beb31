"""Evaluation: masks, history, judged lists, defects, and tests over users."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from mmgrec.data.dataset import Dataset, Interactions
from mmgrec.errors import DataError, PluginError
from mmgrec.evaluation.harness import evaluate, find_defects
from mmgrec.evaluation.report import Defects, Report
from mmgrec.evaluation.significance import PairedTest, holm, paired_test
from mmgrec.interfaces import Exclusion, FittedRecommender, Recommendations


def pairs(*of: tuple[int, int]) -> Interactions:
    user, item = torch.tensor(of, dtype=torch.int64).reshape(-1, 2).T
    return Interactions.of(user, item, num_users=3, num_items=6)


DATA = Dataset(
    name="d",
    train=pairs((0, 0), (1, 1), (2, 2)),
    valid=pairs((0, 1), (1, 2)),
    test=pairs((0, 2), (2, 0), (2, 5)),
)


@dataclass
class Lowest(FittedRecommender):
    """Recommends the lowest items that are not excluded, and remembers what it was asked."""

    history: Interactions | None = None
    asked: list[tuple[list[int], list[list[int]]]] = field(default_factory=list)

    def with_history(self, history: Interactions) -> FittedRecommender:
        return replace(self, history=history)

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        self.asked.append((users.tolist(), exclusion.seen.tolist()))
        scores = -torch.arange(6.0).repeat(len(users), 1)
        for row, seen in enumerate(exclusion.seen.tolist()):
            scores[row, [item for item in seen if item >= 0]] = -torch.inf
        score, item = scores.topk(min(top_k, 6), dim=1)
        item[score.isneginf()] = -1
        wide = (0, top_k - item.shape[1])
        return Recommendations(
            user=users,
            item=torch.nn.functional.pad(item, wide, value=-1),
            score=torch.nn.functional.pad(score, wide, value=-torch.inf),
        )


@dataclass
class Fixed(FittedRecommender):
    """Recommends what it was told."""

    item: list[list[int]]

    def recommend(self, users: Tensor, *, top_k: int, exclusion: Exclusion) -> Recommendations:
        item = torch.tensor(self.item)
        return Recommendations(user=users, item=item, score=-torch.arange(item.shape[1]).float().expand_as(item))


def test_only_users_with_relevant_items_are_asked() -> None:
    assert evaluate(Lowest(), DATA, top_k=(2,)).user.tolist() == [0, 2]


def test_training_and_validation_items_are_masked_on_test() -> None:
    model = Lowest()
    evaluate(model, DATA, top_k=(2,))
    assert model.asked == [([0, 2], [[0, 1], [2, -1]])]


def test_mask_train_leaves_validation_items_in() -> None:
    model = Lowest()
    assert evaluate(model, DATA, top_k=(2,), mask="train").mask == "train"
    assert model.asked == [([0, 2], [[0], [2]])]


def test_validation_masks_training_items_only() -> None:
    model = Lowest()
    report = evaluate(model, DATA, split="valid", top_k=(2,))
    assert model.asked == [([0, 1], [[0], [1]])]
    assert (report.split, report.mask) == ("valid", "train")


def test_batches_do_not_change_the_result() -> None:
    whole, single = evaluate(Lowest(), DATA, top_k=(3,)), evaluate(Lowest(), DATA, top_k=(3,), batch_size=1)
    assert torch.equal(whole.item, single.item)
    assert whole.metrics == single.metrics


def test_metrics_by_hand() -> None:
    report = evaluate(Lowest(), DATA, top_k=(1, 3))
    assert report.item.tolist() == [[2, 3, 4], [0, 1, 3]]
    assert report.per_user["recall@1"].tolist() == [1.0, 0.5]
    assert report.metrics["recall@1"] == 0.75
    assert report.metrics["ndcg@1"] == 1.0


def test_users_can_be_chosen() -> None:
    report = evaluate(Lowest(), DATA, top_k=(1,), users=torch.tensor([1, 2]))
    assert report.user.tolist() == [2]


def test_a_part_without_users_is_an_error() -> None:
    with pytest.raises(DataError) as error:
        evaluate(Lowest(), replace(DATA, valid=pairs()), split="valid")
    assert error.value.code == "evaluation.no-relevant-items"
    assert "valid part" in str(error.value)


def test_history_is_not_touched_where_the_split_has_no_order() -> None:
    seen: list[Interactions] = []

    class Listening(Lowest):
        def with_history(self, history: Interactions) -> FittedRecommender:
            seen.append(history)
            return self

    evaluate(Listening(), DATA)
    assert not seen


@pytest.mark.parametrize(
    ("split", "mask", "expected"), [("test", "train+valid", 5), ("test", "train", None), ("valid", "train+valid", None)]
)
def test_in_an_ordered_split_masked_validation_items_are_history(split: str, mask: str, expected: int | None) -> None:
    lengths: list[int] = []

    class Listening(Lowest):
        def with_history(self, history: Interactions) -> FittedRecommender:
            lengths.append(len(history))
            return self

    evaluate(Listening(), replace(DATA, ordered=True), split=split, mask=mask)  # type: ignore[arg-type]
    assert lengths == ([] if expected is None else [expected])


def test_a_good_recommender_has_no_defects() -> None:
    assert evaluate(Lowest(), DATA, top_k=(3,)).defects == Defects()


def test_lists_longer_than_the_catalogue_have_no_defects() -> None:
    assert evaluate(Lowest(), DATA, top_k=(9,)).defects == Defects()


@pytest.mark.parametrize(
    ("item", "defects"),
    [
        ([[3, 6, 4], [0, 1, 3]], Defects(invalid=1, missing=1)),
        ([[3, -2, -1], [0, 1, 3]], Defects(invalid=1, missing=2)),
        ([[3, -1, 4], [0, 1, 3]], Defects(invalid=1, missing=1)),
        ([[3, 4, 4], [0, 0, 0]], Defects(duplicate=3)),
        ([[0, 1, 3], [0, 1, 2]], Defects(seen=3)),
        ([[3, -1, -1], [0, 1, 3]], Defects(missing=2)),
    ],
)
def test_defects_are_counted(item: list[list[int]], defects: Defects) -> None:
    assert evaluate(Fixed(item), DATA, top_k=(3,)).defects == defects


def test_misplaced_items_are_counted() -> None:
    item, score = torch.tensor([[3, 4, 5], [5, 3, 4]]), torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0]])
    assert find_defects(item, score, torch.tensor([0, 1]), DATA.train) == Defects(misplaced=2)


def test_a_duplicate_with_the_same_score_is_counted_once() -> None:
    score = torch.tensor([[1.0, 1.0]])
    assert find_defects(torch.tensor([[3, 3]]), score, torch.tensor([0]), DATA.train) == Defects(duplicate=1)


def test_scores_that_are_no_numbers_are_invalid() -> None:
    score = torch.tensor([[torch.nan, 0.0]])
    assert find_defects(torch.tensor([[3, 4]]), score, torch.tensor([0]), DATA.train).invalid == 1


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(PluginError) as error:
        evaluate(Fixed([[3, 4, 5], [0, 1, 3]]), DATA, top_k=(2,))
    assert error.value.code == "guards.wrong-shape"
    assert "Fixed: recommend returned [2, 3] items, not [2, 2]" in str(error.value)


def test_the_report_carries_its_definitions() -> None:
    report = evaluate(Lowest(), DATA, top_k=(2,)).as_dict()
    assert report["definitions"].keys() == {"recall", "ndcg"}
    assert (report["num_users"], report["seen"]) == (2, 0)


def with_recall(*values: float) -> Report:
    report = evaluate(Lowest(), DATA, top_k=(2,))
    return replace(report, user=torch.arange(len(values)), per_user={"recall@2": torch.tensor(values).double()})


def test_paired_test_by_hand() -> None:
    result = paired_test(with_recall(1, 1, 0, 1), with_recall(0, 1, 0, 0), "recall@2")
    # differences 1 0 0 1: mean 1/2, standard error sqrt(1/3)/2
    assert result.difference == 0.5
    assert result.t == pytest.approx(3**0.5)
    assert result.p == pytest.approx(0.1817, abs=1e-4)


def test_equal_reports_do_not_differ() -> None:
    result = paired_test(with_recall(1, 0), with_recall(1, 0), "recall@2")
    assert (result.difference, result.p) == (0.0, 1.0)


def test_paired_test_needs_the_same_users() -> None:
    with pytest.raises(ValueError, match="same users"):
        paired_test(with_recall(1, 0), with_recall(1, 0, 1), "recall@2")


def test_paired_test_names_what_is_measured() -> None:
    with pytest.raises(ValueError, match=r"'mrr@2' is not measured per user; there are recall@2"):
        paired_test(with_recall(1, 0), with_recall(1, 0), "mrr@2")


def test_holm_never_ranks_a_larger_p_below_a_smaller() -> None:
    tests = [PairedTest(metric="m", difference=0.0, t=0.0, p=p, num_users=9) for p in (0.031, 0.03)]
    assert [test.p_holm for test in holm(tests)] == pytest.approx([0.06, 0.06])


def test_holm_corrects_step_by_step() -> None:
    tests = [PairedTest(metric="m", difference=0.0, t=0.0, p=p, num_users=9) for p in (0.02, 0.04, 0.01, 0.5)]
    assert [test.p_holm for test in holm(tests)] == pytest.approx([0.06, 0.08, 0.04, 0.5])


def test_a_report_says_what_it_holds_in_a_line() -> None:
    assert repr(evaluate(Lowest(), DATA, top_k=[1])).startswith("Report(test, train+valid masked, 2 users: recall@1 ")
    long = repr(evaluate(Lowest(), DATA, top_k=[1, 2, 3]))
    assert long.endswith(", 2 more)")
    assert "\n" not in long
    assert len(long) < 150
