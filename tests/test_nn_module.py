"""Module: members, hooks, states, conversions, text; compared with PyTorch, errors and their texts included."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from nn_reference import check, torch

import flambeau
from flambeau import nn


def model(package):
    """A small model with a shared module, a buffer that is saved and one that is not."""
    m = package.nn

    class Inner(m.Module):
        def __init__(self):
            super().__init__()
            self.lin = m.Linear(2, 3)
            self.register_buffer("kept", package.ones(2))
            self.register_buffer("lost", package.zeros(1), persistent=False)
            self.register_parameter("none", None)

        def forward(self, x, scale=1.0):
            return self.lin(x) * scale

    class Outer(m.Module):
        def __init__(self):
            super().__init__()
            self.first = Inner()
            self.second = m.Sequential(m.Linear(3, 2), m.Tanh())
            self.again = self.first
            self.empty = None
            self.number = 3

        def forward(self, x):
            return self.second(self.first(x))

    return Outer()


REGISTRATION = {
    "buffer taken": lambda p, m: m.register_buffer("number", None),
    "buffer empty": lambda p, m: m.register_buffer("", None),
    "buffer dot": lambda p, m: m.register_buffer("a.b", None),
    "buffer name": lambda p, m: m.register_buffer(3, None),
    "buffer value": lambda p, m: m.register_buffer("b", 3),
    "parameter taken": lambda p, m: m.register_parameter("number", None),
    "parameter tensor": lambda p, m: m.register_parameter("b", p.ones(1)),
    "parameter value": lambda p, m: m.register_parameter("b", 3),
    "parameter dot": lambda p, m: m.register_parameter("a.b", None),
    "parameter leaf": lambda p, m: m.register_parameter("b", p.nn.Parameter(p.ones(1)) * 2),
    "module taken": lambda p, m: m.add_module("number", p.nn.ReLU()),
    "module empty": lambda p, m: m.add_module("", p.nn.ReLU()),
    "module dot": lambda p, m: m.register_module("a.b", p.nn.ReLU()),
    "module name": lambda p, m: m.add_module(3, p.nn.ReLU()),
    "module value": lambda p, m: m.add_module("q", 3),
    "set parameter": lambda p, m: setattr(m.first.lin, "weight", p.ones(1)),
    "set parameter number": lambda p, m: setattr(m.first.lin, "weight", 3),
    "set module": lambda p, m: setattr(m, "first", 3),
    "set buffer": lambda p, m: setattr(m.first, "kept", 3),
    "get submodule": lambda p, m: m.get_submodule("first.what"),
    "get submodule no module": lambda p, m: m.get_submodule("number"),
    "get parameter": lambda p, m: m.get_parameter("first.lin.what"),
    "get parameter no parameter": lambda p, m: m.get_parameter("number"),
    "get parameter value": lambda p, m: m.get_parameter("first.lin.bias"),
    "get buffer": lambda p, m: m.get_buffer("first.what"),
    "get buffer no buffer": lambda p, m: m.get_buffer("number"),
    "get buffer value": lambda p, m: m.get_buffer("first.kept"),
    "set submodule": lambda p, m: (m.set_submodule("second.0", p.nn.Identity()), m),
    "set submodule new": lambda p, m: (m.set_submodule("second.new", p.nn.Identity()), m),
    "set submodule strict": lambda p, m: m.set_submodule("second.new", p.nn.Identity(), strict=True),
    "set submodule nowhere": lambda p, m: m.set_submodule("", p.nn.Identity()),
    "set submodule no module": lambda p, m: m.set_submodule("second", 3),
    "set submodule over number": lambda p, m: m.set_submodule("number", p.nn.Identity()),
    "attribute": lambda p, m: m.what,
    "train": lambda p, m: m.train(1),
    "forward": lambda p, m: p.nn.Module()(3),
    "keyword": lambda p, m: p.nn.Tanh(a=1),
    "positional": lambda p, m: p.nn.Tanh(1),
    "load no mapping": lambda p, m: m.load_state_dict(3),
    "load nothing": lambda p, m: m.load_state_dict({}),
    "load wrong": lambda p, m: m.load_state_dict({"first.lin.weight": p.ones(2), "first.lin.bias": 3, "x": p.ones(1)}),
    "load lenient": lambda p, m: m.load_state_dict({"first.lin.weight": p.ones(3, 2), "x": p.ones(1)}, strict=False),
    "to int": lambda p, m: m.to(p.int32),
    "to many": lambda p, m: m.to(3, 4, 5),
    "to dtype": lambda p, m: [t.dtype for t in m.to(p.float64).state_dict().values()],
    "to tensor": lambda p, m: [t.dtype for t in m.to(p.ones(1, dtype=p.float64)).state_dict().values()],
    "half": lambda p, m: [t.dtype for t in m.half().state_dict().values()],
    "bfloat16": lambda p, m: [t.dtype for t in m.bfloat16().state_dict().values()],
    "double float": lambda p, m: [t.dtype for t in m.double().float().state_dict().values()],
}


@pytest.mark.parametrize("name", REGISTRATION)
def test_members_and_their_errors(name):
    check(lambda p: REGISTRATION[name](p, model(p)))


def before_init(p, assign):
    class M(p.nn.Module):
        def __init__(self):
            assign(self)

    return M()


@pytest.mark.parametrize(
    "assign",
    [
        lambda p, s: setattr(s, "l", p.nn.Linear(1, 1)),
        lambda p, s: setattr(s, "l", p.nn.Buffer(p.ones(1))),
        lambda p, s: setattr(s, "l", p.nn.Parameter(p.ones(1))),
        lambda p, s: s.register_buffer("x", None),
        lambda p, s: s.what,
    ],
)
def test_assignment_before_init(assign):
    check(lambda p: before_init(p, lambda s: assign(p, s)))


ITERATION = {
    "parameters": lambda m: [name for name, _ in m.named_parameters()],
    "all parameters": lambda m: [name for name, _ in m.named_parameters(remove_duplicate=False)],
    "own parameters": lambda m: [name for name, _ in m.first.lin.named_parameters("pre", recurse=False)],
    "buffers": lambda m: [name for name, _ in m.named_buffers()],
    "modules": lambda m: [name for name, _ in m.named_modules()],
    "all modules": lambda m: [name for name, _ in m.named_modules(remove_duplicate=False, prefix="p")],
    "children": lambda m: [name for name, _ in m.named_children()],
    "counts": lambda m: [
        len(list(m.parameters())),
        len(list(m.buffers())),
        len(list(m.modules())),
        len(list(m.children())),
    ],
    "state": lambda m: [list(m.state_dict()), list(m.state_dict(prefix="a.")), dict(m.state_dict()._metadata)],
    "repr": lambda m: repr(m),
    "apply": lambda m: (lambda seen: (m.apply(lambda each: seen.append(type(each).__name__)), seen)[1])([]),
    "train": lambda m: (m.eval(), [each.training for each in m.modules()], m.train(), m.training)[1::2],
    "delete": lambda m: (
        delattr(m, "again"),
        delattr(m.first, "kept"),
        delattr(m.first.lin, "bias"),
        list(m.state_dict()),
    ),
    "requires grad": lambda m: [p.requires_grad for p in m.requires_grad_(False).parameters()],
}


@pytest.mark.parametrize("name", ITERATION)
def test_iteration(name):
    check(lambda p: ITERATION[name](model(p)))


def test_attributes_move_between_kinds():
    def program(p):
        m = p.nn.Module()
        m.a = 1
        m.a = p.nn.Parameter(p.ones(1))
        first = (list(m._parameters), "a" in m.__dict__)
        m.a = None
        m.b = p.nn.Buffer(p.ones(1), persistent=False)
        m.b = p.zeros(2)
        second = (list(m._buffers), list(m._non_persistent_buffers_set), m.state_dict())
        m.b = p.nn.ReLU()
        third = (list(m._buffers), list(m._modules), sorted(m._non_persistent_buffers_set))
        return first, second, third, [n for n in dir(m) if n in ("a", "b", "0")]

    check(program)


def test_buffer_is_a_marked_plain_tensor():
    buffer = nn.Buffer(flambeau.ones(2), persistent=False)
    assert type(buffer) is flambeau.Tensor
    assert isinstance(buffer, nn.Buffer)
    assert not isinstance(flambeau.ones(2), nn.Buffer)
    assert not buffer.persistent


def test_parameter():
    data = flambeau.ones(2)
    p = nn.Parameter(data)
    assert isinstance(p, nn.Parameter) and p.requires_grad and p.is_leaf
    data.add_(1)
    assert p.tolist() == [2.0, 2.0]  # shared memory
    assert type(p * 2) is flambeau.Tensor
    assert type(p.detach()) is flambeau.Tensor
    assert not nn.Parameter(data, requires_grad=False).requires_grad
    assert nn.Parameter().shape == (0,)
    with flambeau.no_grad():
        assert nn.Parameter(data).requires_grad
    check(lambda t: repr(t.nn.Parameter(t.ones(2))))
    check(lambda t: t.nn.Parameter(t.ones(2, dtype=t.int64)))


def test_parameter_survives_copies():
    p = nn.Parameter(flambeau.arange(3.0))
    p.grad = flambeau.ones(3)
    for q in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert isinstance(q, nn.Parameter) and q.requires_grad
        assert q.tolist() == [0.0, 1.0, 2.0]
        assert q is not p and q.data_ptr() != p.data_ptr()
    shared = {"a": p, "b": p}
    both = copy.deepcopy(shared)
    assert both["a"] is both["b"]


def test_uninitialized_parameter():
    check(lambda t: repr(t.nn.UninitializedParameter()))
    check(lambda t: t.nn.UninitializedParameter().shape)
    check(lambda t: t.nn.UninitializedParameter(dtype=t.float64).dtype)
    check(lambda t: t.nn.parameter.is_lazy(t.nn.UninitializedParameter()))
    with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter"):
        nn.UninitializedParameter() + 1
    p = nn.UninitializedParameter()
    p.materialize((2, 3))
    assert type(p) is nn.Parameter and p.shape == (2, 3) and p.requires_grad


def test_pre_hooks_and_hooks_in_order():
    def program(p):
        m, seen = p.nn.Linear(2, 2), []
        m.register_forward_pre_hook(lambda mod, args: seen.append("pre 1"))
        m.register_forward_pre_hook(lambda mod, args: (seen.append("pre 0"), args[0] * 2)[1], prepend=True)
        m.register_forward_pre_hook(
            lambda mod, args, kwargs: (seen.append(sorted(kwargs)), (args, {}))[1], with_kwargs=True
        )
        m.register_forward_hook(lambda mod, args, out: seen.append("post 1"))
        m.register_forward_hook(lambda mod, args, out: (seen.append("post 0"), out + 1)[1], prepend=True)
        m.register_forward_hook(lambda mod, args, kwargs, out: seen.append(len(kwargs)), with_kwargs=True)
        first = m(p.ones(1, 2), ignored=3)
        handle = m.register_forward_hook(lambda *a: seen.append("gone"))
        handle.remove()
        with m.register_forward_hook(lambda *a: seen.append("inside")):
            m(p.ones(1, 2))
        return first, m(p.ones(1, 2)), seen

    check(program)


def test_bad_pre_hook_with_kwargs():
    def program(p):
        m = p.nn.Identity()
        m.register_forward_pre_hook(lambda mod, args, kwargs: 3, with_kwargs=True)
        return m(p.ones(1))

    check(program)


def test_hooks_that_are_always_called():
    def program(p):
        seen = []

        class Bad(p.nn.Module):
            def forward(self, x):
                raise RuntimeError("no")

        m = Bad()
        m.register_forward_hook(lambda mod, args, out: seen.append("plain"))
        m.register_forward_hook(lambda mod, args, out: seen.append(("always", out)), always_call=True)
        try:
            m(p.ones(1))
        except RuntimeError as error:
            seen.append(str(error))
        return seen

    check(program)


def test_global_hooks():
    def program(p):
        m, seen = p.nn.Sequential(p.nn.Linear(2, 2), p.nn.Tanh()), []
        module = p.nn.modules.module
        handles = [
            module.register_module_forward_pre_hook(lambda mod, args: seen.append("pre " + type(mod).__name__)),
            module.register_module_forward_hook(lambda mod, args, out: seen.append("post " + type(mod).__name__)),
            module.register_module_parameter_registration_hook(lambda mod, name, param: seen.append(name)),
            module.register_module_buffer_registration_hook(lambda mod, name, buffer: seen.append(name)),
            module.register_module_module_registration_hook(lambda mod, name, sub: seen.append(name)),
        ]
        m(p.ones(1, 2))
        p.nn.BatchNorm1d(2)
        m.new = p.nn.ReLU()
        for handle in handles:
            handle.remove()
        m(p.ones(1, 2))
        p.nn.BatchNorm1d(2)
        return seen

    check(program)


def test_full_backward_hooks():
    def program(p):
        seen = []
        m = p.nn.Sequential(p.nn.Linear(2, 3), p.nn.Tanh(), p.nn.Linear(3, 1))
        m[1].register_full_backward_pre_hook(lambda mod, g: (seen.append(("pre", g)), (g[0] * 2,))[1])
        m[1].register_full_backward_hook(lambda mod, gi, go: (seen.append(("post", gi, go)), (gi[0] * 3,))[1])
        m[0].register_full_backward_hook(lambda mod, gi, go: seen.append(("first", gi, go)))
        x = p.ones(1, 2, requires_grad=True)
        m(x).sum().backward()
        m(p.ones(1, 2)).sum().backward()  # an input that needs no gradient
        return seen, x.grad, [q.grad for q in m.parameters()]

    check(program)


@pytest.mark.parametrize("returned", [(1, 2), (None, None)])
def test_backward_hooks_of_the_wrong_length(returned):
    def program(p):
        m = p.nn.Tanh()
        m.register_full_backward_hook(lambda mod, gi, go: returned)
        x = p.ones(1, 2, requires_grad=True)
        m(x).sum().backward()

    check(program)


def test_backward_hooks_of_both_kinds_exclude_each_other():
    def program(p):
        m = p.nn.Tanh()
        m.register_full_backward_hook(lambda *a: None)
        m.register_backward_hook(lambda *a: None)

    check(program)


def test_backward_hooks_with_several_inputs_and_outputs():
    def program(p):
        seen = []

        class Two(p.nn.Module):
            def forward(self, a, n, b):
                return a * n, b * a

        m = Two()
        m.register_full_backward_hook(lambda mod, gi, go: seen.append((gi, go)))
        a, b = p.ones(2, requires_grad=True), p.ones(2)
        u, v = m(a, 3, b)
        (u + v).sum().backward()
        return seen, a.grad

    check(program)


def test_state_hooks():
    def program(p):
        seen = []
        m = p.nn.Sequential(p.nn.Linear(1, 1))
        m.register_state_dict_pre_hook(lambda mod, prefix, keep: seen.append(("pre", prefix, keep)))
        m[0].register_state_dict_post_hook(lambda mod, state, prefix, meta: state.update({prefix + "more": p.ones(1)}))
        m._register_state_dict_hook(lambda mod, state, prefix, meta: seen.append((list(state), meta)))
        state = m.state_dict()
        m.register_load_state_dict_pre_hook(lambda mod, state, *rest: state.pop("0.more"))
        m.register_load_state_dict_post_hook(lambda mod, keys: seen.append(list(keys)))
        return m.load_state_dict(state), seen

    check(program)


def test_post_hooks_must_return_none():
    def program(p):
        m = p.nn.Linear(1, 1)
        m.register_state_dict_post_hook(lambda *a: 3)
        return m.state_dict()

    def load(p):
        m = p.nn.Linear(1, 1)
        m.register_load_state_dict_post_hook(lambda *a: 3)
        return m.load_state_dict(m.state_dict())

    check(program)
    check(load)


def test_extra_state():
    def program(p):
        class M(p.nn.Linear):
            def get_extra_state(self):
                return {"a": 1}

            def set_extra_state(self, state):
                self.got = state

        m = M(1, 1)
        state = m.state_dict()
        m.load_state_dict(state)
        del state["_extra_state"]
        return (
            list(m.state_dict()),
            m.got,
            m.load_state_dict(state, strict=False),
            p.nn.Linear(1, 1).load_state_dict(m.state_dict(), strict=False),
        )

    check(program)


def test_load_assign_and_versions():
    def program(p):
        m = p.nn.Linear(2, 2)
        state = {k: v.double() for k, v in m.state_dict().items()}
        m.load_state_dict(state, assign=True)
        old = p.nn.BatchNorm1d(2).state_dict()
        del old["num_batches_tracked"]
        old._metadata[""]["version"] = 1
        return (
            [q.dtype for q in m.parameters()],
            [isinstance(q, p.nn.Parameter) for q in m.parameters()],
            p.nn.BatchNorm1d(2).load_state_dict(old),
        )

    check(program)


def test_state_shares_memory_and_keeps_vars():
    m = nn.Linear(2, 2)
    state = m.state_dict()
    assert not state["weight"].requires_grad
    state["weight"].fill_(7)
    assert m.weight.tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert m.state_dict(keep_vars=True)["weight"] is m.weight


def test_moves_keep_the_parameter_objects():
    m = nn.Linear(2, 2)
    w = m.weight
    m(flambeau.ones(1, 2)).sum().backward()
    m.double()
    assert m.weight is w and w.dtype is flambeau.float64 and w.grad.dtype is flambeau.float64


def test_meta_and_to_empty():
    check(lambda p: p.nn.Linear(1, 1, device="meta").to("cpu"))
    m = nn.Linear(2, 2, device="meta")
    assert m.weight.is_meta
    m.to_empty(device="cpu")
    assert not m.weight.is_meta and isinstance(m.weight, nn.Parameter)


def test_zero_grad():
    m = nn.Linear(2, 2)
    m(flambeau.ones(1, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.weight.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    m.zero_grad()
    assert m.weight.grad is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_modules(copied):
    m = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.BatchNorm1d(2)))
    m.eval()
    n = copied(m)
    x = flambeau.ones(3, 2)
    assert np.array_equal(n(x).detach().numpy(), m(x).detach().numpy())
    assert n.a.weight is not m.a.weight and not n.training
    n.a.weight.data.fill_(0)
    assert not np.array_equal(n(x).detach().numpy(), m(x).detach().numpy())


def test_call_super_init():
    class Base:
        def __init__(self, tag):
            self.tag = tag

    class M(nn.Module, Base):
        call_super_init = True

    assert M("x").tag == "x"


def test_positional_arguments_of_state_dict_warn():
    m = nn.Linear(1, 1)
    with pytest.warns(FutureWarning, match="Positional args"):
        state = m.state_dict(OrderedDict(), "p.")
    assert list(state) == ["p.weight", "p.bias"]


def test_compile_and_pickle():
    m = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    x = flambeau.ones(4, 2)
    expected = m(x).detach().numpy()
    m.compile()
    for _ in range(2):
        np.testing.assert_allclose(m(x).detach().numpy(), expected, rtol=1e-6)
    m(x).sum().backward()
    assert m[0].weight.grad is not None
    assert "_compiled_call_impl" not in m.__getstate__()
    assert copy.deepcopy(m)._compiled_call_impl is None


def test_data_parallel():
    def program(p):
        m = p.nn.DataParallel(p.nn.Linear(2, 3))
        return repr(m), list(m.state_dict()), m(p.ones(1, 2)), m.device_ids

    check(program)


def test_signatures_are_pytorchs():
    import inspect

    for name in dir(torch.nn.Module):
        if name.startswith("__") and name not in ("__call__", "__init__"):
            continue
        expected = inspect.getattr_static(torch.nn.Module, name)
        if inspect.isfunction(expected) and name not in ("_slow_forward",):
            if name == "compile" and not hasattr(nn.Module, "compile"):
                continue
            got = getattr(nn.Module, name)
            assert list(inspect.signature(got).parameters) == list(inspect.signature(expected).parameters), name
