"""The operators of TorchScript: ``aten`` and ``prim`` over numbers, text, lists and dictionaries as well as tensors."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import operator
import warnings
from collections.abc import Callable
from typing import Any

from .. import ops as kernels
from ..device import device
from ..dtype import named as named_type
from ..layout import Size
from ..nn import functional as F
from ..ops.convert import channels_last, channels_last_3d, contiguous_format, preserve_format
from ..ops.members import sparse_coo, strided
from ..tensor import Tensor

__all__ = ["resolve"]

# c10/core/ScalarType.h: elements are numbered in this order.
_TYPES = (
    "uint8 int8 int16 int32 int64 float16 float32 float64 complex32 complex64 complex128 bool qint8 quint8 qint32 "
    "bfloat16 quint4x2 quint2x4 bits1x8 bits2x4 bits4x2 bits8 bits16 float8_e5m2 float8_e4m3fn"
).split()
_FORMATS = (contiguous_format, preserve_format, channels_last, channels_last_3d)
_LAYOUTS = (strided, sparse_coo)


def _dtype(value: Any) -> Any:
    return named_type(_TYPES[value]) if type(value) is int else value


_ENUMS: dict[str, Callable[[Any], Any]] = {
    "dtype": _dtype,
    "memory_format": lambda v: _FORMATS[v] if type(v) is int else v,
    "layout": lambda v: _LAYOUTS[v] if type(v) is int else v,
    "device": lambda v: device(v) if isinstance(v, str) else v,
}


def _slice(values: Any, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return values[start:end:step]


def _set_item(container: Any, key: Any, value: Any) -> Any:
    container[key] = value
    return container


def _delete(container: Any, key: Any) -> None:
    del container[key]


def _format(text: str, *values: Any) -> str:
    pieces = text.split("{}")  # TorchScript knows no other field
    given = [*map(str, values), *[""] * len(pieces)]
    return "".join(piece + value for piece, value in zip(pieces, [*given[: len(pieces) - 1], ""]))


_CONTAINER: dict[str, Callable[..., Any]] = {
    "append": lambda x, v: (x.append(v), x)[1],
    "extend": lambda x, v: x.extend(v),
    "insert": lambda x, i, v: x.insert(i, v),
    "pop": lambda x, *a: x.pop(*a),
    "clear": lambda x: x.clear(),
    "remove": lambda x, v: x.remove(v),
    "reverse": lambda x: x.reverse(),
    "sort": lambda x, reverse=False: x.sort(reverse=reverse),
    "copy": lambda x: x.copy(),
    "index": lambda x, v: x.index(v),
    "count": lambda x, v: x.count(v),
    "slice": _slice,
    "len": len,
    "keys": lambda x: list(x.keys()),
    "values": lambda x: list(x.values()),
    "items": lambda x: list(x.items()),
    "get": lambda x, k, d=None: x.get(k, d),
    "setdefault": lambda x, k, v: x.setdefault(k, v),
    "update": lambda x, y: x.update(y),
    "popitem": lambda x: x.popitem(),
    "list": list,
    "dict": dict,
    "sorted": sorted,
    "__getitem__": operator.getitem,
    "_set_item": _set_item,
    "Delete": _delete,
    "__contains__": operator.contains,
    "add": operator.add,
    "add_": operator.iadd,
    "mul": operator.mul,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "gt": operator.gt,
    "le": operator.le,
    "ge": operator.ge,
    "sum": sum,
    "max": max,
    "min": min,
    "all": all,
    "any": any,
    "select": operator.getitem,
    "join": lambda x, parts: x.join(parts),
    "format": _format,
    "split": lambda x, *a: x.split(*a),
    "strip": lambda x, *a: x.strip(*a),
    "lower": lambda x: x.lower(),
    "upper": lambda x: x.upper(),
    "startswith": lambda x, *a: x.startswith(*a),
    "endswith": lambda x, *a: x.endswith(*a),
    "replace": lambda x, *a: x.replace(*a),
    "find": lambda x, *a: x.find(*a),
    "ord": ord,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "str": str,
    "hash": hash,
    "percentFormat": lambda x, *a: x % a,
}


def _div(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    return a / b if rounding_mode is None else a // b if rounding_mode == "floor" else math.trunc(a / b)


_NUMBER: dict[str, Callable[..., Any]] = {
    "add": lambda a, b, alpha=1: a + alpha * b,
    "sub": lambda a, b, alpha=1: a - alpha * b,
    "mul": operator.mul,
    "div": _div,
    "floordiv": operator.floordiv,
    "remainder": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
    "abs": abs,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "gt": operator.gt,
    "le": operator.le,
    "ge": operator.ge,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "__xor__": operator.xor,
    "__not__": operator.not_,
    "__lshift__": operator.lshift,
    "__rshift__": operator.rshift,
    "__range_length": lambda a, b, s: len(range(a, b, s)),
    "__derive_index": lambda i, start, step: start + i * step,
    "round": round,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "tanh": math.tanh,
    "fmod": math.fmod,
    "gcd": math.gcd,
    "isnan": math.isnan,
    "isinf": math.isinf,
    "isfinite": math.isfinite,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "str": str,
    "chr": chr,
    "IntImplicit": int,
    "FloatImplicit": float,
    "ScalarImplicit": lambda x: x,
    "max": max,
    "min": min,
    "hash": hash,
    "bin": bin,
    "hex": hex,
    "oct": oct,
    "device": device,
    "format": _format,
    "is_scripting": lambda: True,
    "warn": lambda text, *rest: warnings.warn(text, stacklevel=3),
    "manual_seed": lambda seed: _root().manual_seed(seed),
    "complex": complex,
}


def _to(x: Any, *args: Any, **named: Any) -> Any:
    given = [None if a is None else a for a in args]
    if given and isinstance(given[0], (str, device)) and len(given) > 1:
        given[1] = _dtype(given[1])
    elif given and type(given[0]) is int:
        given[0] = _dtype(given[0])
    elif given and given[0] is None:  # (device, dtype): nothing said of the device
        named.update({"dtype": _dtype(given[1])} if len(given) > 1 else {})
        given = []
    if given and type(given[-1]) is int:
        given[-1] = _FORMATS[given[-1]]
    while given and (given[-1] is None or given[-1] is False):
        given.pop()
    return x.to(*given, **{k: _ENUMS[k](v) if k in _ENUMS else v for k, v in named.items() if v is not None})


def _size(x: Any, dim: int | None = None) -> Any:
    return list(x.shape) if dim is None else x.size(dim)


def _index(x: Any, indices: list[Any]) -> Any:
    return x[tuple(slice(None) if i is None else i for i in indices)]


def _index_put_(x: Any, indices: list[Any], values: Any, accumulate: bool = False) -> Any:
    return x.index_put_(tuple(indices), values, accumulate)


def _convolution(x: Any, weight: Any, bias: Any, *rest: Any) -> Any:
    return _root().convolution(x, weight, bias, *rest[:6])


def _encoder_layer(
    x: Any, embed_dim: int, num_heads: int, qkv_weight: Any, qkv_bias: Any, proj_weight: Any, proj_bias: Any,
    use_gelu: bool, norm_first: bool, eps: float, norm_weight_1: Any, norm_bias_1: Any, norm_weight_2: Any,
    norm_bias_2: Any, ffn_weight_1: Any, ffn_bias_1: Any, ffn_weight_2: Any, ffn_bias_2: Any, mask: Any = None,
    mask_type: int | None = None,
) -> Any:  # fmt: skip
    """A layer of a transformer's encoder, batch first, without dropout."""

    def attend(h: Any) -> Any:
        q, k, v = (
            t.unflatten(-1, (num_heads, -1)).transpose(1, 2) for t in F.linear(h, qkv_weight, qkv_bias).chunk(3, -1)
        )
        kept = None if mask is None else ~mask.bool()
        if kept is not None and mask_type == 1:  # (batch, keys)
            kept = kept[:, None, None, :]
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=kept)
        return F.linear(found.transpose(1, 2).flatten(-2), proj_weight, proj_bias)

    def feed(h: Any) -> Any:
        inner = F.linear(h, ffn_weight_1, ffn_bias_1)
        return F.linear(F.gelu(inner) if use_gelu else inner.relu(), ffn_weight_2, ffn_bias_2)

    def first(h: Any) -> Any:
        return F.layer_norm(h, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def second(h: Any) -> Any:
        return F.layer_norm(h, (embed_dim,), norm_weight_2, norm_bias_2, eps)

    if norm_first:
        x = x + attend(first(x))
        return x + feed(second(x))
    x = first(x + attend(x))
    return second(x + feed(x))


def _root() -> Any:
    return importlib.import_module("flambeau")


def _resized(mode: str, aligned: bool) -> Callable[..., Any]:
    def resize(x: Any, size: Any = None, *rest: Any) -> Any:
        given = list(rest)
        align = given.pop(0) if aligned and given else None
        factors = [f for f in given if f is not None]
        if len(factors) == 1 and isinstance(factors[0], (list, tuple)):
            factors = list(factors[0])
        return F.interpolate(x, size, None if size is not None else factors, mode, align)

    return resize


def _lstm(x: Any, states: Any, weights: Any, *rest: Any) -> Any:
    return _root().lstm(x, tuple(states), list(weights), *rest)


_TENSOR: dict[str, Callable[..., Any]] = {
    "to": _to,
    "size": _size,
    "index": _index,
    "index_put_": _index_put_,
    "_convolution": _convolution,
    "_transformer_encoder_layer_fwd": _encoder_layer,
    "convolution": _convolution,
    "lstm": _lstm,
    "len": len,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "IntImplicit": int,
    "FloatImplicit": float,
    "ScalarImplicit": lambda x: x.item(),
    "item": lambda x: x.item(),
    "str": str,
    "dim": lambda x: x.dim(),
    "numel": lambda x: x.numel(),
    "stride": lambda x, *a: list(x.stride(*a)) if not a else x.stride(*a),
    "tolist": lambda x, *a: x.tolist(),
    "__not__": lambda x: not bool(x),
    "add_": lambda x, y, alpha=1: x.add_(y, alpha=alpha),
    "copy_": lambda x, y, *a: x.copy_(y),
    "floordiv": lambda x, y: x // y,
    "upsample_nearest1d": _resized("nearest", False),
    "upsample_nearest2d": _resized("nearest", False),
    "upsample_nearest3d": _resized("nearest", False),
    "upsample_linear1d": _resized("linear", True),
    "upsample_bilinear2d": _resized("bilinear", True),
    "upsample_bicubic2d": _resized("bicubic", True),
    "upsample_trilinear3d": _resized("trilinear", True),
}
_ANY: dict[str, Callable[..., Any]] = {
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "__contains__": lambda c, v: v in c,
    "format": _format,
}


def _raise(message: Any, name: str | None = None) -> Any:
    raise _Raised(message if not name else f"{name}: {message}")


class _Raised(RuntimeError):
    """An exception that a program raises."""


_PRIM: dict[str, Callable[..., Any]] = {
    "RaiseException": _raise,
    "dtype": lambda x: _number_of(x.dtype),
    "device": lambda x: x.device,
    "shape": lambda x: list(x.shape),
    "data": lambda x: x.data,
    "grad": lambda x: x.grad,
    "is_cuda": lambda x: x.is_cuda,
    "requires_grad": lambda x: x.requires_grad,
    "layout": lambda x: _LAYOUTS.index(x.layout),
    "itemsize": lambda x: x.itemsize,
    "is_sparse": lambda x: x.is_sparse,
    "is_nested": lambda x: x.is_nested,
    "is_quantized": lambda x: x.is_quantized,
    "is_meta": lambda x: x.is_meta,
    "type": lambda d: d.type,
    "index": lambda d: d.index,
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "name": lambda x: None,
    "NumToTensor": lambda x: kernels.tensor(x) if not isinstance(x, Tensor) else x,
    "unchecked_unwrap_optional": lambda x: x,
    "unchecked_cast": lambda x: x,
    "min": lambda *a: min(*a),
    "max": lambda *a: max(*a),
    "abs": abs,
    "isinstance": isinstance,
    "tolist": lambda x, *a: x.tolist(),
    "TupleIndex": operator.getitem,
    "TupleUnpack": tuple,
    "ListConstruct": lambda *a: list(a),
    "rangelist": lambda n: list(range(n)),
    "Print": print,
    "is_cpu": lambda x: x.is_cpu,
    "ndim": lambda x: x.ndim,
}


def _number_of(kind: Any) -> int:
    return _TYPES.index(kind.name)


@functools.cache
def _kernel(name: str) -> Callable[..., Any]:
    """The function of tensors that an ``aten`` name means: an operator, a layer's function, or a method."""
    root = _root()
    for place in (root, F, root.ops.aten, Tensor):
        found = getattr(place, name, None)
        if callable(found):
            break
    else:
        for prefix in ("linalg", "fft", "special"):  # linalg_norm
            if name.startswith(prefix + "_") and hasattr(getattr(root, prefix), name[len(prefix) + 1 :]):
                found = getattr(getattr(root, prefix), name[len(prefix) + 1 :])
                break
        else:
            raise RuntimeError(f"jit.load: there is no operator aten::{name}")
    function: Callable[..., Any] = found
    try:
        places = {k: _ENUMS[p] for k, p in enumerate(inspect.signature(function).parameters) if p in _ENUMS}
    except (TypeError, ValueError):
        places = {}

    def call(*args: Any, **named: Any) -> Any:
        given = [places[k](a) if k in places else a for k, a in enumerate(args)]
        keywords = {
            k: _ENUMS[k](v) if k in _ENUMS else v for k, v in named.items() if not (k == "pin_memory" and not v)
        }
        result = function(*given, **keywords)
        return list(result) if isinstance(result, Size) else result

    return call


@functools.cache
def resolve(namespace: str, name: str) -> Callable[..., Any]:
    """The function that ``namespace::name`` means.  Raises RuntimeError if there is none."""
    if namespace == "prim":
        if name not in _PRIM:
            raise RuntimeError(f"jit.load: there is no operator prim::{name}")
        return _PRIM[name]
    if namespace != "aten":
        root = _root()
        return getattr(getattr(root.ops, namespace), name)  # type: ignore[no-any-return]
    if name in _ANY:
        return _ANY[name]
    container, number, tensor = _CONTAINER.get(name), _NUMBER.get(name), _TENSOR.get(name)

    def call(*args: Any, **named: Any) -> Any:
        if container is not None and args and isinstance(args[0], (list, tuple, dict, str)):
            return container(*args, **named)
        if number is not None and not any(isinstance(a, Tensor) for a in args):
            return number(*args, **named)
        return (tensor or _kernel(name))(*args, **named)

    return call
