"""Switches and questions about the libraries behind PyTorch's operators.

There are none here but our own kernels: questions whether one is there say no, and switches are kept for programs that
set them.
"""

from __future__ import annotations

from ..dispatch.operator import namespace as _namespace

fp32_precision = "none"


def flags_frozen() -> bool:
    """Whether switches may be set only inside of ``flags`` blocks: no."""
    return False


def disable_global_flags() -> None:
    """Asks that switches be set only inside of ``flags`` blocks; they may still be set anywhere."""


_LAZY = dict.fromkeys(
    (
        "cpu", "cuda", "cudnn", "cusparselt", "kleidiai", "mha", "miopen", "mkl", "mkldnn", "mps", "nnpack", "openmp",
        "opt_einsum", "quantized",
    ),
    ".",
)  # fmt: skip
__getattr__, __dir__ = _namespace(globals(), {}, _LAZY)
