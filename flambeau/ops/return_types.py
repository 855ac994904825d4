"""Named results of operators that return several tensors (PyTorch's ``torch.return_types``)."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

__all__ = [
    "aminmax", "cummax", "cummin", "frexp", "geqrf", "histogram", "histogramdd", "kthvalue", "linalg_cholesky_ex",
    "linalg_eig", "linalg_eigh", "linalg_inv_ex",
    "linalg_ldl_factor", "linalg_ldl_factor_ex", "linalg_lstsq", "linalg_lu", "linalg_lu_factor", "linalg_lu_factor_ex",
    "linalg_qr",
    "linalg_slogdet", "linalg_solve_ex", "linalg_svd", "lu_unpack", "max", "median", "min", "mode", "nanmedian", "qr",
    "slogdet", "sort", "svd",
    "topk", "triangular_solve",
]  # fmt: skip


def _repr(self: Any) -> str:
    fields = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self))
    return f"torch.return_types.{type(self).__name__}(\n{fields})"


def _named(name: str, fields: str) -> Any:
    """A named tuple that prints as PyTorch's do, and may be made from one sequence as well."""
    base = namedtuple(name, fields)
    plain = base.__new__

    def new(cls: type, *values: Any, **named: Any) -> Any:
        if len(values) == 1 and not named and isinstance(values[0], (tuple, list)) and len(base._fields) > 1:
            values = tuple(values[0])
        return plain(cls, *values, **named)

    base.__new__ = new  # type: ignore[method-assign,assignment]
    base.__repr__ = _repr  # type: ignore[method-assign,assignment]
    base.__module__ = __name__
    base.n_fields = base.n_sequence_fields = len(base._fields)  # type: ignore[attr-defined]
    base.n_unnamed_fields = 0  # type: ignore[attr-defined]
    base.__doc__ = f"{name}(iterable=(), /)\n\nNamed results: {fields}."
    if not name.endswith("_out"):
        # results that were written to ``out`` have a class of their own, as in PyTorch
        base.out_form = base if name == "histogramdd" else _named(f"{name}_out", fields)  # type: ignore[attr-defined]
    return base


_VALUES = "values indices"
cummax, cummin, kthvalue, max, median, min, mode, nanmedian, sort, topk = (
    _named(name, _VALUES)
    for name in ("cummax", "cummin", "kthvalue", "max", "median", "min", "mode", "nanmedian", "sort", "topk")
)
aminmax = _named("aminmax", "min max")
frexp = _named("frexp", "mantissa exponent")
histogram = _named("histogram", "hist bin_edges")
histogramdd = _named("histogramdd", "hist bin_edges")
qr = _named("qr", "Q R")
geqrf = _named("geqrf", "a tau")
slogdet = _named("slogdet", "sign logabsdet")
svd = _named("svd", "U S V")
triangular_solve = _named("triangular_solve", "solution cloned_coefficient")
lu_unpack = _named("lu_unpack", "P L U")
linalg_cholesky_ex = _named("linalg_cholesky_ex", "L info")
linalg_eig = _named("linalg_eig", "eigenvalues eigenvectors")
linalg_eigh = _named("linalg_eigh", "eigenvalues eigenvectors")
linalg_inv_ex = _named("linalg_inv_ex", "inverse info")
linalg_ldl_factor = _named("linalg_ldl_factor", "LD pivots")
linalg_ldl_factor_ex = _named("linalg_ldl_factor_ex", "LD pivots info")
linalg_lstsq = _named("linalg_lstsq", "solution residuals rank singular_values")
linalg_lu = _named("linalg_lu", "P L U")
linalg_lu_factor = _named("linalg_lu_factor", "LU pivots")
linalg_lu_factor_ex = _named("linalg_lu_factor_ex", "LU pivots info")
linalg_qr = _named("linalg_qr", "Q R")
linalg_slogdet = _named("linalg_slogdet", "sign logabsdet")
linalg_solve_ex = _named("linalg_solve_ex", "result info")
linalg_svd = _named("linalg_svd", "U S Vh")

all_return_types = [globals()[_name] for _name in __all__]
all_return_types += [_made.out_form for _made in all_return_types if _made.out_form is not _made]
globals().update({_made.__name__: _made for _made in all_return_types})
