"""One level of constrained beam search: score the existing children of all live beams, exclude, keep the best."""

from __future__ import annotations

from mmgrec_kernels.beam_step.op import beam_step_tokens, beam_step_tree
from mmgrec_kernels.beam_step.values import Beams, Bonus, Forbidden, Level

__all__ = ["Beams", "Bonus", "Forbidden", "Level", "beam_step_tokens", "beam_step_tree"]
