"""Operators by which PyTorch's own library builds its public ones; programs reach some of them directly."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import OPERATORS, Operand, Tensors, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from . import create
from .common import dim_of, dims_of, drop_dims
from .norm import (
    batch_statistics,
    check_channels,
    check_normalized,
    group_statistics,
    layer_norm_kernel,
    normalize_with,
)
from .pad import pad as pad_
from .pool import pick_at, spread_at
from .probability import softmax, softmax_backward
from .vision import resized

__all__: list[str] = []


# -- norms with their statistics ---------------------------------------------------------------------


@operator(kind="composite", method=False)
def native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(``layer_norm``, the means, 1/deviations); the statistics keep the normalised dimensions with size 1.

    Raises RuntimeError for shapes that do not fit.
    """
    check_normalized("native_layer_norm", input, normalized_shape, weight, bias)
    found = layer_norm_kernel.function(input, weight, bias, len(normalized_shape), eps)
    return tuple(t.to(input.dtype) for t in found)  # type: ignore[return-value]


@operator(kind="composite", method=False)
def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(``group_norm`` of N samples with C channels of HxW elements, the means, 1/deviations), each (N, group)."""
    y, mean, scale = group_statistics(input, input.reshape([N, C, HxW]), group, weight, bias, eps)  # type: ignore[attr-defined]
    return y, *(t.reshape([N, group]).to(input.dtype) for t in (mean, scale))  # type: ignore[return-value]


def _need_channels(name: str, input: Tensor) -> None:
    """Raises RuntimeError for a tensor without dimension 1."""
    if input.ndim < 2:
        raise RuntimeError(f"{name}: expected an input of shape (N, C, ...), but got one of shape {list(input.shape)}")


@operator(kind="composite", method=False)
def native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None, running_var: Tensor | None,
    training: bool, momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(``batch_norm``, the means, 1/deviations of the batch); without ``training`` the statistics are empty."""
    _need_channels("native_batch_norm", input)
    check_channels(input.shape[1], running_mean, running_var, weight, bias, training)
    if not training:
        y = normalize_with.function(input, running_mean, running_var, weight, bias, eps)
        return y, *(create.empty((0,), dtype=input.dtype, device=input.device) for _ in range(2))  # type: ignore[return-value]
    y, mean, scale = batch_statistics(input, running_mean, running_var, weight, bias, momentum, eps)
    return y, *(t.detach().reshape([-1]).to(input.dtype) for t in (mean, scale))  # type: ignore[attr-defined,return-value]


@operator(name="_native_batch_norm_legit", kind="composite", method=False)
def _native_batch_norm_legit(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Any, running_var: Any, training: Any,
    momentum: float | None = None, eps: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """``native_batch_norm``; ``running_mean`` and ``running_var`` may be left out, and the others follow earlier."""
    if isinstance(running_mean, bool):
        return native_batch_norm.function(input, weight, bias, None, None, running_mean, running_var, training)  # type: ignore[no-any-return]
    return native_batch_norm.function(  # type: ignore[no-any-return]
        input, weight, bias, running_mean, running_var, training, momentum, eps
    )


@operator(name="_batch_norm_with_update", kind="composite", method=False)
def _batch_norm_with_update(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor, running_var: Tensor,
    momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """``native_batch_norm`` in training, and an empty reserve."""
    found = native_batch_norm.function(input, weight, bias, running_mean, running_var, True, momentum, eps)
    return *found, create.empty((0,), dtype=dtypes.uint8, device=input.device)  # type: ignore[return-value]


# -- pieces of other operators -----------------------------------------------------------------------


@operator(kind="composite", method=False, function=False)
def native_dropout_backward(grad_output: Tensor, mask: Tensor, scale: float) -> Tensor:
    """The gradient of ``native_dropout``: that of the elements that were kept, times ``scale``."""
    return grad_output * (mask.to(grad_output.dtype) * scale)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", method=False, function=False)
def max_pool2d_with_indices_backward(
    grad_output: Tensor, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    indices: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient of ``max_pool2d``: each element goes where its greatest element was found."""
    return spread_at.function(grad_output, indices, tuple(input.shape), 2)  # type: ignore[no-any-return]


@max_pool2d_with_indices_backward.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return pick_at.function(grad, ctx.indices, 2), grad.new_zeros(ctx.shape("input")), None


@operator(name="_upsample_bilinear2d_aa", kind="composite", method=False, function=False)
def _upsample_bilinear2d_aa(
    input: Tensor, output_size: Sequence[int] | None, align_corners: bool, scales_h: Any = None,
    scales_w: float | None = None, *, scale_factors: Sequence[float] | None = None,
) -> Tensor:  # fmt: skip
    """``interpolate`` in mode "bilinear" with antialiasing, to ``output_size`` or by ``scale_factors``, which may also
    stand in the fourth place."""
    if isinstance(scales_h, (list, tuple)):
        scales_h, scale_factors = None, scales_h
    factors = [scales_h, scales_w] if scale_factors is None else list(scale_factors)
    if output_size is None:
        output_size = [math.floor(n * f) for n, f in zip(input.shape[2:], factors)]
    return resized(input, output_size, factors, "bilinear", align_corners, True)


@operator(name="_safe_softmax", kind="composite", method=False, function=False)
def _safe_softmax(input: Tensor, dim: int, dtype: dtype_ | None = None) -> Tensor:
    """``softmax`` with zeros, not NaN, where all of a row is -inf."""
    if dtype is not None:
        input = input.to(dtype)  # type: ignore[attr-defined]
    none = (input == -math.inf).all(dim, True)  # type: ignore[attr-defined]
    return softmax.function(input, dim).masked_fill(none, 0)  # type: ignore[no-any-return]


@_safe_softmax.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return softmax_backward.function(grad, ctx.result, ctx.dim, ctx.input.dtype)


@operator(name="_slice", kind="composite", method=False, function=False)
def _slice(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """``input[start:end:step]`` along ``dim``, over the same memory."""
    d = dim_of(dim, input.ndim, "slice")
    return input[(..., *[_ALL] * d, builtins.slice(start, end, step), *[_ALL] * (input.ndim - d - 1))[1:]]  # type: ignore[no-any-return,index]


_ALL = builtins.slice(None)


@operator(name="_chunk_cat", kind="composite", method=False)
def _chunk_cat(tensors: Tensors, dim: int, num_chunks: int) -> Tensor:
    """Each tensor, filled up with zeros, in ``num_chunks`` parts along ``dim``; the parts of all, flattened, side by
    side.

    Raises RuntimeError for no tensors, different types, and sizes that differ before ``dim``.
    """
    if not tensors:
        raise RuntimeError("_chunk_cat expects a non-empty input tensor list")
    if num_chunks < 1:
        raise RuntimeError(f"_chunk_cat expects positive num_chunks, but got {num_chunks}")
    first = tensors[0]
    d = dim_of(dim, first.ndim, "_chunk_cat")
    parts = []
    for t in tensors:
        if not t.numel():  # type: ignore[attr-defined]
            raise RuntimeError("_chunk_cat expects non-empty tensors")
        if t.dtype is not first.dtype:
            raise RuntimeError(f"_chunk_cat expects tensors of one dtype, but got {first.dtype} and {t.dtype}")
        if d >= t.ndim:
            raise RuntimeError(f"_chunk_cat expects dim < ndim, but got dim {dim} for a tensor of {t.ndim} dimensions")
        if t.shape[:d] != first.shape[:d]:
            raise RuntimeError(
                f"_chunk_cat expects the same sizes before dim {dim}, but got {list(t.shape)} and {list(first.shape)}"
            )
        missing = -t.shape[d] % num_chunks
        filled = pad_.function(t, [0] * (2 * (t.ndim - d - 1)) + [0, missing]) if missing else t
        parts.append(filled.reshape([*t.shape[:d], num_chunks, -1]))
    return OPERATORS["cat"].function(parts, d + 1)  # type: ignore[no-any-return]


@operator(kind="kernel", differentiable=False)
def hash_tensor(input: Tensor, dim: int | Sequence[int] = (), *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """The exclusive or, over ``dim`` (all for none), of the elements' bits as 64-bit numbers; uint64.

    Raises RuntimeError for complex elements and for a ``mode`` other than 0.
    """
    if mode != 0:
        raise RuntimeError(f"Unknown hash_tensor mode: {mode}")
    if input.dtype.is_complex:
        raise RuntimeError(f"hash_tensor: not implemented for {input.dtype}")
    dims = dims_of(dim, input.ndim, "hash_tensor")
    wide = prim.cast(input, dtypes.float64 if input.dtype.kind == "f" else dtypes.int64)
    bits = prim.cast(wide, dtypes.uint64) if input.dtype.kind != "f" else prim.bitcast(wide, dtypes.uint64)
    return drop_dims(prim.reduce("xor", bits, dims), dims, keepdim)


@operator(name="_unsafe_masked_index", kind="composite", method=False)
def _unsafe_masked_index(input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], fill: Operand) -> Tensor:
    """``input[indices]`` where ``mask``, ``fill`` elsewhere: there the indices may lie outside."""
    return input[_inside(input, indices)].masked_fill(~mask, fill)  # type: ignore[index,no-any-return,operator]


@operator(name="_unsafe_masked_index_put_accumulate", kind="composite", method=False)
def _unsafe_masked_index_put_accumulate(
    input: Tensor, mask: Tensor, indices: Sequence[Tensor | None], values: Tensor
) -> Tensor:
    """``input`` with ``values`` added at ``indices`` where ``mask``."""
    kept = values.masked_fill(~mask, 0)  # type: ignore[attr-defined,operator]
    return input.index_put(_inside(input, indices), kept, accumulate=True)  # type: ignore[attr-defined,no-any-return]


def _inside(input: Tensor, indices: Sequence[Tensor | None]) -> tuple[Any, ...]:
    """The indices brought into the range of their dimensions."""
    return tuple(
        _ALL if i is None else i.clamp(-n, n - 1)  # type: ignore[attr-defined]
        for i, n in zip(indices, input.shape)
    )


@operator(kind="composite", inplace=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Scales each part along ``dim`` whose ``p``-norm is above ``maxnorm`` down to it.

    Raises RuntimeError for fewer than 2 dimensions, ``p`` not above 0 and a negative ``maxnorm``.
    """
    if input.dtype.kind not in "fc":
        raise RuntimeError(f"renorm: expected a floating point or complex tensor, but got {input.dtype}")
    if isinstance(p, complex) or p <= 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got {p}")
    if isinstance(maxnorm, complex) or maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    d = dim_of(dim, input.ndim, "renorm")
    x = input.to(dtypes.float32) if input.dtype.kind == "f" and input.dtype.itemsize < 4 else input  # type: ignore[attr-defined]
    norm = OPERATORS["linalg_vector_norm"].function(x, p, tuple(i for i in range(input.ndim) if i != d), True)
    return (x * (maxnorm / (norm + 1e-7)).masked_fill(norm <= maxnorm, 1)).to(input.dtype)  # type: ignore[no-any-return]
