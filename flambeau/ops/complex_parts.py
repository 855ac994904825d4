"""The real and imaginary parts of complex tensors: views of their memory."""

from __future__ import annotations

from typing import Any

from .. import primitives as prim
from ..dispatch.operator import OPERATORS, operator
from ..layout import of
from ..tensor import Tensor, make, materialize

__all__: list[str] = []


def _part(t: Tensor, which: int) -> Tensor:
    layout = t._layout
    if t._storage.pending is not None and not prim.tracing():
        materialize(t)
    strides = [2 * s for s in layout.strides]
    return make(t._storage, of(layout.dtype.to_real(), layout.device, layout.shape, strides), 2 * t._offset + which)


@operator(name="_real", kind="view", method=False, function=False)
def real_part(input: Tensor) -> Tensor:
    """The real parts of complex elements, over the same memory."""
    return _part(input, 0)


@real_part.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return OPERATORS["complex"].function(grad, grad.new_zeros(()))


@operator(name="_imag", kind="view", method=False, function=False)
def imaginary_part(input: Tensor) -> Tensor:
    """The imaginary parts of complex elements, over the same memory."""
    return _part(input, 1)


@imaginary_part.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return OPERATORS["complex"].function(grad.new_zeros(()), grad)


@operator(kind="composite", method=False, out=False)
def real(input: Tensor) -> Tensor:
    """The real parts: a view of complex elements, real tensors themselves."""
    return real_part.function(input) if input.dtype.is_complex else input  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False)
def imag(input: Tensor) -> Tensor:
    """The imaginary parts of complex elements, a view.  Raises RuntimeError for real tensors."""
    if not input.dtype.is_complex:
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return imaginary_part.function(input)  # type: ignore[no-any-return]


def _set(part: Any) -> Any:
    def write(self: Tensor, value: Any) -> None:
        seen = part.function(self)
        seen.copy_(value) if isinstance(value, Tensor) else seen.fill_(value)

    return write


Tensor.real = property(lambda self: real.function(self), _set(real), doc="The real parts.")  # type: ignore[attr-defined]
Tensor.imag = property(lambda self: imag.function(self), _set(imag), doc="The imaginary parts.")  # type: ignore[attr-defined]
