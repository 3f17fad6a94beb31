"""Residual look-up by matrix products in chunks, with the few doubtful rows decided again by float64 distances.

A chunk's scores fit the cache, so no N x C matrix is ever in memory. Residuals and codewords are centred on the
codebook's mean, which takes the cancellation out of ``|c|^2 - 2 r.c``; a row whose best two scores are nearer than the
product's error bound is decided again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmgrec_kernels.residual_lookup.result import Lookup

__all__ = ["residual_lookup"]

_CHUNK_ENTRIES = 1 << 19  # scores of a chunk: 2 MiB of float32
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
_EXACT_ENTRIES = 1 << 22  # entries of a float64 difference tensor


def residual_lookup(z: Tensor, codebooks: Sequence[Tensor]) -> Lookup:
    """The same codes as ``reference``; shapes as in the public function."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    books = [_Book(codebook.to(dtype)) for codebook in codebooks]
    tokens = torch.empty(z.shape[0], len(books), dtype=torch.int64, device=z.device)
    residuals = torch.empty_like(z, memory_format=torch.contiguous_format)
    quantized = torch.empty_like(residuals)
    widest = max(book.codewords.shape[0] for book in books)
    rows = max(1, _CHUNK_ENTRIES // max(widest, z.shape[1]))
    for start in range(0, z.shape[0], rows):
        part = slice(start, start + rows)
        rest = z[part].to(dtype)
        total = torch.zeros_like(rest)
        for level, book in enumerate(books):
            nearest = book.nearest(rest)
            chosen = book.codewords.index_select(0, nearest)
            tokens[part, level] = nearest
            rest = rest - chosen
            total += chosen
        residuals[part] = rest
        quantized[part] = total
    return Lookup(tokens=tokens, residuals=residuals, quantized=quantized)


class _Book:
    """A codebook made ready: centred, transposed, with its half squared norms and its error bound."""

    def __init__(self, codewords: Tensor) -> None:
        self.codewords = codewords  # [C, D]
        self.mean = codewords.mean(dim=0)  # [D]
        centred = codewords - self.mean
        self.minus = -centred.t()  # [D, C]
        self.half_norms = centred.square().sum(dim=1) / 2  # [C]
        self.radius = centred.norm(dim=1).amax()
        self.numbers = torch.arange(codewords.shape[0], device=codewords.device, dtype=_BITS[codewords.dtype])
        self.low_bits = (1 << (codewords.shape[0] - 1).bit_length()) - 1
        # A dot product of D terms errs by at most D eps |r||c|; centring and the norm add a few eps more, and a number
        # in a score's low bits as many eps as it has values. Both scores of a margin may err, hence twice.
        eps = torch.finfo(codewords.dtype).eps
        self.unit = 2 * eps * (codewords.shape[1] + 8 + (self.low_bits + 1 if self.packs else 0))

    @property
    def packs(self) -> bool:
        """Whether the codewords' numbers fit in the low bits of a score without making too many rows doubtful."""
        return self.low_bits < 1 << 9

    def nearest(self, rest: Tensor) -> Tensor:
        """Tokens of a chunk, ``[n]``."""
        if self.codewords.shape[0] == 1:
            return torch.zeros(rest.shape[0], dtype=torch.int64, device=rest.device)
        centred = rest - self.mean
        scores = torch.addmm(self.half_norms, centred, self.minus)  # [n, C] = (|c|^2 - 2 r.c) / 2
        if self.packs:  # a plain minimum is vectorised and one with indices is not, so the index travels in the score
            bits = scores.view(self.numbers.dtype)
            bits.bitwise_and_(~self.low_bits).bitwise_or_(self.numbers)
            best = scores.amin(dim=1)
            token = best.view(self.numbers.dtype).bitwise_and(self.low_bits).long().clamp_(max=len(self.numbers) - 1)
        else:
            best, token = scores.min(dim=1)
        scores.scatter_(1, token[:, None], float("inf"))
        margin = scores.amin(dim=1) - best
        bound = self.unit * (centred.norm(dim=1) + self.radius) * self.radius + torch.finfo(scores.dtype).tiny
        doubtful = (~(margin > bound)).nonzero()[:, 0]  # NaN margins too
        step = max(1, _EXACT_ENTRIES // self.codewords.numel())
        for rows in torch.split(doubtful, step):
            beyond = scores[rows] > (best + bound)[rows, None]  # [rows, C]
            candidates = (~beyond).scatter_(1, token[rows, None], True)
            token[rows] = self._decide(rest[rows], candidates)
        return token

    def _decide(self, rest: Tensor, candidates: Tensor) -> Tensor:
        """The definition over the candidates alone, ``[rows, C]`` bool."""
        row, token = candidates.nonzero(as_tuple=True)
        apart = rest[row].double() - self.codewords[token].double()  # [candidates, D]
        distances = torch.full(candidates.shape, float("inf"), dtype=torch.float64, device=rest.device)
        distances[row, token] = apart.square_().sum(dim=-1)
        return distances.argmin(dim=1)  # the first of equals
