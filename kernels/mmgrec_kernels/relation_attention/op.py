"""The public relation-aware attention: checks the inputs, then picks a form. Computes nothing itself."""

from __future__ import annotations

from torch import Tensor

from mmgrec_kernels.implementations import Impl, use_triton
from mmgrec_kernels.relation_attention import reference, sizes, torch_form

__all__ = ["relation_attention"]


def relation_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rq: Tensor,
    rk: Tensor,
    rv: Tensor,
    s_qk: Tensor,
    s_v: Tensor,
    keep: Tensor,
    *,
    impl: Impl = "auto",
) -> Tensor:
    """Attention over a user's items, with one relation map per user for all heads (Eqs. 14-19).

    ``softmax((Q_h K_h^T + s_qk Rq Rk^T) / sqrt(K)) (V_h + s_v Rv)``, padded keys masked. Differentiable in
    all eight float inputs.

    Args:
        q: Queries, ``[B, H, T, K]``.
        k: Keys, ``[B, H, T, K]``.
        v: Values, ``[B, H, T, K]``.
        rq: Relation queries, ``[B, T, K]``, shared by the heads.
        rk: Relation keys, ``[B, T, K]``.
        rv: Relation values, ``[B, T, K]``.
        s_qk: Gain of the relation scores per user, ``[B]`` (``g_Q * g_K`` of Eq. 18).
        s_v: Gain of the relation values per user, ``[B]``.
        keep: Real items, ``[B, T]`` bool, True = real. Only keys are masked; a user without a real one gets
            zeros and no gradient.
        impl: ``"auto"`` takes the fastest form for the device, ``"triton"`` the kernel or an error,
            ``"reference"`` the definition.

    Returns:
        ``[B, H, T, K]`` in the inputs' dtype.

    Raises:
        ValueError: if shapes, dtypes or devices disagree, or the named form cannot run.

    >>> import torch
    >>> x, r, one = torch.ones(1, 1, 2, 16), torch.ones(1, 2, 16), torch.ones(1)
    >>> relation_attention(x, x, x, r, r, r, one, one, torch.tensor([[True, False]]))[0, 0, :, 0].tolist()
    [2.0, 2.0]
    """
    _check(q, k, v, rq, rk, rv, s_qk, s_v, keep)
    if impl == "reference":
        return reference.relation_attention(q, k, v, rq, rk, rv, s_qk, s_v, keep)
    if use_triton(impl, q.device, unsupported=_unsupported(q)):
        from mmgrec_kernels.relation_attention import triton_op  # late: triton is heavy, and not on every machine

        return triton_op.relation_attention(q, k, v, rq, rk, rv, s_qk, s_v, keep)
    return torch_form.relation_attention(q, k, v, rq, rk, rv, s_qk, s_v, keep)


def _unsupported(q: Tensor) -> str:
    if q.numel() == 0:
        return f"there is nothing to compute in q of {list(q.shape)}"
    return sizes.unsupported(length=q.shape[2], size=q.shape[3], dtype=q.dtype)


def _check(
    q: Tensor, k: Tensor, v: Tensor, rq: Tensor, rk: Tensor, rv: Tensor, s_qk: Tensor, s_v: Tensor, keep: Tensor
) -> None:
    """Refuse inputs whose shapes, devices or dtypes do not fit together."""
    if q.dim() != 4:
        raise ValueError(f"q must be [B, H, T, K], got {list(q.shape)}")
    users, _, length, size = q.shape
    wanted = {
        "k": (k, tuple(q.shape)),
        "v": (v, tuple(q.shape)),
        "rq": (rq, (users, length, size)),
        "rk": (rk, (users, length, size)),
        "rv": (rv, (users, length, size)),
        "s_qk": (s_qk, (users,)),
        "s_v": (s_v, (users,)),
        "keep": (keep, (users, length)),
    }
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {list(shape)} beside q of {list(q.shape)}, got {list(tensor.shape)}")
        if tensor.device != q.device:
            raise ValueError(f"{name} is on {tensor.device}, q on {q.device}; move them to one device")
        if name != "keep" and tensor.dtype != q.dtype:
            raise ValueError(f"{name} is {tensor.dtype}, q is {q.dtype}; cast them to one dtype")
    if not q.is_floating_point():
        raise ValueError(f"q must be floating point, got {q.dtype}")
    if str(keep.dtype) != "torch.bool":
        raise ValueError(f"keep must be bool (True = real), got {keep.dtype}")
