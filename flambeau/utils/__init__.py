"""Tools around training: loading data, hooks, trees of tensors."""

from __future__ import annotations

from ..dispatch.operator import namespace as _namespace
from ..names import modules as _modules
from . import _pytree as _pytree
from . import checkpoint as checkpoint
from . import data as data
from . import hooks as hooks

__getattr__, __dir__ = _namespace(
    globals(),
    {},
    {
        **_modules(
            "_python_dispatch benchmark deterministic dlpack flop_counter model_zoo module_tracker tensorboard "
            "throughput_benchmark weak"
        ),
        "ThroughputBenchmark": ".throughput_benchmark",
        "swap_tensors": "._swap",
    },
)
