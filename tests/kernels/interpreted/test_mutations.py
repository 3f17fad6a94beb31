"""Bugs put into the kernels on purpose: each must be caught by the checks that the other tests here rely on."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmgrec_kernels import relation_attention, residual_lookup
from mmgrec_kernels.relation_attention import checks as attention_checks
from mmgrec_kernels.relation_attention import triton_blocked as attention_blocked
from mmgrec_kernels.relation_attention import triton_kernels as attention_kernels
from mmgrec_kernels.relation_attention import triton_op as attention_op
from mmgrec_kernels.relation_attention import triton_shared as attention_shared
from mmgrec_kernels.residual_lookup import checks as lookup_checks
from mmgrec_kernels.residual_lookup import triton_kernels as lookup_kernels
from mmgrec_kernels.residual_lookup import triton_op as lookup_op


def mutated(module: ModuleType, old: str, new: str, index: int) -> str:
    """A module's source with the occurrence number `index` of a piece of it replaced."""
    pieces = Path(str(module.__file__)).read_text().split(old)
    assert len(pieces) > index + 1, f"the kernels no longer say {old!r} {index + 1} times: renew this test"
    return old.join(pieces[: index + 1]) + new + old.join(pieces[index + 1 :])


def loaded(source: str, path: Path) -> ModuleType:
    """The source as a module, from a file: Triton reads it again."""
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mutant(module: ModuleType, folder: Path, old: str, new: str, index: int) -> ModuleType:
    return loaded(mutated(module, old, new, index), folder / "mutant.py")


ATTENTION = [
    # what, source, replacement, index of the occurrence, history length
    ("wrong scale", "* factor + bias", "* scale + bias", 0, 7),
    ("wrong scale of the gradient", "* scale  # [ROWS, KEYS]", "  # [ROWS, KEYS]", 0, 7),
    ("gain forgotten", "relation * (s_qk * factor)", "relation * factor", 0, 7),
    (
        "dropped mask",
        "tl.where(keep[None, :], relation * (s_qk * factor), float('-inf'))",
        "relation * (s_qk * factor)",
        0,
        7,
    ),
    (
        "dropped mask in the backward",
        "softmax_again(scores, keep[None, :],",
        "softmax_again(scores, keep[None, :] | True,",
        0,
        7,
    ),
    ("last row forgotten", "ok_rows = rows < length", "ok_rows = rows < length - 1", 0, 7),
    ("last row forgotten in the backward", "ok_rows = rows < length", "ok_rows = rows < length - 1", 1, 7),
    ("last key forgotten", "ok_keys = keys < length", "ok_keys = keys < length - 1", 0, 7),
    ("last key forgotten in the backward", "ok_keys = keys < length", "ok_keys = keys < length - 1", 1, 7),
    ("missing store", "store_rows(dk_ptr", "pass  # ", 0, 7),
    ("missing store of a gain", "tl.store(ds_qk_ptr", "pass  # ", 0, 7),
    ("last head instead of their sum", "d_map += d_scores", "d_map = d_scores", 0, 7),
    ("last head instead of their sum of values", "d_shared += dv", "d_shared = dv", 0, 7),
]


BLOCKED = [
    ("wrong scale", "scores * factor, float", "scores * scale, float", 0),
    ("gain forgotten", "+ relation * s_qk  # [ROWS", "+ relation  # [ROWS", 0),
    ("dropped mask", "tl.where(keep[None, :], scores * factor, float('-inf'))", "scores * factor", 0),
    ("dropped mask in the backward", "keep[None, :], lse", "keep[None, :] | True, lse", 0),
    ("last row forgotten", "ok_rows = rows < length", "ok_rows = rows < length - 1", 0),
    ("last key forgotten", "ok_keys = keys < length", "ok_keys = keys < length - 1", 0),
    ("dropped mask of columns", "keep[:, None], lse", "keep[:, None] | True, lse", 0),
    ("last key forgotten of columns", "ok_keys = keys < length", "ok_keys = keys < length - 1", 2),
    ("last head instead of their sum of columns", "d_shared += dv", "d_shared = dv", 0),
    ("missing store of a gain", "tl.store(ds_qk_ptr", "pass  # ", 0),
    ("last block forgotten", "tl.range(BLOCKS)", "tl.range(BLOCKS - 1)", 0),
    ("last block forgotten in the backward", "tl.range(BLOCKS)", "tl.range(BLOCKS - 1)", 1),
    ("last block forgotten of columns", "tl.range(BLOCKS)", "tl.range(BLOCKS - 1)", 2),
    ("old blocks not scaled anew", "total * shrink", "total", 0),
    ("missing store", "store_rows(drq_ptr", "pass  # ", 0),
    ("missing store of columns", "store_rows(drv_ptr", "pass  # ", 0),
]  # fmt: skip


SHARED = [
    # what, source, replacement, whether kernels of whole users have it too
    ("user without items", "alive = total > 0", "alive = total >= 0", True),
    ("gain of the values forgotten", "rv.to(tl.float32) * s_v", "rv.to(tl.float32)", True),
    ("one gain for both", "tl.load(s_v_ptr + user)", "tl.load(s_qk_ptr + user)", True),
    ("other log-sum-exp", "top + tl.log2(total)", "top", True),
    ("dropped mask of keys", "other=0) != 0", "other=0) >= 0", True),
    ("dropped mask in the backward", "tl.where(keep, scores - lse, float('-inf'))", "scores - lse", True),
    ("gain forgotten in the backward", "relation * s_qk) * factor", "relation) * factor", False),
    ("wrong scale in the backward", "relation * s_qk) * factor", "relation * s_qk)", False),
    ("rows' sums forgotten", "(d_weights - delta)", "d_weights", False),
    ("wrong scale of the gradient", "(d_weights - delta) * scale", "(d_weights - delta)", False),
]  # fmt: skip
WHOLE, IN_BLOCKS = (7, 16), (40, 64)  # history length and size of heads that take each way in float32


def attention_problems(users: int, length: int, size: int, dtype: torch.dtype) -> list[str]:
    generator = torch.Generator().manual_seed(length)
    case = attention_checks.draw_case(users, 2, length, size, generator=generator, dtype=dtype)
    return attention_checks.problems(functools.partial(relation_attention, impl="triton"), case)


@pytest.mark.parametrize(("what", "old", "new", "index", "length"), ATTENTION, ids=[each[0] for each in ATTENTION])
def test_a_bug_in_attention_is_caught(
    what: str, old: str, new: str, index: int, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_op, "kernels", mutant(attention_kernels, tmp_path, old.replace("'", '"'), new, index))
    assert attention_problems(2, length, 16, torch.float32 if length < 64 else torch.bfloat16) != []


@pytest.mark.parametrize(("what", "old", "new", "index"), BLOCKED, ids=[each[0] for each in BLOCKED])
def test_a_bug_in_blocked_attention_is_caught(
    what: str, old: str, new: str, index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_op, "blocked", mutant(attention_blocked, tmp_path, old.replace("'", '"'), new, index))
    assert attention_problems(1, 40, 64, torch.float32) != []


@pytest.mark.parametrize(
    ("old", "new", "length", "size"),
    [
        pytest.param(old, new, *shape, id=f"{what}, {shape[0]} items")
        for what, old, new, everywhere in SHARED
        for shape in ((WHOLE, IN_BLOCKS) if everywhere else (IN_BLOCKS,))
    ],
)
def test_a_bug_in_what_both_share_is_caught(
    old: str, new: str, length: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = attention_shared.__name__
    shared = loaded(mutated(attention_shared, old.replace("'", '"'), new, 0), tmp_path / "shared.py")
    monkeypatch.setitem(sys.modules, home, shared)  # the kernels' copies import it in place of the right one
    for name, module in (("kernels", attention_kernels), ("blocked", attention_blocked)):
        copy = loaded(Path(str(module.__file__)).read_text(), tmp_path / f"{name}.py")
        monkeypatch.setattr(attention_op, name, copy)
    assert attention_problems(2, length, size, torch.float32) != []  # of the second user all is padding


NORMS = "tl.load(half_norms_ptr + at_codes)[None, :]"
LOOKUP = [
    ("wrong scale", "scores - tl.dot(", "scores - 2 * tl.dot(", 0),
    ("norms forgotten", NORMS, f"tl.where({NORMS} < 1e30, 0.0, float('inf'))", 0),
    ("residual not passed on", "rest = rest - chosen", "rest = rest - 0 * chosen", 0),
    ("last codeword forgotten", "start + tl.arange(0, BLOCK)", "start + tl.arange(0, BLOCK) % (BLOCK - 1)", 0),
    ("last vector forgotten", "ok_rows = rows < num_vectors", "ok_rows = rows < num_vectors - 1", 0),
    ("dropped mask of padding", NORMS, f"tl.where({NORMS} < 1e30, {NORMS}, -99.0 * codes[None, :])", 0),
    ("missing store", "tl.store(quantized_ptr", "pass  # ", 0),
    ("near scores not decided again", "swaps = near &", "swaps = (near == 2) &", 0),
    ("a third near score overlooked", "tl.where(crowded, exact, code)", "code", 0),
    ("next best does not move up", "first = tl.where(taken, second, first)", "first = first + taken * 1e9", 0),
    ("third does not move up", "second = tl.where(taken, third, second)", "second = second + taken * 1e9", 0),
    ("the runner-up's code forgotten", "code_2 = tl.where(best, code_1,", "code_2 = tl.where(best, code_2,", 0),
]  # fmt: skip


@pytest.mark.parametrize(("what", "old", "new", "index"), LOOKUP, ids=[each[0] for each in LOOKUP])
def test_a_bug_in_the_lookup_is_caught(
    what: str, old: str, new: str, index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(70, 16, generator=generator)
    monkeypatch.setattr(lookup_op, "kernels", mutant(lookup_kernels, tmp_path, old, new, index))
    problems = []
    for size in (33, 32):  # codewords that are near stand in different columns of a block of 32, or in the same
        book = torch.randn(size, 16, generator=generator)
        # Triplets, then pairs of codewords a rounding step apart, the nearest not always the first.
        steps = torch.tensor([2e-7, -2e-7, 0.0])[:, None, None] * book.sign()
        pairs = 0.5 * book + steps[:2]
        books = [(book + steps).reshape(-1, 16), pairs.reshape(-1, 16)[: 2 * size - 1]]
        problems += lookup_checks.problems(functools.partial(residual_lookup, impl="triton"), z, books)
    assert problems != []
