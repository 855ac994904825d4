"""PyTorch's part in ``fuzz.py``: samples of its operator database, and its answer to a case."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

import fuzz_cases as cases
import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import flambeau

TYPES = (torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.bfloat16)
RANDOM = re.compile(
    r"rand|dropout|bernoulli|multinomial|normal|uniform|poisson|exponential|cauchy|geometric|empty|rrelu"
    r"|lowrank|fractional|gumbel|new_empty|resize"
)


class _Unusual(Exception):
    """A value that cases have no form for."""


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in cases.DTYPES or value.layout is not torch.strided or value.device.type != "cpu":
            raise _Unusual
        size = value.untyped_storage().nbytes() // value.element_size()
        if size > 1 << 16:
            raise _Unusual
        base = value.detach().resolve_conj().resolve_neg()
        if value.is_conj() or value.is_neg():
            base = base.contiguous()
        held = base.as_strided((base.untyped_storage().nbytes() // base.element_size(),), (1,), 0)
        array = (held.float() if name == "bfloat16" else held).numpy().copy()
        spec = cases.Spec(name, tuple(base.shape), base.stride(), base.storage_offset(), ("random", 0, 1))
        return cases.replace(spec, array=array[: spec.elements])
    if isinstance(value, torch.dtype):
        name = str(value).removeprefix("torch.")
        if name not in cases.DTYPES:
            raise _Unusual
        return cases.Name(name)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, complex, str, slice)) or value is Ellipsis:
        return value
    raise _Unusual


@functools.cache
def _by_name() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for op in op_db:
        for name in {op.name.rsplit(".", 1)[-1], *(a.name.rsplit(".", 1)[-1] for a in op.aliases)}:
            found.setdefault(name, []).append(op)
    return found


@functools.lru_cache(maxsize=200)
def samples(name: str) -> list[Any]:
    """(args, kwargs) of some of the database's samples of a function."""
    found: list[Any] = []
    last = name.rsplit(".", 1)[-1].strip("_")
    for op in _by_name().get(last, []):
        for dtype in TYPES:
            if dtype not in op.supported_dtypes("cpu"):
                continue
            torch.manual_seed(0)
            np.random.seed(0)
            try:
                drawn = list(itertools.islice(op.sample_inputs("cpu", dtype), 40))
            except Exception:
                continue
            for s in drawn:
                try:
                    found.append((_plain([s.input, *s.args]), _plain(s.kwargs)))
                except _Unusual:
                    continue
    return found


def _function(name: str) -> Any:
    if name.startswith(("Tensor.", "nn.", "linalg.", "fft.", "special.", "signal.")):
        path = name
    elif name.startswith("torch."):
        path = name.removeprefix("torch.")
    else:
        from flambeau.dispatch.operator import OPERATORS

        op = OPERATORS[name]
        spaces = {op.namespace, "torch", "torch.nn.functional", "torch.Tensor", "torch.special", "torch.linalg"}
        for space in sorted(spaces, key=lambda s: s != op.namespace):
            home: Any = torch
            for part in space.split(".")[1:]:
                home = getattr(home, part)
            if hasattr(home, name):
                return getattr(home, name)
        return None
    found: Any = torch
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return found


def _results(found: Any, kind: type) -> list[Any]:
    if isinstance(found, kind):
        return [found]
    if isinstance(found, (list, tuple)):
        return [t for item in found for t in _results(item, kind)]
    return []


def _array(t: Any, m: Any) -> np.ndarray:
    t = t.detach()
    if hasattr(t, "resolve_conj"):
        t = t.resolve_conj().resolve_neg()
    wide = t.to(m.complex128) if t.is_complex() else t.to(m.float64)
    return np.asarray(wide.numpy())


TOLERANCE = {"float16": 1e-2, "bfloat16": 5e-2, "float32": 1e-3, "complex64": 1e-3}


def compare(case: cases.Case, perform: Callable[..., Any], found: Any, error: Any) -> tuple[str, str] | None:
    """(kind, text) of how PyTorch's answer differs, or None."""
    function = _function(case.target)
    if function is None or case.mode == "compile":
        return None
    inplace = case.target.rsplit(".", 1)[-1] + "_"
    torch.manual_seed(case.seed)
    try:
        wanted = perform(case, function, inplace, torch)
    except Exception as theirs:
        if error is None:
            return "accepts", f"PyTorch: {type(theirs).__name__}: {theirs}"
        ours, other = type(error), type(theirs)
        same = any(
            issubclass(ours, k) and issubclass(other, k) for k in (RuntimeError, ValueError, TypeError, IndexError)
        )
        return None if same else ("exception", f"{ours.__name__}: {error} | PyTorch: {other.__name__}: {theirs}")
    if error is not None:
        return "refuses", f"{type(error).__name__}: {error}"
    if RANDOM.search(case.target):
        return None
    ours_all, theirs_all = _results(found, flambeau.Tensor), _results(wanted, torch.Tensor)
    if len(ours_all) != len(theirs_all):
        return "layout", f"{len(ours_all)} results, PyTorch {len(theirs_all)}"
    for a, b in zip(ours_all, theirs_all):
        dtype = str(b.dtype).removeprefix("torch.")
        mine = (str(a.dtype).removeprefix("torch."), tuple(a.shape), str(a.device))
        if mine != (dtype, tuple(b.shape), str(b.device)):
            return "layout", f"{mine}, PyTorch {(dtype, tuple(b.shape), str(b.device))}"
        if a.device.type != "cpu" or b.layout is not torch.strided:
            continue
        x, y = _array(a, flambeau), _array(b, torch)
        limit = TOLERANCE.get(dtype, 1e-6)
        finite = np.abs(y[np.isfinite(y)])
        scale = float(finite.max()) if finite.size else 1.0
        off = ~np.isclose(x, y, rtol=limit, atol=limit * min(scale, 1e30), equal_nan=True)
        if off.any():
            place = tuple(int(i[0]) for i in np.nonzero(np.atleast_1d(off)))
            mine, theirs = np.atleast_1d(x)[place], np.atleast_1d(y)[place]
            return "values", f"{dtype} of {tuple(b.shape)} at {place}: {mine}, PyTorch {theirs}"
    return None
