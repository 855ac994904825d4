"""Discrete Fourier transforms, by kernels; by scipy (pocketfft) for lengths with large prime factors."""

from __future__ import annotations

import functools
import importlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from .. import primitives as prim
from .. import runtime, settings, template
from ..dispatch.operator import operator
from ..dtype import dtype as dtype_
from ..graph.node import Map
from ..layout import dense
from ..storage import NotTraceable
from ..target.isa import ISA
from ..tensor import Tensor, empty, from_numpy, numpy_view
from . import create
from .common import blaming, dim_of
from .shape import view_as_real

__all__ = ["fftfreq", "rfftfreq"]

_F = "torch.fft"
_KNOWN = 256  # calls that are remembered
_BIG = 1 << 16  # elements from which scipy's threads are worth their start
_HOST = {
    ("c2c", False): ("fft", "backward"), ("c2c", True): ("ifft", "forward"),
    ("r2c", False): ("rfft", "backward"), ("c2r", False): ("irfft", "forward"), ("r2w", False): ("fft", "backward"),
}  # fmt: skip
"""Scipy's functions, and what makes them divide by nothing."""


@functools.lru_cache(maxsize=64)
def _table(form: Any, isa: str) -> Tensor:
    """The factors that a kernel for this instruction set reads."""
    return from_numpy(template.fourier_plan.table_of(form))


# -- one dimension -----------------------------------------------------------------------------------


def _line_shape(kind: str, shape: Sequence[int], dim: int, points: int) -> list[int]:
    made = points // 2 + 1 if kind == "r2c" else points  # also for the whole spectrum of real numbers, "r2w"
    return [made if d == dim else n for d, n in enumerate(shape)]


@operator(name="_fft_line", method=False, function=False)
def _line(input: Tensor, table: Tensor, form: Any, dim: int, other: bool, scale: float) -> Tensor:
    """The transform along one dimension by a kernel; ``other``: in the direction that is not usual."""
    shape = _line_shape(form.kind, input.shape, dim, form.points)
    kind = input.dtype.to_real() if form.kind == "c2r" else input.dtype.to_complex()
    if 0 in shape:
        return prim.undef(shape, kind)
    return prim.extern(template.fourier_plan.Transform(form, dim, other, scale), [input, table], [(shape, kind)])[0]


@operator(name="_fft_on_host", kind="eager", method=False, function=False)
def _on_host(input: Tensor, kind: str, dim: int, points: int, other: bool, scale: float) -> Tensor:
    """The transform along one dimension by scipy."""
    type_ = input.dtype.to_real() if kind == "c2r" else input.dtype.to_complex()
    if input.device is devices.meta:
        return empty(dense(type_, tuple(_line_shape(kind, input.shape, dim, points)), devices.meta))
    a = numpy_view(input)
    if kind == "c2r" and other:
        a = np.conjugate(a)
    name, norm = _HOST[kind, other and kind == "c2c"]
    workers = runtime.pool.get_num_threads() if a.size >= _BIG else 1
    found = getattr(importlib.import_module("scipy.fft"), name)(a, points, dim, norm, workers=workers)
    if kind in ("r2c", "r2w") and other:
        np.conjugate(found, out=found)
    if scale != 1:
        found *= scale
    return from_numpy(np.ascontiguousarray(found, dtype=type_.numpy))


_on_host.batching = lambda args: [args[0], args[1], args[2] + 1, *args[3:]]


def _back(grad: Tensor, kind: str, dim: int, shape: Sequence[int], other: bool, scale: float) -> Tensor:
    """The gradient by the numbers of ``shape`` that were transformed."""
    if kind == "c2c":
        return _along_one(grad, kind, dim, shape[dim], not other, scale)
    if kind != "c2r":
        # Every element of a half that is kept counts once: the transform of the half with zeros behind it.
        full = _resized(grad, [(dim, shape[dim])])
        return view_as_real.function(_along_one(full, "c2c", dim, shape[dim], not other, scale)).select(-1, 0)  # type: ignore[no-any-return]
    found = _along_one(grad, "r2c", dim, grad.shape[dim], other, scale)
    middle = grad.shape[dim] - found.shape[dim]  # elements that stand for their mirror image as well
    if middle <= 0:
        return found
    weight = create.ones(found.shape[dim], dtype=grad.dtype)
    weight.narrow(0, 1, middle).fill_(2)  # type: ignore[attr-defined]
    return found * weight.reshape([-1 if d == dim else 1 for d in range(found.ndim)])  # type: ignore[attr-defined,no-any-return]


@_line.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _back(grad, ctx.form.kind, ctx.dim, ctx.shape("input"), ctx.other, ctx.scale), None


@_on_host.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _back(grad, ctx.kind, ctx.dim, ctx.shape("input"), ctx.other, ctx.scale)


def _along_one(input: Tensor, kind: str, dim: int, points: int, other: bool, scale: float) -> Tensor:
    """The transform along one dimension, times ``scale``: "c2c", "r2c", "c2r", or "r2w" (the whole spectrum of real
    numbers); ``other``: in the direction that is not usual."""
    ready = _ready(input, kind, dim, points, other, scale)
    if ready is None:
        return _on_host.function(input, kind, dim, points, other, scale)  # type: ignore[no-any-return]
    return _line.function(input, *ready)  # type: ignore[no-any-return]


def _ready(input: Tensor, kind: str, dim: int, points: int, other: bool, scale: float) -> tuple[Any, ...] | None:
    """What ``_line`` takes besides the input; None where there is no kernel."""
    if input.device is devices.meta or input.ndim > template.fourier_access.MAX_RANK:
        return None
    if prim.tracing():  # the table is no argument of what is being traced
        raise NotTraceable("a Fourier transform cannot be part of another operator's kernel")
    lines = input.numel() // max(1, input.shape[dim])
    last = dim == input.ndim - 1 and (kind == "r2c" or input._layout.strides[dim] == 1)
    form = template.fourier_plan.form_of(kind, input.dtype.to_real().code, points, lines, last)
    return None if form is None else (_table(form, ISA.host().key), form, dim, other, scale)


# -- the three transforms ----------------------------------------------------------------------------


def _factor(sizes: Sequence[int], scale: int) -> float:
    """By what a transform over ``sizes`` is multiplied; ``scale`` is an index into none, ortho, all."""
    n = math.prod(sizes)
    return (1.0, 1 / math.sqrt(n), 1 / n)[scale]


def c2c(input: Tensor, dims: tuple[int, ...], scale: int, forward: bool) -> Tensor:
    """The transform of complex numbers over ``dims``; ``scale`` is an index into none, ortho, all."""
    factor = _factor([input.shape[d] for d in dims], scale)
    for k, d in enumerate(reversed(dims)):
        input = _along_one(input, "c2c", d, input.shape[d], not forward, factor if k == len(dims) - 1 else 1.0)
    return input


def r2c(input: Tensor, dims: tuple[int, ...], scale: int, forward: bool) -> Tensor:
    """The transform of real numbers over ``dims``: half of the last one, as the rest follows by symmetry."""
    *rest, last = dims
    factor = _factor([input.shape[d] for d in dims], scale)
    found = _along_one(input, "r2c", last, input.shape[last], not forward, 1.0 if rest else factor)
    for k, d in enumerate(rest):
        found = _along_one(found, "c2c", d, input.shape[d], not forward, factor if k == len(rest) - 1 else 1.0)
    return found


def c2r(input: Tensor, dims: tuple[int, ...], scale: int, last: int, forward: bool) -> Tensor:
    """The real transform of ``last`` points over ``dims``, from half of the last one."""
    *rest, end = dims
    factor = _factor([*(input.shape[d] for d in rest), last], scale)
    for d in rest:
        input = _along_one(input, "c2c", d, input.shape[d], not forward, 1.0)
    return _along_one(input, "c2r", end, last, forward, factor)


@operator(name="_mirrored", method=False, function=False, differentiable=False)
def _mirrored(input: Tensor, dims: tuple[int, ...], points: int) -> Tensor:
    """The whole spectrum of real numbers over ``dims``, of ``points`` along the last, from the first half: an element
    is the conjugate of that at the opposite frequencies."""
    last, have = dims[-1], input.shape[dims[-1]]
    shape = [points if d == last else n for d, n in enumerate(input.shape)]
    same: Map = tuple((0, ((d, 1),)) for d in range(len(shape)))
    out = prim.update(prim.undef(shape, input.dtype), input, same)
    opposite = prim.join(prim.part("real", input), prim.apply("neg", prim.part("imag", input)))
    # frequency 0 is its own opposite, the others are numbered backwards
    for zeros in itertools.product((True, False), repeat=len(dims) - 1):
        source, target, sizes = list(same), list(same), [points - have if d == last else n for d, n in enumerate(shape)]
        source[last], target[last] = (points - have, ((last, -1),)), (have, ((last, 1),))
        for d, zero in zip(dims, zeros):
            sizes[d] = 1 if zero else shape[d] - 1
            if not zero:
                source[d], target[d] = (shape[d] - 1, ((d, -1),)), (1, ((d, 1),))
        if 0 not in sizes:
            out = prim.update(out, prim.move(opposite, tuple(source), sizes), tuple(target))
    return out


def _of_real(input: Tensor, dims: tuple[int, ...], scale: int, forward: bool) -> Tensor:
    """All of the transform of real numbers, of which half is computed."""
    if len(dims) == 1:
        points = input.shape[dims[0]]
        return _along_one(input, "r2w", dims[0], points, not forward, _factor([points], scale))
    return _of_real_over.function(input, dims, scale, forward)  # type: ignore[no-any-return]


@operator(name="_fft_of_real", kind="composite", method=False, function=False)
def _of_real_over(input: Tensor, dims: tuple[int, ...], scale: int, forward: bool) -> Tensor:
    """The same over several dimensions."""
    return _mirrored.function(r2c(input, dims, scale, forward), dims, input.shape[dims[-1]])  # type: ignore[no-any-return]


@_of_real_over.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return view_as_real.function(c2c(grad, ctx.dims, ctx.scale, not ctx.forward)).select(-1, 0)


@operator(name="_to_complex", method=False, function=False)
def to_complex(input: Tensor) -> Tensor:
    """Real numbers as complex ones."""
    return prim.cast(input, input.dtype.to_complex())


@to_complex.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return view_as_real.function(grad).select(-1, 0)


# -- arguments ---------------------------------------------------------------------------------------


def _scale(name: str, norm: str | None, forward: bool) -> int:
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'{name}: Invalid normalization mode: "{norm}" (expected "backward", "ortho" or "forward")')
    if norm == "ortho":
        return 1
    return 2 if (norm == "forward") == forward else 0


def floating(name: str, x: Tensor, complex_: bool) -> Tensor:
    """The input in a type that can be transformed."""
    kind = x.dtype if x.dtype.kind in "fc" else dtypes.get_default_dtype()
    if kind.wide is not kind:
        raise RuntimeError(f"{name}: Unsupported dtype {kind}; convert the input to float32 first")
    x = x if x.dtype is kind else x.to(kind)  # type: ignore[attr-defined]
    return to_complex.function(x) if complex_ and not kind.is_complex else x  # type: ignore[no-any-return]


def _resized(x: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """x cut or filled with zeros to n elements along each dimension (d, n)."""
    for d, n in sizes:
        have = x.shape[d]
        if n < have:
            x = x.narrow(d, 0, n)  # type: ignore[attr-defined]
        elif n > have:
            shape = [n if i == d else m for i, m in enumerate(x.shape)]
            x = x.new_zeros(shape).slice_scatter(x, d, 0, have)  # type: ignore[attr-defined]
    return x


def _one(name: str, x: Tensor, n: int | None, dim: int) -> tuple[int, int]:
    """(dimension, points) of a transform along one dimension."""
    if not x.ndim:
        raise IndexError(f"{name}: Dimension specified as {dim} but tensor has no dimensions")
    d = dim_of(dim, x.ndim, name)
    points = x.shape[d] if n is None else n
    if points < 1:
        raise RuntimeError(f"Invalid number of data points ({points}) specified")
    return d, points


def _many(name: str, x: Tensor, s: Sequence[int] | None, dim: Any) -> list[tuple[int, int]]:
    """[(dimension, points)] of a transform over several."""
    s = (s,) if isinstance(s, int) else s
    dim = (dim,) if isinstance(dim, int) else dim
    if dim is not None:
        dims = [dim_of(d, x.ndim, name) for d in dim]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None:
        if len(s) > x.ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.ndim} dimensions.")
        dims = list(range(x.ndim - len(s), x.ndim))
    else:
        dims = list(range(x.ndim))
    found = [(d, x.shape[d] if s is None or s[i] == -1 else s[i]) for i, d in enumerate(dims)]
    for _, n in found:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return found


def _along(name: str, input: Tensor, sizes: list[tuple[int, int]], norm: str | None, forward: bool) -> Tensor:
    """A complex transform."""
    if not sizes:
        return floating(name, input, True)
    x = _resized(floating(name, input, False), sizes)
    kernel = c2c if x.dtype.is_complex else _of_real
    return kernel(x, tuple(d for d, _ in sizes), _scale(name, norm, forward), forward)  # type: ignore[no-any-return]


def _real_input(name: str, input: Tensor, sizes: list[tuple[int, int]], norm: str | None, forward: bool) -> Tensor:
    """The transform of real numbers, half of it; ``forward=False`` for hfft's inverse."""
    if input.dtype.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {input.dtype}")
    if not sizes:
        raise RuntimeError(f"{name} must transform at least one axis")
    x = _resized(floating(name, input, False), sizes)
    return r2c(x, tuple(d for d, _ in sizes), _scale(name, norm, forward), forward)  # type: ignore[no-any-return]


def _real_output(
    name: str, input: Tensor, sizes: list[tuple[int, int]], given: bool, norm: str | None, forward: bool
) -> Tensor:
    """The real transform of half of a spectrum."""
    if not sizes:
        raise RuntimeError(f"{name} must transform at least one axis")
    d, n = sizes[-1]
    points = n if given else 2 * (input.shape[d] - 1)
    if points < 1:
        raise RuntimeError(f"Invalid number of data points ({points}) specified")
    x = _resized(floating(name, input, True), [*sizes[:-1], (d, points // 2 + 1)])
    return c2r(x, tuple(d for d, _ in sizes), _scale(name, norm, forward), points, forward)  # type: ignore[no-any-return]


def _as_it_is(
    input: Tensor, kind: str, size: tuple[int, int], n: int | None, scale: int, forward: bool
) -> tuple[Any, ...] | None:
    """What ``_line`` takes for an input that is neither converted nor resized; None if it is, or has no kernel."""
    d, points = size
    have, type_ = input.shape[d], input.dtype
    if (
        type_.kind not in "fc"
        or type_.wide is not type_
        or ((kind == "to real") != type_.is_complex and kind != "complex")
    ):
        return None
    if kind == "to real":
        points = 2 * (have - 1) if n is None else n
        if points < 1 or have != points // 2 + 1:
            return None
        return _ready(input, "c2r", d, points, forward, _factor([points], scale))
    if have != points:
        return None
    how = "r2c" if kind == "from real" else "c2c" if type_.is_complex else "r2w"
    return _ready(input, how, d, points, not forward, _factor([points], scale))


# -- public transforms -------------------------------------------------------------------------------


def _along_a_dimension(kind: str, forward: bool) -> Any:
    """A transform along one dimension."""
    known: dict[Any, tuple[Any, ...]] = {}  # what the kernel takes, by all that it depends on

    def body(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
        key = (input._key, n, dim, norm, settings.isa)
        if key in known:
            return _line.function(input, *known[key])  # type: ignore[no-any-return]
        name = body.__name__
        size = _one(name, input, n, dim)
        if input._key is not None and (ready := _as_it_is(input, kind, size, n, _scale(name, norm, forward), forward)):
            if len(known) >= _KNOWN:
                known.clear()
            known[key] = ready
        if kind == "complex":
            return _along(name, input, [size], norm, forward)
        if kind == "from real":
            return _real_input(name, input, [size], norm, forward)
        return _real_output(name, input, [size], n is not None, norm, forward)

    return body


def _over_dimensions(kind: str, forward: bool, default: Any) -> Any:
    """A transform over several dimensions, by default these."""

    def body(
        input: Tensor, s: int | Sequence[int] | None = None, dim: int | Sequence[int] | None = default,
        norm: str | None = None,
    ) -> Tensor:  # fmt: skip
        name = body.__name__
        sizes = _many(name, input, s, dim)
        if kind == "complex":
            return _along(name, input, sizes, norm, forward)
        if kind == "from real":
            if forward:
                return _real_input(name, input, sizes, norm, forward)
            first = _real_input(name, input, sizes[-1:], norm, False)
            return _along(name, first, sizes[:-1], norm, False) if len(sizes) > 1 else first
        if not sizes:
            raise RuntimeError(f"{name} must transform at least one axis")
        last = s is not None and (s if isinstance(s, int) else s[-1]) != -1
        if forward and len(sizes) > 1:  # hfftn: complex dimensions forward, then the real one
            input = _along(name, input, sizes[:-1], norm, True)
            sizes = sizes[-1:]
        return _real_output(name, input, sizes, last, norm, forward)

    return body


_TRANSFORMS = (
    # name, what is real, direction; what it does along a dimension, over several, and over two
    (
        "fft", "complex", True,
        "The Fourier transform along ``dim``, of ``n`` points.",
        "The Fourier transform over ``dim`` (all dimensions for None).",
        "The Fourier transform over two dimensions.",
    ),
    (
        "ifft", "complex", False,
        "The inverse Fourier transform along ``dim``, of ``n`` points.",
        "The inverse Fourier transform over ``dim`` (all dimensions for None).",
        "The inverse Fourier transform over two dimensions.",
    ),
    (
        "rfft", "from real", True,
        "The Fourier transform of real numbers along ``dim``: the first half, the rest being its mirror image.",
        "The Fourier transform of real numbers over ``dim``; half of the last dimension.",
        "The Fourier transform of real numbers over two dimensions; half of the last one.",
    ),
    (
        "irfft", "to real", False,
        "The inverse of ``rfft``, with ``n`` points (by default 2 (m - 1)).",
        "The inverse of ``rfftn``.",
        "The inverse of ``rfft2``.",
    ),
    (
        "hfft", "to real", True,
        "The Fourier transform, which is real, of half of a signal that is its own conjugate mirror image.",
        "The Fourier transform, which is real, of a Hermitian signal given by half of its last dimension.",
        "``hfftn`` over two dimensions.",
    ),
    (
        "ihfft", "from real", False,
        "The inverse of ``hfft``.",
        "The inverse of ``hfftn``.",
        "The inverse of ``hfft2``.",
    ),
)  # fmt: skip


def _define() -> None:
    """The eighteen transforms, which differ in direction, dimensions and what is real."""
    for name, kind, forward, along, over, over_two in _TRANSFORMS:
        made = (
            (name, along, _along_a_dimension(kind, forward)),
            (f"{name}n", over, _over_dimensions(kind, forward, None)),
            (f"{name}2", over_two, _over_dimensions(kind, forward, (-2, -1))),
        )
        for full, text, body in made:
            body.__name__ = body.__qualname__ = f"fft_{full}"
            body.__module__ = __name__
            body.__doc__ = (
                f'{text}\n\n    ``norm`` is "backward" (the inverse divides by the number of points), '
                '"ortho" (both by its root), or "forward".'
            )
            operator(name=body.__name__, kind="composite", method=False, namespace=_F)(body)


_define()


def _rolled(x: Tensor, dim: int | Sequence[int] | None, inverse: bool) -> Tensor:
    given = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [dim_of(d, x.ndim, "fftshift") for d in given] if x.ndim else []
    shifts = [((x.shape[d] + 1) if inverse else x.shape[d]) // 2 for d in dims]
    return x.roll(shifts, dims)  # type: ignore[attr-defined,no-any-return]


@operator(name="fft_fftshift", kind="composite", method=False, out=False, namespace=_F)
def fft_fftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Spectra with frequency zero moved to the middle of ``dim`` (all dimensions for None)."""
    return _rolled(input, dim, False)


@operator(name="fft_ifftshift", kind="composite", method=False, out=False, namespace=_F)
def fft_ifftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of ``fftshift``."""
    return _rolled(input, dim, True)


def _frequencies(
    n: int, d: float, count: int, half: bool, out: Any, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    for name, value in (("n", n), ("d", d)):
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise TypeError(f"fftfreq(): argument '{name}' must be a number, not {type(value).__name__}")
    create.check_out("fftfreq", out, dtype, device)
    kind = dtype or (out.dtype if out is not None else dtypes.get_default_dtype())
    if kind.kind not in "fc":
        raise RuntimeError("fftfreq requires a floating point or complex dtype")
    k = create.arange(count, dtype=kind, device=device)
    if not half and n > 1:
        k = k - n * (k >= (n + 1) // 2)
    k = k * (1.0 / (n * d) if n * d else math.inf)
    if out is not None:
        out.resize_(k.shape).copy_(k)
        return out  # type: ignore[no-any-return]
    return k.requires_grad_() if requires_grad else k  # type: ignore[attr-defined,no-any-return]


@blaming
def fftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The frequencies of an ``fft`` of n points ``d`` apart: 0, 1, ..., then the negative ones, divided by ``n d``."""
    return _frequencies(n, d, n, False, out, dtype, device, requires_grad)


@blaming
def rfftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The frequencies of an ``rfft`` of n points ``d`` apart."""
    return _frequencies(n, d, n // 2 + 1, True, out, dtype, device, requires_grad)
