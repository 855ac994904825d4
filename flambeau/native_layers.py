"""Layers of the main namespace that take the arguments of PyTorch's C++ operators: recurrent ones with their weights as
a list, a convolution, statistics of batch norm, products of sparse matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import ops
from .dispatch.callforms import call_forms
from .nn import functional as F
from .nn._recurrent import run_layers
from .ops.common import dim_of, overridable
from .sparse.products import hspmm
from .tensor import Tensor

__all__ = [
    "batch_norm_update_stats", "dsmm", "gru", "hsmm", "lstm", "mkldnn_convolution", "mkldnn_rnn_layer",
    "resize_as_sparse_", "rnn_relu", "rnn_tanh", "saddmm", "slice_inverse", "spmm", "sym_constrain_range",
    "sym_constrain_range_for_size", "sym_fresh_size",
]  # fmt: skip


def _layers(params: Sequence[Tensor], has_biases: bool, count: int, projected: bool) -> list[dict[str, Tensor | None]]:
    """The flat list of weights, one dictionary for every direction of every layer."""
    names = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if has_biases else ()), *(("weight_hr",) * projected)]
    if len(params) != count * len(names):
        raise RuntimeError(
            f"expected {count * len(names)} weights for {count} layers and directions, got {len(params)}"
        )
    empty: dict[str, Tensor | None] = dict.fromkeys(("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"))
    step = len(names)
    return [{**empty, **dict(zip(names, params[i * step : (i + 1) * step]))} for i in range(count)]


def _recurrent(mode: str, args: Sequence[Any]) -> tuple[Tensor, ...]:
    """Either (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first) or
    (data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)."""
    packed = isinstance(args[3], (list, tuple))
    if packed:
        rows, sizes, hidden, params, biases, count, dropout, train, both = args
        batch_first = False
    else:
        rows, hidden, params, biases, count, dropout, train, both, batch_first = args
        sizes = None
    state = (hidden,) if isinstance(hidden, Tensor) else tuple(hidden)
    projected = mode == "LSTM" and state[0].shape[-1] != state[1].shape[-1]
    output, last = run_layers(
        mode, rows.transpose(0, 1) if batch_first else rows, state,
        _layers(params, biases, count * (2 if both else 1), projected), dropout=dropout, training=train,
        bidirectional=both, batch_sizes=None if sizes is None else sizes.tolist(),
    )  # fmt: skip
    return (output.transpose(0, 1) if batch_first else output, *last)  # type: ignore[attr-defined]


_PLAIN = ("input", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional", "batch_first")
_PACKED = ("data", "batch_sizes", "hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional")


def _form(name: str, mode: str, what: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        names = _PACKED if "data" in kwargs or (len(args) > 3 and isinstance(args[3], (list, tuple))) else _PLAIN
        values = [*args, *(kwargs.pop(n) for n in names[len(args) :] if n in kwargs)]
        if kwargs or len(values) != len(names):
            raise TypeError(f"{name}() takes ({', '.join(names)}), got {len(values)} of them and {sorted(kwargs)}")
        return _recurrent(mode, values)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{what} of layers; weights in the order of ``nn.{mode.partition('_')[0]}``'s parameters."
    return call_forms(f"{name}({', '.join(_PACKED)})", f"{name}({', '.join(_PLAIN)})")(overridable(function))


lstm = _form("lstm", "LSTM", "(output, last h, last c)")
gru = _form("gru", "GRU", "(output, last h)")
rnn_tanh = _form("rnn_tanh", "RNN_TANH", "(output, last h)")
rnn_relu = _form("rnn_relu", "RNN_RELU", "(output, last h)")


@overridable
def mkldnn_rnn_layer(
    input: Tensor, weight0: Tensor, weight1: Tensor, weight2: Tensor, weight3: Tensor, hx_: Tensor, cx_: Tensor,
    reverse: bool, batch_sizes: Sequence[int], mode: int, hidden_size: int, num_layers: int, has_biases: bool,
    bidirectional: bool, batch_first: bool, train: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """One direction of one LSTM layer (``mode`` 2) over (T, N, in): (output, last h, last c, nothing).

    Raises RuntimeError for other modes.
    """
    if mode != 2:
        raise RuntimeError(f"mkldnn_rnn_layer: only LSTM (mode 2) is supported, got mode {mode}")
    rows = input.flip(0) if reverse else input  # type: ignore[attr-defined]
    weights: dict[str, Tensor | None] = {
        "weight_ih": weight0, "weight_hh": weight1, "bias_ih": weight2 if has_biases else None,
        "bias_hh": weight3 if has_biases else None, "weight_hr": None,
    }  # fmt: skip
    state = tuple(s.reshape(1, -1, hidden_size) for s in (hx_, cx_))  # type: ignore[attr-defined]
    output, last = run_layers("LSTM", rows, state, [weights], dropout=0.0, training=train, bidirectional=False)
    output = output.flip(0) if reverse else output  # type: ignore[attr-defined]
    return output, last[0].reshape(hx_.shape), last[1].reshape(cx_.shape), ops.empty((0,))  # type: ignore[attr-defined]


@overridable
def mkldnn_convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """The convolution in as many dimensions as ``weight`` has behind its channels."""
    n = weight.ndim - 2
    if not 1 <= n <= 3:
        raise RuntimeError(f"mkldnn_convolution: expected a weight of 3 to 5 dimensions, got {list(weight.shape)}")
    lists = [list(v) * n if len(v) == 1 else list(v) for v in (stride, padding, dilation)]
    return (F.conv1d, F.conv2d, F.conv3d)[n - 1](input, weight, bias, *lists, groups)  # type: ignore[no-any-return]


@overridable
def batch_norm_update_stats(
    input: Any, running_mean: Tensor | None, running_var: Tensor | None, momentum: float
) -> tuple[Tensor, Tensor]:
    """(mean, biased variance) of every channel; running statistics are moved towards them, with the unbiased one."""
    if input.ndim < 2 or not input.numel():
        raise RuntimeError(
            f"batch_norm_update_stats: expected elements in at least 2 dimensions, got shape {list(input.shape)}"
        )
    dims = [d for d in range(input.ndim) if d != 1]
    var, mean = ops.var_mean(input.detach(), dims, correction=0)
    count = input.numel() // input.shape[1]
    with_correction = var * (count / max(count - 1, 1))
    for running, value in ((running_mean, mean), (running_var, with_correction)):
        if running is not None:
            running.mul_(1 - momentum).add_(value, alpha=momentum)  # type: ignore[attr-defined]
    return mean, var


# -- sparse products by their old names -------------------------------------------------------------------


@overridable
def spmm(input: Any, mat2: Any) -> Any:
    """``input @ mat2``, of which the first is sparse."""
    return input @ mat2


@overridable
def dsmm(input: Any, mat2: Any) -> Any:
    """``input @ mat2``, of which the second is sparse."""
    return input @ mat2


@overridable
def hsmm(input: Any, mat2: Any) -> Any:
    """``input @ mat2`` of sparse matrices; the result is sparse."""
    return hspmm(input, mat2)


@overridable
def saddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)`` with a sparse ``mat1``."""
    found = input * beta + (mat1 @ mat2) * alpha
    return found if out is None else out.copy_(found)


@overridable
def resize_as_sparse_(input: Any, the_template: Any) -> Any:
    """Empties a sparse tensor and gives it the shape of another."""
    return input.sparse_resize_and_clear_(the_template.shape, the_template.sparse_dim(), the_template.dense_dim())


# -- views and sizes ----------------------------------------------------------------------------------


@overridable
def slice_inverse(
    input: Any, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """The tensor like ``src`` of which ``input``, as it lies in memory, is ``src[start:end:step]`` along ``dim``.

    A view of the same storage; raises RuntimeError if that does not reach so far.
    """
    d = dim_of(dim, src.ndim, "slice_inverse")
    if step <= 0:
        raise RuntimeError(f"slice step must be positive, got {step}")
    first = slice(start, end, step).indices(src.shape[d])[0]
    strides = src.stride()  # type: ignore[attr-defined]
    return input.as_strided(src.shape, strides, input.storage_offset() - first * strides[d])  # type: ignore[no-any-return]


def _check_bounds(name: str, low: Any, high: Any) -> None:
    for word, value in (("min", low), ("max", high)):
        if value is not None and not isinstance(value, int):
            raise TypeError(f"{name}(): argument '{word}' must be int, not {type(value).__name__}")


def sym_constrain_range(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """Promises that a number lies between two others; raises RuntimeError if it does not."""
    if not isinstance(size, (int, float, Tensor)):
        raise TypeError(f"sym_constrain_range(): argument 'size' must be a number, not {type(size).__name__}")
    _check_bounds("sym_constrain_range", min, max)
    if isinstance(size, float) and not -(2.0**63) <= size < 2.0**63:
        raise RuntimeError("value cannot be converted to type int64_t without overflow")
    value = int(size)  # type: ignore[call-overload]
    low = -(2**63) if min is None else min
    high = 2**63 - 1 if max is None else max
    if low > high:
        raise RuntimeError(f"Max must be greater than or equal to min, got min={low} max={high}")
    if not low <= value <= high:
        raise RuntimeError(f"Invalid value range for {value} between [{low}, {high}].")


def sym_constrain_range_for_size(size: Any, *, min: int | None = None, max: int | None = None) -> None:
    """``sym_constrain_range`` of a size, which is not negative; raises RuntimeError for a range below 2 as well."""
    if not isinstance(size, (int, float, Tensor)):
        raise TypeError(f"sym_constrain_range_for_size(): argument 'size' must be a number, not {type(size).__name__}")
    _check_bounds("sym_constrain_range_for_size", min, max)
    if max is not None and max <= 2:
        raise RuntimeError(f"Max value to constrain_range_for_size must be greater than 2. got: {max}")
    sym_constrain_range(size, min=0 if min is None else min, max=max)


def sym_fresh_size(expr: Any) -> Any:
    """A number with the value of ``expr`` that nothing is known of: numbers carry no history here."""
    return expr


METHODS = {"resize_as_sparse_": resize_as_sparse_, "slice_inverse": slice_inverse}
