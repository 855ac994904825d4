"""CUDA graphs, which need a device."""

from __future__ import annotations

from ..absent import define, dummy, unusable

__all__ = ["CUDAGraph", "graph"]

CUDAGraph = unusable(
    "CUDAGraph", __name__, "keep_graph=False",
    'capture_begin(self, pool=None, capture_error_mode="global", check_input_liveness=False)\ncapture_end(self)\n'
    "debug_dump(self, debug_path)\nenable_debug_mode(self)\nget_graph_data(self)\ninstantiate(self)\npool(self)\n"
    "raw_cuda_graph(self)\nraw_cuda_graph_exec(self)\nreplay(self)\nreset(self)",
)  # fmt: skip
graph = unusable(
    "graph", __name__,
    'cuda_graph, pool=None, stream=None, capture_error_mode="global", enable_annotations=False, '
    "check_input_liveness=False",
    "__enter__(self)\n__exit__(self, *args)",
)  # fmt: skip
define(
    globals(),
    dummy,
    """
    graph_pool_handle()
    make_graphed_callables(callables, sample_args, num_warmup_iters=3, allow_unused_input=False, pool=None)
    """,
    {"is_current_stream_capturing()": False},
)
