"""Pooling: extremes and means of windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..dispatch.operator import operator
from ..tensor import Tensor
from .conv import per_dim
from .convert import as_image

__all__: list[str] = []

_F = "torch.nn.functional"


def pooled_size(n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Windows along a dimension; in ceil mode a last one that begins inside the input or its left padding may reach
    beyond."""
    reach = n + 2 * padding - dilation * (kernel - 1) - 1
    stride = max(stride, 1)  # what is wrong with the arguments is said by ``_check``
    places = (reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (places - 1) * stride >= n + padding:
        places -= 1
    return places


def windows(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    places: Sequence[int],
    fill: float,
) -> Tensor:
    """The elements of each window as further dimensions (while an operator is traced); ``fill`` outside of x."""
    g = prim.current().graph
    ndim, lead = len(kernel), x.ndim - len(kernel)
    node = prim.read(x)
    sizes = [max((o - 1) * s + d * (k - 1) + 1, 1) for o, s, d, k in zip(places, stride, dilation, kernel)]
    have = x.shape[lead:]
    if any(padding) or any(w > n for w, n in zip(sizes, have)):
        full = [max(w, n + p) for w, n, p in zip(sizes, have, padding)]
        base = g.const(fill, x.dtype.code, (*x.shape[:lead], *full))
        node = g.update(
            base,
            node,
            (*((0, ((d, 1),)) for d in range(lead)), *((p, ((lead + i, 1),)) for i, p in enumerate(padding))),
        )
    map_ = [(0, ((d, 1),)) for d in range(lead)]
    for i in range(ndim):
        map_.append((0, ((lead + i, stride[i]), (lead + ndim + i, dilation[i]))))
    return prim.wrap(g.move(node, tuple(map_), (*x.shape[:lead], *places, *kernel)))


def _check(
    name: str,
    input: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    places: Sequence[int],
) -> None:
    ndim = len(kernel)
    if input.ndim not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"{name}: Expected {ndim + 1}D or {ndim + 2}D input tensor, but got input of size: {list(input.shape)}"
        )
    if any(k <= 0 for k in kernel) or any(s <= 0 for s in stride) or any(d <= 0 for d in dilation):
        raise RuntimeError(
            f"{name}: kernel size, stride and dilation should be greater than zero, got "
            f"{tuple(kernel)}, {tuple(stride)}, {tuple(dilation)}"
        )
    if any(p < 0 or p > ((k - 1) * d + 1) // 2 for p, k, d in zip(padding, kernel, dilation)):
        raise RuntimeError(
            f"pad should be at most half of effective kernel size, but got pad={tuple(padding)}, "
            f"kernel_size={tuple(kernel)} and dilation={tuple(dilation)}"
        )
    if any(n == 0 for n in input.shape[input.ndim - ndim - 1 :]):
        raise RuntimeError(f"{name}: Expected tensor with optional 0 dim batch size, but got: {list(input.shape)}")
    if any(o < 1 for o in places):
        raise RuntimeError(
            f"Given input size: {list(input.shape)}. Calculated output size: {list(places)}. Output size is too small"
        )


def _has_template(input: Tensor) -> bool:
    """Whether pooling of this type has a kernel of its own; others are reductions over views of windows."""
    return input.dtype in (dtypes.float32, dtypes.float64) and 0 not in input.shape


def _images(x: Tensor, ndim: int, shape: Sequence[int] | None = None) -> Tensor:
    """``x`` as images (batch, channels, ...), or back in ``shape`` (while an operator is traced)."""
    if shape is None:
        return x if x.ndim == ndim + 2 else prim.wrap(prim.current().graph.reshape(prim.read(x), (1, *x.shape)))
    return x if x.ndim == len(shape) else prim.wrap(prim.current().graph.reshape(prim.read(x), tuple(shape)))


def _result_of(shape: Sequence[int], ndim: int, *types: dtypes.dtype) -> list[tuple[Sequence[int], dtypes.dtype]]:
    """Shapes and types of a template's results, with a batch."""
    full = shape if len(shape) == ndim + 2 else (1, *shape)
    return [(full, t) for t in types]


@operator(name="_max_pool", method=False, function=False)
def max_pool_kernel(
    input: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    ceil_mode: bool,
) -> Any:
    """(greatest element of each window, its position in the flattened spatial dimensions)"""
    ndim, lead = len(kernel), input.ndim - len(kernel)
    have = input.shape[lead:]
    places = [pooled_size(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(have, kernel, stride, padding, dilation)]
    _check(f"max_pool{ndim}d", input, kernel, stride, padding, dilation, places)
    if _has_template(input):
        spec = template.extern.Pool("max", kernel, stride, padding, dilation)
        out = (*input.shape[:lead], *places)
        best, at = prim.extern(spec, [_images(input, ndim)], _result_of(out, ndim, input.dtype, dtypes.int64))
        return as_image(_images(best, ndim, out), input), as_image(_images(at, ndim, out), input)
    low = (
        -math.inf
        if input.dtype.kind == "f"
        else 0
        if input.dtype.kind in "bu"
        else -(1 << input.dtype.itemsize * 8 - 1)
    )
    w = windows(input, kernel, stride, padding, dilation, places, low)
    dims = tuple(range(lead + ndim, lead + 2 * ndim))
    shape = (*input.shape[:lead], *places)
    g = prim.current().graph
    at = g.reshape(g.argreduce("argmax", prim.read(w), dims), shape)
    value = g.reshape(g.reduce("max", prim.read(w), dims), shape)
    index = g.const(0, "i64", shape)
    below, inside = 1, 1
    for i in reversed(range(ndim)):  # position in the window -> position in the input
        digit = g.apply("rem", g.apply("quot", at, g.const(inside, "i64")), g.const(kernel[i], "i64"))
        start = g.apply(
            "sub", g.apply("mul", g.iota(shape, lead + i), g.const(stride[i], "i64")), g.const(padding[i], "i64")
        )
        place = g.apply("add", start, g.apply("mul", digit, g.const(dilation[i], "i64")))
        index = g.apply("add", index, g.apply("mul", place, g.const(below, "i64")))
        below *= have[i]
        inside *= kernel[i]
    return as_image(prim.wrap(value), input), as_image(prim.wrap(index), input)


@max_pool_kernel.gradient("result1")
def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
    return spread_at.function(grad, ctx.results[1], tuple(ctx.shape("input")), len(ctx.kernel))


@operator(name="_spread_at", method=False, function=False)
def spread_at(grad: Tensor, index: Tensor, size: tuple[int, ...], ndim: int) -> Tensor:
    """Adds elements to zeros of shape ``size`` at positions in the flattened last ``ndim`` dimensions."""
    g = prim.current().graph
    if _has_template(grad) and 0 not in size and ndim <= 3 and len(size) - ndim in (1, 2):
        out = _result_of(size, ndim, grad.dtype)
        found = prim.extern(template.extern.Unpool(), [_images(grad, ndim), _images(index, ndim)], out)[0]
        return as_image(_images(found, ndim, size), grad)
    lead = size[: len(size) - ndim]
    area, count = math.prod(size[len(size) - ndim :]), math.prod(grad.shape[len(size) - ndim :])
    base = g.const(0, grad.dtype.code, (*lead, area))
    flat, at = g.reshape(prim.read(grad), (*lead, count)), g.reshape(prim.read(index), (*lead, count))
    found = g.scatter("add", base, flat, [at], [*(("d", d) for d in range(len(lead))), ("i", 0)])
    return as_image(prim.wrap(g.reshape(found, size)), grad)


@spread_at.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return pick_at.function(grad, ctx.index, ctx.ndim), None


@operator(name="_pick_at", method=False, function=False)
def pick_at(input: Tensor, index: Tensor, ndim: int) -> Tensor:
    """The elements at positions in the flattened last ``ndim`` dimensions."""
    g = prim.current().graph
    lead = input.shape[: input.ndim - ndim]
    flat = g.reshape(prim.read(input), (*lead, math.prod(input.shape[input.ndim - ndim :])))
    at = g.reshape(prim.read(index), (*lead, math.prod(index.shape[len(lead) :])))
    found = g.gather(flat, [at], [*(("d", d) for d in range(len(lead))), ("i", 0)], at.shape)
    return prim.wrap(g.reshape(found, index.shape))


@pick_at.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return spread_at.function(grad, ctx.index, tuple(ctx.shape("input")), ctx.ndim), None


@operator(name="_avg_pool", method=False, function=False)
def avg_pool_kernel(
    input: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...], ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:  # fmt: skip
    """The mean of each window."""
    ndim, lead = len(kernel), input.ndim - len(kernel)
    have, ones = input.shape[lead:], (1,) * len(kernel)
    places = [pooled_size(n, k, s, p, 1, ceil_mode) for n, k, s, p in zip(have, kernel, stride, padding)]
    _check(f"avg_pool{ndim}d", input, kernel, stride, padding, ones, places)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    work = dtypes.float32 if input.dtype.kind == "f" and input.dtype.itemsize < 4 else input.dtype
    shape = (*input.shape[:lead], *places)
    g = prim.current().graph
    if _has_template(input):
        whole = all((o - 1) * s + k <= n + 2 * p for o, s, k, n, p in zip(places, stride, kernel, have, padding))
        divisor = divisor_override
        if divisor is None and whole and (count_include_pad or not any(padding)):
            divisor = math.prod(kernel)
        spec = template.extern.Pool("sum", kernel, stride, padding, ones, divisor or 1)
        made = prim.extern(spec, [_images(input, ndim)], _result_of(shape, ndim, input.dtype))[0]
        if divisor is not None:
            return as_image(_images(made, ndim, shape), input)
        total = prim.read(_images(made, ndim, shape))
    else:
        w = windows(prim.cast(input, work), kernel, stride, padding, ones, places, 0)
        dims = tuple(range(lead + ndim, lead + 2 * ndim))
        total = g.reshape(g.reduce("add", prim.read(w), dims), shape)
    if divisor_override is not None:
        count = g.const(divisor_override, "i64", shape)
    else:
        count = g.const(1, "i64", shape)
        for i in range(ndim):
            start = g.apply(
                "sub", g.apply("mul", g.iota(shape, lead + i), g.const(stride[i], "i64")), g.const(padding[i], "i64")
            )
            end = g.apply("min", g.apply("add", start, g.const(kernel[i], "i64")), g.const(have[i] + padding[i], "i64"))
            if not count_include_pad:
                start, end = g.apply("max", start, g.const(0, "i64")), g.apply("min", end, g.const(have[i], "i64"))
            count = g.apply("mul", count, g.apply("sub", end, start))
    divisor = g.cast(count, work.code)
    value = g.apply("idiv" if work.kind in "iu" else "div", total, divisor)
    return as_image(prim.cast(prim.wrap(value), input.dtype), input)


@avg_pool_kernel.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return avg_pool_backward.function(
        grad,
        tuple(ctx.shape("input")),
        ctx.kernel,
        ctx.stride,
        ctx.padding,
        ctx.ceil_mode,
        ctx.count_include_pad,
        ctx.divisor_override,
    )


@operator(name="_avg_pool_backward", method=False, function=False)
def avg_pool_backward(
    grad: Tensor, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...],
    ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Tensor:  # fmt: skip
    """Every input element gets its share of the gradients of the windows that it is in: at most ceil(kernel / stride)
    of them in each dimension."""
    g = prim.current().graph
    ndim, lead = len(kernel), len(size) - len(kernel)
    places = grad.shape[lead:]
    shares = [-(-k // s) for k, s in zip(kernel, stride)]
    shape = (*size, *shares)
    index, inside = [], g.const(True, "b1", shape)
    count = g.const(1, "i64", shape)
    zero = g.const(0, "i64")
    for i in range(ndim):
        at = g.apply("add", g.iota(shape, lead + i), g.const(padding[i], "i64"))
        last = g.apply("quot", at, g.const(stride[i], "i64"))
        window = g.apply("sub", last, g.iota(shape, lead + ndim + i))
        start = g.apply("mul", window, g.const(stride[i], "i64"))
        reaches = g.apply("lt", at, g.apply("add", start, g.const(kernel[i], "i64")))
        exists = g.apply("and", g.apply("ge", window, zero), g.apply("lt", window, g.const(places[i], "i64")))
        ok = g.apply("and", exists, reaches)
        inside = g.apply("and", inside, ok)
        index.append(g.apply("select", ok, window, zero))
        begin = g.apply("sub", start, g.const(padding[i], "i64"))
        end = g.apply(
            "min", g.apply("add", begin, g.const(kernel[i], "i64")), g.const(size[lead + i] + padding[i], "i64")
        )
        if not count_include_pad:
            begin, end = g.apply("max", begin, zero), g.apply("min", end, g.const(size[lead + i], "i64"))
        count = g.apply("mul", count, g.apply("sub", end, begin))
    # Places without a window, whose share is not used, have no elements.
    count = (
        g.apply("max", count, g.const(1, "i64"))
        if divisor_override is None
        else g.const(divisor_override, "i64", shape)
    )
    work = "f32" if grad.dtype.itemsize < 4 else grad.dtype.code
    value = g.gather(
        g.cast(prim.read(grad), work),
        index,
        [*(("d", d) for d in range(lead)), *(("i", i) for i in range(ndim))],
        shape,
    )
    share = g.apply(
        "select",
        inside,
        g.apply("div", value, g.cast(count, work)),
        g.const(0, work),
    )
    total = g.reduce("add", share, tuple(range(len(size), len(size) + ndim)))
    return as_image(prim.cast(prim.wrap(g.reshape(total, size)), grad.dtype), grad)


@avg_pool_backward.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return avg_pool_kernel.function(
        grad, ctx.kernel, ctx.stride, ctx.padding, ctx.ceil_mode, ctx.count_include_pad, ctx.divisor_override
    )


def _define(ndim: int) -> None:
    sizes = f"{ndim} spatial dimension{'s' if ndim > 1 else ''}"

    def max_pool(
        input: Tensor, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1, ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        name = f"max_pool{ndim}d"
        kernel = per_dim(kernel_size, ndim, "kernel_size", name)
        steps = kernel if stride is None or stride == [] or stride == () else per_dim(stride, ndim, "stride", name)
        found = max_pool_kernel.function(
            input,
            kernel,
            steps,
            per_dim(padding, ndim, "padding", name),
            per_dim(dilation, ndim, "dilation", name),
            bool(ceil_mode),
        )
        return found if return_indices else found[0]

    def avg_pool(
        input: Tensor, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Tensor:  # fmt: skip
        name = f"avg_pool{ndim}d"
        if input.dtype.kind == "b":
            raise NotImplementedError(f'"{name}" not implemented for {input.dtype}: convert the input to float first')
        kernel = per_dim(kernel_size, ndim, "kernel_size", name)
        steps = kernel if stride is None or stride == [] or stride == () else per_dim(stride, ndim, "stride", name)
        return avg_pool_kernel.function(  # type: ignore[no-any-return]
            input,
            kernel,
            steps,
            per_dim(padding, ndim, "padding", name),
            bool(ceil_mode),
            bool(count_include_pad),
            divisor_override,
        )

    max_pool.__name__, avg_pool.__name__ = f"max_pool{ndim}d", f"avg_pool{ndim}d"
    max_pool.__module__ = avg_pool.__module__ = __name__
    max_pool.__doc__ = (
        f"The greatest element of each window over {sizes}; ``return_indices`` adds its "
        "position.  Raises RuntimeError for sizes that do not fit."
    )
    avg_pool.__doc__ = f"The mean of each window over {sizes}.  Raises RuntimeError for sizes that do not fit."
    operator(kind="composite", method=False, out=False, namespace=_F)(max_pool)
    operator(kind="composite", method=False, out=ndim > 1, namespace=_F)(avg_pool)


for _ndim in (1, 2, 3):
    _define(_ndim)
