"""``torch.overrides``: modes, asking, what is known of functions."""

from __future__ import annotations

import threading

import pytest

import flambeau as torch
from flambeau import overrides
from flambeau.overrides import TorchFunctionMode


class Names(TorchFunctionMode):
    """Notes what is called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Loud(torch.Tensor):
    """A subclass with a say."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return overrides.redispatch_function(func, types, args, kwargs)


def test_mode_sees_operators_once_and_changes_nothing():
    x, mode = torch.ones(3), Names()
    plain = torch.softmax(x * 2, 0) + x[0]
    with mode:
        found = torch.softmax(x * 2, 0) + x[0]
        x.clone().add_(1)
        torch.nn.functional.gelu(x)
        torch.stack([x, x])
    torch.exp(x)
    assert torch.equal(found, plain)
    assert mode.seen[:2] == ["mul", "softmax"] and "stack" in mode.seen and "gelu" in mode.seen
    assert "add_" in mode.seen and "exp" not in mode.seen
    assert overrides._get_current_function_mode() is None


def test_modes_nest_and_may_replace_results():
    class Twice(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {})) * 2

    outer = Names()
    with outer, Twice():
        assert torch.exp(torch.zeros(2)).tolist() == [2, 2]
    assert outer.seen.count("exp") == 1 and "mul" in outer.seen
    with overrides.BaseTorchFunctionMode():
        assert torch.exp(torch.zeros(1)).item() == 1


def test_mode_belongs_to_its_thread():
    mode, found = Names(), []
    with mode:
        thread = threading.Thread(target=lambda: found.append(torch.exp(torch.zeros(1)).item()))
        thread.start()
        thread.join()
    assert found == [1] and mode.seen == []


def test_mode_keeps_gradients():
    x = torch.ones(2, requires_grad=True)
    with Names():
        (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_mode_leaves_when_it_raises():
    class Bad(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"), Bad():
        torch.exp(torch.zeros(1))
    assert torch.exp(torch.zeros(1)).item() == 1


def test_functions_of_users_can_be_overridden():
    def double(a):
        if overrides.has_torch_function((a,)):
            return overrides.handle_torch_function(double, (a,), a)
        return a * 2 + 1

    @overrides.wrap_torch_function(lambda a: (a,))
    def triple(a):
        return a * 3

    mode, one = Names(), torch.ones(1)
    with mode:
        found = [double(one), triple(one)]
    assert [t.item() for t in found] == [3, 3]
    assert mode.seen == ["double", "triple"]
    assert double(torch.ones(1).as_subclass(Loud)).item() == 3


def test_asking():
    x = torch.ones(1)
    loud = x.as_subclass(Loud)
    assert not overrides.has_torch_function((x, 1)) and overrides.has_torch_function((x, loud))
    assert overrides.has_torch_function_unary(loud) and overrides.has_torch_function_variadic(1, loud)
    assert not overrides.has_torch_function_unary(torch.nn.Parameter(x))
    assert overrides.is_tensor_like(loud) and overrides.is_tensor_like(x) and not overrides.is_tensor_like([1])

    class Refuses:
        @classmethod
        def __torch_function__(cls, *args, **kwargs):
            return NotImplemented

    with pytest.raises(TypeError, match="no implementation found"):
        overrides.handle_torch_function(torch.exp, (Refuses(),), Refuses())


def test_names_and_tables():
    assert overrides.resolve_name(torch.add) == "torch.add"
    assert overrides.resolve_name(torch.Tensor.add) == "torch.Tensor.add"
    assert overrides.resolve_name(torch.Tensor.shape.__get__) == "torch.Tensor.shape.__get__"
    assert overrides.resolve_name(torch.linalg.inv) == "torch.linalg.inv"
    assert overrides.is_tensor_method_or_property(torch.Tensor.add)
    assert not overrides.is_tensor_method_or_property(torch.add)
    tables = overrides.get_overridable_functions()
    assert torch.add in tables[torch] and torch.Tensor.sum in tables[torch.Tensor] and torch.zeros not in tables[torch]
    assert torch.zeros in overrides.get_ignored_functions()
    assert overrides.get_testing_overrides()[torch.add](1, 2) == -1
