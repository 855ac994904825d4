"""Tensors in the layout of oneDNN (MKL-DNN): opaque ones that few operators take.

There is no such layout here: ``to_mkldnn`` wraps the dense tensor, so that programs which convert a model for inference
run; the kernels below are the dense ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from . import ops
from .composed import ComposedTensor, member_of
from .dtype import bfloat16, float16, float32
from .nn import functional as F
from .ops.members import layout as _layout
from .tensor import Tensor

__all__ = ["METHODS", "MkldnnTensor", "to_mkldnn"]

mkldnn_layout = _layout("_mkldnn")


class MkldnnTensor(ComposedTensor):
    """``_data`` is the dense tensor."""

    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "MkldnnCPU"

    is_mkldnn = property(lambda self: True)
    layout = property(lambda self: mkldnn_layout)

    @classmethod
    def make(cls, data: Any) -> MkldnnTensor:
        """A tensor of these elements."""
        t = object.__new__(cls)
        t._shape_as(data.dtype, data.device, data.shape)
        t._data = data
        return t

    def _like(self, data: Any) -> MkldnnTensor:
        return self.make(data)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return repr(self._data).removesuffix(")") + ", layout=torch._mkldnn)"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return MkldnnTensor.make, (self._data,)


_on = MkldnnTensor.implements
_PLAIN = (
    "add mul relu sigmoid tanh gelu clone reshape transpose view softmax _softmax linear conv1d conv2d conv3d "
    "conv_transpose2d conv_transpose3d max_pool2d max_pool3d avg_pool2d avg_pool3d adaptive_avg_pool2d batch_norm cat "
    "sum mean empty_like zero_ dropout leaky_relu"
).split()


def _dense(value: Any) -> Any:
    if isinstance(value, MkldnnTensor):
        return value._data
    return [_dense(v) for v in value] if isinstance(value, (list, tuple)) else value


def _through(name: str) -> None:
    def run(*args: Any, **kwargs: Any) -> Any:
        found = getattr(ops, name, None) or getattr(F, name, None) or getattr(Tensor, name)
        for t in (a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)):
            if name in ("add", "mul") and not isinstance(t, MkldnnTensor):
                raise RuntimeError(
                    f"{name}: expects MKL-DNN tensors, got a dense one too; use to_mkldnn() or to_dense()"
                )
        result = found(*map(_dense, args), **{k: _dense(v) for k, v in kwargs.items()})
        return MkldnnTensor.make(result) if isinstance(result, Tensor) else result

    _on(name)(run)


for _name in _PLAIN:
    _through(_name)


@_on("to_dense")
def _to_dense(self: Any, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    return self._data if dtype is None else self._data.to(dtype)


_on("is_contiguous")(lambda self, *args, **kwargs: True)


def _to_mkldnn(self: Any, dtype: Any = None) -> MkldnnTensor:
    """The tensor in oneDNN's layout; RuntimeError for types other than float32, bfloat16 and float16."""
    if self.dtype not in (float32, bfloat16, float16):
        raise RuntimeError(f"dense_to_mkldnn expects float or bfloat16 or half tensor input, got {self.dtype}")
    return MkldnnTensor.make(self if dtype is None else self.to(dtype))


_on("to_mkldnn")(lambda self, dtype=None: self)
to_mkldnn = member_of("to_mkldnn", _to_mkldnn)
METHODS = {"to_mkldnn": to_mkldnn}
