"""Block sizes found on a device go before the rules; the tool that finds them takes only what is right and faster."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmgrec_kernels import tuned
from mmgrec_kernels.beam_step import sizes as beam_sizes
from mmgrec_kernels.relation_attention import sizes as attention_sizes
from mmgrec_kernels.residual_lookup import sizes as lookup_sizes

TOOL = Path(__file__).parents[2] / "bench" / "tuning" / "search_block_sizes.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_block_sizes", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_found_sizes_go_before_the_rules_on_their_chip_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tuned.TUNED, "residual_lookup", {(90, 64, 256): {"rows": 32}})
    monkeypatch.setitem(tuned.TUNED, "beam_step", {(90, 1, 64, 64, 64): {"choose_warps": 1}})
    monkeypatch.setitem(tuned.TUNED, "relation_attention", {(90, 32, 64, 2): {"rows": 8}})
    rows, choose, backward = [], [], []
    for chip in (90, 100):
        rows.append(lookup_sizes.plan(dim=50, codes=256, chip=chip).rows)
        beams = beam_sizes.plan(num_beams=50, num_parents=50, width=64, num_seen=9, tree=True, chip=chip)
        choose.append(beams.choose_warps)
        backward.append(attention_sizes.plan(length=30, size=64, dtype=torch.bfloat16, chip=chip).rows.warps)
    assert (rows, choose, backward) == ([32, 64], [1, 4], [8, 4])


def test_the_written_table_is_read_back(tool: ModuleType) -> None:
    table = {"beam_step": {(90, 1, 64, 64, 64): {"warps": 8, "choose_warps": 2}, (80, 0, 16, 16, 256): {"warps": 1}}}
    text = tool.written(Path(tuned.__file__).read_text(), table)
    space: dict[str, object] = {}
    exec(compile(text, "tuned", "exec"), space)
    assert space["TUNED"] == table
    assert tool.written(text, {}) == tool.written(Path(tuned.__file__).read_text(), {})


def search(tool: ModuleType, wrong: int) -> object:
    """Three choices; the fastest of them gives wrong results."""
    places = tuned.TUNED

    def now() -> int:
        return places["toy"].get((1,), {}).get("warps", 0)

    return tool.Search(
        operation="toy",
        key=(1,),
        choices={"warps": (1, 2, 4)},
        problems=lambda: ["wrong"] if now() == wrong else [],
        call=now,
    )


TIMES = {0: 10.0, 1: 12.0, 2: 8.0, 4: 5.0}  # of the rules, and of each choice


@pytest.mark.parametrize(("wrong", "found"), [(3, {"warps": 4}), (4, {"warps": 2})])
def test_the_fastest_right_choice_is_found(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, wrong: int, found: dict[str, int]
) -> None:
    monkeypatch.setitem(tuned.TUNED, "toy", {})
    assert tool.best(search(tool, wrong), lambda call: TIMES[call()]) == found
    assert tuned.TUNED["toy"] == {}


def test_the_rules_stay_where_nothing_is_clearly_faster(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tuned.TUNED, "toy", {})
    assert tool.best(search(tool, 3), lambda call: {0: 10.0}.get(call(), 9.9)) == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_the_tool_says_so_in_a_sentence() -> None:
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "no CUDA device" in done.stdout
    assert done.stderr == ""
