"""``assert_close``: whether two results, tensors or trees of them, agree within a tolerance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from .. import ops
from ..dtype import bfloat16, complex64, complex128, float16, float32, float64, int64, promote_types
from ..dtype import dtype as dtype_
from ..quantized import QuantizedTensor
from ..sparse.base import SparseTensor
from ..tensor import Tensor

__all__ = ["assert_allclose", "assert_close"]

_HALF = {float16: (1e-3, 1e-5), bfloat16: (1.6e-2, 1e-5)}
_TOLERANCES = {**_HALF, float32: (1.3e-6, 1e-5), complex64: (1.3e-6, 1e-5)}
_PRECISE = {float64: (1e-7, 1e-7), complex128: (1e-7, 1e-7)}


def _tolerances(types: Sequence[dtype_], rtol: float | None, atol: float | None) -> tuple[float, float]:
    """(relative, absolute): those given, or the widest that the element types ask for; integers must be equal."""
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    if rtol is not None and atol is not None:
        return rtol, atol
    known = [{**_TOLERANCES, **_PRECISE}.get(t, (0.0, 0.0)) for t in types]
    return max(r for r, _ in known), max(a for _, a in known)


class _Settings:
    """What ``assert_close`` was asked to check."""

    def __init__(self, **given: Any) -> None:
        self.rtol: float | None = given["rtol"]
        self.atol: float | None = given["atol"]
        self.equal_nan: bool = given["equal_nan"]
        self.checks: dict[str, bool] = given["checks"]
        self.allow_subclasses: bool = given["allow_subclasses"]


class _Mismatch(Exception):
    """Two results that do not agree; ``path`` says where in the tree."""

    def __init__(self, kind: type[Exception], text: str) -> None:
        super().__init__(text)
        self.kind, self.text, self.path = kind, text, ""


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """Raises AssertionError unless ``|actual - expected| <= atol + rtol * |expected|`` everywhere.

    Both are tensors, numbers, arrays, None, or sequences and mappings of those.  Without ``rtol`` and ``atol`` the
    element types decide (1.3e-6 and 1e-5 for float32); integers and booleans must be equal.  ``check_...`` say which
    attributes must agree as well.  ``msg`` replaces the message, or makes one of it.  Raises TypeError for objects that
    cannot be compared, ValueError for one tolerance without the other.
    """
    checks = {"device": check_device, "dtype": check_dtype, "layout": check_layout, "stride": check_stride}
    _tolerances([float32], rtol, atol)
    settings = _Settings(rtol=rtol, atol=atol, equal_nan=equal_nan, checks=checks, allow_subclasses=allow_subclasses)
    try:
        _compare(actual, expected, settings)
    except _Mismatch as found:
        text = found.text + (f"\n\nThe failure occurred for item {found.path}" if found.path else "")
        if found.kind is not AssertionError:
            raise found.kind(text) from None
        raise AssertionError(msg(text) if callable(msg) else text if msg is None else msg) from None


def _compare(actual: Any, expected: Any, settings: _Settings) -> None:
    for kind, compare in ((Sequence, _compare_sequences), (Mapping, _compare_mappings)):
        if all(isinstance(x, kind) and not isinstance(x, (str, bytes)) for x in (actual, expected)):
            compare(actual, expected, settings)
            return
    _compare_leaves(actual, expected, settings)


def _inside(at: Any, actual: Any, expected: Any, settings: _Settings) -> None:
    try:
        _compare(actual, expected, settings)
    except _Mismatch as found:
        found.path = f"[{at!r}]{found.path}"
        raise


def _compare_sequences(actual: Sequence[Any], expected: Sequence[Any], settings: _Settings) -> None:
    if len(actual) != len(expected):
        raise _Mismatch(AssertionError, f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
    for i, (a, e) in enumerate(zip(actual, expected)):
        _inside(i, a, e, settings)


def _compare_mappings(actual: Mapping[Any, Any], expected: Mapping[Any, Any], settings: _Settings) -> None:
    missing, more = [k for k in expected if k not in actual], [k for k in actual if k not in expected]
    if missing or more:
        raise _Mismatch(
            AssertionError,
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {sorted(missing, key=str)}\n"
            f"Additional keys in the actual mapping: {sorted(more, key=str)}",
        )
    for key in sorted(expected, key=str):
        _inside(key, actual[key], expected[key], settings)


def _compare_leaves(actual: Any, expected: Any, settings: _Settings) -> None:
    both = (actual, expected)
    if any(x is None for x in both):
        if actual is not expected:
            raise _Mismatch(AssertionError, f"None mismatch: {actual} is not {expected}")
    elif all(isinstance(x, (bool, np.bool_)) for x in both):
        if bool(actual) is not bool(expected):
            raise _Mismatch(AssertionError, f"Booleans mismatch: {actual} is not {expected}")
    elif all(isinstance(x, (Number, np.number)) for x in both):
        _compare_numbers(actual, expected, settings)
    elif all(isinstance(x, (Tensor, np.ndarray)) for x in both) and (
        settings.allow_subclasses or type(actual) is type(expected)
    ):
        _compare_tensors(*(ops.as_tensor(x) for x in both), settings)  # type: ignore[attr-defined]
    else:
        raise _Mismatch(
            TypeError,
            f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.",
        )


def _kind_of(value: Any) -> dtype_:
    if isinstance(value, (complex, np.complexfloating)):
        return complex128
    return float64 if isinstance(value, (float, np.floating)) else int64


def _compare_numbers(actual: Any, expected: Any, settings: _Settings) -> None:
    if settings.checks["dtype"] and type(actual) is not type(expected):
        raise _Mismatch(AssertionError, f"The (d)types do not match: {type(actual)} != {type(expected)}.")
    rtol, atol = _tolerances([_kind_of(actual), _kind_of(expected)], settings.rtol, settings.atol)
    _close_numbers(actual, expected, rtol, atol, settings.equal_nan)


def _close_numbers(actual: Any, expected: Any, rtol: float, atol: float, equal_nan: bool) -> None:
    if actual == expected or (equal_nan and actual != actual and expected != expected):
        return
    difference = abs(actual - expected)
    if math.isfinite(difference) and difference <= atol + rtol * abs(expected):
        return
    relative = difference / abs(expected) if expected else math.inf
    exact = rtol == atol == 0
    limits = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    raise _Mismatch(
        AssertionError,
        f"Scalars are not {'equal' if exact else 'close'}!\n\n"
        f"Expected {expected} but got {actual}.\n"
        f"Absolute difference: {difference}{limits[0]}\n"
        f"Relative difference: {relative}{limits[1]}",
    )


def _compare_tensors(actual: Any, expected: Any, settings: _Settings) -> None:
    pairs = {"shape": (actual.shape, expected.shape)}
    if settings.checks["layout"] or actual.layout is not expected.layout:
        pairs["layout"] = (actual.layout, expected.layout)
    for name in ("device", "dtype"):
        if settings.checks[name]:
            pairs[name] = (getattr(actual, name), getattr(expected, name))
    if not settings.checks["layout"]:
        pairs.pop("layout", None)
    if settings.checks["stride"] and actual.is_contiguous is not None and not isinstance(actual, SparseTensor):
        pairs["stride()"] = (actual.stride(), expected.stride())
    for name, (a, e) in pairs.items():
        if a != e:
            raise _Mismatch(AssertionError, f"The values for attribute {name!r} do not match: {a} != {e}.")
    rtol, atol = _tolerances([actual.dtype, expected.dtype], settings.rtol, settings.atol)
    a, e = (_dense(x) for x in (actual.detach(), expected.detach()))
    if a.dtype is not e.dtype:
        wide = promote_types(a.dtype, e.dtype)
        a, e = a.to(wide), e.to(wide)
    _close_values(a, e, rtol, atol, settings.equal_nan)


def _dense(t: Any) -> Any:
    if isinstance(t, QuantizedTensor):
        return t.dequantize()  # type: ignore[attr-defined]
    return t.to_dense() if isinstance(t, SparseTensor) else t  # type: ignore[attr-defined]


def _close_values(actual: Any, expected: Any, rtol: float, atol: float, equal_nan: bool) -> None:
    matches = ops.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan)
    if bool(matches.all()):
        return
    exact = rtol == atol == 0
    if not actual.shape:
        _close_numbers(actual.item(), expected.item(), rtol, atol, equal_nan)
    if not actual.dtype.is_floating_point and not actual.dtype.is_complex:
        actual, expected = actual.to(int64), expected.to(int64)
    absolute = (actual - expected).abs().masked_fill(matches, 0)
    relative = (absolute / expected.abs()).masked_fill(matches, 0)
    lines = []
    for name, values, limit in (("absolute", absolute, atol), ("relative", relative, rtol)):
        flat = int(values.flatten().argmax())
        where = tuple(int(i) for i in np.unravel_index(flat, tuple(values.shape)))
        shown = f"Greatest {name} difference: {values[where].item()} at index {where}"
        lines.append(shown if exact else f"{shown} (up to {limit} allowed)")
    wrong, total = int((~matches).sum()), matches.numel()
    raise _Mismatch(
        AssertionError,
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n\n"
        f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})\n" + "\n".join(lines),
    )


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
    msg: str = "",
) -> None:  # fmt: skip
    """``assert_close`` that does not look at devices, types and strides; deprecated."""
    warnings.warn(
        "`torch.testing.assert_allclose()` is deprecated since 1.12. "
        "Please use `torch.testing.assert_close()` instead.",
        FutureWarning,
        stacklevel=2,
    )
    a, e = (x if isinstance(x, Tensor) else ops.tensor(x) for x in (actual, expected))
    assert_close(
        a, e, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False, check_stride=False,
        msg=msg or None,
    )  # fmt: skip
