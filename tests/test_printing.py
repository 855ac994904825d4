"""Printing: values written by hand, and PyTorch's text over random tensors of every type and option."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau
from flambeau import printing
from flambeau.printing import PrintOptions, format_tensor, format_values


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    printing.set_printoptions(profile="default")
    yield
    printing.set_printoptions(profile="default")


def text(values: Any, **options: Any) -> str:
    return format_values(np.asarray(values), 0, PrintOptions(**options))


def test_numbers() -> None:
    assert text([1.0, 2.5]) == "[1.0000, 2.5000]"
    assert text([1.0, -2.0]) == "[ 1., -2.]"
    assert text([1.0, 2000.0]) == "[1.0000e+00, 2.0000e+03]"
    assert text([0.00001, 1.5]) == "[1.0000e-05, 1.5000e+00]"
    assert text([math.nan, 1.5, -math.inf]) == "[   nan, 1.5000,   -inf]"
    assert text([math.inf, 0.0]) == "[inf, 0.]"
    assert text([True, False]) == "[ True, False]"
    assert text([1, -10]) == "[  1, -10]"
    assert text(2**64 - 1) == "18446744073709551615"
    assert text([-1 - 2j, 1e-5j]) == "[-1.-2.0000e+00j,  0.+1.0000e-05j]"
    assert text(np.array([1.5, 448], ml_dtypes.float8_e4m3fn)) == "[  1.5000, 448.0000]"
    assert text(np.array([0.1], ml_dtypes.bfloat16)) == "[0.1001]"


def test_notation_can_be_forced() -> None:
    assert text([1.0, 2.0], sci_mode=True, precision=1) == "[1.0e+00, 2.0e+00]"
    assert text([1e-5, 2000.5], sci_mode=False) == "[   0.0000, 2000.5000]"


def test_long_tensors_are_summarised() -> None:
    assert text(np.arange(1001)) == "[   0,    1,    2,  ...,  998,  999, 1000]"
    assert text(np.arange(1001), threshold=math.inf).count(",") == 1000
    matrix = format_values(np.arange(2000.0).reshape(40, 50), len("tensor("), PrintOptions(edgeitems=1))
    assert matrix == "[[   0.,  ...,   49.],\n        ...,\n        [1950.,  ..., 1999.]]"


@pytest.mark.parametrize(
    ("values", "shape", "dtype", "expected"),
    [
        (np.zeros((2, 0)), (2, 0), "torch.float32", "tensor([], size=(2, 0))"),
        (np.zeros(0, np.int64), (0,), "torch.int64", "tensor([], dtype=torch.int64)"),
        (np.zeros(2, np.int64), (2,), "torch.int64", "tensor([0, 0])"),
        (np.zeros(2), (2,), "torch.float64", "tensor([0., 0.], dtype=torch.float64)"),
        (np.zeros(2, np.complex64), (2,), "torch.complex64", "tensor([0.+0.j, 0.+0.j])"),
        (np.array(True), (), "torch.bool", "tensor(True)"),
    ],
)
def test_type_and_size_are_shown_when_the_numbers_do_not_tell(
    values: np.ndarray, shape: tuple[int, ...], dtype: str, expected: str
) -> None:
    assert format_tensor(values, shape=shape, dtype_name=dtype, default_dtype_name="torch.float32") == expected


def test_no_values_and_other_devices() -> None:
    shown = format_tensor(
        None,
        shape=(2, 3),
        dtype_name="torch.float64",
        default_dtype_name="torch.float32",
        device_name="meta",
        grad_suffix="requires_grad=True",
    )
    assert shown == "tensor(..., device='meta', size=(2, 3), dtype=torch.float64,\n       requires_grad=True)"


def test_options() -> None:
    printing.set_printoptions(profile="short", linewidth=40)
    assert printing.get_printoptions() == {
        "precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 40, "sci_mode": None,
    }  # fmt: skip
    printing.set_printoptions(sci_mode=True)
    assert format_values(np.array([1.0])) == "[1.00e+00]"
    printing.set_printoptions(precision=3)
    assert format_values(np.array([0.25])) == "[0.250]"
    printing.set_printoptions(profile="no such profile")
    assert printing.get_printoptions()["precision"] == 3


# Against PyTorch -------------------------------------------------------------------------------------

TYPES = (
    "float32 float64 float16 bfloat16 float8_e4m3fn float8_e5m2 complex64 complex128 "
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64"
).split()
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0)


@st.composite
def _arrays(draw: st.DrawFn) -> tuple[str, np.ndarray]:
    """A type's name and values as float64 (or complex128, int64) that the type will be cast from."""
    name = draw(st.sampled_from(TYPES))
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 7, 8, 30, 60]), max_size=4))
    shape = shape if math.prod(shape) <= 4000 else shape[:2]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.standard_normal(shape) * 10.0 ** draw(st.integers(-8, 9))
    kind = draw(st.sampled_from(["plain", "whole", "wide range", "special"]))
    if kind == "whole":
        values = np.round(values)
    elif kind == "wide range":
        values = values * 10.0 ** rng.integers(-6, 6, shape)
    elif kind == "special":
        values = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), values)
    if "int" in name or name == "bool":
        values = np.clip(np.nan_to_num(values, nan=0, posinf=0, neginf=0), -(2.0**40), 2.0**40).astype(np.int64)
    elif name.startswith("complex"):
        values = values + 1j * values.T.reshape(shape) if np.isfinite(values).all() else values.astype(complex)
    return name, np.asarray(values)


_options = st.fixed_dictionaries(
    {
        "precision": st.sampled_from([4, 4, 2, 0, 8]),
        "threshold": st.sampled_from([1000, 1000, 0, 10, math.inf]),
        "edgeitems": st.sampled_from([3, 3, 1, 2, 5, 0]),
        "linewidth": st.sampled_from([80, 80, 20, 120, 5]),
        "sci_mode": st.sampled_from([None, None, None, True, False]),
    }
)


@settings(max_examples=1500)
@given(array=_arrays(), options=_options, default=st.sampled_from(["float32", "float64"]), grad=st.booleans())
def test_against_pytorch(array: tuple[str, np.ndarray], options: dict[str, Any], default: str, grad: bool) -> None:
    torch = pytest.importorskip("torch")
    name, values = array
    tensor = torch.from_numpy(values).to(getattr(torch, name))
    grad = grad and name in ("float32", "float64", "complex64")
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(getattr(torch, default))
        torch.set_printoptions(**options)
        expected = repr(tensor.requires_grad_(grad))
    finally:
        torch.set_default_dtype(before)
        torch.set_printoptions(profile="default")
    tensor = tensor.detach()
    narrow = name.startswith(("bfloat16", "float8"))
    shown = format_tensor(
        tensor.to(torch.float64).numpy().astype(getattr(ml_dtypes, name)) if narrow else tensor.numpy(),
        shape=values.shape,
        dtype_name=f"torch.{name}",
        default_dtype_name=f"torch.{default}",
        grad_suffix="requires_grad=True" if grad else None,
        options=PrintOptions(**options),
    )
    assert shown == expected


# Tensors ---------------------------------------------------------------------------------------------


class Named(flambeau.Tensor):
    """A subclass of the user's."""


CASES: dict[str, Callable[[Any], Any]] = {
    "leaf": lambda torch: torch.ones(2, 3, requires_grad=True),
    "result": lambda torch: torch.ones(2, 3, requires_grad=True) * 2,
    "view of a result": lambda torch: (torch.ones(2, 3, requires_grad=True) * 2)[0],
    "detached": lambda torch: torch.ones(2, 3, requires_grad=True).detach(),
    "slice": lambda torch: torch.arange(20).reshape(4, 5)[1:3, ::2],
    "expanded": lambda torch: torch.ones(1).expand(3),
    "transposed": lambda torch: torch.arange(6.0).reshape(2, 3).t(),
    "bool": lambda torch: torch.tensor([True, False]),
    "0-dim": lambda torch: torch.tensor(3.5),
    "empty": lambda torch: torch.empty(0, 3),
    "bfloat16": lambda torch: torch.tensor([0.1, 2.5]).to(torch.bfloat16),
    "float64": lambda torch: torch.tensor([0.1, 2.5], dtype=torch.float64),
    "complex": lambda torch: torch.tensor([1 + 2j, -0.5j]),
    "meta": lambda torch: torch.empty(2, 3, device="meta"),
    "long": lambda torch: torch.arange(5000),
}


@pytest.mark.parametrize("case", CASES)
def test_tensors_print_as_in_pytorch(case: str) -> None:
    torch = pytest.importorskip("torch")
    assert repr(CASES[case](flambeau)) == repr(CASES[case](torch))


def test_str_format_and_default_type() -> None:
    x = flambeau.tensor([1.0, 2.0])
    assert str(x) == repr(x) == f"{x}" == "tensor([1., 2.])"
    assert f"{flambeau.tensor(2.5):.2f}" == "2.50"
    flambeau.set_default_dtype(flambeau.float64)
    try:
        assert repr(x) == "tensor([1., 2.], dtype=torch.float32)"
    finally:
        flambeau.set_default_dtype(flambeau.float32)


def test_parameters_and_subclasses() -> None:
    parameter = flambeau.nn.Parameter(flambeau.ones(2))
    assert repr(parameter) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    assert repr(flambeau.ones(2).as_subclass(Named)) == "Named([1., 1.])"


def test_printing_a_deferred_value_computes_it() -> None:
    assert repr(flambeau.compile(lambda x: x + 1)(flambeau.ones(2))) == "tensor([2., 2.])"


def test_module_of_tensor_text() -> None:
    module = flambeau._tensor_str
    x = flambeau.tensor([[1.0, -2.5]])
    assert module._tensor_str(x, 0) == "[[ 1.0000, -2.5000]]"
    assert module._str(x) == repr(x) and module._str_intern(x, tensor_contents="[...]") == "tensor([...])"
    assert module._add_suffixes("tensor([1]", ["size=(1,)"], 7, False) == "tensor([1], size=(1,))"
    assert module._add_suffixes("tensor([1]", ["size=(1,)"], 7, True) == "tensor([1],\n       size=(1,))"
    with module.printoptions(precision=1):
        assert repr(x) == "tensor([[ 1.0, -2.5]])" and module.PRINT_OPTS.precision == 1
    module.PRINT_OPTS.precision = 2
    assert repr(x) == "tensor([[ 1.00, -2.50]])"
    flambeau.set_printoptions(profile="default")
    assert module.PRINT_OPTS.precision == 4 and module.get_printoptions() == printing.get_printoptions()
