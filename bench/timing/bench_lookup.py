"""Residual look-up against other ways to the same codes."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import pytest
import torch
from harness import Book, device, limits
from torch import Tensor

from mmgrec_kernels import residual_lookup
from mmgrec_kernels.residual_lookup import checks

Codes = Callable[[Tensor, list[Tensor]], Tensor]

# A rival may choose a codeword that is this much farther than the nearest, relatively: its float32 rounding.
SLACK = 1e-4
VQ = "vector_quantize_pytorch"  # is no dependency: timed where it is
MATMUL = "chunked matmul + argmin"
GPU_MOST = {64: 12.0, 4: 1.5}  # ms for ten million vectors, by their dimensions


def ours(z: Tensor, books: list[Tensor]) -> Tensor:
    return residual_lookup(z, books).tokens


def levels(nearest: Callable[[Tensor, Tensor], Tensor]) -> Codes:
    """A residual look-up from a nearest-codeword function."""

    def codes(z: Tensor, books: list[Tensor]) -> Tensor:
        tokens = []
        for book in books:
            tokens.append(nearest(z, book))
            z = z - book[tokens[-1]]
        return torch.stack(tokens, dim=1)

    return codes


def broadcast(z: Tensor, book: Tensor) -> Tensor:
    """As published: all differences at once, in parts of 1 000 rows only because they would not fit in memory."""
    parts = [(part[:, None, :] - book[None]).pow(2).sum(dim=-1).argmin(dim=-1) for part in z.split(1000)]
    return torch.cat(parts)


def cdist(z: Tensor, book: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, book).argmin(dim=-1) for part in z.split(65536)])


def chunked_matmul(z: Tensor, book: Tensor) -> Tensor:
    norms = book.square().sum(dim=1)
    return torch.cat([torch.addmm(norms, part, book.t(), alpha=-2).argmin(dim=-1) for part in z.split(4096)])


def faiss_flat(z: Tensor, books: list[Tensor]) -> Tensor:
    import faiss

    rest = z.numpy()
    tokens = []
    for book in books:
        index = faiss.IndexFlatL2(book.shape[1])
        index.add(book.numpy())
        tokens.append(torch.from_numpy(index.search(rest, 1)[1][:, 0]))
        rest = rest - book.numpy()[tokens[-1].numpy()]
    return torch.stack(tokens, dim=1)


def faiss_residual(z: Tensor, books: list[Tensor]) -> Tensor:
    """faiss' own residual quantizer, given the codebooks; its codes come packed."""
    import faiss
    import numpy as np

    bits = (len(books[0]) - 1).bit_length()
    quantizer = faiss.ResidualQuantizer(z.shape[1], len(books), bits)
    quantizer.max_beam_size = 1
    quantizer.is_trained = True
    faiss.copy_array_to_vector(torch.cat(books).numpy().ravel(), quantizer.codebooks)
    packed = quantizer.compute_codes(z.numpy())
    return torch.from_numpy(faiss.unpack_bitstrings(packed, len(books), bits).astype(np.int64))


@torch.no_grad()
def residual_vq(z: Tensor, books: list[Tensor]) -> Tensor:
    """vector-quantize-pytorch's module for residual vector quantization, given the codebooks."""
    from vector_quantize_pytorch import ResidualVQ

    module = ResidualVQ(dim=z.shape[1], num_quantizers=len(books), codebook_size=len(books[0])).eval().to(z.device)
    for layer, book in zip(module.layers, books, strict=True):
        layer._codebook.embed.copy_(book[None])
        layer._codebook.initted.fill_(True)
    tokens: Tensor = module(z[None])[1]
    return tokens[0]


FORMS: dict[str, Codes] = {
    "mmgrec": ours,
    "torch.cdist + argmin": levels(cdist),
    MATMUL: levels(chunked_matmul),
    "faiss flat per level": faiss_flat,
    "faiss ResidualQuantizer": faiss_residual,
    "vector-quantize-pytorch": residual_vq,
}
NEEDED = {"faiss flat per level": "faiss", "faiss ResidualQuantizer": "faiss", "vector-quantize-pytorch": VQ}


@pytest.mark.parametrize(("dim", "codes"), [(64, 256), (4, 128)])
def test_residual_lookup(dim: int, codes: int, book: Book) -> None:
    num = book.sized(200_000, 10_000_000)
    on_gpu = device().type == "cuda"
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(num, dim, generator=generator).to(device())
    books = [(0.7**level * torch.randn(codes, dim, generator=generator)).to(device()) for level in range(3)]
    few = z[:4000]

    def verify(name: str) -> str:
        if importlib.util.find_spec(NEEDED.get(name, "torch")) is None:
            return f"{NEEDED[name]} is not installed"
        slack = 0.0 if name == "mmgrec" else SLACK
        forms = {**FORMS, "published broadcast": levels(broadcast)}
        wrong = checks.wrong_tokens(forms[name](few, books), few, books, slack=slack)
        return f"{wrong} of {3 * len(few)} tokens are wrong" if wrong else ""

    forms = {
        name: functools.partial(form, z, books) for name, form in FORMS.items() if not (on_gpu and "faiss" in name)
    }
    case = f"lookup, N {num}, D {dim}, L 3, C {codes}"
    chip, floor = limits(), None
    if chip is not None:  # products from 16 dimensions, memory below
        products, moved = 3 * 2 * num * codes * dim, num * (3 * dim * 4 + 3 * 8)
        floor = 1e3 * (products / chip.tf32x3_a_second if dim >= 16 else moved / chip.bytes_a_second)
    medians = book.race(case, forms, verify=verify, floor_ms=floor)
    assert "mmgrec" in medians, "our form gave a wrong code and was not timed"
    # The broadcast is so slow that it is timed once, on a part of the vectors, and its time scaled up.
    part = z[: max(1, num // 20)]
    twentieth = book.race(
        f"lookup of a twentieth, N {len(part)}, D {dim}, L 3, C {codes}",
        {
            "mmgrec": functools.partial(ours, part, books),
            "published broadcast": functools.partial(levels(broadcast), part, books),
        },
        verify=verify,
        turns=3,
    )
    whole = twentieth["published broadcast"] * num / len(part)
    book.note(case, "published broadcast (from 1/20)", whole)
    if on_gpu:
        book.goal(f"{case}: at most {GPU_MOST[dim]:g} ms", medians["mmgrec"], most=GPU_MOST[dim])
        book.goal(f"{case}: {MATMUL} takes at least 3 x our time", medians[MATMUL] / medians["mmgrec"], least=3)
    if (dim, codes) == (64, 256) and not on_gpu:
        ours_ms, others = medians["mmgrec"], [medians[name] for name in ("torch.cdist + argmin", MATMUL)]
        book.goal("lookup: the published broadcast takes at least 50 x our time", whole / ours_ms, least=50)
        book.goal("lookup: not slower than cdist and chunked matmul", ours_ms / min(others), most=1.0)
