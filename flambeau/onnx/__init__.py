"""ONNX: models as files for other runtimes, and what libraries register for their operators."""

from __future__ import annotations

from ..dispatch import operator as _records
from .export import ONNXProgram, export
from .registration import is_in_onnx_export, register_custom_op_symbolic, unregister_custom_op_symbolic

__all__ = ["ONNXProgram", "export", "is_in_onnx_export", "register_custom_op_symbolic", "unregister_custom_op_symbolic"]

_LAZY = {"OnnxExporterError": ".errors", **dict.fromkeys(("errors", "symbolic_helper", "symbolic_opset11"), ".")}
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
