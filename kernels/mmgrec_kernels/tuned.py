"""Block sizes that were found by timing them on a device; they go before the rules in each operation's ``sizes.py``.

`TUNED` is written by ``python bench/tuning/search_block_sizes.py``, on a machine with a GPU. Empty: the rules alone
decide.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["TUNED", "tuned"]


#: operation -> chip and shape, as its ``sizes.py`` names them -> fields of its plan
TUNED: dict[str, dict[tuple[int, ...], dict[str, int]]] = {
    "relation_attention": {
        (90, 32, 16, 4): {"forward": 2, "rows": 4},
        (90, 32, 64, 2): {"forward": 2, "rows": 4},
        (90, 32, 64, 4): {"forward": 8, "rows": 4},
    },
}


def tuned(operation: str, *key: int) -> Mapping[str, int]:
    """What was found for an operation on a chip and shape; empty where nothing was searched."""
    return TUNED.get(operation, {}).get(key, {})
