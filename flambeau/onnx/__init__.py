"""ONNX: what libraries register for their operators.  Exporting a model is not there yet."""

from __future__ import annotations

from .. import operator as _records
from .registration import is_in_onnx_export, register_custom_op_symbolic, unregister_custom_op_symbolic

__all__ = ["is_in_onnx_export", "register_custom_op_symbolic", "unregister_custom_op_symbolic"]

_LAZY = {"OnnxExporterError": ".errors", **dict.fromkeys(("errors", "symbolic_helper", "symbolic_opset11"), ".")}
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
