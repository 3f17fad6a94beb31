"""Bugs put into the beam-step kernels on purpose: each must be caught by the checks that the other tests rely on."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmgrec_kernels.beam_step import Bonus, checks, triton_kernels, triton_op

ROOM = 1 << 15  # elements around an array: more than a block of children times its dimensions

BONUS = "_bonus(child, touched_ptr + user * num_touched, value_ptr + user * num_touched, num_touched, BONUS_STEPS)"

MUTATIONS = [
    # what, source, replacement, head
    ("score of the beam forgotten", "+ tl.load(score_ptr + beam)", "", "tree"),
    ("wrong scale", "vectors * state[None, :]", "vectors * state[None, :] * 0.9", "tree"),
    ("normaliser forgotten", "- tl.log(total)", "", "tree"),
    ("normaliser of the last block only", "total = total * tl.exp(highest - shift) +", "total =", "tree"),
    ("bias forgotten", "tl.load(bias_ptr + child, mask=ok, other=0.0)", "(0.0 * child)", "tree"),
    ("first dimensions only", "from_dim += DIM", "from_dim += width", "tree"),
    ("last child forgotten", "ok = child < end\n", "ok = child < end - 1\n", "tokens"),
    ("first block only", "at += BLOCK", "at += 1 << 30", "tokens"),
    ("last logit forgotten", "ok = at + dims < width", "ok = at + dims < width - 1", "tokens"),
    ("token of the node instead of the leaf", "token_ptr + leaf, mask=ok", "token_ptr + child, mask=ok", "tokens"),
    ("seen leaves of another user", "seen_ptr + user * num_seen", "seen_ptr", "tree"),
    ("seen leaves up to the last but one", "num_seen, end, STEPS", "num_seen, end - 1, STEPS", "tree"),
    ("a node with one seen leaf is forbidden", "ok & (left > 0)", "ok & (left == end - leaf)", "tokens"),
    ("exclusion forgotten", "ok & (left > 0)", "ok", "tokens"),
    ("allow-list forgotten", "    if HAS_BEFORE:\n        left = ", "    if False:\n        left = ", "tree"),
    ("ties to the higher node", " ^ LOW).to(tl.int64)", ").to(tl.int64)", "ties"),
    ("order of negative scores", "tl.where(bits < 0, bits ^ LOW, bits)", "bits", "tree"),
    ("wrong half kept", "tl.maximum(best, _top", "tl.minimum(best, _top", "tree"),
    ("runs that all fall", "((index & RUN) != 0) == ASCENDING", "(index >= 0) != ASCENDING", "tree"),
    ("written where the first beam writes", "KEEP + offset + ranks", "KEEP + ranks", "tree"),
    ("one key too few", "mask=ranks < tl.minimum(end - start, KEEP)", "mask=ranks < end - start - 1", "tokens"),
    ("missing store", "tl.store(out_parent_ptr + out", "pass  # (", "tokens"),
    ("parent of another user", "num_parents, first_child_ptr, some", "0, first_child_ptr, some", "tokens"),
    ("first parents only", "for first in tl.range(0, PARENTS, 16)", "for first in tl.range(0, 16, 16)", "many"),
    ("first chunk only", "at += CHUNK", "at += 1 << 30", "many"),
    *(
        (f"{what}, {kind}", old, new, kind)
        for kind in ("bonus tokens", "bonus tree")
        for what, old, new in (
            ("bonus forgotten", "        if HAS_BONUS:", "        if False:"),
            ("bonus taken off", "logit += _bonus(", "logit -= _bonus("),
            ("bonus of the leaf", "+= _bonus(child", "+= _bonus(leaf"),
            ("bonus of the node before", "+= _bonus(child", "+= _bonus(child - 1"),
            ("bonus of the next touched node", "other=-1) == child", "other=-1) >= child"),
            ("nodes of another user", "touched_ptr + row", "touched_ptr"),
            ("values of another user", "value_ptr + row", "value_ptr"),
            ("one halving too few", "num_touched, BONUS_STEPS", "num_touched, BONUS_STEPS - 1"),
            ("last touched node forgotten", "row, num_touched, BONUS", "row, num_touched - 1, BONUS"),
            ("bonus after the choice", "        if HAS_BONUS:", "        if False:"),
        )
    ),
    ("the softmax knows the bonus", "tl.exp(logit - shift)", f"tl.exp(logit + {BONUS} - shift)", "bonus tree"),
]  # fmt: skip

# What a mutation needs elsewhere, so that the kernel is wrong in one thing only
ALSO = {
    "ties to the higher node": [("(key & LOW).to(tl.int32) ^ LOW", "(key & LOW).to(tl.int32)")],
    **{
        f"bonus after the choice, {kind}": [("- tl.log(total) +", f"- tl.log(total) + {BONUS} +")]
        for kind in ("bonus tokens", "bonus tree")
    },
}

DROPPED = [
    # what, source, replacement, head, last level; the masks whose loss makes a kernel read past an array
    ("mask of children", "ok = child < end\n", "ok = child >= 0\n", "tree", False),
    ("mask of children", "ok = child < end\n", "ok = child >= 0\n", "tree", True),
    ("mask of children", "ok = child < end\n", "ok = child >= 0\n", "tokens", False),
    ("mask of children", "ok = child < end\n", "ok = child >= 0\n", "tokens", True),
    ("mask of logits", "logit = tl.where(ok, logit, float('-inf'))", "", "tree", False),
    ("mask of dimensions", "ok_dims = from_dim + dims < width", "ok_dims = dims >= 0", "tree", False),
    ("mask of the vocabulary", "ok = at + dims < width", "ok = dims >= 0", "tokens", False),
    ("mask of candidates", "mask=rows < num_keys", "mask=rows >= 0", "tokens", False),
    ("mask of touched nodes", "mask=at < num_touched", "mask=at >= 0", "tokens", False),
    ("mask of touched nodes", "mask=at < num_touched", "mask=at >= 0", "tree", True),
]  # fmt: skip


def _case(kind: str) -> checks.Case:
    generator = torch.Generator().manual_seed(1)
    if kind == "many":
        case = checks.draw_case(
            head="tokens", children=[60] * 18, num_users=1, num_parents=18, width=60, num_beams=60, generator=generator
        )
        return replace(case, beam_score=torch.arange(18.0).unsqueeze(0))  # the last beams matter most
    if kind.startswith("bonus"):
        case = checks.draw_case(
            head=kind.removeprefix("bonus "), children=[150, 4, 9, 1], num_users=3, num_parents=4, width=160,
            num_beams=12, generator=generator,
        )  # fmt: skip
        others = [torch.randperm(163, generator=generator)[:80].sort().values for _ in range(3)]
        node = F.pad(torch.stack(others), (0, 1), value=163)  # the last node, too
        value = 20 * torch.randn(3, 164, generator=generator)  # enough to bring any node among the best
        value[:, 163] = 60.0
        return replace(case, bonus=Bonus(node=node, value=value.gather(1, node)))
    return checks.draw_case(
        head="tokens" if kind == "tokens" else "tree",
        children=[150, 4, 9, 1],
        num_users=2,
        num_parents=4,
        width=160 if kind == "tokens" else 40,
        num_beams=70,
        generator=generator,
        dead=0.2,
        seen=0.4,
        allowed=0.8,
        coarse=kind == "ties",
    )


def _surrounded(x: Tensor | None, poison: float) -> Tensor | None:
    """The same values in the middle of an array that goes on: what a kernel reads outside is there, and is wrong."""
    if x is None:
        return None
    room = x.new_full((x.numel() + 2 * ROOM,), poison)
    view = room[ROOM : ROOM + x.numel()].view(x.shape)
    return view.copy_(x)


def _surrounded_case(head: str, *, last: bool) -> checks.Case:
    """Sixteen beams, so that a block of candidates fits into what the kernels hand on."""
    case = checks.draw_case(
        head=head, children=[40, 1, 25, 7] * 4, num_users=2, num_parents=16, width=50, num_beams=60, last=last,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    level = case.level
    node, value = torch.tensor([[0, 1, 50, 70], [0, 2, 3, 290]]), torch.ones(2, 4)  # where no bonus is, there is one
    return replace(
        case,
        bonus=Bonus(node=_surrounded(node, level.num_nodes - 1), value=_surrounded(value, 50.0)),
        numbers=_surrounded(case.numbers, 50.0),
        vectors=_surrounded(case.vectors, 50.0),
        bias=_surrounded(case.bias, 1e4),
        level=replace(
            level,
            first_leaf=_surrounded(level.first_leaf, level.num_leaves),
            token=_surrounded(level.token, 0),
        ),
    )


@pytest.mark.parametrize("head", ["tokens", "tree"])
@pytest.mark.parametrize("last", [False, True])
def test_arrays_that_go_on_are_read_no_further(head: str, last: bool) -> None:
    assert checks.problems(functools.partial(checks.run, impl="triton"), _surrounded_case(head, last=last)) == []


@pytest.mark.parametrize("kind", ["tokens", "tree", "ties", "many", "bonus tokens", "bonus tree"])
def test_the_cases_pass_as_long_as_nothing_is_broken(kind: str) -> None:
    assert checks.problems(functools.partial(checks.run, impl="triton"), _case(kind)) == []


def _break(old: str, new: str, folder: Path, monkeypatch: pytest.MonkeyPatch, what: str = "") -> None:
    source = Path(triton_kernels.__file__).read_text()
    path = folder / "mutant.py"
    for right, wrong in [(old, new), *ALSO.get(what, [])]:
        assert right in source, f"the kernels no longer say {right!r}: renew this test"
        source = source.replace(right, wrong)
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("mutant", path)
    assert spec is not None
    assert spec.loader is not None
    mutant = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutant)
    monkeypatch.setattr(triton_op, "kernels", mutant)


@pytest.mark.parametrize(("what", "old", "new", "kind"), MUTATIONS, ids=[each[0] for each in MUTATIONS])
def test_a_bug_in_the_beam_step_is_caught(
    what: str, old: str, new: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break(old, new, tmp_path, monkeypatch, what)
    assert checks.problems(functools.partial(checks.run, impl="triton"), _case(kind)) != []


@pytest.mark.parametrize(
    ("what", "old", "new", "head", "last"), DROPPED, ids=[f"{each[0]}, {each[3]}, {each[4]}" for each in DROPPED]
)
def test_a_dropped_mask_is_caught(
    what: str, old: str, new: str, head: str, last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break(old.replace("'", '"'), new, tmp_path, monkeypatch)
    assert checks.problems(functools.partial(checks.run, impl="triton"), _surrounded_case(head, last=last)) != []
