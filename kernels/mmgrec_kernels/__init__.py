"""Operations that deserve a GPU kernel, on plain tensors: attention with relations, residual look-up, the beam step.

Each operation is a folder: the public function, ``reference.py`` (the definition, in plain torch), ``torch_form.py``
(the fastest plain-torch form, which CPUs use) and the Triton kernels, imported when first needed.
"""

from __future__ import annotations

from mmgrec_kernels.beam_step import Beams, Bonus, Forbidden, Level, beam_step_tokens, beam_step_tree
from mmgrec_kernels.implementations import Impl
from mmgrec_kernels.relation_attention import relation_attention
from mmgrec_kernels.residual_lookup import Lookup, nearest_codeword, residual_lookup

__all__ = [
    "Beams",
    "Bonus",
    "Forbidden",
    "Impl",
    "Level",
    "Lookup",
    "beam_step_tokens",
    "beam_step_tree",
    "nearest_codeword",
    "relation_attention",
    "residual_lookup",
]
