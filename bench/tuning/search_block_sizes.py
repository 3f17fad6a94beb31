"""Times the kernels' block sizes on this machine's GPU and writes the best of them where the kernels look them up.

``python bench/tuning/search_block_sizes.py [--jobs N] [OPERATION ...]`` rewrites the entries of this chip in
``kernels/mmgrec_kernels/tuned.py``. With ``--jobs`` that many processes compile all choices first, which is most of
the work; Triton's cache keeps what they make.

A choice is timed only after its result was held against float64 on a small case, and taken only where it is
`LEAST_GAIN` faster than the rules. Afterwards renew the compile tables (``python -m mmgrec_kernels.compile_table
docs/reference/kernel-tables.md``) and run the tests marked ``gpu``: both judge the new sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from mmgrec_kernels import relation_attention, residual_lookup, tuned
from mmgrec_kernels.beam_step import checks as beam_checks
from mmgrec_kernels.beam_step import sizes as beam_sizes
from mmgrec_kernels.chips import capability
from mmgrec_kernels.relation_attention import checks as attention_checks
from mmgrec_kernels.relation_attention import sizes as attention_sizes
from mmgrec_kernels.residual_lookup import checks as lookup_checks
from mmgrec_kernels.residual_lookup import sizes as lookup_sizes

LEAST_GAIN = 0.03  # share of the time; below, the rules stay
TURNS = 15
WARPS = (1, 2, 4, 8)
TARGET = Path(tuned.__file__)
sys.path.insert(0, str(Path(__file__).parents[1] / "timing"))

from harness import milliseconds  # noqa: E402  # a script of the room beside this one

Table = dict[str, dict[tuple[int, ...], dict[str, int]]]


@dataclass(frozen=True, kw_only=True)
class Search:
    """One shape of one operation: what may be chosen, how it is checked, and what is timed."""

    operation: str
    key: tuple[int, ...]  # as the operation's sizes.py makes it
    choices: Mapping[str, tuple[int, ...]]  # of each field
    problems: Callable[[], list[str]]
    call: Callable[[], object]

    def candidates(self) -> Iterator[dict[str, int]]:
        """Every choice of every field; fields of one program each would be chosen apart, but there are few."""
        names = list(self.choices)
        for values in itertools.product(*self.choices.values()):
            yield dict(zip(names, values, strict=True))


def lookup_searches(chip: int, device: torch.device) -> Iterator[Search]:
    """The shapes of the residual look-up that are searched."""
    for dim, codes, num in ((64, 256, 4_000_000), (4, 128, 4_000_000), (128, 256, 1_000_000)):
        generator = torch.Generator(device=device).manual_seed(dim)
        z = torch.randn(num, dim, generator=generator, device=device)
        books = [0.7**level * torch.randn(codes, dim, generator=generator, device=device) for level in range(3)]
        blocks = lookup_sizes.plan(dim=dim, codes=codes, chip=chip)

        def call(z: torch.Tensor = z, books: list[torch.Tensor] = books) -> object:
            return residual_lookup(z, books, impl="triton")

        def problems(z: torch.Tensor = z, books: list[torch.Tensor] = books) -> list[str]:
            wrong = lookup_checks.wrong_tokens(residual_lookup(z[:5000], books, impl="triton").tokens, z[:5000], books)
            return [f"{wrong} tokens are wrong"] if wrong else []

        yield Search(
            operation="residual_lookup",
            key=(chip, blocks.dim, blocks.codes),
            choices={"rows": (32, 64, 128), "block": (32, 64) if dim >= 16 else (4, 8, 16), "warps": WARPS[1:]},
            problems=problems,
            call=call,
        )


def attention_searches(chip: int, device: torch.device) -> Iterator[Search]:
    """The shapes of the attention that are searched."""
    wide, half = torch.float32, torch.bfloat16
    for users, heads, length, size, dtype in (
        (3000, 4, 32, 64, half), (3000, 4, 32, 64, wide), (3000, 4, 32, 16, wide), (1024, 8, 200, 64, half),
    ):  # fmt: skip
        generator = torch.Generator().manual_seed(length)
        small, full = (
            attention_checks.draw_case(count, heads, length, size, generator=generator, dtype=dtype, device=device)
            for count in (8, users)
        )
        leaves = [x.requires_grad_() for x in full.floats]
        blocks = attention_sizes.plan(length=length, size=size, dtype=dtype, chip=chip)

        def form(*inputs: torch.Tensor) -> torch.Tensor:
            return relation_attention(*inputs, impl="triton")

        def call(
            leaves: list[torch.Tensor] = leaves, full: attention_checks.Case = full, form: attention_checks.Form = form
        ) -> object:
            return torch.autograd.grad(form(*leaves, full.keep), leaves, full.d_out)

        def problems(small: attention_checks.Case = small, form: attention_checks.Form = form) -> list[str]:
            return list(attention_checks.problems(form, small))

        fields = ("forward", "rows") if blocks.way == "whole" else ("forward", "rows", "columns")
        yield Search(
            operation="relation_attention",
            key=(chip, max(16, 1 << (length - 1).bit_length()), size, dtype.itemsize),
            choices=dict.fromkeys(fields, WARPS[1:]),
            problems=problems,
            call=call,
        )


def beam_searches(chip: int, device: torch.device) -> Iterator[Search]:
    """The shapes of the beam step that are searched."""
    for head, beams, width in (("tree", 10, 64), ("tree", 50, 64), ("tokens", 10, 256), ("tokens", 50, 256)):
        small, full = (
            beam_checks.draw_case(
                head=head,
                num_users=users,
                num_parents=beams,
                children=[1 + parent % 60 for parent in range(2000)],
                width=width,
                num_beams=beams,
                generator=torch.Generator().manual_seed(beams),
                seen=0.01,
            ).to(device)
            for users in (4, 256)
        )
        blocks = beam_sizes.plan(
            num_beams=beams, num_parents=beams, width=width, num_seen=1, tree=head == "tree", chip=chip
        )

        def form(case: beam_checks.Case) -> beam_checks.Beams:
            return beam_checks.run(case, impl="triton")

        def problems(
            small: beam_checks.Case = small, form: Callable[[beam_checks.Case], beam_checks.Beams] = form
        ) -> list[str]:
            return beam_checks.problems(form, small)

        def call(full: beam_checks.Case = full, form: Callable[[beam_checks.Case], beam_checks.Beams] = form) -> object:
            return form(full)

        padded = max(16, 1 << (width - 1).bit_length())
        yield Search(
            operation="beam_step",
            key=(chip, int(head == "tree"), blocks.keep, blocks.parents, padded),
            choices={"warps": WARPS, "choose_warps": WARPS},
            problems=problems,
            call=call,
        )


SEARCHES = {
    "relation_attention": attention_searches,
    "residual_lookup": lookup_searches,
    "beam_step": beam_searches,
}


def best(search: Search, milliseconds: Callable[[Callable[[], object]], float]) -> dict[str, int]:
    """The fastest right choice; empty where no one is `LEAST_GAIN` faster than the rules."""
    places = tuned.TUNED.setdefault(search.operation, {})
    places.pop(search.key, None)
    winner: dict[str, int] = {}
    rules = milliseconds(search.call)
    fastest = rules * (1 - LEAST_GAIN)
    try:
        for candidate in search.candidates():
            places[search.key] = candidate
            try:
                if search.problems():
                    continue
                taken = milliseconds(search.call)
            except Exception as error:  # the compiler's: too much shared memory, a shape it cannot lay out
                print(f"  {candidate}: {type(error).__name__}")
                continue
            if taken < fastest:
                winner, fastest = candidate, taken
    finally:
        places.pop(search.key, None)
    print(f"  rules {rules:.3f} ms" + (f", best {fastest:.3f} ms" if winner else ""))
    return winner


def written(text: str, table: Table) -> str:
    """The module's text with another table."""
    head, mark, _ = text.partition("TUNED: dict[str, dict[tuple[int, ...], dict[str, int]]] = ")
    _, rest, tail = text.partition("\n\n\ndef tuned(")
    if not mark or not rest:
        raise ValueError("the file of tuned sizes has no table TUNED before its function")
    lines = ["{"]
    for operation in sorted(table):
        lines.append(f'    "{operation}": {{')
        for key, fields in sorted(table[operation].items()):
            inside = ", ".join(f'"{name}": {value}' for name, value in fields.items())
            lines.append(f"        {key!r}: {{{inside}}},")
        lines.append("    },")
    return head + mark + ("\n".join([*lines, "}"]) if table else "{}") + rest + tail


def median_ms(call: Callable[[], object]) -> float:
    """Median time on the device."""
    for _ in range(3):
        call()
    return statistics.median(milliseconds(call) for _ in range(TURNS))


def compile_share(share: int, jobs: int, operations: list[str]) -> None:
    """Compile every ``jobs``-th choice from ``share`` on, by calling it once."""
    device = torch.device("cuda")
    chip, number = capability(device), 0
    for operation in operations:
        for search in SEARCHES[operation](chip, device):
            places = tuned.TUNED.setdefault(search.operation, {})
            for candidate in search.candidates():
                number += 1
                if number % jobs == share:
                    places[search.key] = candidate
                    with contextlib.suppress(Exception):  # told when it is its turn to be timed
                        search.problems()
                        search.call()
            places.pop(search.key, None)


def main(operations: list[str], jobs: int = 1) -> int:
    unknown = set(operations) - set(SEARCHES)
    if unknown:
        print(f"unknown operation {sorted(unknown)[0]!r}; known are {', '.join(SEARCHES)}.")
        return 2
    if not torch.cuda.is_available():
        print("Block sizes are searched by timing kernels, and there is no CUDA device here; run this on one.")
        return 2
    device = torch.device("cuda")
    chip = capability(device)
    table: Table = {name: dict(entries) for name, entries in tuned.TUNED.items()}
    operations = operations or list(SEARCHES)
    if jobs > 1:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(compile_share, range(jobs), [jobs] * jobs, [operations] * jobs))
    for operation in operations:
        for search in SEARCHES[operation](chip, device):
            winner = best(search, median_ms)
            print(f"{operation} {search.key}: {winner or 'the rules are best'}", flush=True)
            entries = table.setdefault(operation, {})
            entries.pop(search.key, None)
            if winner:
                entries[search.key] = winner
        TARGET.write_text(written(TARGET.read_text(), {name: entries for name, entries in table.items() if entries}))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time block sizes on this machine's GPU, and keep the best.")
    parser.add_argument("operations", nargs="*", help=", ".join(SEARCHES))
    parser.add_argument("--jobs", type=int, default=1, help="processes that compile first")
    given = parser.parse_args()
    sys.exit(main(given.operations, given.jobs))
