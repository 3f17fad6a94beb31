"""What the tree head caches between calls: always what it would make anew, bit for bit, and in the same memory."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmgrec.generator.heads import Sources, TreeHead
from mmgrec.interfaces import NodeScores
from mmgrec.recid.table import RecIDTable
from mmgrec.recid.trie import Trie

ROWS = [(2, 0, 0), (0, 1, 0), (0, 1, 1), (2, 3, 0), (0, 0, 0), (1, 2, 0), (2, 0, 1), (2, 0, 2)]
TRIE = Trie.of(RecIDTable(token=torch.tensor(ROWS), level_sizes=(3, 4, 3)))
STATE = torch.zeros(1, 1, 5)


def tree(seed: int = 0) -> TreeHead:
    generator = torch.Generator().manual_seed(seed)
    item = torch.randn(len(ROWS), 5, generator=torch.Generator().manual_seed(1))
    head = TreeHead(trie=TRIE, item_vectors=item, state_dim=4, gain=1.0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head.eval()


def cached(head: TreeHead) -> list[Tensor]:
    """What a decoder is given, all levels."""
    with torch.no_grad():
        scores = [head.scores(level, STATE) for level in range(3)]
    assert all(isinstance(each, NodeScores) for each in scores)
    return [part for each in scores for part in (each.vectors, each.bias)]  # type: ignore[union-attr]


def assert_fresh(head: TreeHead) -> None:
    wanted = [part.detach() for level in range(3) for part in head.vectors(level)]
    for given, fresh in zip(cached(head), wanted, strict=True):
        assert given.dtype == fresh.dtype
        assert torch.equal(given, fresh)


def step_of(optimizer: type[torch.optim.Optimizer], **settings: bool) -> Callable[[TreeHead], None]:
    def step(head: TreeHead) -> None:
        for parameter in head.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer(head.parameters(), lr=0.1, **settings).step()  # type: ignore[call-arg]

    return step


def in_training(change: Callable[[TreeHead], None]) -> Callable[[TreeHead], None]:
    """Not every change is counted; in training mode it need not be."""

    def changed(head: TreeHead) -> None:
        head.train()
        cached(head)  # a validation that forgot `eval`
        change(head)
        assert_fresh(head)
        head.eval()

    return changed


def hidden(head: TreeHead) -> None:
    head.bias[1].data.add_(1)


def in_place(head: TreeHead) -> None:
    with torch.no_grad():
        head.codeword[1].add_(1)


def in_inference_mode(head: TreeHead) -> None:
    with torch.inference_mode():
        head.bias[2].mul_(2)


def through_a_view(head: TreeHead) -> None:
    with torch.no_grad():
        head.inner[0][1].zero_()


def half_and_back(head: TreeHead) -> None:
    head.half().float()


def a_new_parameter(head: TreeHead) -> None:
    head.bias[0] = nn.Parameter(head.bias[0].detach() + 1)


def other_leaves(head: TreeHead) -> None:
    head.get_buffer("leaves").neg_()


CHANGES: dict[str, Callable[[TreeHead], object]] = {
    "in place": in_place,
    "in inference mode": in_inference_mode,
    "through a view": through_a_view,
    "load_state_dict": lambda head: head.load_state_dict(tree(7).state_dict()),
    "load_state_dict, assigned": lambda head: head.load_state_dict(tree(7).state_dict(), assign=True),
    "to another type": lambda head: head.double(),
    "to another type and back": half_and_back,
    "a new parameter": a_new_parameter,
    "leaves": other_leaves,
    "AdamW": step_of(torch.optim.AdamW),
    "AdamW, foreach": step_of(torch.optim.AdamW, foreach=True),
    "AdamW, fused": in_training(step_of(torch.optim.AdamW, fused=True)),
    "hidden from the count": in_training(hidden),
    "SGD": step_of(torch.optim.SGD),
    "refreshed": lambda head: (in_place(head), head.refresh()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_followed(change: str) -> None:
    head = tree()
    assert_fresh(head)
    before = [part.clone() for part in cached(head)]
    CHANGES[change](head)
    assert not all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(before, cached(head), strict=True))
    assert_fresh(head)


@pytest.mark.parametrize("change", ["in place", "load_state_dict", "AdamW", "AdamW, fused", "refreshed"])
def test_a_change_is_written_where_the_last_was(change: str) -> None:
    head = tree()
    before = cached(head)
    CHANGES[change](head)
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(before, cached(head), strict=True))


def test_nothing_is_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    head, levels = tree(), []
    make = head.vectors
    monkeypatch.setattr(head, "vectors", lambda level: levels.append(level) or make(level))
    cached(head)
    cached(head.eval())
    in_place(head)
    cached(head)
    assert levels == [0, 1, 2, 1]


def test_moved_to_another_device_it_is_made_there() -> None:
    head = tree()
    cached(head)
    assert all(part.device.type == "meta" for part in cached(head.to("meta")))


COPIES: dict[str, Callable[[TreeHead], TreeHead]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda head: pickle.loads(pickle.dumps(head)),  # noqa: S301  # as multiprocessing does
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_does_not_take_the_numbers_of_changes_along(how: str) -> None:
    head = tree()
    cached(head)
    other = COPIES[how](head)
    assert_fresh(other)
    # As many changes as the first had when its vectors were made: the copy counts on its own
    other = COPIES[how](head)
    with torch.no_grad():
        for parameter, first in zip(other.parameters(), head.parameters(), strict=True):
            while parameter._version < first._version:
                parameter.add_(1)
    assert_fresh(other)
    in_place(other)
    assert_fresh(head)
    assert_fresh(other)


def test_made_in_inference_mode_it_can_be_written_outside() -> None:
    head = tree()
    with torch.inference_mode():
        head.scores(1, STATE)
    in_place(head)
    assert_fresh(head)


def test_parameters_made_in_inference_mode_are_not_trusted() -> None:
    with torch.inference_mode():
        head = tree()
        cached(head)
        head.codeword[1].add_(1)
        assert_fresh(head)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_with_gradients_nothing_cached_is_used(level: int) -> None:
    head = tree()
    cached(head)
    scores = head.scores(level, STATE)
    assert isinstance(scores, NodeScores)
    (scores.vectors.sum() + scores.bias.sum()).backward()
    assert head.codeword[level].grad is not None
    assert head.bias[level].grad is not None


def test_what_is_cached_is_no_part_of_the_state() -> None:
    head = tree()
    wanted = list(head.state_dict())
    cached(head)
    assert list(head.state_dict()) == wanted
    assert len(list(head.parameters())) == len(list(tree().parameters()))


def test_without_the_version_a_change_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests can fail: a head that never looks gives what is out of date."""
    monkeypatch.setattr(Sources, "unchanged", lambda self, tensors: True)
    head = tree()
    cached(head)
    in_place(head)
    with pytest.raises(AssertionError):
        assert_fresh(head)
