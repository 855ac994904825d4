"""What each operator of an exported program is in ONNX (operator set 18)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..dtype import dtype, int64
from ..fx.node import Node
from .emit import Emitter, scalar_type

__all__ = ["METHODS", "OPERATORS"]

Translate = Callable[[Emitter, Any, Node], Any]
OPERATORS: dict[str, Translate] = {}
"""By the operator's name; ``a`` has its arguments by name."""
METHODS: dict[str, Translate] = {}
"""By the name of a tensor's method; ``a`` has ``self``, ``args`` and ``kwargs``."""


def operator(*names: str) -> Callable[[Translate], Translate]:
    """Registers the translation of operators."""
    return lambda fn: OPERATORS.update(dict.fromkeys(names, fn)) or fn


def method(*names: str) -> Callable[[Translate], Translate]:
    """Registers the translation of methods."""
    return lambda fn: METHODS.update(dict.fromkeys(names, fn)) or fn


def _out(node: Node) -> dtype:
    found: dtype = node.meta["val"].dtype
    return found


# -- element by element --------------------------------------------------------------------------------

_UNARY = {
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh", "sigmoid": "Sigmoid", "abs": "Abs", "neg": "Neg",
    "relu": "Relu", "erf": "Erf", "sin": "Sin", "cos": "Cos", "tan": "Tan", "floor": "Floor", "ceil": "Ceil",
    "round": "Round", "reciprocal": "Reciprocal", "sign": "Sign", "isnan": "IsNaN", "softplus": "Softplus",
    "logical_not": "Not", "bitwise_not": "Not", "hardswish": "HardSwish", "mish": "Mish",
}  # fmt: skip
_BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "pow": "Pow", "true_divide": "Div", "div": "Div", "maximum": "Max",
    "minimum": "Min", "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual",
    "logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "bitwise_and": "And", "bitwise_or": "Or",
}  # fmt: skip


def _unary(kind: str) -> Translate:
    def translate(e: Emitter, a: Any, node: Node) -> Any:
        if getattr(a, "decimals", 0) or getattr(a, "beta", 1) != 1:
            raise NotImplementedError("other than the default of decimals or beta")
        return e.op(kind, e.as_type(a.input, _out(node)) if kind not in ("IsNaN", "Not") else e.value(a.input))

    return translate


def _binary(kind: str) -> Translate:
    def translate(e: Emitter, a: Any, node: Node) -> Any:
        other = a.other if hasattr(a, "other") else a.exponent
        if getattr(a, "rounding_mode", None) is not None:
            quotient = e.op("Div", *(e.op("Cast", v, to=1) for v in e.alike(a.input, other)))
            if a.rounding_mode == "trunc":
                quotient = e.op("Mul", e.op("Sign", quotient), e.op("Floor", e.op("Abs", quotient)))
            return e.op("Cast", e.op("Floor", quotient), to=scalar_type(_out(node)))
        if kind in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            return e.op(kind, *e.alike(a.input, other))
        x, y = e.as_type(a.input, _out(node)), e.as_type(other, _out(node))
        if getattr(a, "alpha", 1) != 1:
            y = e.op("Mul", y, e.constant(a.alpha, _out(node).numpy))
        return e.op(kind, x, y)

    return translate


OPERATORS.update({name: _unary(kind) for name, kind in _UNARY.items()})
OPERATORS.update({name: _binary(kind) for name, kind in _BINARY.items()})


@operator("ne")
def _ne(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Not", e.op("Equal", *e.alike(a.input, a.other)))


@operator("rsqrt")
def _rsqrt(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Reciprocal", e.op("Sqrt", e.value(a.input)))


@operator("square")
def _square(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Mul", e.value(a.input), e.value(a.input))


@operator("silu")
def _silu(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Mul", e.value(a.input), e.op("Sigmoid", e.value(a.input)))


@operator("gelu")
def _gelu(e: Emitter, a: Any, node: Node) -> Any:
    x, number = e.value(a.input), lambda v: e.constant(v, _out(node).numpy)
    if a.approximate == "tanh":
        cube = e.op("Mul", e.op("Mul", x, x), e.op("Mul", x, number(0.044715)))
        inner = e.op("Tanh", e.op("Mul", e.op("Add", x, cube), number(math.sqrt(2 / math.pi))))
    else:
        inner = e.op("Erf", e.op("Mul", x, number(math.sqrt(0.5))))
    return e.op("Mul", e.op("Mul", x, number(0.5)), e.op("Add", inner, number(1)))


@operator("leaky_relu")
def _leaky_relu(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("LeakyRelu", e.value(a.input), alpha=float(a.negative_slope))


@operator("elu")
def _elu(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Elu", e.value(a.input), alpha=float(a.alpha))


@operator("clamp", "clamp_min", "clamp_max", "hardtanh")
def _clamp(e: Emitter, a: Any, node: Node) -> Any:
    low, high = getattr(a, "min", getattr(a, "min_val", None)), getattr(a, "max", getattr(a, "max_val", None))
    return e.op("Clip", e.value(a.input), *("" if v is None else e.as_type(v, _out(node)) for v in (low, high)))


@operator("where")
def _where(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Where", e.value(a.condition), e.as_type(a.input, _out(node)), e.as_type(a.other, _out(node)))


@operator("masked_fill")
def _masked_fill(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Where", e.value(a.mask), e.as_type(a.value, _out(node)), e.value(a.input))


@operator("dropout", "alias", "clone", "feature_dropout")
def _same(e: Emitter, a: Any, node: Node) -> Any:
    if getattr(a, "train", False) and a.p:
        raise NotImplementedError("dropout in training mode")
    return e.op("Identity", e.value(a.input))


# -- products ------------------------------------------------------------------------------------------


@operator("matmul", "mm", "bmm", "mv")
def _matmul(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("MatMul", e.value(a.input), e.value(getattr(a, "other", None) or getattr(a, "mat2", None) or a.vec))


@operator("linear")
def _linear(e: Emitter, a: Any, node: Node) -> Any:
    product = e.op("MatMul", e.value(a.input), e.op("Transpose", e.value(a.weight), perm=[1, 0]))
    return product if a.bias is None else e.op("Add", product, e.value(a.bias))


@operator("addmm")
def _addmm(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Gemm", e.value(a.mat1), e.value(a.mat2), e.value(a.input), alpha=float(a.alpha), beta=float(a.beta))


@operator("scaled_dot_product_attention")
def _attention(e: Emitter, a: Any, node: Node) -> Any:
    q, k, v = e.value(a.query), e.value(a.key), e.value(a.value)
    if a.dropout_p or a.enable_gqa:
        raise NotImplementedError("attention with dropout or grouped queries")
    rank, type_ = e.rank(a.query), _out(node)
    width = a.query.meta["shape"][-1]
    scale = a.scale if a.scale is not None else 1 / math.sqrt(width)
    perm = [*range(rank - 2), rank - 1, rank - 2]
    scores = e.op("Mul", e.op("MatMul", q, e.op("Transpose", k, perm=perm)), e.constant(scale, type_.numpy))
    lowest = e.constant(-np.inf, type_.numpy)
    if a.is_causal:
        sizes = [e.op("Gather", e.op("Shape", x), e.constant(rank - 2, np.int64)) for x in (q, k)]
        one, zero = e.constant(1, np.int64), e.constant(0, np.int64)
        rows, columns = (e.op("Range", zero, n, one) for n in sizes)
        rows = e.op("Unsqueeze", rows, e.constant([1], np.int64))
        scores = e.op("Where", e.op("LessOrEqual", columns, rows), scores, lowest)
    if a.attn_mask is not None and e.type_of(a.attn_mask) is not type_:
        scores = e.op("Where", e.value(a.attn_mask), scores, lowest)
    elif a.attn_mask is not None:
        scores = e.op("Add", scores, e.value(a.attn_mask))
    return e.op("MatMul", e.op("Softmax", scores, axis=-1), v)


# -- layers --------------------------------------------------------------------------------------------


@operator("softmax", "log_softmax")
def _softmax(e: Emitter, a: Any, node: Node) -> Any:
    x = e.as_type(a.input, _out(node))
    return e.op("Softmax" if node.name.startswith("softmax") else "LogSoftmax", x, axis=int(a.dim))


@operator("layer_norm")
def _layer_norm(e: Emitter, a: Any, node: Node) -> Any:
    shape = list(a.normalized_shape)
    weight = e.constant(np.ones(shape), _out(node).numpy) if a.weight is None else e.value(a.weight)
    rest = [] if a.bias is None else [e.value(a.bias)]
    return e.op("LayerNormalization", e.value(a.input), weight, *rest, axis=-len(shape), epsilon=float(a.eps))


@operator("batch_norm")
def _batch_norm(e: Emitter, a: Any, node: Node) -> Any:
    if a.training or a.running_mean is None:
        raise NotImplementedError("batch_norm in training mode")
    channels = a.input.meta["shape"][1]
    weight = e.constant(np.ones(channels), _out(node).numpy) if a.weight is None else e.value(a.weight)
    bias = e.constant(np.zeros(channels), _out(node).numpy) if a.bias is None else e.value(a.bias)
    mean, var = e.value(a.running_mean), e.value(a.running_var)
    return e.op("BatchNormalization", e.value(a.input), weight, bias, mean, var, epsilon=float(a.eps))


def _each(value: Any, rank: int) -> list[int]:
    return (
        [int(value)] * rank
        if isinstance(value, int)
        else [int(v) for v in (value * rank if len(value) == 1 else value)]
    )


@operator("conv1d", "conv2d", "conv3d")
def _conv(e: Emitter, a: Any, node: Node) -> Any:
    rank = e.rank(a.input) - 2
    pads: dict[str, Any] = {}
    if isinstance(a.padding, str):
        pads["auto_pad"] = "SAME_UPPER" if a.padding == "same" else "VALID"
    else:
        pads["pads"] = _each(a.padding, rank) * 2
    rest = [] if a.bias is None else [e.value(a.bias)]
    return e.op(
        "Conv", e.value(a.input), e.value(a.weight), *rest, strides=_each(a.stride, rank),
        dilations=_each(a.dilation, rank), group=int(a.groups), **pads,
    )  # fmt: skip


@operator("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
def _pool(e: Emitter, a: Any, node: Node) -> Any:
    rank = e.rank(a.input) - 2
    kernel = _each(a.kernel_size, rank)
    stride = _each(a.stride, rank) if a.stride not in (None, (), []) else kernel
    common: dict[str, Any] = {
        "kernel_shape": kernel, "strides": stride, "pads": _each(a.padding, rank) * 2, "ceil_mode": int(a.ceil_mode)
    }  # fmt: skip
    if hasattr(a, "dilation"):
        if getattr(a, "return_indices", False):
            raise NotImplementedError("max pooling with indices")
        return e.op("MaxPool", e.value(a.input), dilations=_each(a.dilation, rank), **common)
    return e.op("AveragePool", e.value(a.input), count_include_pad=int(a.count_include_pad), **common)


@operator("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive(e: Emitter, a: Any, node: Node) -> Any:
    rank = e.rank(a.input) - 2
    if set(_each(a.output_size, rank)) != {1}:
        raise NotImplementedError("adaptive pooling to more than one element")
    return e.op("GlobalAveragePool", e.value(a.input))


@operator("embedding")
def _embedding(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Gather", e.value(a.weight), e.value(a.indices), axis=0)


# -- reductions ----------------------------------------------------------------------------------------

_REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin", "prod": "ReduceProd",
               "logsumexp": "ReduceLogSumExp"}  # fmt: skip


def _reduction(kind: str) -> Translate:
    def translate(e: Emitter, a: Any, node: Node) -> Any:
        dims = [] if a.dim is None else [a.dim] if isinstance(a.dim, int) else list(a.dim)
        axes = [e.constant(dims, np.int64)] if dims else []
        return e.op(kind, e.as_type(a.input, _out(node)), *axes, keepdims=int(bool(a.keepdim)))

    return translate


OPERATORS.update({name: _reduction(kind) for name, kind in _REDUCTIONS.items()})


@operator("argmax", "argmin")
def _extreme(e: Emitter, a: Any, node: Node) -> Any:
    kind = "ArgMax" if node.name.startswith("argmax") else "ArgMin"
    if a.dim is None:
        flat = e.op("Reshape", e.value(a.input), e.constant([-1], np.int64))
        return e.op("Squeeze", e.op(kind, flat, axis=0, keepdims=0))
    return e.op(kind, e.value(a.input), axis=int(a.dim), keepdims=int(bool(a.keepdim)))


@operator("cumsum")
def _cumsum(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("CumSum", e.as_type(a.input, _out(node)), e.constant(a.dim, np.int64))


@operator("topk")
def _topk(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("TopK", e.value(a.input), e.ints([a.k]), outputs=2, axis=int(a.dim), largest=int(a.largest),
                sorted=int(a.sorted))  # fmt: skip


# -- shapes --------------------------------------------------------------------------------------------


def _reshape(e: Emitter, x: Any, sizes: Sequence[Any]) -> Any:
    if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)):
        sizes = sizes[0]
    return e.op("Reshape", e.value(x), e.ints(sizes), allowzero=int(all(isinstance(s, int) and s >= 0 for s in sizes)))


@method("view", "reshape")
def _view(e: Emitter, a: Any, node: Node) -> Any:
    if a.args and isinstance(a.args[0], dtype):
        raise NotImplementedError("view of another type")
    return _reshape(e, a.self, a.args or [a.kwargs.get("shape", a.kwargs.get("size"))])


@operator("view", "reshape")
def _reshape_operator(e: Emitter, a: Any, node: Node) -> Any:
    return _reshape(e, a.input, [a.shape if hasattr(a, "shape") else a.size])


@operator("flatten")
def _flatten(e: Emitter, a: Any, node: Node) -> Any:
    rank = max(1, e.rank(a.input))
    start, end = a.start_dim % rank, a.end_dim % rank
    before = e.constant([0] * start + [-1], np.int64)  # 0: as it was
    if end == rank - 1:
        return e.op("Reshape", e.value(a.input), before)
    after = e.op("Slice", e.op("Shape", e.value(a.input)), e.ints([end + 1]), e.ints([rank]))
    return e.op("Reshape", e.value(a.input), e.op("Concat", before, after, axis=0))


@operator("permute")
def _permute(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Transpose", e.value(a.input), perm=[d % e.rank(a.input) for d in a.dims])


@method("permute")
def _permute_method(e: Emitter, a: Any, node: Node) -> Any:
    dims = a.args[0] if isinstance(a.args[0], (list, tuple)) else a.args
    return e.op("Transpose", e.value(a.self), perm=[d % e.rank(a.self) for d in dims])


@operator("transpose", "t", "swapaxes", "swapdims")
def _transpose(e: Emitter, a: Any, node: Node) -> Any:
    rank = e.rank(a.input)
    order = list(range(rank))
    if rank > 1:
        x, y = (getattr(a, f"dim{k}", getattr(a, f"axis{k}", k)) for k in (0, 1))
        order[x], order[y] = order[y], order[x]
    return e.op("Transpose", e.value(a.input), perm=order)


@operator("unsqueeze")
def _unsqueeze(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Unsqueeze", e.value(a.input), e.constant([a.dim], np.int64))


@operator("squeeze")
def _squeeze(e: Emitter, a: Any, node: Node) -> Any:
    shape = a.input.meta["shape"]
    wanted = range(len(shape)) if a.dim is None else [a.dim] if isinstance(a.dim, int) else a.dim
    dims = [d % len(shape) for d in wanted if shape[d] == 1]
    return e.op("Squeeze", e.value(a.input), e.constant(dims, np.int64)) if dims else e.op("Identity", e.value(a.input))


@method("expand")
def _expand(e: Emitter, a: Any, node: Node) -> Any:
    sizes = a.args[0] if isinstance(a.args[0], (list, tuple)) else a.args
    return e.op("Expand", e.value(a.self), e.ints([1 if s == -1 else s for s in sizes]))


@method("contiguous", "clone", "detach", "cpu")
def _identity(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Identity", e.value(a.self))


@method("to", "float", "double", "long", "int", "bool", "half", "type_as", "type")
def _cast(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Cast", e.value(a.self), to=scalar_type(_out(node)))


@operator("cat", "stack")
def _cat(e: Emitter, a: Any, node: Node) -> Any:
    parts = [e.as_type(t, _out(node)) for t in a.tensors]
    if node.name.startswith("stack"):
        parts = [e.op("Unsqueeze", p, e.constant([a.dim], np.int64)) for p in parts]
    return e.op("Concat", *parts, axis=int(a.dim))


@operator("split", "split_with_sizes", "chunk")
def _split_operator(e: Emitter, a: Any, node: Node) -> Any:
    return _pieces(e, a.tensor if hasattr(a, "tensor") else a.input, int(a.dim), node)


@method("split")
def _split(e: Emitter, a: Any, node: Node) -> Any:
    dim = a.args[1] if len(a.args) > 1 else a.kwargs.get("dim", 0)
    return _pieces(e, a.self, int(dim), node)


def _pieces(e: Emitter, x: Node, dim: int, node: Node) -> list[str]:
    parts = [u for u in node.users if u.meta.get("shape") is not None]
    sizes = {u.args[1]: u.meta["shape"][dim] for u in parts}
    total = x.meta["shape"][dim]
    if not isinstance(total, int) or not all(isinstance(s, int) for s in sizes.values()):
        raise NotImplementedError("split along a size that may change")
    count = max(sizes) + 1
    if set(sizes) != set(range(count)) or sum(sizes.values()) != total:  # pieces that nobody uses
        step = sizes[min(sizes)]
        count = -(-total // step)
        sizes = {k: min(step, total - k * step) for k in range(count)}
    found = e.op("Split", e.value(x), e.constant([sizes[k] for k in range(count)], np.int64), outputs=count, axis=dim)
    return [found] if count == 1 else list(found)


@operator("gather")
def _gather(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("GatherElements", e.value(a.input), e.value(a.index), axis=int(a.dim))


@operator("index_select")
def _index_select(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Gather", e.value(a.input), e.value(a.index), axis=int(a.dim))


@operator("tril", "triu")
def _triangle(e: Emitter, a: Any, node: Node) -> Any:
    return e.op("Trilu", e.value(a.input), e.constant(a.diagonal, np.int64), upper=int(node.name.startswith("triu")))


def index(e: Emitter, x: Node, key: Any) -> Any:
    """``x[key]`` for ints, slices, None, Ellipsis and at most one tensor of indices."""
    keys = list(key) if isinstance(key, tuple) else [key]
    taken = sum(k is not None and k is not Ellipsis for k in keys)
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), None)
    if at is not None:
        keys[at : at + 1] = [slice(None)] * (e.rank(x) - taken)
    found, dim = e.value(x), 0
    for k in keys:
        if k is None:
            found = e.op("Unsqueeze", found, e.constant([dim], np.int64))
            dim += 1
        elif isinstance(k, slice):
            if (k.start, k.stop, k.step) != (None, None, None):
                stop = k.stop if k.stop is not None else np.iinfo(np.int64).max
                bounds = [e.ints([v]) for v in (k.start or 0, int(stop) if not isinstance(stop, Node) else stop)]
                found = e.op("Slice", found, *bounds, e.constant([dim], np.int64), e.ints([k.step or 1]))
            dim += 1
        elif isinstance(k, int) or (isinstance(k, Node) and (e.type_of(k) is int64 or e.type_of(k) is None)):
            found = e.op("Gather", found, e.value(k), axis=dim)
            dim += 0 if isinstance(k, int) or e.type_of(k) is None else e.rank(k)
        else:
            raise NotImplementedError(f"an index {k!r}")
    if sum(isinstance(k, Node) and e.type_of(k) is not None for k in keys) > 1:
        raise NotImplementedError("several tensors of indices")
    return found if found != e.value(x) else e.op("Identity", found)


def factory(e: Emitter, name: str, node: Node) -> Any:
    """A tensor made of nothing: ``arange``, ``zeros``, ``ones``, ``full`` and those like another."""
    args, kwargs = list(node.args), dict(node.kwargs)
    type_ = _out(node)
    if name == "arange":
        values = [
            args[0] if len(args) > 1 else 0,
            args[1] if len(args) > 1 else args[0],
            args[2] if len(args) > 2 else 1,
        ]
        return e.op("Range", *(e.as_type(v, type_) for v in values))
    number: Any = {"zeros": 0, "ones": 1, "empty": 0}.get(name.removesuffix("_like"))
    if number is None and name in ("full", "full_like"):
        number = kwargs.get("fill_value", args[1] if len(args) > 1 else None)
    if number is None:
        raise NotImplementedError(name)
    if name.endswith("_like"):
        shape = e.op("Shape", e.value(args[0]))
    else:
        sizes = args[0] if args and isinstance(args[0], (list, tuple)) else args
        shape = e.ints(sizes)
    return e.op("Expand", e.as_type(number, type_), shape)


def swapped(e: Emitter, name: str, a: SimpleNamespace, node: Node) -> Any:
    """A method of Python's operators: ``__rsub__``, ``__gt__``."""
    word = name.strip("_")
    if word in _WORDS:
        return OPERATORS[_WORDS[word]](e, SimpleNamespace(input=a.self, other=a.args[0]), node)
    if word.startswith("r") and word[1:] in _WORDS:
        return OPERATORS[_WORDS[word[1:]]](e, SimpleNamespace(input=a.args[0], other=a.self), node)
    raise NotImplementedError(name)


_WORDS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "true_divide", "pow": "pow", "eq": "eq", "ne": "ne",
          "lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "and": "bitwise_and", "or": "bitwise_or",
          "matmul": "matmul"}  # fmt: skip
