"""Images sampled at places given by another tensor, and the grids of affine maps."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor
from .create import arange
from .from_data import tensor
from .join import stack

__all__: list[str] = []

_F = "torch.nn.functional"
_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


@operator(name="_take_at", method=False, function=False)
def take_at(input: Tensor, place: Tensor) -> Tensor:
    """(n, c, area) at flattened places (n, m) of each image, the same for all channels: (n, c, m)."""
    g = prim.current().graph
    shape = (*input.shape[:2], place.shape[1])
    at = g.move(prim.read(place), ((0, ((0, 1),)), (0, ((2, 1),))), shape)
    return prim.wrap(g.gather(prim.read(input), [at], [("d", 0), ("d", 1), ("i", 0)], shape))


@take_at.gradient("place")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return add_at.function(grad, ctx.place, ctx.shape("input")[2]), None


@operator(name="_add_at", method=False, function=False)
def add_at(grad: Tensor, place: Tensor, area: int) -> Tensor:
    """The transposed map of ``_take_at``: elements added to zeros at their places."""
    g = prim.current().graph
    at = g.move(prim.read(place), ((0, ((0, 1),)), (0, ((2, 1),))), grad.shape)
    base = g.const(0, grad.dtype.code, (*grad.shape[:2], area))
    return prim.wrap(g.scatter("add", base, prim.read(grad), [at], [("d", 0), ("d", 1), ("i", 0)]))


@add_at.gradient("place")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return take_at.function(grad, ctx.place), None


def _clipped(x: Any, n: int) -> Any:
    """Coordinates brought inside; where that changes them (and on the border) the result does not depend on them."""
    inside = (x > 0) & (x < n - 1)
    return x.where(inside, x.detach().clamp(0, n - 1))


def _reflected(x: Any, n: int, align: bool) -> Any:
    """Coordinates mirrored at the centres (``align``) or outer edges of the border elements."""
    low, span = (0.0, float(n - 1)) if align else (-0.5, float(n))
    if span == 0:
        return x * 0
    away = (x - low).abs()
    turns = (away.detach() / span).floor()
    rest = away - turns * span
    odd = turns - 2 * (turns / 2).floor()
    return (rest + low).where(odd == 0, span - rest + low)


def _padded(x: Any, n: int, padding: str, align: bool) -> Any:
    if padding == "zeros":
        return x
    return _clipped(_reflected(x, n, align) if padding == "reflection" else x, n)


def _cubic_weights(t: Any) -> list[Any]:
    """Weights of the four elements around a place (R. Keys, 1981, a = -0.75), which is ``t`` beyond the second."""
    a = -0.75

    def far(u: Any) -> Any:
        return ((a * u - 5 * a) * u + 8 * a) * u - 4 * a

    def near(u: Any) -> Any:
        return ((a + 2) * u - (a + 3)) * u * u + 1

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _taps(x: Any, n: int, mode: str, padding: str, align: bool) -> list[tuple[Any, Any]]:
    """(coordinate, weight) of the elements that one coordinate touches."""
    if mode == "nearest":
        return [(_padded(x, n, padding, align).detach().round(), None)]
    if mode == "bicubic":
        first = x.detach().floor()
        return [(_padded(first + (k - 1), n, padding, align), w) for k, w in enumerate(_cubic_weights(x - first))]
    x = _padded(x, n, padding, align)
    first = x.detach().floor()
    part = x - first
    return [(first, 1 - part), (first + 1, part)]


@operator(name="_grid_sampler", method=False, function=False)
def sampled(input: Tensor, grid: Tensor, mode: str, padding: str, align: bool) -> Tensor:
    """``grid_sample`` with its arguments checked."""
    x: Any = input
    ndim = x.ndim - 2
    sizes, out = x.shape[2:], grid.shape[1:-1]
    area, count = math.prod(sizes), math.prod(out)
    work = dtypes.float32 if x.dtype.itemsize < 4 else x.dtype
    flat = x.to(work).reshape(x.shape[0], x.shape[1], area)
    where: Any = grid.to(work).reshape(x.shape[0], count, ndim)  # type: ignore[attr-defined]
    along = []
    for d, n in enumerate(sizes):
        c = where[..., ndim - 1 - d]
        place = (c + 1) * ((n - 1) / 2) if align else ((c + 1) * n - 1) / 2
        along.append(_taps(place, n, mode, padding, align))
    total: Any = None
    for corner in itertools.product(*along):
        inside, weight, at = None, None, 0
        for (c, w), n in zip(corner, sizes):
            ok = (c >= 0) & (c <= n - 1)
            inside = ok if inside is None else inside & ok
            if w is not None:
                weight = w if weight is None else weight * w
        for (c, _), n in zip(corner, sizes):
            at = at * n + c.detach().where(inside, 0).to(dtypes.int64)
        weight = inside.to(work) if weight is None else weight.where(inside, 0)  # type: ignore[attr-defined]
        part = take_at.function(flat, at) * weight.unsqueeze(1)
        total = part if total is None else total + part
    if mode == "nearest":
        total = total + (where.sum(-1) * 0).unsqueeze(1)  # a gradient of zeros, not none
    return total.reshape(*x.shape[:2], *out).to(x.dtype)  # type: ignore[no-any-return]


def _check(input: Tensor, grid: Tensor, mode: str) -> None:
    if input.dtype is not grid.dtype:
        raise RuntimeError(
            f"grid_sampler(): expected input and grid to have same dtype, but input has {input.dtype} and grid "
            f"has {grid.dtype}"
        )
    if input.ndim not in (4, 5) or input.ndim != grid.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
            f"sizes {list(input.shape)} "
            f"and grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with "
            f"sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != input.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.ndim - 2} in last dimension, but got grid with "
            f"sizes {list(grid.shape)}"
        )
    if 0 in input.shape[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    if mode == "bicubic" and input.ndim == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


@operator(kind="composite", namespace=_F, method=False, out=False)
def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """(n, c, *spatial) sampled at places ``grid`` (n, *out, dims), x first: (n, c, *out).

    Coordinates are -1 to 1 from border to border: the centres of corner elements if ``align_corners``, else their outer
    edges. ``mode`` is "bilinear" (trilinear for 5-D), "nearest" or "bicubic"; ``padding_mode`` says what lies outside:
    "zeros", the "border", or its "reflection".  Raises ValueError for other modes, RuntimeError for shapes that do not
    fit.
    """
    if mode not in _MODES:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but "
            f"got: '{padding_mode}'"
        )
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify "
            "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
            stacklevel=3,
        )
        align_corners = False
    _check(input, grid, mode)
    rows = input.contiguous()  # type: ignore[attr-defined]  # places are those of elements in a row
    return sampled.function(rows, grid, mode, padding_mode, bool(align_corners))  # type: ignore[no-any-return]


def _by_number(ndim: int | None) -> Any:
    def body(input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
        if not (0 <= interpolation_mode < len(_MODES) and 0 <= padding_mode < len(_PADDINGS)):
            raise RuntimeError(
                f"{body.__name__}: no such mode: interpolation_mode={interpolation_mode} (0 to {len(_MODES) - 1}), "
                f"padding_mode={padding_mode} (0 to {len(_PADDINGS) - 1})"
            )
        mode = _MODES[interpolation_mode]
        _check(input, grid, mode)
        return sampled.function(input, grid, mode, _PADDINGS[padding_mode], align_corners)  # type: ignore[no-any-return]

    body.__name__ = "grid_sampler" if ndim is None else f"grid_sampler_{ndim}d"
    body.__module__ = __name__
    body.__doc__ = "``nn.functional.grid_sample`` with its modes as numbers, in the order of its documentation."
    return operator(kind="composite", method=False, out=False)(body)


for _ndim in (None, 2, 3):
    _by_number(_ndim)


@operator(kind="composite", namespace=_F, method=False, out=False)
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid for ``grid_sample`` of affine maps (n, 2, 3) onto images of ``size`` (n, c, h, w), or (n, 3, 4) and (n,
    c, d, h, w).

    Raises ValueError for other shapes or for integers.
    """
    x: Any = theta
    if not x.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"affine_grid(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    ndim = len(size) - 2
    if ndim not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{tuple(size)}"
        )
    if x.ndim != 3 or tuple(x.shape[1:]) != (ndim, ndim + 1):
        raise ValueError(
            f"Expected a batch of {ndim}D affine matrices of shape Nx{ndim}x{ndim + 1} for size {tuple(size)}. "
            f"Got {tuple(theta.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {tuple(size)}")
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please "
            "specify "
            "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
            stacklevel=3,
        )
        align_corners = False
    spatial = tuple(size[2:])
    work = dtypes.float32 if theta.dtype.itemsize < 4 else theta.dtype
    base: list[Any] = []
    for d in reversed(range(ndim)):
        n = spatial[d]
        line: Any = arange(n, dtype=work, device=theta.device)
        if align_corners:
            line = line * (2 / (n - 1)) - 1 if n > 1 else line * 0
        else:
            line = (line * 2 + 1) / n - 1
        base.append(line.reshape([n if k == d else 1 for k in range(ndim)]).expand(spatial))
    base.append(tensor(1.0, dtype=work, device=theta.device).expand(spatial))  # type: ignore[attr-defined]
    places = stack.function(base, -1).reshape(1, -1, ndim + 1).expand(size[0], -1, -1)
    return places.bmm(x.to(work).transpose(1, 2)).reshape(size[0], *spatial, ndim).to(theta.dtype)  # type: ignore[no-any-return]
