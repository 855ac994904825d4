"""Linear algebra: PyTorch's ``torch.linalg``."""

from __future__ import annotations

from ..operator import OPERATORS
from ..ops.lapack import LinAlgError

__all__ = ["LinAlgError", "diagonal", "matmul"]


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):  # type: ignore[no-untyped-def]
    """The diagonal of the last two dimensions: ``torch.diagonal`` with other defaults."""
    return OPERATORS["diagonal"].function(A, offset, dim1, dim2)


matmul = OPERATORS["matmul"].function

for _op in OPERATORS.values():
    if _op.namespace == "torch.linalg":
        _name = _op.name.removeprefix("linalg_")
        globals()[_name] = _op.function
        __all__ += [_name]  # noqa: PLE0605
del _op, _name
