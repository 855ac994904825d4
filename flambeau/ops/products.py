"""Products of matrices and vectors."""

from __future__ import annotations

from .. import dtype as dtypes
from .. import primitives as prim
from ..graph.node import broadcast_shapes
from ..operator import operator
from ..template.extern import MatMul
from ..tensor import Tensor
from .arithmetic import conj_of

__all__: list[str] = []


def product(a: Tensor, b: Tensor, addend: Tensor | None = None, alpha: float = 1, beta: float = 1) -> Tensor:
    """``alpha * a @ b + beta * addend`` while an operator is traced: a (..., m, k), b (..., k, n) of one type, batches
    broadcast.  Complex products are four real ones."""
    g = prim.current().graph
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    kind = a.dtype
    if kind.is_complex:
        ar, ai, br, bi = (prim.part(p, x) for x in (a, b) for p in ("real", "imag"))
        re = prim.apply("sub", product(ar, br), product(ai, bi))
        im = prim.apply("add", product(ar, bi), product(ai, br))
        return _combine(prim.join(re, im), addend, alpha, beta)
    if a.shape[-1] == 0 or 0 in shape:
        return _combine(prim.const(0, kind, shape), addend, alpha, beta)
    wide = prim.wrap(g.expand(prim.read(a), (*batch, *a.shape[-2:])))
    tall = prim.wrap(g.expand(prim.read(b), (*batch, *b.shape[-2:])))
    fused = addend is not None and beta != 0 and len(batch) <= 1
    if fused:
        assert addend is not None
        extra = prim.wrap(g.expand(prim.read(addend), shape))
        return prim.extern(MatMul(alpha, beta), [wide, tall, extra], [(shape, kind)])[0]
    return _combine(prim.extern(MatMul(), [wide, tall], [(shape, kind)])[0], addend, alpha, beta)


def _combine(value: Tensor, addend: Tensor | None, alpha: float, beta: float) -> Tensor:
    if addend is None:
        return value
    if alpha != 1:
        value = prim.apply("mul", value, prim.const(alpha, value.dtype))
    if beta == 0:
        return value
    return prim.apply("add", value, addend if beta == 1 else prim.apply("mul", addend, prim.const(beta, value.dtype)))


def same_type(name: str, *tensors: Tensor) -> None:
    """Raises RuntimeError unless all have one element type, which products need."""
    for t in tensors[1:]:
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(f"{name}: expected m1 and m2 to have the same dtype, but got: {tensors[0].dtype} != {t.dtype}")
    if tensors[0].dtype is dtypes.bool_:
        raise RuntimeError(f'"{name}" not implemented for \'Bool\'')


@operator()
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of an (n, m) and an (m, p) matrix: (n, p).  Raises RuntimeError for other shapes."""
    if input.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(f"mm: {'self' if input.ndim != 2 else 'mat2'} must be a matrix, got {input.ndim}D and {mat2.ndim}D")
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(f"mm: mat1 and mat2 shapes cannot be multiplied ({input.shape[0]}x{input.shape[1]} and {mat2.shape[0]}x{mat2.shape[1]})")
    same_type("mm", input, mat2)
    return product(input, mat2)


@mm.gradient("input:mat2", "mat2:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad.mm(conj_of(ctx.mat2).t()) if ctx.needs("input") else None,
        conj_of(ctx.input).t().mm(grad) if ctx.needs("mat2") else None,
    )


@operator()
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of a batch: (b, n, m) and (b, m, p) give (b, n, p).  Raises RuntimeError for other shapes."""
    if input.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError(f"batch1 must be a 3D tensor, got {input.ndim}D and {mat2.ndim}D")
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            f"bmm: Expected size for first two dimensions of batch2 tensor to be: [{input.shape[0]}, {input.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    same_type("bmm", input, mat2)
    return product(input, mat2)


@bmm.gradient("input:mat2", "mat2:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad.bmm(conj_of(ctx.mat2).transpose(1, 2)) if ctx.needs("input") else None,
        conj_of(ctx.input).transpose(1, 2).bmm(grad) if ctx.needs("mat2") else None,
    )


@operator()
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product with broadcast batches; vectors count as a row (left) or a column (right) and vanish from the result.

    Raises RuntimeError for 0-dim operands and for sizes that do not fit.
    """
    if input.ndim == 0 or other.ndim == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {input.ndim}D and {other.ndim}D")
    inner = other.shape[-2] if other.ndim > 1 else other.shape[0]
    if input.shape[-1] != inner:
        raise RuntimeError(
            f"matmul: mat1 and mat2 shapes cannot be multiplied ({_sizes(input)} and {_sizes(other)}): {input.shape[-1]} != {inner}"
        )
    same_type("matmul", input, other)
    g = prim.current().graph
    a = input if input.ndim > 1 else prim.wrap(g.reshape(prim.read(input), (1, *input.shape)))
    b = other if other.ndim > 1 else prim.wrap(g.reshape(prim.read(other), (*other.shape, 1)))
    if b.ndim == 2 and a.ndim > 2:  # one tall product instead of a batch
        rows = 1
        for n in a.shape[:-1]:
            rows *= n
        flat = prim.wrap(g.reshape(prim.read(a), (rows, a.shape[-1])))
        value = prim.wrap(g.reshape(prim.read(product(flat, b)), (*a.shape[:-1], b.shape[-1])))
    else:
        value = product(a, b)
    shape = list(value.shape)
    if other.ndim == 1:
        shape.pop()
    if input.ndim == 1:
        del shape[-1 if other.ndim == 1 else -2]
    return prim.wrap(g.reshape(prim.read(value), shape))


def _sizes(t: Tensor) -> str:
    return "x".join(map(str, t.shape))


@matmul.gradient("input:other", "other:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, y = ctx.shape("input"), ctx.shape("other")
    full = grad
    if len(y) == 1:
        full = full.unsqueeze(-1)
    if len(x) == 1:
        full = full.unsqueeze(-2)
    dx = dy = None
    if ctx.needs("input"):
        other = conj_of(ctx.other)
        other = other.unsqueeze(0) if len(y) == 1 else other.transpose(-2, -1)
        dx = full.matmul(other)
        dx = dx.squeeze(-2).sum_to_size(x) if len(x) == 1 else dx
    if ctx.needs("other"):
        input = conj_of(ctx.input)
        if len(x) > 2 and len(y) <= 2:  # all rows at once
            rows = input.reshape(-1, x[-1])
            dy = rows.t().matmul(full.reshape(-1, full.shape[-1]))
        else:
            dy = (input.unsqueeze(-1) if len(x) == 1 else input.transpose(-2, -1)).matmul(full)
        dy = dy.squeeze(-1).sum_to_size(y) if len(y) == 1 else dy
    return dx, dy


@operator(inplace=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2``; with ``beta`` 0 ``input`` is not read.  Raises RuntimeError for shapes that do not fit."""
    if mat1.ndim != 2 or mat2.ndim != 2 or mat1.shape[1] != mat2.shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({_sizes(mat1)} and {_sizes(mat2)})")
    same_type("addmm", mat1, mat2)
    same_type("addmm", input, mat1)
    g = prim.current().graph
    shape = (mat1.shape[0], mat2.shape[1])
    try:
        addend = prim.wrap(g.expand(prim.read(input), broadcast_shapes(input.shape, shape)))
    except RuntimeError:
        addend = input
    if addend.shape != shape:
        raise RuntimeError(f"The expanded size of the tensor ({shape}) must match the existing size ({tuple(input.shape)}): addmm")
    return product(mat1, mat2, addend, alpha, beta)


@addmm.gradient("mat1:mat2", "mat2:mat1")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        (grad if ctx.beta == 1 else grad * conj_of(ctx.beta)) if ctx.needs("input") else None,
        grad.mm(conj_of(ctx.mat2).t()) * conj_of(ctx.alpha) if ctx.needs("mat1") else None,
        conj_of(ctx.mat1).t().mm(grad) * conj_of(ctx.alpha) if ctx.needs("mat2") else None,
    )


@operator(namespace="torch.nn.functional", method=False, out=False)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., in), weight (out, in) or (in,), bias (out,) or (); the result is (..., out).

    Raises RuntimeError for sizes that do not fit.
    """
    if weight.ndim not in (1, 2) or input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise RuntimeError(f"linear: mat1 and mat2 shapes cannot be multiplied ({_sizes(input)} and {_sizes(weight)} transposed)")
    same_type("linear", input, weight)
    g = prim.current().graph
    rows = 1
    for n in input.shape[:-1]:
        rows *= n
    flat = prim.wrap(g.reshape(prim.read(input), (rows, input.shape[-1])))
    w = weight if weight.ndim == 2 else prim.wrap(g.reshape(prim.read(weight), (1, *weight.shape)))
    across = prim.wrap(g.permute(prim.read(w), (1, 0)))
    addend = None
    if bias is not None:
        same_type("linear", input, bias)
        if bias.ndim and bias.shape[-1] not in (1, w.shape[0]):
            raise RuntimeError(f"linear: bias of shape {tuple(bias.shape)} does not fit {w.shape[0]} output features")
        addend = prim.wrap(g.expand(prim.read(bias), (rows, w.shape[0])))
    value = product(flat, across, addend)
    shape = input.shape[:-1] if weight.ndim == 1 else (*input.shape[:-1], w.shape[0])
    return prim.wrap(g.reshape(prim.read(value), shape))


@linear.gradient("input:weight", "weight:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, w = ctx.shape("input"), ctx.shape("weight")
    dx = dw = db = None
    full = grad.unsqueeze(-1) if len(w) == 1 else grad
    if ctx.needs("input"):
        weight = conj_of(ctx.weight)
        dx = full.matmul(weight.unsqueeze(0) if len(w) == 1 else weight)
    rows = full.reshape(-1, full.shape[-1])
    if ctx.needs("weight"):
        dw = rows.t().mm(conj_of(ctx.input).reshape(-1, x[-1]))
        dw = dw.squeeze(0) if len(w) == 1 else dw
    if ctx.needs("bias"):
        db = rows.sum(0)
    return dx, dw, db
