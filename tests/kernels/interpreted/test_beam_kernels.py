"""The beam-step kernels in the interpreter: every candidate held against the definition in float64."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_kernels.beam_step import Bonus, Forbidden, beam_step_tree, checks

HEADS = ["tokens", "tree"]
triton_form = functools.partial(checks.run, impl="triton")


def draw(head: str, children: list[int], **more: Any) -> checks.Case:  # Any: whatever draw_case takes
    settings = {"num_users": 2, "num_parents": len(children), "width": 24, "num_beams": 5, **more}
    return checks.draw_case(head=head, children=children, generator=torch.Generator().manual_seed(0), **settings)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("last", [False, True])
def test_a_step_down(head: str, last: bool) -> None:
    assert checks.problems(triton_form, draw(head, [3, 1, 20, 5], last=last)) == []


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("last", [False, True])
def test_seen_leaves_and_an_allow_list(head: str, last: bool) -> None:
    case = draw(head, [3, 1, 20, 5], last=last, seen=0.4, allowed=0.8, num_beams=30)
    assert checks.problems(triton_form, case) == []


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("touched", [0.0, 0.3, 1.0])
def test_a_bonus(head: str, last: bool, touched: float) -> None:
    case = draw(head, [3, 1, 20, 5], last=last, num_users=3, touched=touched, seen=0.2, num_beams=12)
    assert case.bonus is not None
    assert (case.bonus.node.shape[1] == 0) == (touched == 0)
    assert checks.problems(triton_form, case) == []


@pytest.mark.parametrize("head", HEADS)
def test_a_bonus_of_thousands_of_nodes_under_more_than_a_block(head: str) -> None:
    case = draw(head, [1500, 1, 900], width=1500 if head == "tokens" else 16, num_beams=30)
    generator = torch.Generator().manual_seed(3)
    node = torch.stack([torch.randperm(2401, generator=generator)[:2000].sort().values for _ in range(2)])
    value = torch.randn(2, 2401, generator=generator).gather(1, node)
    assert checks.problems(triton_form, replace(case, bonus=Bonus(node=node, value=value))) == []


@pytest.mark.parametrize("head", HEADS)
def test_a_bonus_that_cannot_be_missed_is_not_missed(head: str) -> None:
    case = draw(head, [20, 24, 3], num_users=4, num_beams=3)
    node = torch.tensor([[0, 0, 46], [19, 20, 47], [47, 47, 47], [1, 21, 46]])
    case = replace(case, bonus=Bonus(node=node, value=torch.full((4, 3), 100.0)))
    wanted = [[0, 46], [19, 20], [], [1, 21, 46]]
    found = triton_form(case).node.tolist()
    assert checks.problems(triton_form, case) == []
    assert [sorted(row[: len(nodes)]) for nodes, row in zip(wanted, found, strict=True)] == wanted


@pytest.mark.parametrize("head", HEADS)
def test_views_of_a_bonus_are_taken_as_they_are(head: str) -> None:
    case = draw(head, [9, 20], num_users=3, touched=0.5)
    assert case.bonus is not None
    node, value = case.bonus.node.t().contiguous().t(), case.bonus.value.t().contiguous().t()
    assert not node.is_contiguous()
    assert checks.problems(triton_form, replace(case, bonus=Bonus(node=node, value=value))) == []


@pytest.mark.parametrize("head", HEADS)
def test_dead_beams_and_a_user_without_any(head: str) -> None:
    case = draw(head, [3, 4, 2, 5], num_users=3, dead=0.5)
    dead = torch.arange(3).unsqueeze(1) == 1
    case = replace(
        case,
        beam_node=case.beam_node.masked_fill(dead, -1),
        beam_score=case.beam_score.masked_fill(dead, -torch.inf),
    )
    assert checks.problems(triton_form, case) == []
    assert (triton_form(case).node[1] == -1).all()


@pytest.mark.parametrize("head", HEADS)
def test_everything_is_seen(head: str) -> None:
    case = draw(head, [2, 3])
    case = replace(case, forbidden=Forbidden(seen=torch.arange(case.level.num_leaves).expand(2, -1)))
    assert (triton_form(case).node == -1).all()


@pytest.mark.parametrize("head", HEADS)
def test_more_children_than_a_block_and_few_beams_of_many(head: str) -> None:
    assert checks.problems(triton_form, draw(head, [300, 1, 129], width=300, num_beams=17)) == []


@pytest.mark.parametrize("head", HEADS)
def test_the_root_alone(head: str) -> None:
    assert checks.problems(triton_form, draw(head, [20])) == []


@pytest.mark.parametrize("head", HEADS)
def test_one_node(head: str) -> None:
    assert checks.problems(triton_form, draw(head, [1], width=1, num_users=1, num_beams=1, last=True)) == []


@pytest.mark.parametrize("head", HEADS)
def test_many_equal_scores_go_to_the_lower_node(head: str) -> None:
    assert checks.problems(triton_form, draw(head, [20, 24, 3], coarse=True, num_beams=20)) == []
    case = draw(head, [20, 24, 3])
    case = replace(case, numbers=case.numbers * 0, beam_score=case.beam_score * 0)
    if head == "tree":
        case = replace(case, bias=torch.zeros(47), beam_node=torch.tensor([[1, 0, -1], [1, -1, -1]]))
        assert triton_form(case).node.tolist() == [[0, 1, 2, 3, 4], [20, 21, 22, 23, 24]]
    else:
        assert triton_form(case).node.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_numbers(head: str, dtype: torch.dtype) -> None:
    assert checks.problems(triton_form, draw(head, [9, 20]).to(dtype)) == []


@pytest.mark.parametrize("head", HEADS)
def test_views_are_taken_as_they_are(head: str) -> None:
    case = draw(head, [9, 20])
    views = replace(
        case,
        numbers=case.numbers.transpose(0, 1).contiguous().transpose(0, 1),
        beam_node=case.beam_node.t().contiguous().t(),
        vectors=None if case.vectors is None else case.vectors.t().contiguous().t(),
    )
    assert not views.numbers.is_contiguous()
    assert checks.problems(triton_form, views) == []


@pytest.mark.parametrize("head", HEADS)
def test_impossible_logits_and_large_ones(head: str) -> None:
    case = draw(head, [9, 20])
    numbers = case.numbers * 1000
    if head == "tokens":
        numbers[0, 0, :20] = -torch.inf
    assert checks.problems(triton_form, replace(case, numbers=numbers)) == []


def test_an_only_child_costs_exactly_nothing_in_the_tree() -> None:
    case = draw("tree", [1, 1, 1])
    beams = triton_form(case)
    assert torch.equal(beams.score[:, :3], case.beam_score.sort(descending=True).values)


def test_states_wider_than_a_block() -> None:
    assert checks.problems(triton_form, draw("tree", [5, 9], width=200)) == []


def test_a_vocabulary_wider_than_a_block() -> None:
    assert checks.problems(triton_form, draw("tokens", [5, 9], width=1500)) == []


def test_what_the_kernel_cannot_take_is_refused_in_words() -> None:
    case = draw("tree", [5, 9], num_beams=300)
    with pytest.raises(ValueError, match="300 beams are more than 256"):
        triton_form(case)
    assert case.vectors is not None
    assert case.bias is not None
    with pytest.raises(ValueError, match=r"float64 is not float32"):
        beam_step_tree(
            case.numbers.double(), case.vectors, case.bias, case.beam_score, case.beam_node, case.level,
            num_beams=2, impl="triton",
        )  # fmt: skip


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    head=st.sampled_from(HEADS),
    children=st.lists(st.integers(1, 24), min_size=1, max_size=5),
    num_beams=st.integers(1, 40),
    last=st.booleans(),
    seen=st.sampled_from([0.0, 0.5]),
    allowed=st.sampled_from([0.5, 1.0]),
    dead=st.sampled_from([0.0, 0.3]),
    touched=st.sampled_from([None, 0.3]),
)
def test_shapes_nobody_chose(head: str, children: list[int], **more: Any) -> None:  # Any: as above
    assert checks.problems(triton_form, draw(head, children, **more)) == []
