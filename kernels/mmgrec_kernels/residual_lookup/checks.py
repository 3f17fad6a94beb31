"""Whether a form of the residual look-up gives the exact codes, in float64 and step by step.

Used by the tests on every machine and by the benchmarks before they time anything; any form can be handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmgrec_kernels.residual_lookup.result import Lookup

__all__ = ["Form", "problems", "wrong_tokens"]

Form = Callable[[Tensor, Sequence[Tensor]], Lookup]
_ENTRIES = 1 << 24  # entries of a float64 difference tensor


def wrong_tokens(tokens: Tensor, z: Tensor, codebooks: Sequence[Tensor], *, slack: float = 0.0) -> int:
    """How many tokens are not the nearest codeword's (of equals, the first's), given the tokens before them.

    Args:
        tokens: ``[N, L]``.
        z: ``[N, D]``.
        codebooks: ``[C_l, D]`` each.
        slack: A token counts as right when its distance is at most the smallest times ``1 + slack``: how rivals that do
            not promise exact codes are judged.
    """
    rest = z.to(torch.promote_types(z.dtype, torch.float32))
    wrong = 0
    for level, codebook in enumerate(codebooks):
        rows = max(1, _ENTRIES // codebook.numel())
        for start in range(0, len(z), rows):
            part, given = rest[start : start + rows], tokens[start : start + rows, level]
            away = (part.double()[:, None, :] - codebook.double()).square().sum(dim=-1)  # [rows, C]
            if slack:
                mine = away.gather(1, given[:, None])[:, 0]
                wrong += int((mine > away.amin(dim=1) * (1 + slack)).sum())
            else:
                wrong += int((away.argmin(dim=1) != given).sum())
        rest = rest - codebook[tokens[:, level]]
    return wrong


def problems(form: Form, z: Tensor, codebooks: Sequence[Tensor]) -> list[str]:
    """What is wrong with a form, in words; empty when nothing is."""
    lookup = form(z, codebooks)
    sizes = torch.tensor([len(codebook) for codebook in codebooks], device=z.device)
    if lookup.tokens.shape != (len(z), len(codebooks)) or ((lookup.tokens < 0) | (lookup.tokens >= sizes)).any():
        return ["tokens are out of range"]
    said = []
    if wrong := wrong_tokens(lookup.tokens, z, codebooks):
        said.append(f"{wrong} of {lookup.tokens.numel()} tokens are not the nearest")
    rest = z.to(torch.promote_types(z.dtype, torch.float32))
    total = torch.zeros_like(rest)
    for level, codebook in enumerate(codebooks):
        chosen = codebook[lookup.tokens[:, level]]
        rest, total = rest - chosen, total + chosen
    if not torch.equal(lookup.residuals, rest.to(z.dtype)):
        said.append("residuals are not what the tokens leave")
    if not torch.equal(lookup.quantized, total.to(z.dtype)):
        said.append("quantized vectors are not the tokens' codewords")
    return said
