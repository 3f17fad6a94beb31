"""Importing a million interactions with 100 000 items from CSV: at most 10 CPU seconds and 1 GB, in its own process.

The file is generated first and not counted: 50 000 users with names, Zipf popularity, ratings and times. The memory is
the peak of the whole process, torch included; the CPU seconds are those of all its threads. What starting the
interpreter and importing the package takes is told apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
from harness import Book

CPU_SECONDS, GIGABYTES = 10.0, 1.0
NUM_USERS, NUM_ITEMS, WANTED = 50_000, 100_000, 1_000_000

CHILD = """
import json, sys, time
from pathlib import Path
from mmgrec.readers import import_data, source_of
imported = time.process_time()
begin = time.perf_counter()
name, _, source = source_of(Path(sys.argv[1]), {})
made = import_data(source, Path(sys.argv[2]))
status = open("/proc/self/status").readlines()  # getrusage would begin with the peak of the parent
print(json.dumps({
    "format": name,
    "interactions": len(made.user),
    "items": made.num_items,
    "start_cpu_s": imported,
    "import_cpu_s": time.process_time() - imported,
    "wall_s": time.perf_counter() - begin,
    "peak_gb": next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024 / 1e9,
}))
"""


def write_csv(path: Path) -> None:
    """Every item at least once; the rest by Zipf popularity; different pairs, shuffled."""
    rng = np.random.default_rng(0)
    share = 1 / (np.arange(NUM_ITEMS) + 20.0)
    item = np.searchsorted(np.cumsum(share / share.sum()), rng.random(WANTED * 3 // 2)).clip(max=NUM_ITEMS - 1)
    item = np.concatenate([np.arange(NUM_ITEMS), item])
    key = rng.integers(NUM_USERS, size=len(item)) * NUM_ITEMS + item
    _, first = np.unique(key, return_index=True)
    key = rng.permutation(key[np.sort(first)[:WANTED]])
    assert len(key) == WANTED
    polars.DataFrame(
        {
            "user_id": polars.Series(key // NUM_ITEMS).cast(polars.String).str.zfill(12),
            "item_id": "B" + polars.Series(key % NUM_ITEMS).cast(polars.String),
            "rating": rng.integers(1, 6, size=WANTED),
            "timestamp": rng.integers(1_400_000_000, 1_500_000_000, size=WANTED),
        }
    ).write_csv(path)


def test_a_million_interactions_are_imported(tmp_path: Path, book: Book) -> None:
    write_csv(tmp_path / "log.csv")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "log.csv"), str(tmp_path / "made")],
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout)
    case = f"import of CSV, 1 000 000 interactions x 100 000 items, CPU time, peak {facts['peak_gb']:.2f} GB with torch"
    book.note(case, "mmgrec import", facts["import_cpu_s"] * 1e3)
    book.note(case, "mmgrec start of the process", facts["start_cpu_s"] * 1e3)
    assert (facts["format"], facts["interactions"], facts["items"]) == ("csv", WANTED, NUM_ITEMS)
    seconds = facts["start_cpu_s"] + facts["import_cpu_s"]
    book.goal(
        "import of 1 000 000 interactions: CPU seconds, the start of the process included", seconds, most=CPU_SECONDS
    )
    book.goal("import of 1 000 000 interactions: GB at the peak", facts["peak_gb"], most=GIGABYTES)
    assert seconds <= CPU_SECONDS
    assert facts["peak_gb"] <= GIGABYTES
