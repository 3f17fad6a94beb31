"""Loading and checking a million interactions: at most 10 CPU seconds and 1 GB, in a process of its own.

The folder is generated first and not counted: 50 000 users, 20 000 items, Zipf popularity, three modalities, a given
split and timestamps. The memory is the peak of the whole process, torch included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
from harness import Book

from mmgrec.data import PARTS, random_split

CPU_SECONDS, GIGABYTES = 10.0, 1.0
NUM_USERS, NUM_ITEMS, WANTED = 50_000, 20_000, 1_000_000

CHILD = """
import json, sys, time
from mmgrec.folder import check_folder
from mmgrec.folder import load_folder
imported = time.process_time()
begin = time.perf_counter()
report = check_folder(sys.argv[1])
checked = time.process_time()
data = load_folder(sys.argv[1])
status = open("/proc/self/status").readlines()  # getrusage would begin with the peak of the parent
print(json.dumps({
    "ok": report.ok,
    "interactions": data.num_interactions,
    "import_cpu_s": imported,
    "check_cpu_s": checked - imported,
    "load_cpu_s": time.process_time() - checked,
    "wall_s": time.perf_counter() - begin,
    "peak_gb": next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024 / 1e9,
}))
"""


def write_folder(path: Path) -> None:
    """About a tenth more pairs are drawn than wanted, so that a million different ones are left."""
    rng = np.random.default_rng(0)
    share = 1 / (np.arange(NUM_ITEMS) + 20.0)
    user = rng.integers(NUM_USERS, size=WANTED * 5 // 4)
    item = np.minimum(np.searchsorted(np.cumsum(share / share.sum()), rng.random(len(user))), NUM_ITEMS - 1)
    key = np.unique(user * NUM_ITEMS + item)
    key = np.sort(rng.permutation(key)[:WANTED])
    user, item = key // NUM_ITEMS, key % NUM_ITEMS
    assert len(user) == WANTED
    (path / "features").mkdir(parents=True)
    rows = polars.DataFrame({"user": user.astype(np.int32), "item": item.astype(np.int32)}).with_columns(
        timestamp=polars.int_range(polars.len()).over("user"),
        split=polars.Series(np.array(PARTS)[random_split(user, seed=0)].tolist()),
    )
    rows.write_parquet(path / "interactions.parquet")
    names = [f"source-{item}" for item in range(NUM_ITEMS)]
    polars.DataFrame({"item": np.arange(NUM_ITEMS, dtype=np.int32), "source_id": names}).write_parquet(
        path / "items.parquet"
    )
    for name, dim in (("visual", 256), ("acoustic", 128), ("text", 256)):
        table = rng.standard_normal((NUM_ITEMS, dim), dtype=np.float32)
        np.save(path / "features" / f"{name}.npy", table)


def test_a_million_interactions_are_loaded_and_checked(tmp_path: Path, book: Book) -> None:
    write_folder(tmp_path / "million")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "million")], capture_output=True, text=True, check=True
    )
    facts = json.loads(done.stdout)
    case = f"data folder, 1 000 000 interactions, CPU time, peak {facts['peak_gb']:.2f} GB with torch"
    book.note(case, "mmgrec check", facts["check_cpu_s"] * 1e3)
    book.note(case, "mmgrec load", facts["load_cpu_s"] * 1e3)
    assert facts["ok"]
    assert facts["interactions"] == WANTED
    assert facts["check_cpu_s"] + facts["load_cpu_s"] <= CPU_SECONDS
    assert facts["peak_gb"] <= GIGABYTES
