"""Graphs of the machine's accelerator, which need one."""

from __future__ import annotations

from typing import NoReturn

from ..absent import unusable

__all__ = ["Graph"]


def _need(name: str) -> NoReturn:
    raise RuntimeError("Cannot access accelerator device when none is available.")


Graph = unusable(
    "Graph", __name__, 'keep_graph=False, *, pool=None, capture_error_mode="default"',
    "__enter__(self)\n__exit__(self, *exc_info)\ncapture_begin(self)\ncapture_end(self)\ndebug_dump(self, path)\n"
    "enable_debug_mode(self)\ninstantiate(self)\npool(self)\nreplay(self)\nreset(self)",
    _need,
)  # fmt: skip
