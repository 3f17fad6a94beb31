"""Bugs put into the kernels on purpose: each must be caught by the checks that the other tests here rely on."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmgrec_kernels import relation_attention, residual_lookup
from mmgrec_kernels.relation_attention import checks as attention_checks
from mmgrec_kernels.relation_attention import triton_blocked as attention_blocked
from mmgrec_kernels.relation_attention import triton_kernels as attention_kernels
from mmgrec_kernels.relation_attention import triton_op as attention_op
from mmgrec_kernels.residual_lookup import checks as lookup_checks
from mmgrec_kernels.residual_lookup import triton_kernels as lookup_kernels
from mmgrec_kernels.residual_lookup import triton_op as lookup_op


def mutant(module: ModuleType, folder: Path, old: str, new: str, place: int) -> ModuleType:
    """A copy of a module with the ``place``-th occurrence of a piece of its source replaced."""
    pieces = Path(str(module.__file__)).read_text().split(old)
    assert len(pieces) > place + 1, f"the kernels no longer say {old!r} {place + 1} times: renew this test"
    path = folder / "mutant.py"
    path.write_text(old.join(pieces[: place + 1]) + new + old.join(pieces[place + 1 :]))
    spec = importlib.util.spec_from_file_location("mutant", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


ATTENTION = [
    # what, source, replacement, which occurrence, history length
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
        "_weights(scores, keep[None, :],",
        "_weights(scores, keep[None, :] | True,",
        0,
        7,
    ),
    ("last row forgotten", "ok_rows = rows < length", "ok_rows = rows < length - 1", 0, 7),
    ("last row forgotten in the backward", "ok_rows = rows < length", "ok_rows = rows < length - 1", 1, 7),
    ("last key forgotten", "ok_keys = keys < length", "ok_keys = keys < length - 1", 0, 7),
    ("last key forgotten in the backward", "ok_keys = keys < length", "ok_keys = keys < length - 1", 1, 7),
    ("missing store", "tl.store(dk_ptr", "pass  # ", 0, 7),
    ("missing store of a gain", "tl.store(ds_qk_ptr", "pass  # ", 0, 7),
    ("last head instead of their sum", "d_map += d_scores", "d_map = d_scores", 0, 7),
    ("last head instead of their sum of values", "d_shared += dv", "d_shared = dv", 0, 7),
    ("user without items", "alive = total > 0", "alive = total >= 0", 0, 7),
]


BLOCKED = [
    ("wrong scale", "scores * factor, float", "scores * scale, float", 0),
    ("gain forgotten", "+ relation * s_qk  # [ROWS", "+ relation  # [ROWS", 0),
    ("dropped mask", "tl.where(keep[None, :], scores * factor, float('-inf'))", "scores * factor", 0),
    ("dropped mask in the backward", "keep[None, :], lse", "keep[None, :] | True, lse", 0),
    ("last row forgotten", "ok_rows = rows < length", "ok_rows = rows < length - 1", 0),
    ("last key forgotten", "ok_keys = keys < length", "ok_keys = keys < length - 1", 0),
    ("dropped mask of columns", "_weights(scores, keep[:, None],", "_weights(scores, keep[:, None] | True,", 0),
    ("last key forgotten of columns", "ok_keys = keys < length", "ok_keys = keys < length - 1", 2),
    ("last head instead of their sum of columns", "d_shared += dv", "d_shared = dv", 0),
    ("missing store of a gain", "tl.store(ds_qk_ptr", "pass  # ", 0),
    ("last block forgotten", "tl.range(BLOCKS)", "tl.range(BLOCKS - 1)", 0),
    ("last block forgotten in the backward", "tl.range(BLOCKS)", "tl.range(BLOCKS - 1)", 1),
    ("last block forgotten of columns", "tl.range(BLOCKS)", "tl.range(BLOCKS - 1)", 2),
    ("old blocks not scaled anew", "total * shrink", "total", 0),
    ("missing store", "tl.store(drq_ptr", "pass  # ", 0),
    ("missing store of columns", "tl.store(drv_ptr", "pass  # ", 0),
]  # fmt: skip


def attention_problems(users: int, length: int, size: int, dtype: torch.dtype) -> list[str]:
    generator = torch.Generator().manual_seed(length)
    case = attention_checks.draw_case(users, 2, length, size, generator=generator, dtype=dtype)
    return attention_checks.problems(functools.partial(relation_attention, impl="triton"), case)


@pytest.mark.parametrize(("what", "old", "new", "place", "length"), ATTENTION, ids=[each[0] for each in ATTENTION])
def test_a_bug_in_attention_is_caught(
    what: str, old: str, new: str, place: int, length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_op, "kernels", mutant(attention_kernels, tmp_path, old.replace("'", '"'), new, place))
    assert attention_problems(2, length, 16, torch.float32 if length < 64 else torch.bfloat16) != []


@pytest.mark.parametrize(("what", "old", "new", "place"), BLOCKED, ids=[each[0] for each in BLOCKED])
def test_a_bug_in_blocked_attention_is_caught(
    what: str, old: str, new: str, place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_op, "blocked", mutant(attention_blocked, tmp_path, old.replace("'", '"'), new, place))
    assert attention_problems(1, 40, 64, torch.float32) != []


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


@pytest.mark.parametrize(("what", "old", "new", "place"), LOOKUP, ids=[each[0] for each in LOOKUP])
def test_a_bug_in_the_lookup_is_caught(
    what: str, old: str, new: str, place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(70, 16, generator=generator)
    monkeypatch.setattr(lookup_op, "kernels", mutant(lookup_kernels, tmp_path, old, new, place))
    found = []
    for size in (33, 32):  # codewords that are near stand in different columns of a block of 32, or in the same
        book = torch.randn(size, 16, generator=generator)
        # Triplets, then pairs of codewords a rounding step apart, the nearest not always the first.
        steps = torch.tensor([2e-7, -2e-7, 0.0])[:, None, None] * book.sign()
        pairs = 0.5 * book + steps[:2]
        books = [(book + steps).reshape(-1, 16), pairs.reshape(-1, 16)[: 2 * size - 1]]
        found += lookup_checks.problems(functools.partial(residual_lookup, impl="triton"), z, books)
    assert found != []
