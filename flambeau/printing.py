"""Text of tensors, character for character as PyTorch prints them.

The functions here work on numpy arrays; only ``tensor_repr`` asks a tensor for what else it has to show.
The rules (which notation, how wide, what is left out) are those a user of PyTorch sees;
``tests/test_printing.py`` compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .dtype import get_default_dtype

__all__ = [
    "PrintOptions", "format_tensor", "format_values", "get_printoptions", "options_in_force", "set_options",
    "set_printoptions", "tensor_repr", "with_suffixes",
]  # fmt: skip


@dataclass(frozen=True)
class PrintOptions:
    """How tensors are printed.

    ``precision`` digits after the point; tensors of more than ``threshold`` elements show only
    ``edgeitems`` at both ends of every dimension; lines are at most ``linewidth`` wide; ``sci_mode``
    forces (True) or forbids (False) the scientific notation, None chooses by the values.
    """

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=math.inf),
}
_current = PrintOptions()


def options_in_force() -> PrintOptions:
    """How tensors are printed now."""
    return _current


def set_options(**options: Any) -> None:
    """Sets single options from now on, in this process; TypeError for unknown names."""
    global _current
    _current = replace(_current, **options)


def get_printoptions() -> dict[str, Any]:
    """The options in force, as the keyword arguments of ``set_printoptions``."""
    return dict(vars(_current))


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors are printed from now on, in this process.

    ``profile`` ("default", "short" or "full") sets the first four options at once, and single ones given
    beside it win.  Options that are None keep their value, but ``sci_mode`` is always set: leaving it out
    returns to the choice by the values.  As in PyTorch, an unknown profile changes nothing.
    """
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    base = _PROFILES.get(profile, _current) if profile is not None else _current
    set_options(**{**vars(base), **{k: v for k, v in given.items() if v is not None}, "sci_mode": sci_mode})


# One number ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Style:
    """How the numbers of one tensor are written: a format specification and a common width."""

    spec: str  # "" for str(), otherwise what follows the colon in a format string
    point: bool  # whether a whole number is marked as floating point by a final point
    width: int

    def text(self, value: Any) -> str:
        if not self.spec:
            return str(value).rjust(self.width)
        written = format(value, self.spec)
        if self.point and math.isfinite(value):
            written += "."
        return written.rjust(self.width)


def _float_style(values: np.ndarray, options: PrintOptions) -> _Style:
    """The style of real floating-point ``values`` (float64, any shape).

    Zeros, infinities and nans follow what the other values need: they count neither for the notation
    nor for the width.
    """
    telling = values[np.isfinite(values) & (values != 0)]
    if telling.size == 0:
        # Nothing to measure: whole numbers without padding.
        return _Style(".0f", True, 1)
    magnitude = np.abs(telling)
    least, most = float(magnitude.min()), float(magnitude.max())
    whole = bool(np.all(telling == np.ceil(telling)))
    wide_range = most > 1000.0 * least if math.isinf(most / least) else most / least > 1000.0
    scientific = options.sci_mode
    if scientific is None:
        scientific = wide_range or most > 1.0e8 or (not whole and least < 1.0e-4)
    if scientific:
        spec, point = f".{options.precision}e", False
    elif whole:
        spec, point = ".0f", True
    else:
        spec, point = f".{options.precision}f", False
    width = max(1, max(len(format(value, spec)) for value in telling.tolist()) + point)
    return _Style(spec, point, width)


def _plain_style(values: np.ndarray) -> _Style:
    """The style of integers and bools: ``str``, right-aligned."""
    return _Style("", False, max((len(str(value)) for value in values.ravel().tolist()), default=1))


def _complex_text(real: str, imag: str) -> str:
    imag = imag.lstrip()
    return f"{real}{imag}j" if imag.startswith(("+", "-")) else f"{real}+{imag}j"


def _texts(values: np.ndarray, options: PrintOptions) -> tuple[list[str], int]:
    """The text of every value in row-major order, and the width that line breaking reckons with."""
    if values.dtype.kind == "c":
        real, imag = (part.astype(np.float64) for part in (values.real, values.imag))
        style, imag_style = _float_style(real, options), _float_style(imag, options)
        pairs = zip(real.ravel().tolist(), imag.ravel().tolist(), strict=True)
        return [_complex_text(style.text(r), imag_style.text(i)) for r, i in pairs], style.width + imag_style.width + 1
    if values.dtype.kind in "bui":
        style = _plain_style(values)
    else:  # floating point; bfloat16 and float8 are types of kind "V" or "f" to numpy
        values = values.astype(np.float64)
        style = _float_style(values, options)
    return [style.text(value) for value in values.ravel().tolist()], style.width


# Nesting, omission and line breaks -------------------------------------------------------------------


def _edges(values: np.ndarray, count: int) -> tuple[np.ndarray, tuple[bool, ...]]:
    """``values`` without the middle of every dimension longer than twice ``count``; which ones are cut."""
    cut = tuple(size > 2 * count for size in values.shape)
    for axis, shorten in enumerate(cut):
        if shorten:
            size = values.shape[axis]
            kept = [*range(count), *range(size - count, size)]
            values = np.take(values, kept, axis=axis)
    return values, cut


class _Nest:
    """Lays texts of numbers out as nested lists."""

    def __init__(self, texts: list[str], shape: Sequence[int], cut: Sequence[bool], width: int, options: PrintOptions):
        self.texts = texts
        self.shape = shape
        self.cut = cut
        self.width = width
        self.options = options
        self.position = 0

    def layout(self, axis: int, indent: int) -> str:
        """The text of the next list at depth ``axis``, whose opening bracket stands in column ``indent``."""
        if axis == len(self.shape) - 1:
            return self.row(indent)
        parts = [self.layout(axis + 1, indent + 1) for _ in range(self.shape[axis])]
        if self.cut[axis]:
            parts.insert(self.options.edgeitems, "...")
        separator = "," + "\n" * (len(self.shape) - 1 - axis) + " " * (indent + 1)
        return "[" + separator.join(parts) + "]"

    def row(self, indent: int) -> str:
        """The innermost list, broken into lines that hold as many numbers as the line width allows."""
        size = self.shape[-1]
        parts = self.texts[self.position : self.position + size]
        self.position += size
        if self.cut[-1]:
            parts.insert(self.options.edgeitems, " ...")
        per_line = max(1, (self.options.linewidth - indent) // (self.width + len(", ")))
        lines = (", ".join(parts[start : start + per_line]) for start in range(0, len(parts), per_line))
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def format_values(values: np.ndarray, indent: int = 0, options: PrintOptions | None = None) -> str:
    """The numbers of ``values`` as nested lists; continuation lines start ``indent`` columns in.

    ``values``: any shape; bool, integer, floating-point (also ml_dtypes' bfloat16 and float8) or complex.
    """
    options = options or _current
    if values.size == 0:
        return "[]"
    cut: Sequence[bool] = (False,) * values.ndim
    if values.size > options.threshold:
        if options.edgeitems == 0 and values.ndim:
            return "[...]"
        values, cut = _edges(values, options.edgeitems)
    texts, width = _texts(values, options)
    if values.ndim == 0:
        return texts[0]
    return _Nest(texts, values.shape, cut, width, options).layout(0, indent)


# The whole representation ----------------------------------------------------------------------------


def format_tensor(
    values: np.ndarray | None,
    *,
    shape: Sequence[int],
    dtype_name: str,
    default_dtype_name: str,
    prefix: str = "tensor(",
    device_name: str | None = None,
    grad_suffix: str | None = None,
    contents: str | None = None,
    indent: int = 0,
    options: PrintOptions | None = None,
) -> str:
    """The text of a tensor.

    ``values`` are its numbers, None when there are none to show (device meta).  Names of types are as
    printed ("torch.float32"); the type is shown when the numbers do not tell it.  ``device_name`` is None
    for the default device.  ``grad_suffix`` is "requires_grad=True" or "grad_fn=<AddBackward0>".
    ``contents`` replaces the numbers.
    """
    options = options or _current
    shape = tuple(shape)
    numel = math.prod(shape)
    suffixes = []
    if device_name is not None:
        suffixes.append(f"device='{device_name}'")
    implied = {default_dtype_name}
    if values is None:
        suffixes.append(f"size={shape}")
        body = "..."
    elif numel == 0:
        if len(shape) != 1:
            suffixes.append(f"size={shape}")
        body = "[]"
    else:
        wide = default_dtype_name == "torch.float64"
        implied |= {"torch.complex128" if wide else "torch.complex64", "torch.int64", "torch.bool"}
        if options.edgeitems == 0:
            suffixes.append(f"size={shape}")
        body = ""
    if dtype_name not in implied:
        suffixes.append(f"dtype={dtype_name}")
    if grad_suffix is not None:
        suffixes.append(grad_suffix)
    if contents is not None:
        body = contents
    elif values is not None and numel:
        body = format_values(values, indent + len(prefix), options)
    return with_suffixes(prefix + body, suffixes, indent + len(prefix), options.linewidth)


def tensor_repr(tensor: Any, values: np.ndarray | None, contents: str | None = None) -> str:
    """The text of the Tensor ``tensor``, whose numbers are ``values`` (None on device meta).

    A subclass from outside this package shows its own name.  ``contents`` replaces the numbers.
    """
    kind = type(tensor)
    name = "tensor" if kind.__module__.partition(".")[0] == __package__ else kind.__name__
    grad_suffix = None
    if tensor.grad_fn is not None:
        grad_suffix = f"grad_fn=<{tensor.grad_fn.name()}>"
    elif tensor.requires_grad:
        grad_suffix = "requires_grad=True"
    return format_tensor(
        values,
        shape=tensor.shape,
        dtype_name=repr(tensor.dtype),
        default_dtype_name=repr(get_default_dtype()),
        prefix=f"{name}(",
        device_name=None if tensor.device.type == "cpu" else str(tensor.device),
        grad_suffix=grad_suffix,
        contents=contents,
    )


def with_suffixes(text: str, suffixes: Sequence[str], indent: int, linewidth: int, own_line: bool = False) -> str:
    """``text`` followed by ``suffixes`` and a closing bracket; one that does not fit starts a line, with ``own_line``
    the first one does."""
    # PyTorch counts the last line of numbers two columns too long
    column = linewidth if own_line else len(text) - (text.rfind("\n") + 1) + 2
    for suffix in suffixes:
        if column + len(suffix) + len(", ") > linewidth:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += len(suffix) + len(", ")
    return text + ")"
