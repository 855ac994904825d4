"""The elementwise half of recurrent cells: what is left of a step when the products with the weights are done.

Each is one kernel, and its gradient another, so that a step costs two products and two kernels.  They are private;
``nn`` builds cells and layers from them.
"""

from __future__ import annotations

from typing import Any

from ..operator import operator
from ..tensor import Tensor
from .join import cat

__all__: list[str] = []


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


@operator(name="_lstm_cell", method=False, function=False)
def lstm_cell(gates: Tensor, c: Tensor) -> Any:
    """(h', c') of gates (N, 4 H) in the order i, f, g, o, before their sigmoid (tanh for g), and c (N, H):
    c' = f c + i g, h' = o tanh(c')."""
    i, f, g, o = gates.chunk(4, -1)  # type: ignore[attr-defined]
    new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * new.tanh(), new


@lstm_cell.gradient("gates", "c")
def _(ctx, grad_h, grad_c):  # type: ignore[no-untyped-def]
    if grad_h is None and grad_c is None:
        return None, None
    return lstm_cell_backward.function(ctx.gates, ctx.c, None, grad_h, grad_c)


@operator(name="_lstm_cell_backward", method=False, function=False)
def lstm_cell_backward(
    gates: Tensor, c: Tensor, grad_y: Tensor | None, grad_h: Tensor | None, grad_c: Tensor | None
) -> Any:
    """The gradients of ``gates`` and ``c`` by those of h' (the sum of ``grad_y`` and ``grad_h``) and of c'."""
    i, f, g, o = gates.chunk(4, -1)  # type: ignore[attr-defined]
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    squashed = (f * c + i * g).tanh()
    grad_h = _sum(grad_y, grad_h)
    if grad_h is None:
        grad_new, grad_o = grad_c, o * 0
    else:
        grad_new = _sum(grad_c, grad_h * o * (1 - squashed * squashed))  # type: ignore[attr-defined]
        grad_o = grad_h * squashed * o * (1 - o)  # type: ignore[attr-defined]
    parts = [grad_new * g * i * (1 - i), grad_new * c * f * (1 - f), grad_new * i * (1 - g * g), grad_o]  # type: ignore[operator]
    return cat.function(parts, -1), grad_new * f  # type: ignore[operator]


@operator(name="_gru_cell", method=False, function=False)
def gru_cell(x_gates: Tensor, h_gates: Tensor, h: Tensor) -> Tensor:
    """h' = (1 - z) n + z h, n = tanh(x_n + r h_n), of the gates (N, 3 H) of input and state in the order r, z, n."""
    x_r, x_z, x_n = x_gates.chunk(3, -1)  # type: ignore[attr-defined]
    h_r, h_z, h_n = h_gates.chunk(3, -1)  # type: ignore[attr-defined]
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return (h - n) * (x_z + h_z).sigmoid() + n


@gru_cell.gradient("x_gates", "h_gates", "h")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return gru_cell_backward.function(ctx.x_gates, ctx.h_gates, ctx.h, None, grad)


@operator(name="_gru_cell_backward", method=False, function=False)
def gru_cell_backward(x_gates: Tensor, h_gates: Tensor, h: Tensor, grad_y: Tensor | None, grad_h: Tensor | None) -> Any:
    """The gradients of the three tensors by that of h', the sum of ``grad_y`` and ``grad_h``."""
    x_r, x_z, x_n = x_gates.chunk(3, -1)  # type: ignore[attr-defined]
    h_r, h_z, h_n = h_gates.chunk(3, -1)  # type: ignore[attr-defined]
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    n = (x_n + r * h_n).tanh()
    grad = _sum(grad_y, grad_h)
    grad_n = grad * (1 - z) * (1 - n * n)
    grad_r = grad_n * h_n * r * (1 - r)
    grad_z = grad * (h - n) * z * (1 - z)
    return cat.function([grad_r, grad_z, grad_n], -1), cat.function([grad_r, grad_z, grad_n * r], -1), grad * z


@operator(name="_rnn_cell_backward", method=False, function=False)
def rnn_cell_backward(result: Tensor, grad_y: Tensor | None, grad_h: Tensor | None, relu: bool) -> Tensor:
    """The gradient before tanh (or relu) of ``result`` by that of the result, the sum of ``grad_y`` and ``grad_h``."""
    grad = _sum(grad_y, grad_h)
    if relu:
        return grad * (result > 0).to(result.dtype)  # type: ignore[attr-defined,operator]
    return grad * (1 - result * result)  # type: ignore[operator]
