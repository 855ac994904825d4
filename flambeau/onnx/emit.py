"""Writing the nodes of an ONNX graph: names, constants, sizes, and the types that operands are brought to."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtype import dtype, float32, int64
from ..fx.node import Node
from ..tensor import Tensor, numpy_view

__all__ = ["Emitter", "onnx_package", "scalar_type"]

_CODES = {
    "f32": "FLOAT", "f64": "DOUBLE", "f16": "FLOAT16", "bf16": "BFLOAT16", "i8": "INT8", "i16": "INT16", "i32": "INT32",
    "i64": "INT64", "u8": "UINT8", "u16": "UINT16", "u32": "UINT32", "u64": "UINT64", "b1": "BOOL", "c64": "COMPLEX64",
    "c128": "COMPLEX128",
}  # fmt: skip


def onnx_package() -> Any:
    """The package that knows the format; raises ModuleNotFoundError with what to install."""
    try:
        return importlib.import_module("onnx")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("onnx.export: the format is written by the package onnx: pip install onnx") from None


def scalar_type(type_: dtype) -> int:
    """ONNX's number of an element type."""
    found: int = getattr(onnx_package().TensorProto, _CODES[type_.code])
    return found


class Emitter:
    """The ONNX graph being written.  ``names`` are the names of values by the node of the exported program."""

    def __init__(self) -> None:
        self.onnx = onnx_package()
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.names: dict[Node, Any] = {}
        self._count = 0
        self._constants: dict[Any, str] = {}
        self.taken: set[str] = set()

    def fresh(self, hint: str) -> str:
        """A name that nothing has yet."""
        name = hint
        while name in self.taken:
            self._count += 1
            name = f"{hint}_{self._count}"
        self.taken.add(name)
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its result, or a list of names if it has several."""
        names = [self.fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, type_: Any = None) -> str:
        """A constant."""
        array = np.asarray(value, type_)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.fresh("constant")
            self.initializers.append(
                self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            )
            self._constants[key] = name
        return self._constants[key]

    def tensor(self, name: str, t: Tensor) -> None:
        """A parameter, buffer or constant of the program."""
        array = np.ascontiguousarray(numpy_view(t.detach())).reshape(t.shape)  # type: ignore[attr-defined]
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))

    # -- operands ----------------------------------------------------------------------------------
    def value(self, a: Any) -> str:
        """The name of a tensor or size of the program, or of a number as it is."""
        if isinstance(a, Node):
            return self.names[a]
        return self.constant(a, np.int64 if type(a) is int else np.float32 if isinstance(a, float) else None)

    def as_type(self, a: Any, type_: dtype) -> str:
        """An operand with elements of a type."""
        if not isinstance(a, Node):
            return self.constant(a, type_.numpy)
        if self.type_of(a) is type_:
            return self.value(a)
        return self.op("Cast", self.value(a), to=scalar_type(type_))

    def type_of(self, a: Node) -> dtype | None:
        """The element type of a tensor; None of a size."""
        value = a.meta.get("val")
        return value.dtype if isinstance(value, Tensor) else None

    def alike(self, *operands: Any) -> list[str]:
        """Operands of an operator that takes one type, as PyTorch promotes them."""
        types = [t for a in operands if isinstance(a, Node) and (t := self.type_of(a)) is not None] or [int64]
        common = max(types, key=lambda t: ("bui".find(t.kind) if t.kind in "bui" else 3, t.itemsize))
        if common.kind in "bui" and any(isinstance(a, float) for a in operands):
            common = float32
        return [self.as_type(a, common) for a in operands]

    def ints(self, sizes: Sequence[Any]) -> str:
        """Numbers and sizes as one vector."""
        if all(type(s) is int for s in sizes):
            return self.constant(list(sizes), np.int64)
        parts = [
            self.op("Unsqueeze", self.value(s), self.constant([0], np.int64))
            if isinstance(s, Node)
            else self.constant([s], np.int64)
            for s in sizes
        ]
        return self.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]

    def rank(self, a: Node) -> int:
        """The number of dimensions of a tensor."""
        return len(a.meta["shape"])
