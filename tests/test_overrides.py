"""``torch.overrides``: modes, asking, what is known of functions."""

from __future__ import annotations

import threading
from typing import ClassVar

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


class Spelling(torch.Tensor):
    """A subclass that notes how it was called."""

    seen: ClassVar[list] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append((args[1:], kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})


def test_keywords_arrive_as_they_were_written():
    x = torch.ones(2, 3).as_subclass(Spelling)
    options = {"dim": 1}
    calls = {
        "x.sum(1)": ((1,), {}), "x.sum(dim=1)": ((), {"dim": 1}),
        "torch.sum(x, dim=1, keepdim=False)": ((), {"dim": 1, "keepdim": False}),
        "torch.sum(x, 1, True)": ((1, True), {}), "x.add(1, alpha=2)": ((1,), {"alpha": 2}),
        "x.clamp(0, max=1)": ((0,), {"max": 1}), "x.transpose(dim0=0, dim1=1)": ((), {"dim0": 0, "dim1": 1}),
        "x.sum(**options)": ((), {"dim": 1}), "x.mul_(2)": ((2,), {}),
        "x.sum(*[1], **{'keepdim': True})": ((1,), {"keepdim": True}),
        "x.sum(keepdim=True, **options)": ((), {"keepdim": True, "dim": 1}),
        "torch.sum(x, **{**options, 'keepdim': True})": ((), {"keepdim": True, "dim": 1}),
    }  # fmt: skip
    for text, expected in calls.items():
        Spelling.seen.clear()
        eval(text, {"x": x, "torch": torch, "options": options})
        assert Spelling.seen[0] == expected, text


class _Options:
    def __init__(self, **options):
        self.options = options

    def total(self, x, *args):
        return x.sum(*args, **self.options)


def test_keywords_of_a_dictionary_that_is_an_attribute_or_a_local_variable():
    x = torch.ones(2, 3).as_subclass(Spelling)

    def spread(function, *args, **kwargs):
        return function(*args, **kwargs)

    for call in (_Options(dim=1).total, lambda x: spread(torch.sum, x, dim=1)):
        Spelling.seen.clear()
        call(x)
        assert Spelling.seen[0] == ((), {"dim": 1})
    Spelling.seen.clear()
    x.sum(**(lambda: {"dim": 1})())  # what a call returns is not known: the value arrives, by position
    assert Spelling.seen[0] == ((1,), {})


def test_keywords_in_graphs():
    class Contraction(torch.nn.Module):
        def forward(self, a, b):
            return torch.tensordot(a, b, dims=([1], [0])).sum(dim=0)

    product, total = list(torch.fx.symbolic_trace(Contraction()).graph.nodes)[2:4]
    assert product.kwargs == {"dims": ([1], [0])} and total.kwargs == {"dim": 0}


def test_functions_above_operators_can_be_traced():
    graph = torch.fx.Graph()
    x = torch.fx.Proxy(graph.placeholder("x"), torch.fx.proxy.GraphAppendingTracer(graph))
    calls = {
        "broadcast_tensors": (x, x), "atleast_2d": (x, x), "kl_div": (x, x), "gru_cell": (x, x, x, x),
        "lstm": (x, [x, x], [x], True, 1, 0.0, False, False, False), "conv_tbc": (x, x, x),
        "cosine_embedding_loss": (x, x, x), "svd_lowrank": (x,), "cartesian_prod": (x, x),
    }  # fmt: skip
    for name, args in calls.items():
        function = getattr(torch, name)
        node = function(*args).node
        assert (node.op, node.target) == ("call_function", function), name
    node = torch.nn.functional.embedding(x, x).node
    assert (node.op, node.target) == ("call_function", torch.nn.functional.embedding)


def test_arguments_of_functions_above_operators_are_named():
    with pytest.raises(TypeError, match=r"hinge_embedding_loss\(\): argument 'reduction' \(position 4\) must be int"):
        torch.hinge_embedding_loss(torch.ones(2), torch.ones(2), 1.0, "mean")
    with pytest.raises(TypeError, match=r"argument 'packed' \(position 3\) must be Tensor, not int"):
        torch.fbgemm_linear_int8_weight(torch.ones(1, 2), torch.ones(2, 2), 3, torch.ones(2), 1.0, 0, torch.ones(2))
    with pytest.raises(IndexError, match=r"svd_lowrank\(\): .*too few dimensions .* \[\[3\]\]"):
        torch.svd_lowrank(torch.ones(3))
    with pytest.raises(TypeError, match="unexpected keyword argument 'out'"):
        torch.ones(4).as_strided_((2,), (1,), out=torch.empty(2, dtype=torch.float64))
    with pytest.raises(IndexError, match="no dimensions"):
        torch.ones(()).stride(0)
