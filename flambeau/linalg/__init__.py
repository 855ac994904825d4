"""Linear algebra: PyTorch's ``torch.linalg``."""

from __future__ import annotations

from ..dispatch.operator import OPERATORS, namespace
from ..ops.lapack import LinAlgError

__all__ = ["LinAlgError", "diagonal", "matmul"]


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):  # type: ignore[no-untyped-def]
    """The diagonal of the last two dimensions: ``torch.diagonal`` with other defaults."""
    return OPERATORS["diagonal"].function(A, offset, dim1, dim2)


matmul = OPERATORS["matmul"].function

_members = {o.name.removeprefix("linalg_"): o for o in OPERATORS.values() if o.namespace == "torch.linalg"}
__getattr__, __dir__ = namespace(globals(), _members)
__all__ += sorted(_members)
