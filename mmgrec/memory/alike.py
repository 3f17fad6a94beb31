"""The items most alike by features alone: exactly in a catalogue of some ten thousand, by cells in a larger one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["EXACT_ITEMS", "alike_in_cells"]

EXACT_ITEMS = 40_000  # above, comparing all with all takes minutes and more
_CELLS_LOOKED_AT = 8


def alike_in_cells(query: Tensor, key: Tensor, count: int) -> Tensor:
    """Items of high product ``query_i . key_j``, sought in the nearest cells alone.

    Cells are the surroundings of pivots, items drawn evenly from the catalogue; an item looks into the cells of the
    pivots nearest to its own. The cost grows with ``items^1.5``. Rows of zeros, of items without features, are not
    looked at: they would all lie in one cell.

    Args:
        query: ``[num_items, dim]`` float32.
        key: ``[num_items, dim]`` float32, zero where the query is.
        count: how many are wanted.

    Returns:
        ``[num_items, count]`` int64 on the CPU, -1 = none.
    """
    num_items, device = query.shape[0], query.device
    found = torch.full((num_items, count), -1, dtype=torch.int64)
    known = query.any(dim=1).nonzero().flatten()
    if not known.numel():
        return found
    num_pivots = int(2 * known.numel() ** 0.5)
    pivots = query[known[torch.linspace(0, known.numel() - 1, num_pivots).long().to(device)]]
    pivots = torch.nn.functional.normalize(pivots, dim=1)
    cell = torch.cat([(query[rows] @ pivots.T).argmax(1) for rows in torch.split(known, 1 << 14)])
    order = cell.argsort(stable=True)
    members = known[order]
    begin = torch.searchsorted(cell[order], torch.arange(num_pivots + 1, device=device)).tolist()
    nearest = (pivots @ pivots.T).topk(min(_CELLS_LOOKED_AT, num_pivots), dim=1).indices.tolist()
    for number, others in enumerate(nearest):
        mine = members[begin[number] : begin[number + 1]]
        candidates = torch.cat([members[begin[other] : begin[other + 1]] for other in others])
        for rows in _some(mine, candidates.numel()):
            product = (query[rows] @ key[candidates].T).masked_fill(rows[:, None] == candidates, -torch.inf)
            best = product.topk(min(count, candidates.numel()), dim=1)
            item = candidates[best.indices].masked_fill(best.values.isneginf(), -1)
            found[rows.cpu(), : item.shape[1]] = item.cpu()
    return found


def _some(rows: Tensor, width: int) -> Iterator[Tensor]:
    if rows.numel():
        yield from torch.split(rows, max(1, (1 << 25) // max(1, width)))
