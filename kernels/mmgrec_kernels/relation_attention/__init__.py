"""Relation-aware attention (Eqs. 14-19): one relation map per user, shared by the heads, scaled by a gain."""

from __future__ import annotations

from mmgrec_kernels.relation_attention.op import relation_attention

__all__ = ["relation_attention"]
