"""Products of matrices and vectors."""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from .. import template
from ..autograd.mode import state as grad_state
from ..dispatch.operator import operator
from ..graph.node import Map, broadcast_shapes
from ..tensor import Tensor
from .arithmetic import conj_of
from .common import dim_of, drop_dims, need_tensor, overridable

__all__ = ["chain_matmul"]


def product(a: Tensor, b: Tensor, addend: Tensor | None = None, alpha: float = 1, beta: float = 1) -> Tensor:
    """``alpha * a @ b + beta * addend`` while an operator is traced: a (..., m, k), b (..., k, n) of one type, batches
    broadcast.  Complex products are four real ones."""
    g = prim.current().graph
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    kind = a.dtype
    if kind.kind in "ui" and not (math.isfinite(alpha) and math.isfinite(beta)):
        raise RuntimeError(f"a product of {kind} takes finite alpha and beta, got {alpha} and {beta}")
    if kind.is_complex:
        ar, ai, br, bi = (prim.part(p, x) for x in (a, b) for p in ("real", "imag"))
        re = prim.apply("sub", product(ar, br), product(ai, bi))
        im = prim.apply("add", product(ar, bi), product(ai, br))
        return _combine(prim.join(re, im), addend, alpha, beta)
    if a.shape[-1] == 0 or 0 in shape:
        return _combine(prim.const(0, kind, shape), addend, alpha, beta)
    if a.shape[-1] == 1:  # every element is one product: no sum, and memory bounds it
        half = kind in (dtypes.bfloat16, dtypes.float16)
        wide, tall = (prim.wrap(g.expand(prim.read(x), shape)) for x in (a, b))
        if half:
            wide, tall = prim.cast(wide, dtypes.float32), prim.cast(tall, dtypes.float32)
            addend = None if addend is None else prim.cast(addend, dtypes.float32)
        return prim.cast(_combine(prim.apply("mul", wide, tall), addend, alpha, beta), kind)
    wide = prim.wrap(g.expand(prim.read(a), (*batch, *a.shape[-2:])))
    tall = prim.wrap(g.expand(prim.read(b), (*batch, *b.shape[-2:])))
    fused = addend is not None and beta != 0 and len(batch) <= 1
    if fused:
        assert addend is not None
        extra = prim.wrap(g.expand(prim.read(addend), shape))
        return prim.extern(template.extern.MatMul(alpha, beta), [wide, tall, extra], [(shape, kind)])[0]
    return _combine(prim.extern(template.extern.MatMul(), [wide, tall], [(shape, kind)])[0], addend, alpha, beta)


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
            raise RuntimeError(
                f"{name}: expected m1 and m2 to have the same dtype, but got: {tensors[0].dtype} != {t.dtype}"
            )
    if tensors[0].dtype is dtypes.bool_:
        raise RuntimeError(f"\"{name}\" not implemented for 'Bool'")


def _product_as(name: str, input: Tensor, mat2: Tensor, out_dtype: dtypes.dtype | None) -> Tensor:
    """The product, with elements of another type than the operands' if one is given: float32 of half precision."""
    same_type(name, input, mat2)
    if out_dtype is None or out_dtype is input.dtype:
        return product(input, mat2)
    if out_dtype is not dtypes.float32 or input.dtype not in (dtypes.float16, dtypes.bfloat16):
        raise RuntimeError(
            f"{name}: out_dtype must be the same as input dtype or fp32 for fp16/bf16 inputs, got {out_dtype} "
            f"for {input.dtype}"
        )
    return product(prim.cast(input, out_dtype), prim.cast(mat2, out_dtype))


_OUT_TYPE = "(input, mat2, *, out=None)", "(input, mat2, out_dtype, *, out=None)"


@operator(overloads=tuple(f"mm{form}" for form in _OUT_TYPE))
def mm(input: Tensor, mat2: Tensor, out_dtype: dtypes.dtype | None = None) -> Tensor:
    """The product of an (n, m) and an (m, p) matrix: (n, p).  Raises RuntimeError for other shapes.

    ``out_dtype``: float32, for a product of half precision that is not rounded.
    """
    if input.ndim != 2 or mat2.ndim != 2:
        raise RuntimeError(
            f"mm: {'self' if input.ndim != 2 else 'mat2'} must be a matrix, got {input.ndim}D and {mat2.ndim}D"
        )
    if input.shape[1] != mat2.shape[0]:
        raise RuntimeError(
            f"mm: mat1 and mat2 shapes cannot be multiplied ({input.shape[0]}x{input.shape[1]} "
            f"and {mat2.shape[0]}x{mat2.shape[1]})"
        )
    return _product_as("mm", input, mat2, out_dtype)


@mm.gradient("input:mat2", "mat2:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    if ctx.out_dtype is not None:
        grad = grad.to(ctx.dtype("input"))
    if not grad_state.grad and ctx.needs("input") and ctx.needs("mat2"):
        return matrix_backward.function(grad, ctx.input, ctx.mat2)
    return (
        grad.mm(conj_of(ctx.mat2).t()) if ctx.needs("input") else None,
        conj_of(ctx.input).t().mm(grad) if ctx.needs("mat2") else None,
    )


@operator(
    synonyms={"mat2": ("batch2",)},
    overloads=(*(f"bmm{form}" for form in _OUT_TYPE), "bmm(input, batch2, *, out=None)"),
)  # fmt: skip
def bmm(input: Tensor, mat2: Tensor, out_dtype: dtypes.dtype | None = None) -> Tensor:
    """Products of a batch: (b, n, m) and (b, m, p) give (b, n, p).  Raises RuntimeError for other shapes.

    ``out_dtype``: float32, for products of half precision that are not rounded.
    """
    if input.ndim != 3 or mat2.ndim != 3:
        raise RuntimeError(f"bmm: batch1 must be a 3D tensor, and batch2 too, got {input.ndim}D and {mat2.ndim}D")
    if input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            "bmm: Expected size for first two dimensions of batch2 tensor to be: "
            f"[{input.shape[0]}, {input.shape[2]}] but got: [{mat2.shape[0]}, {mat2.shape[1]}]."
        )
    return _product_as("bmm", input, mat2, out_dtype)


@bmm.gradient("input:mat2", "mat2:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    if ctx.out_dtype is not None:
        grad = grad.to(ctx.dtype("input"))
    return (
        grad.bmm(conj_of(ctx.mat2).transpose(1, 2)) if ctx.needs("input") else None,
        conj_of(ctx.input).transpose(1, 2).bmm(grad) if ctx.needs("mat2") else None,
    )


@operator(synonyms={"other": ("tensor2",)})
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product with broadcast batches; vectors count as a row (left) or a column (right) and vanish from the
    result.

    Raises RuntimeError for 0-dim operands and for sizes that do not fit.
    """
    if input.ndim == 0 or other.ndim == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {input.ndim}D and {other.ndim}D"
        )
    inner = other.shape[-2] if other.ndim > 1 else other.shape[0]
    if input.shape[-1] != inner:
        raise RuntimeError(
            f"matmul: mat1 and mat2 shapes cannot be multiplied ({_sizes(input)} and "
            f"{_sizes(other)}): {input.shape[-1]} != {inner}"
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
    if len(y) == 2 and len(x) > 1 and not grad_state.grad and ctx.needs("input") and ctx.needs("other"):
        return matrix_backward.function(grad, ctx.input, ctx.other)
    full = grad
    if len(y) == 1:
        full = full.unsqueeze(-1)
    if len(x) == 1:
        full = full.unsqueeze(-2)
    dx = dy = None
    if ctx.needs("input"):
        other = conj_of(ctx.other)
        other = other.unsqueeze(0) if len(y) == 1 else other.transpose(-2, -1)
        if len(x) == 2 and len(y) > 2:  # the sum over the batch belongs to the product
            inside = math.prod(y[:-2]) * y[-1]
            wide = full.reshape(math.prod(y[:-2]), x[0], y[-1]).transpose(0, 1).reshape(x[0], inside)
            dx = wide.mm(other.reshape(inside, x[1]))
        else:
            dx = full.matmul(other)
        dx = dx.squeeze(-2).sum_to_size(x) if len(x) == 1 else dx
    if ctx.needs("other"):
        input = conj_of(ctx.input)
        if len(x) > 2 and math.prod(y[:-2]) == 1:  # all rows at once
            count = math.prod(x[:-1])
            dy = input.reshape(count, x[-1]).t().matmul(full.reshape(count, full.shape[-1]))
            dy = dy if len(y) <= 2 else dy.reshape(y)
        else:
            dy = (input.unsqueeze(-1) if len(x) == 1 else input.transpose(-2, -1)).matmul(full)
        dy = dy.squeeze(-1).sum_to_size(y) if len(y) == 1 else dy
    return dx, dy


@operator(name="_matrix_backward", method=False, function=False)
def matrix_backward(grad: Tensor, input: Tensor, mat2: Tensor) -> Any:
    """The gradients of the product of (..., n, m) and (m, p) by both: one program instead of an operator for each."""
    rows = _rows(conj_of(input))
    return matmul.function(grad, conj_of(mat2).t()), mm.function(rows.t(), _rows(grad))


@operator(inplace=True, factors=("beta", "alpha"))
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * mat1 @ mat2``; with ``beta`` 0 ``input`` is not read.  Raises RuntimeError for shapes
    that do not fit."""
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
        raise RuntimeError(
            f"The expanded size of the tensor ({shape}) must match the existing size ({tuple(input.shape)}): addmm"
        )
    return product(mat1, mat2, addend, alpha, beta)


@addmm.gradient("mat1:mat2", "mat2:mat1")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        (grad if ctx.beta == 1 else grad * conj_of(ctx.beta)) if ctx.needs("input") else None,
        grad.mm(conj_of(ctx.mat2).t()) * conj_of(ctx.alpha) if ctx.needs("mat1") else None,
        conj_of(ctx.mat1).t().mm(grad) * conj_of(ctx.alpha) if ctx.needs("mat2") else None,
    )


@operator(namespace="torch.nn.functional", method=False)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input (..., in), weight (out, in) or (in,), bias (out,) or (); the result is (...,
    out).

    Raises RuntimeError for sizes that do not fit.
    """
    if weight.ndim not in (1, 2) or input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({_sizes(input)} and {_sizes(weight)} transposed)"
        )
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
    w = ctx.shape("weight")
    wanted = ctx.needs("input"), ctx.needs("weight"), ctx.needs("bias")
    x = ctx.input if wanted[1] else None
    if len(w) == 2 and sum(wanted) > 1 and not grad_state.grad:
        found = iter(linear_backward.function(grad, x, ctx.weight if wanted[0] else None, wanted[2]))
        return tuple([next(found) if want else None for want in wanted])
    full = grad.unsqueeze(-1) if len(w) == 1 else grad
    rows = _rows(full)
    dx = dw = db = None
    if wanted[0]:
        weight = conj_of(ctx.weight)
        dx = full.matmul(weight.unsqueeze(0) if len(w) == 1 else weight)
    if x is not None:
        dw = rows.t().mm(_rows(conj_of(x)))
        dw = dw.squeeze(0) if len(w) == 1 else dw
    if wanted[2]:
        db = rows.sum(0)
    return dx, dw, db


def _rows(t: Any) -> Any:
    """All dimensions but the last as one."""
    return t if t.ndim == 2 else t.reshape(math.prod(t.shape[:-1]), t.shape[-1])


@operator(name="_linear_backward", method=False, function=False)
def linear_backward(grad: Tensor, input: Tensor | None, weight: Tensor | None, bias: bool) -> Any:
    """The gradients of ``linear`` by its input, if ``weight`` (out, in) is given, by its weight, if ``input`` is, and
    by its bias: one program instead of an operator for each."""
    rows = _rows(grad)
    found = []
    if weight is not None:
        found.append(matmul.function(grad, conj_of(weight)))
    if input is not None:
        found.append(mm.function(rows.t(), _rows(conj_of(input))))
    if bias:
        found.append(rows.sum(0))
    return found[0] if len(found) == 1 else tuple(found)


@operator(name="_int_mm", method=False, function=False, differentiable=False)
def int_mm(self: Tensor, mat2: Tensor) -> Tensor:
    """The product of two int8 matrices, exact in int32.  Raises RuntimeError for other types and shapes."""
    if self.dtype is not dtypes.int8 or mat2.dtype is not dtypes.int8:
        raise RuntimeError(f"_int_mm: expected int8 matrices, got {self.dtype} and {mat2.dtype}")
    if self.ndim != 2 or mat2.ndim != 2 or self.shape[1] != mat2.shape[0]:
        raise RuntimeError(f"_int_mm: cannot multiply shapes {list(self.shape)} and {list(mat2.shape)}")
    shape = (self.shape[0], mat2.shape[1])
    if 0 in (*shape, self.shape[1]):
        return prim.const(0, dtypes.int32, shape)
    return prim.extern(template.extern.MatMul(), [self, mat2], [(shape, dtypes.int32)])[0]


def _vectors(name: str, input: Tensor, other: Tensor) -> None:
    if input.ndim != 1 or other.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {input.ndim}D and {other.ndim}D tensors")
    same_type(name, input, other)
    if input.shape != other.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{input.shape[0]}] and src "
            f"[{other.shape[0]}] to have the same number of elements, but got {input.shape[0]} "
            f"and {other.shape[0]} elements respectively"
        )


@operator(synonyms={"tensor": ("other",)})
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors."""
    _vectors("dot", input, tensor)
    return drop_dims(prim.reduce("add", prim.apply("mul", input, tensor), (0,)), (0,), False)


@dot.gradient("input:tensor", "tensor:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad * conj_of(ctx.tensor) if ctx.needs("input") else None,
        grad * conj_of(ctx.input) if ctx.needs("tensor") else None,
    )


@operator(kind="composite")
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of products of the conjugate of one vector with another."""
    return dot.function(conj_of(input), other)  # type: ignore[no-any-return]


@operator(kind="composite")
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of an (n, m) matrix and a vector of m."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {input.ndim}, {vec.ndim}")
    if input.shape[1] != vec.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({input.shape[0]}), mat ({_sizes(input)}), vec ({vec.shape[0]})")
    return matmul.function(input, vec)  # type: ignore[no-any-return]


@operator(kind="composite", aliases=("ger",))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of an element of one vector with one of another: (n,) and (m,) give (n, m)."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"outer: Expected 1-D argument self and vec2, but got {input.ndim}-D and {vec2.ndim}-D")
    return input.unsqueeze(1) * vec2  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite")
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last dimensions."""
    if not input.ndim or not other.ndim:
        return input * other  # type: ignore[operator,no-any-return]
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return tensordot.function(input, other, ([-1], [-1]))  # type: ignore[no-any-return]


@operator(kind="composite", inplace=True, factors=("beta", "alpha"))
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * mat @ vec``"""
    if mat.ndim != 2 or vec.ndim != 1 or mat.shape[1] != vec.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({mat.shape[0] if mat.ndim else 1}), mat ({_sizes(mat)}), vec ({_sizes(vec)})"
        )
    if input.ndim > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}")
    return addmm.function(input.unsqueeze(-1), mat, vec.unsqueeze(1), beta=beta, alpha=alpha).squeeze(1)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", inplace=True, factors=("beta", "alpha"))
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``"""
    if vec1.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(f"addr: Expected 1-D argument vec1 and vec2, but got {vec1.ndim}-D and {vec2.ndim}-D")
    if input.dtype is vec1.dtype is vec2.dtype and input.dtype is not dtypes.bool_:
        return addmm.function(input, vec1.unsqueeze(1), vec2.unsqueeze(0), beta=beta, alpha=alpha)  # type: ignore[attr-defined,no-any-return]
    value = outer.function(vec1, vec2)
    if input.dtype is value.dtype is dtypes.bool_:  # numbers count as whether they are zero
        value = value & bool(alpha)
        return value | (input & bool(beta))  # type: ignore[operator,no-any-return]
    value = value if alpha == 1 else value * alpha
    return value if beta == 0 else value + (input if beta == 1 else input * beta)  # type: ignore[operator,no-any-return]


@operator(inplace=True, factors=("beta", "alpha"))
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * batch1 @ batch2``; with ``beta`` 0 ``input`` is not read."""
    if batch1.ndim != 3 or batch2.ndim != 3:
        raise RuntimeError(f"batch1 must be a 3D tensor, got {batch1.ndim}D and {batch2.ndim}D")
    if batch1.shape[0] != batch2.shape[0] or batch1.shape[2] != batch2.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{batch1.shape[0]}, "
            f"{batch1.shape[2]}] but got: [{batch2.shape[0]}, {batch2.shape[1]}]."
        )
    same_type("baddbmm", batch1, batch2)
    same_type("baddbmm", input, batch1)
    shape = (batch1.shape[0], batch1.shape[1], batch2.shape[2])
    addend = prim.wrap(prim.current().graph.expand(prim.read(input), broadcast_shapes(input.shape, shape)))
    if tuple(addend.shape) != shape:
        raise RuntimeError(
            f"The expanded size of the tensor ({shape}) must match the existing size ({tuple(input.shape)}): baddbmm"
        )
    return product(batch1, batch2, addend, alpha, beta)


@baddbmm.gradient("batch1:batch2", "batch2:batch1")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad * conj_of(ctx.beta) if ctx.needs("input") else None,
        grad.bmm(conj_of(ctx.batch2).transpose(1, 2)) * conj_of(ctx.alpha) if ctx.needs("batch1") else None,
        conj_of(ctx.batch1).transpose(1, 2).bmm(grad) * conj_of(ctx.alpha) if ctx.needs("batch2") else None,
    )


@operator(kind="composite", inplace=True, factors=("beta", "alpha"))
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * input + alpha * sum over the batch of batch1 @ batch2``"""
    if batch1.ndim != 3 or batch2.ndim != 3:
        raise RuntimeError(f"batch1 must be a 3D tensor, got {batch1.ndim}D and {batch2.ndim}D")
    if batch1.shape[0] != batch2.shape[0] or batch1.shape[2] != batch2.shape[1]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{batch1.shape[0]}, "
            f"{batch1.shape[2]}] but got: [{batch2.shape[0]}, {batch2.shape[1]}]."
        )
    inside = batch1.shape[0] * batch1.shape[2]
    wide = batch1.transpose(0, 1).reshape(batch1.shape[1], inside)  # type: ignore[attr-defined]
    return addmm.function(input, wide, batch2.reshape(inside, batch2.shape[2]), beta=beta, alpha=alpha)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", method=False, loose=("out",))
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over pairs of dimensions: the last ``dims`` of a with the first of b, or two lists of them."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()  # type: ignore[attr-defined]
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        for t in (a, b) if dims else ():
            dim_of(-dims, t.ndim, "tensordot")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        if not isinstance(dims, (tuple, list)) or len(dims) != 2:
            raise RuntimeError(f"tensordot expects dims to be int or two lists of int, but got dims={dims}")
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
    if len(left) != len(right):
        raise RuntimeError(f"both dimension lists should have same length, got {len(left)} and {len(right)}")
    left = [dim_of(d, a.ndim, "tensordot") for d in left]
    right = [dim_of(d, b.ndim, "tensordot") for d in right]
    for i, j in zip(left, right):
        if a.shape[i] != b.shape[j] and 1 not in (a.shape[i], b.shape[j]):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {a.shape[i]} in dim {i} "
                f"and second has size {b.shape[j]} in dim {j}"
            )
    for i, j in zip(left, right):  # a size 1 against another is broadcast
        if a.shape[i] != b.shape[j]:
            a = a.sum(i, True, dtype=a.dtype) if b.shape[j] == 1 else a  # type: ignore[attr-defined]
            b = b.sum(j, True, dtype=b.dtype) if a.shape[i] == 1 else b  # type: ignore[attr-defined]
    rest_a, rest_b = [d for d in range(a.ndim) if d not in left], [d for d in range(b.ndim) if d not in right]
    inside = math.prod(a.shape[d] for d in left)
    x = a.permute(rest_a + left).reshape(-1 if inside else math.prod(a.shape[d] for d in rest_a), inside)  # type: ignore[attr-defined]
    y = b.permute(right + rest_b).reshape(inside, -1 if inside else math.prod(b.shape[d] for d in rest_b))  # type: ignore[attr-defined]
    return (x @ y).reshape([*(a.shape[d] for d in rest_a), *(b.shape[d] for d in rest_b)])  # type: ignore[no-any-return]


@operator(kind="composite")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: every element of ``input`` times all of ``other``."""
    n = max(input.ndim, other.ndim)
    a = input.reshape([1] * (n - input.ndim) + list(input.shape))  # type: ignore[attr-defined]
    b = other.reshape([1] * (n - other.ndim) + list(other.shape))  # type: ignore[attr-defined]
    wide = a.reshape([m for k in a.shape for m in (k, 1)]) * b.reshape([m for k in b.shape for m in (1, k)])
    return wide.reshape([p * q for p, q in zip(a.shape, b.shape)])  # type: ignore[no-any-return]


@overridable
def chain_matmul(*matrices: Any, out: Tensor | None = None) -> Tensor:
    """The product of several matrices, from left to right."""
    for m in matrices:
        need_tensor("chain_matmul", m)
        if m.ndim != 2:
            raise RuntimeError(f"chain_matmul: Tensor dimension is {m.ndim}, expected 2 instead")
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    value = matrices[0]
    for m in matrices[1:]:
        value = value @ m
    return value if out is None else out.copy_(value)  # type: ignore[attr-defined,no-any-return]


@operator(name="_cross", promote=("input", "other"), method=False, function=False, strides="row-major")
def cross_kernel(input: Tensor, other: Tensor, dim: int) -> Tensor:
    """The vector product along a dimension of size 3 of tensors of one shape."""
    shape, g = input.shape, prim.apply
    one = (*shape[:dim], 1, *shape[dim + 1 :])

    def place(i: int) -> Map:
        return tuple((i, ()) if d == dim else (0, ((d, 1),)) for d in range(len(shape)))

    a, b = ([prim.move(t, place(i), one) for i in range(3)] for t in (input, other))
    out = prim.undef(shape, input.dtype)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        out = prim.update(out, g("sub", g("mul", a[j], b[k]), g("mul", a[k], b[j])), place(i))
    return out


@cross_kernel.gradient("input:other", "other:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        cross_kernel.function(ctx.other.conj(), grad, ctx.dim) if ctx.needs("input") else None,
        cross_kernel.function(grad, ctx.input.conj(), ctx.dim) if ctx.needs("other") else None,
    )


@operator(kind="composite")
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dimension of size 3 (the first such one by default)."""
    need_tensor("cross", input)
    need_tensor("cross", other)
    if dim is None:
        dim = next((d for d, n in enumerate(input.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    shape = broadcast_shapes(input.shape, other.shape)
    dim = dim_of(dim, len(shape), "linalg.cross")
    a, b = input.expand(shape), other.expand(shape)  # type: ignore[attr-defined]
    if shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and {other.shape[dim]}"
        )
    return cross_kernel.function(a, b, dim)  # type: ignore[no-any-return]
