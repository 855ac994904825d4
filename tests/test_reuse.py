"""Results written over operands that nobody looks at again, and operands that somebody does look at again."""

from __future__ import annotations

import dis
import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau import settings
from flambeau.dispatch import reuse

torch: Any = flambeau

Array = Any
ROWS = reuse.SMALLEST // 4096 + 3  # rows of 1024 float32 that are large enough

sure = pytest.mark.skipif(not reuse._SURE or settings.guard, reason="operands are not known to be dying here")


@pytest.fixture
def xyz() -> list[Any]:
    torch.manual_seed(1)
    return [torch.randn(ROWS, 1024) for _ in range(3)]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each large result that a form made took the memory of its operand."""
    found: list[bool] = []

    def watch(count: int, plan: Any, operand: Any, caller: Any) -> Any:
        made = reuse.make_over(count, plan, operand, caller)
        found.append(made is operand._storage)
        return made

    forms = [vars(torch.Tensor)[f"__{n}__"] for n in ("add", "sub", "mul", "truediv", "neg")]
    for name, form in zip(("add", "sub", "mul", "truediv", "neg"), forms):
        if not hasattr(form, "__globals__"):
            form = getattr(torch.Tensor, f"__{name}__")
        monkeypatch.setitem(form.__globals__, "make_over", watch)
    return found


def values(*tensors: Any) -> list[Array]:
    return [t.numpy().astype(np.float64) for t in tensors]


CHAINS: dict[str, tuple[Callable[..., Any], list[bool]]] = {
    "x * y + z": (lambda x, y, z: x * y + z, [False, True]),
    "x * 2.0 - 1": (lambda x, y, z: x * 2.0 - 1, [False, True]),
    "-(x * y)": (lambda x, y, z: -(x * y), [False, True]),
    "x * y + z * x": (lambda x, y, z: x * y + z * x, [False, False, True]),
    "x * y + z - x * 3 + y": (lambda x, y, z: x * y + z - x * 3 + y, [False, True, False, True, True]),
    "x * y / (z * z + 1.0)": (lambda x, y, z: x * y / (z * z + 1.0), [False, False, True, True]),
    "x * y + z[0]": (lambda x, y, z: x * y + z[0], [False, False]),
    "z + x * y": (lambda x, y, z: z + x * y, [False, False]),
    "x + x": (lambda x, y, z: x + x, [False]),
}


@sure
@pytest.mark.parametrize("name", CHAINS)
def test_chains_are_right_and_reuse_their_temporaries(name: str, xyz: list[Any], taken: list[bool]) -> None:
    chain, expected = CHAINS[name]
    before = values(*xyz)
    for _ in range(3):
        taken.clear()
        found = chain(*xyz)
        assert taken == expected
        np.testing.assert_allclose(found.numpy(), chain(*before), rtol=1e-5, atol=1e-5)
    for now, then in zip(values(*xyz), before):
        np.testing.assert_array_equal(now, then)


@sure
def test_operands_that_somebody_holds_stay(xyz: list[Any], taken: list[bool]) -> None:
    x, y, z = xyz
    a, b, c = values(x, y, z)
    t = x * y
    s = t + z
    walrus = (u := x * y) + z
    held = [x * y]
    w = held[0] + z
    looked = (x * y).view(-1)
    v = looked + 1.0
    array = (x * y).numpy()
    q = torch.from_numpy(array) + z
    part = (x * y)[1:]
    r = part + z[1:]
    np.testing.assert_allclose(t.numpy(), a * b, rtol=1e-6)
    for kept in (u, held[0]):
        np.testing.assert_allclose(kept.numpy(), a * b, rtol=1e-6)
    np.testing.assert_allclose(looked.numpy(), (a * b).ravel(), rtol=1e-6)
    np.testing.assert_allclose(array, a * b, rtol=1e-6)
    np.testing.assert_allclose(part.numpy(), (a * b)[1:], rtol=1e-6)
    for found, wanted in (
        (s, a * b + c),
        (walrus, a * b + c),
        (w, a * b + c),
        (v, (a * b).ravel() + 1),
        (q, a * b + c),
    ):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(r.numpy(), (a * b + c)[1:], rtol=1e-4, atol=1e-5)
    assert not any(taken)


@sure
def test_operators_called_by_other_code_leave_their_operands(xyz: list[Any], taken: list[bool]) -> None:
    x, y, z = xyz
    a, b, c = values(x, y, z)
    add = functools.partial(operator.add, x * y)
    method = (x * y).__add__
    for _ in range(2):
        np.testing.assert_allclose(add(z).numpy(), a * b + c, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(method(z).numpy(), a * b + c, rtol=1e-4, atol=1e-5)
    for shape in ((), (1,), (2,)):
        objects = np.empty(shape, dtype=object)
        for at in np.ndindex(*shape):
            objects[at] = x * y
        for _ in range(2):
            doubled: Any = objects * 2.0
            for found in list(doubled.flat) if shape else [doubled]:
                np.testing.assert_allclose(found.numpy(), a * b * 2, rtol=1e-6)
    assert not any(taken)
    found = functools.reduce(operator.add, [x, y, z])
    np.testing.assert_allclose(found.numpy(), a + b + c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sum([x * y, z]).numpy(), a * b + c, rtol=1e-4, atol=1e-5)


@sure
def test_what_is_recorded_keeps_its_operands(xyz: list[Any], taken: list[bool]) -> None:
    x, y, z = xyz
    a, b, _ = values(x, y, z)
    z.requires_grad_()
    (x * y * z).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), a * b, rtol=1e-6)
    z.grad = None
    x.requires_grad_()
    (x * y * z).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), a * b, rtol=1e-6)
    assert not any(taken)
    with torch.no_grad():
        found = x * y * z
    assert taken[-1] and not found.requires_grad


@sure
def test_other_types_sizes_and_layouts(xyz: list[Any], taken: list[bool]) -> None:
    x, y, _ = xyz
    found = x.t() * y.t() + 1.0
    np.testing.assert_allclose(found.numpy(), (x.numpy() * y.numpy()).T + 1, rtol=1e-6)
    assert taken == [False, True] and found.stride() == x.t().stride()
    taken.clear()
    wide = x[:1] * 2.0 + y  # the result is larger than the operand
    np.testing.assert_allclose(wide.numpy(), x.numpy()[:1] * 2 + y.numpy(), rtol=1e-6)
    mixed = x * 2.0 + y.double()
    assert mixed.dtype == torch.float64
    np.testing.assert_allclose(mixed.numpy(), x.numpy() * 2 + y.numpy().astype(np.float64))
    whole = torch.arange(ROWS * 1024) * 2 + 1
    assert whole.dtype == torch.int64 and int(whole[-1]) == 2 * (ROWS * 1024 - 1) + 1
    small = x[0] * y[0] + 1.0
    np.testing.assert_allclose(small.numpy(), x.numpy()[0] * y.numpy()[0] + 1, rtol=1e-6)


def _shapes_of_code(x: Any, y: Any, z: Any, many: Any) -> Any:
    a = x * y if z else y
    a += x
    b = (x * y if z else z) + x
    c = [x * y, z][0] + x
    d = x * y + (x if z else y)
    return a, b, c, d


def test_where_operands_are_made_is_known_only_on_straight_ways() -> None:
    found = reuse._makers(_shapes_of_code.__code__)
    names = {s.offset: s for s in dis.get_instructions(_shapes_of_code.__code__)}
    for user, maker in found.items():
        assert reuse._operands(names[user]) and reuse._operands(names[maker]) and maker < user
    assert len(found) <= 1  # where the compiler gives each branch an end of its own
