"""A beam step by hand, and its fast form against its definition in float64."""

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgrec_kernels.beam_step import Beams, Bonus, Forbidden, Level, beam_step_tokens, beam_step_tree, checks

INF = float("inf")
IMPLS = ["auto", "reference"]

# Two parents; nodes 0, 1 | 2, 3, 4 with tokens 0, 2 | 0, 1, 2 and 2, 1 | 1, 3, 1 leaves each
INNER = Level(
    first_child=torch.tensor([0, 2, 5], dtype=torch.int32),
    first_leaf=torch.tensor([0, 2, 3, 4, 7, 8], dtype=torch.int32),
    token=torch.tensor([0, 0, 2, 0, 1, 1, 1, 2], dtype=torch.uint8),
)
LAST = Level(
    first_child=torch.tensor([0, 2, 3, 4, 7, 8], dtype=torch.int32),
    first_leaf=None,
    token=torch.tensor([0, 1, 0, 0, 0, 1, 2, 0], dtype=torch.uint8),
)
BOTH = torch.tensor([[1, 0]])  # beam 0 stands at parent 1, beam 1 at parent 0


def _tokens(log_p: list[list[float]], score: list[float], impl: str, **more: object) -> Beams:
    return beam_step_tokens(torch.tensor([log_p]).log(), torch.tensor([score]), BOTH, INNER, impl=impl, **more)


@pytest.mark.parametrize("impl", IMPLS)
def test_tokens_that_lead_nowhere_keep_their_probability_but_are_not_taken(impl: str) -> None:
    beams = _tokens([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]], [0.0, 0.0], impl, num_beams=5)
    assert beams.node.tolist() == [[2, 4, 3, 0, 1]]
    assert beams.parent.tolist() == [[0, 0, 0, 1, 1]]
    assert beams.token.tolist() == [[0, 2, 1, 0, 2]]
    assert beams.score.exp().tolist()[0] == pytest.approx([0.5, 0.3, 0.2, 0.1, 0.1])


@pytest.mark.parametrize("impl", IMPLS)
def test_beam_scores_are_added(impl: str) -> None:
    beams = _tokens([[0.5, 0.2, 0.3], [0.6, 0.3, 0.1]], [-5.0, -1.0], impl, num_beams=2)
    assert beams.node.tolist() == [[0, 1]]
    assert beams.score.tolist()[0] == pytest.approx([torch.tensor(p).log().item() - 1 for p in (0.6, 0.1)])


@pytest.mark.parametrize("impl", IMPLS)
def test_equal_scores_go_to_the_lower_node(impl: str) -> None:
    third = [1 / 3, 1 / 3, 1 / 3]
    assert _tokens([third, third], [0.0, 0.0], impl, num_beams=3).node.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("impl", IMPLS)
def test_places_without_a_beam_are_dead(impl: str) -> None:
    third = [1 / 3, 1 / 3, 1 / 3]
    beams = _tokens([third, third], [0.0, -1.0], impl, num_beams=7)
    assert beams.node.tolist() == [[2, 3, 4, 0, 1, -1, -1]]
    assert beams.score[0, 5:].tolist() == [-INF, -INF]
    assert (beams.parent[0, 5:].tolist(), beams.token[0, 5:].tolist()) == ([0, 0], [0, 0])


@pytest.mark.parametrize("impl", IMPLS)
def test_dead_beams_have_no_children(impl: str) -> None:
    node, score = torch.tensor([[-1, 0], [-1, -1]]), torch.tensor([[-INF, 0.0], [-INF, -INF]])
    beams = beam_step_tokens(torch.zeros(2, 2, 3), score, node, INNER, num_beams=3, impl=impl)
    assert beams.node.tolist() == [[0, 1, -1], [-1, -1, -1]]
    assert beams.parent.tolist() == [[1, 1, 0], [0, 0, 0]]
    tree = beam_step_tree(
        torch.zeros(2, 2, 4), torch.zeros(5, 4), torch.zeros(5), score, node, INNER, num_beams=3, impl=impl
    )
    assert tree.node.tolist() == beams.node.tolist()


@pytest.mark.parametrize("impl", IMPLS)
def test_tree_normalises_over_existing_children_only(impl: str) -> None:
    bias = torch.tensor([0.6, 0.4, 0.5, 0.3, 0.2]).log() + 7
    beams = beam_step_tree(
        torch.zeros(1, 2, 4), torch.ones(5, 4), bias, torch.zeros(1, 2), BOTH, INNER, num_beams=5, impl=impl
    )
    assert beams.node.tolist() == [[0, 2, 1, 3, 4]]
    assert beams.score.exp().tolist()[0] == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2])


@pytest.mark.parametrize("impl", IMPLS)
def test_tree_takes_the_product_of_state_and_vector(impl: str) -> None:
    state, vectors = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[9.0, 1], [9, 2], [1, 9], [2, 9], [3, 9]])
    beams = beam_step_tree(state, vectors, torch.zeros(5), torch.zeros(1, 2), BOTH, INNER, num_beams=5, impl=impl)
    ours, theirs = torch.tensor([2.0, 4.0]).log_softmax(0), torch.tensor([1.0, 2.0, 3.0]).log_softmax(0)
    assert beams.node.tolist() == [[1, 4, 3, 0, 2]]
    assert beams.score.tolist()[0] == pytest.approx(
        [float(x) for x in (ours[1], theirs[2], theirs[1], ours[0], theirs[0])], abs=1e-5
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_an_only_child_costs_exactly_nothing_in_the_tree(impl: str) -> None:
    generator = torch.Generator().manual_seed(0)
    state, vectors = torch.randn(1, 3, 8, generator=generator), torch.randn(8, 8, generator=generator)
    score, node = torch.tensor([[-0.1, -0.7, -1.3]]), torch.tensor([[2, 1, 4]])
    beams = beam_step_tree(state, vectors, vectors[:, 0], score, node, LAST, num_beams=3, impl=impl)
    assert torch.equal(beams.score, score)
    assert beams.node.tolist() == [[3, 2, 7]]


@pytest.mark.parametrize("impl", IMPLS)
def test_prefix_whose_leaves_are_all_seen_is_not_taken_and_scores_stay(impl: str) -> None:
    third = [1 / 3, 1 / 3, 1 / 3]
    seen = Forbidden(seen=torch.tensor([[0, 1, 4, 5]]))  # all of node 0, two of three leaves of node 3
    beams = _tokens([third, third], [0.0, 0.0], impl, num_beams=5, forbidden=seen)
    assert beams.node.tolist() == [[1, 2, 3, 4, -1]]
    assert beams.score.exp().tolist()[0] == pytest.approx([*third, 1 / 3, 0.0])


@pytest.mark.parametrize("impl", IMPLS)
def test_seen_leaves_are_each_users_own_and_padding_counts_for_nothing(impl: str) -> None:
    seen = Forbidden(seen=torch.tensor([[2, 8, 8], [8, 8, 8], [0, 1, 3]]))
    beams = beam_step_tokens(
        torch.zeros(3, 1, 3), torch.zeros(3, 1), torch.tensor([[0], [0], [0]]), INNER,
        num_beams=2, forbidden=seen, impl=impl,
    )  # fmt: skip
    assert beams.node.tolist() == [[0, -1], [0, 1], [1, -1]]


@pytest.mark.parametrize("impl", IMPLS)
def test_allow_list_forbids_nodes_without_an_allowed_leaf(impl: str) -> None:
    allowed = torch.tensor([True, False, False, True, False, True, False, False])
    before = torch.cat([torch.zeros(1, dtype=torch.int32), allowed.cumsum(0).to(torch.int32)])
    third = [1 / 3, 1 / 3, 1 / 3]
    beams = _tokens([third, third], [0.0, 0.0], impl, num_beams=5, forbidden=Forbidden(allowed_before=before))
    assert beams.node.tolist() == [[0, 2, 3, -1, -1]]
    seen = Forbidden(seen=torch.tensor([[0, 5]]), allowed_before=before)  # what is allowed of nodes 0 and 3 is seen
    assert _tokens([third, third], [0.0, 0.0], impl, num_beams=5, forbidden=seen).node.tolist() == [[2] + [-1] * 4]


@pytest.mark.parametrize("impl", IMPLS)
def test_at_the_last_level_the_seen_leaves_themselves_are_forbidden(impl: str) -> None:
    beams = beam_step_tokens(
        torch.zeros(1, 2, 3), torch.zeros(1, 2), torch.tensor([[3, 0]]), LAST,
        num_beams=5, forbidden=Forbidden(seen=torch.tensor([[1, 3, 5]])), impl=impl,
    )  # fmt: skip
    assert beams.node.tolist() == [[0, 4, 6, -1, -1]]
    assert beams.token.tolist() == [[0, 0, 2, 0, 0]]


HALF = [
    [0.5, 0.3, 0.2],
    [0.5, 0.3, 0.2],
]  # nodes 2, 3, 4 under beam 0, and 0, 1 under beam 1 (its token 1 leads nowhere)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_bonus_is_added_to_its_node_and_the_softmax_does_not_know_it(impl: str) -> None:
    bonus = Bonus(node=torch.tensor([[1, 3, 5]]), value=torch.tensor([[1.0, -1.0, 50.0]]))
    beams = _tokens(HALF, [0.0, -1.0], impl, num_beams=5, bonus=bonus)
    wanted = {0: math.log(0.5) - 1, 1: math.log(0.2), 2: math.log(0.5), 3: math.log(0.3) - 1, 4: math.log(0.2)}
    assert dict(zip(beams.node[0].tolist(), beams.score[0].tolist(), strict=True)) == pytest.approx(wanted)
    assert (beams.score - bonus.of(beams.node))[0].sum().item() == pytest.approx(sum(wanted.values()))
    tree = beam_step_tree(
        torch.zeros(1, 2, 4), torch.zeros(5, 4), torch.zeros(5), torch.zeros(1, 2), BOTH, INNER,
        num_beams=5, bonus=bonus, impl=impl,
    )  # fmt: skip
    assert tree.node.tolist() == [[1, 0, 2, 4, 3]]
    half, third = math.log(1 / 2), math.log(1 / 3)
    assert tree.score[0].tolist() == pytest.approx([half + 1, half, third, third, third - 1])


@pytest.mark.parametrize("impl", IMPLS)
def test_a_bonus_breaks_ties_and_makes_them(impl: str) -> None:
    even, value = [[0.25, 0.25, 0.5]] * 2, torch.tensor([[math.log(2), math.log(2), 0.0, 0.0]])
    bonus = Bonus(node=torch.tensor([[3, 3, 4, 4]]), value=value)  # a node that stands twice counts once
    assert _tokens(even, [0.0, 0.0], impl, num_beams=5, bonus=bonus).node.tolist() == [[1, 3, 4, 0, 2]]
    assert _tokens(even, [0.0, 0.0], impl, num_beams=2, bonus=bonus).node.tolist() == [[1, 3]]


@pytest.mark.parametrize("impl", IMPLS)
def test_a_bonus_brings_no_forbidden_node_back(impl: str) -> None:
    bonus = Bonus(node=torch.tensor([[0, 2]]), value=torch.tensor([[9.0, 9.0]]))
    seen = Forbidden(seen=torch.tensor([[0, 1]]))
    assert _tokens(HALF, [0.0, 0.0], impl, num_beams=3, bonus=bonus, forbidden=seen).node.tolist() == [[2, 3, 1]]


@pytest.mark.parametrize("impl", IMPLS)
def test_a_bonus_is_each_users_own_and_of_no_beam_that_is_dead(impl: str) -> None:
    bonus = Bonus(node=torch.tensor([[1, 1], [0, 5], [5, 5]]), value=torch.tensor([[1.0, 1.0], [-1.0, 9.0], [9, 9]]))
    node, score = torch.tensor([[0, -1], [0, -1], [-1, -1]]), torch.tensor([[0.0, -INF], [0.0, -INF], [-INF, -INF]])
    beams = beam_step_tokens(torch.zeros(3, 2, 3), score, node, INNER, num_beams=2, bonus=bonus, impl=impl)
    assert beams.node.tolist() == [[1, 0], [1, 0], [-1, -1]]
    assert beams.score[1].diff().item() == pytest.approx(-1)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_bonus_of_no_nodes_changes_nothing(impl: str) -> None:
    nothing = Bonus(node=torch.zeros(1, 0, dtype=torch.int64), value=torch.zeros(1, 0))
    fillers = Bonus(node=torch.full((1, 3), 5), value=torch.ones(1, 3))
    wanted = _tokens(HALF, [0.0, 0.0], impl, num_beams=5)
    for bonus in (nothing, fillers):
        beams = _tokens(HALF, [0.0, 0.0], impl, num_beams=5, bonus=bonus)
        assert all(torch.equal(found, one) for found, one in zip(beams, wanted, strict=True))


def test_the_bonus_of_nodes() -> None:
    bonus = Bonus(node=torch.tensor([[0, 2, 2, 7], [7, 7, 7, 7]]), value=torch.tensor([[1.0, -2, -2, 9], [9, 9, 9, 9]]))
    node = torch.tensor([[2, -1, 0, 1, 6], [0, -1, 2, 6, -1]])
    assert bonus.of(node).tolist() == [[-2, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert bonus.of(node.t().contiguous().t()).dtype == torch.float32
    assert Bonus(node=bonus.node[:, :0], value=bonus.value[:, :0]).of(node).tolist() == [[0.0] * 5] * 2


def test_shapes_that_do_not_fit_are_refused() -> None:
    score, node = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"logits \[B, W, V\]"):
        beam_step_tokens(torch.zeros(1, 3, 3), score, node, INNER, num_beams=1)
    with pytest.raises(ValueError, match=r"vectors \[5, 4\]"):
        beam_step_tree(torch.zeros(1, 2, 4), torch.zeros(4, 4), torch.zeros(5), score, node, INNER, num_beams=1)
    with pytest.raises(ValueError, match="one row for each user"):
        _tokens([[1, 1, 1]] * 2, [0, 0], "auto", num_beams=1, forbidden=Forbidden(seen=torch.zeros(2, 1)))
    for rows, columns, said in ((2, 3, r"bonus.node \[1, S\]"), (1, 2, r"bonus.value \(1, 3\)")):
        bonus = Bonus(node=torch.zeros(rows, 3, dtype=torch.int64), value=torch.zeros(rows, columns))
        with pytest.raises(ValueError, match=said):
            _tokens([[1, 1, 1]] * 2, [0, 0], "auto", num_beams=1, bonus=bonus)
    with pytest.raises(ValueError, match="num_beams"):
        beam_step_tokens(torch.zeros(1, 2, 3), score, node, INNER, num_beams=0)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    head=st.sampled_from(["tokens", "tree"]),
    children=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    num_users=st.integers(1, 3),
    num_beams=st.integers(1, 20),
    last=st.booleans(),
    seen=st.sampled_from([0.0, 0.5]),
    allowed=st.sampled_from([0.5, 1.0]),
    dead=st.sampled_from([0.0, 0.3, 1.0]),
    touched=st.sampled_from([None, 0.0, 0.3, 1.0]),
    coarse=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_fast_form_against_the_definition_in_float64(
    head: str, children: list[int], seed: int, **more: Any
) -> None:  # Any: whatever draw_case takes
    generator = torch.Generator().manual_seed(seed)
    num_parents = 1 + seed % len(children)
    case = checks.draw_case(head=head, children=children, num_parents=num_parents, width=9, generator=generator, **more)
    assert checks.problems(checks.run, case) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("num_beams", [10, 50, 200])
@pytest.mark.parametrize("touched", [None, 0.03, 0.5])
def test_the_kernels_on_the_device(head: str, num_beams: int, touched: float | None) -> None:
    generator = torch.Generator().manual_seed(num_beams)
    children = torch.randint(1, 300, (256,), generator=generator).tolist()
    case = checks.draw_case(
        head=head, children=children, num_users=64, num_parents=num_beams, width=300 if head == "tokens" else 64,
        num_beams=num_beams, generator=generator, dead=0.1, seen=0.1, allowed=0.9, touched=touched,
    ).to(torch.device("cuda"))  # fmt: skip
    assert checks.problems(functools.partial(checks.run, impl="triton"), case) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("touched", [None, 0.2])
def test_the_kernels_in_a_cuda_graph(head: str, touched: float | None) -> None:
    case = checks.draw_case(
        head=head, children=[30] * 40, num_users=8, num_parents=20, width=64, num_beams=50,
        generator=torch.Generator().manual_seed(0), seen=0.2, touched=touched,
    ).to(torch.device("cuda"))  # fmt: skip
    wanted = checks.run(case, impl="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = checks.run(case, impl="triton")
    for part in found:
        part.zero_()
    graph.replay()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
