"""Residual quantization's look-up (Eqs. 7, 8): the nearest codeword, level by level."""

from __future__ import annotations

from mmgrec_kernels.residual_lookup.op import nearest_codeword, residual_lookup
from mmgrec_kernels.residual_lookup.result import Lookup

__all__ = ["Lookup", "nearest_codeword", "residual_lookup"]
