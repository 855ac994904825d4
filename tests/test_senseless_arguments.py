"""Calls with arguments that make no sense end in PyTorch's exceptions, which name the call, never in Python's own."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch
import flambeau.nn.functional as F
from flambeau.dispatch.operator import OPERATORS

NEVER = (KeyError, ZeroDivisionError, AttributeError, UnboundLocalError, AssertionError, StopIteration)
SENSELESS: tuple[Callable[[], Any], ...] = (
    lambda: "x", lambda: None, lambda: 3, lambda: 2.5, lambda: float("nan"), lambda: float("inf"), lambda: 2**70,
    lambda: 1j, lambda: (), lambda: (1, 2), lambda: ("a",), lambda: [None], dict, lambda: True, lambda: 0, lambda: -7,
    lambda: torch.ones(2, 3), lambda: torch.ones(3, dtype=torch.bfloat16), lambda: torch.ones(2, 2).bool(),
    lambda: torch.ones((), dtype=torch.int64), lambda: torch.ones(2, 2, dtype=torch.complex64),
    lambda: torch.ones(0, 2), lambda: torch.int32, lambda: [torch.ones(2), "x"],
)  # fmt: skip


def calls(name: str) -> list[list[Any]]:
    """Some arguments for an operator: nonsense everywhere, and nonsense behind a tensor that it may want."""
    op, draw = OPERATORS[name], random.Random(name)
    parameters = [p for p in op.signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    wild = [[draw.choice(SENSELESS)() for _ in parameters] for _ in range(2)]
    return [wild[0], [torch.ones(1, 2, 3), *wild[1][1:]]]


@pytest.mark.parametrize("part", range(8))
def test_every_operator(part: int) -> None:
    found = []
    public = [n for n, op in OPERATORS.items() if op.namespace or hasattr(torch.Tensor, n)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(public)[part::8]:
            for args in calls(name):
                try:
                    OPERATORS[name].function(*args)
                except NEVER as error:
                    if not (isinstance(error, AssertionError) and str(error)):  # PyTorch raises some itself
                        found.append(f"{name}({args}): {type(error).__name__}: {error}")
                except Exception:
                    pass
    assert not found, "\n".join(found)


x = torch.ones(2, 3)
CASES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: torch.sub(x, x, alpha=None), TypeError, r"sub\(\): argument 'alpha'.* must be Number, not NoneType"),
    (lambda: torch.constant_pad_nd(x, 1), TypeError, r"constant_pad_nd\(\): argument 'pad'.* tuple of ints, not int"),
    (lambda: torch.empty_strided(3, 1), TypeError, r"empty_strided\(\): argument 'size'.* tuple of ints, not int"),
    (lambda: torch.full((2,), 1.0, out=3), TypeError, r"full\(\): argument 'out'.* must be Tensor, not int"),
    (lambda: x.is_set_to("x"), TypeError, r"is_set_to\(\): argument 'tensor'.* must be Tensor, not str"),
    (lambda: torch.detach_copy((1, 2)), TypeError, r"detach_copy\(\): argument 'input'.* must be Tensor, not tuple"),
    (lambda: torch.index_put_("x", (torch.tensor(0),), x), TypeError, r"index_put_\(\).*must be Tensor, not str"),
    (lambda: F.interpolate(x[None], "x"), TypeError, r"interpolate\(\).*'x'"),
    (lambda: F.lp_pool2d(x[None], 0, 1), RuntimeError, r"lp_pool2d\(\).*division by zero"),
    (lambda: torch.kaiser_window(2**60), RuntimeError, r"cannot get \d+ bytes"),
    (lambda: torch.polar(x.bfloat16(), x.bfloat16()), RuntimeError, "Half, Float or Double tensors but got.*bfloat16"),
    (lambda: torch.slice_inverse(x, x, 0, 0, 1, 0), RuntimeError, "slice step must be positive"),
    (lambda: torch.hsmm(x, x), NotImplementedError, "hspmm: expected a sparse and a dense matrix"),
    (lambda: F.rms_norm(x.int(), (3,)), NotImplementedError, '"rms_norm" not implemented for torch.int32'),
    (lambda: torch.tensor([float("nan")], dtype=torch.int64), RuntimeError, "cannot be converted to type int64"),
    (lambda: x.to("meta", memory_format=torch.channels_last_3d), RuntimeError, "required rank 5"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_words(case: int) -> None:
    call, kind, words = CASES[case]
    with pytest.raises(kind, match=words):
        call()


def test_what_python_could_not_do_is_the_cause() -> None:
    with pytest.raises(RuntimeError, match=r"lp_pool1d\(\): cannot be computed of these arguments \(torch.float32"
                       r" tensor of shape \[2, 3\], 0, 1") as caught:  # fmt: skip
        F.lp_pool1d(x, 0, 1)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_exceptions_of_the_user_are_left_alone() -> None:
    class Odd(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return {}["mine"]

    with pytest.raises(KeyError, match="mine"):
        torch.add(x.as_subclass(Odd), 1)
    with pytest.raises(ZeroDivisionError):
        torch.vmap(lambda t: t * (1 / 0))(x)


def test_rounding_to_more_decimals_than_a_number_has() -> None:
    for decimals in (400, -400, 10**9):
        assert torch.round(torch.tensor([1.5, 0.0]), decimals=decimals).isnan().all()


def test_where_of_a_condition_alone() -> None:
    assert torch.where(torch.tensor([True, False, True]))[0].tolist() == [0, 2]


def test_diagonals_need_whole_offsets() -> None:
    for call in (torch.diagonal, torch.linalg.diagonal):
        with pytest.raises(TypeError):
            call(torch.ones(3, 3), offset=0.5)


def test_sizes_and_strides_are_whole_numbers() -> None:
    for call in (
        lambda: torch.empty_strided((5,), (0.5,)),
        lambda: torch.empty_strided((5.0,), (1,)),
        lambda: torch.ones(2).new_empty(2.0),
        lambda: torch.ones(2).new_empty_strided((2,), (1.0,)),
    ):
        with pytest.raises(TypeError):
            call()


def test_views_begin_at_whole_numbers() -> None:
    with pytest.raises(TypeError, match="storage_offset"):
        torch.ones(16).as_strided((2, 2), (1, 1), 0.5)  # type: ignore[arg-type]


def test_factors_are_numbers_or_tensors_that_stand_for_one() -> None:
    x, two = torch.tensor([1.0, 2.0]), torch.tensor(2.0)
    assert torch.sub(x, x, alpha=two).tolist() == [-1.0, -2.0]
    for factor in (torch.ones(1), torch.ones(3), torch.tensor(2.0, requires_grad=True)):
        with pytest.raises(TypeError, match="must be Number, not Tensor"):
            torch.sub(x, x, alpha=factor)


def test_factors_have_no_tangents_and_differ_in_no_batch() -> None:
    x, two = torch.tensor([1.0, 2.0]), torch.tensor(2.0)
    value, tangent = torch.func.jvp(lambda t, a: torch.sub(t, t, alpha=a), (x, two), (x, two))
    assert value.tolist() == tangent.tolist() == [-1.0, -2.0]
    with pytest.raises(RuntimeError, match="item"):
        torch.func.vmap(lambda t, a: torch.sub(t, t, alpha=a))(x, x)


@pytest.mark.parametrize(("value", "kind"), [("nan", ValueError), ("inf", OverflowError), ("-inf", OverflowError)])
def test_what_is_no_integer(value: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="cannot convert float"):
        int(torch.tensor(float(value)))
