"""Small programs that do what a compiler stumbles over, called again and again while something changes: compiled, each
call gives what it gives in eager mode.

A program takes what wraps its function, and returns a function of the number of the call, which returns tensors.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn

PROGRAMS: dict[str, Callable] = {}
CONTRACT = {
    "metaclass_attr",
    "class_attr_number",
    "base_class_method",
    "class_replaced",
    "property_class",
    "slots_const",
    "method_descriptor",
    "static_and_class_method",
    "deleted_attr",
}
"""Programs whose Python does something else for the same signature, which reduce-overhead need not notice."""
CALLS = 10


def program(fn):
    PROGRAMS[fn.__name__] = fn
    return fn


def x_(k, shape=(3, 4)):
    return torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape) + k * 0.1


@program
def permuted_sums(wrap):
    f = wrap(
        lambda x: (
            (x * 2).permute(0, 2, 1).sum((0, 1)),
            (x.transpose(0, 1) + 1).mean((0, 2)),
            x.permute(2, 0, 1).amax((0, 1)),
        )
    )
    return lambda k: f(x_(k, (3, 4, 5)))


@program
def dims_change(wrap):
    f = wrap(lambda x, d: (x * 2).sum(d) + 1)
    ds = [(0, 1), (1, 2), (0, 2), (0,), (1,), (2,)]
    return lambda k: [f(x_(0, (4, 4, 4)), ds[k % 6])]


@program
def dims_change_arg(wrap):
    f = wrap(lambda x, d: (x * 2).argmax(d) + x.cumsum(d).sum(d))
    return lambda k: [f(x_(0, (4, 4, 4)).sin(), k % 3)]


@program
def flip_dims(wrap):
    f = wrap(lambda x, d: (x * 2).flip(d) + torch.roll(x, 1, d))
    return lambda k: [f(x_(0, (4, 4, 4)).sin(), k % 3)]


@program
def permute_change(wrap):
    ps = list(itertools.permutations(range(3)))
    f = wrap(lambda x, p: ((x + 1).permute(p) * torch.arange(4.0)).contiguous())
    return lambda k: [f(x_(0, (4, 4, 4)), ps[k % 6])]


@program
def index_dim_change(wrap):
    f = wrap(lambda x, d, i: torch.index_select(x * 2, d, i) + 1)
    return lambda k: [f(x_(0, (4, 4, 4)), k % 3, torch.tensor([1, 0, 3, 2]))]


@program
def scatter_dim(wrap):
    f = wrap(lambda x, d, i: torch.zeros(4, 4).scatter_add(d, i, x * 2))
    return lambda k: [f(x_(k, (4, 4)), k % 2, torch.tensor([[0, 1, 2, 3]] * 4))]


@program
def select_dims(wrap):
    f = wrap(lambda x, d, j: (x * 3).select(d, j) - 1)
    return lambda k: [f(x_(k, (4, 4)), k % 2, k % 4)]


@program
def offset_views(wrap):
    base = torch.arange(40.0)
    f = wrap(lambda x: torch.relu(x) * 2 + x)
    return lambda k: [f(base[k : k + 8]), f(base[2 * k : 2 * k + 16 : 2])]


@program
def strided_args(wrap):
    f = wrap(lambda x: torch.relu(x) * 2 + x)
    return lambda k: [f(x_(k, (4, 4)) if k % 2 else x_(k, (4, 4)).t())]


@program
def result_fed_back(wrap):
    f = wrap(lambda x: (x * 1.1).sin() + x)
    st = [x_(0)]

    def call(k):
        st[0] = f(st[0])
        return st

    return call


@program
def written_between(wrap):
    f = wrap(lambda x: (x * 1.1).sin() + x)
    x = x_(0)

    def call(k):
        x[k % 3] += 1
        r = f(x)
        x.t()[1] = k
        return [r, f(x)]

    return call


@program
def data_assigned(wrap):
    f = wrap(lambda x: (x * 1.1).sin() + x)
    x = x_(0)

    def call(k):
        x.data = x_(k, (3, 4) if k < 5 else (2, 2))
        return [f(x)]

    return call


@program
def set_storage(wrap):
    f = wrap(lambda x: (x * 1.1).sin() + x)
    x = x_(0)

    def call(k):
        x.set_(x_(k))
        return [f(x)]

    return call


@program
def resized_arg(wrap):
    f = wrap(lambda x: (x * 1.1).sin() + x)

    def call(k):
        x = torch.ones(4)
        x.resize_(4 + k).fill_(k)
        return [f(x)]

    return call


@program
def weight_resized(wrap):
    w = torch.ones(4)
    f = wrap(lambda x: (x * w).sin() + x)

    def call(k):
        w.resize_(4 + 64 * (k % 2))
        w.resize_(4).fill_(k)
        return [f(torch.ones(4))]

    return call


@program
def param_storage_swapped(wrap):
    m = nn.Linear(4, 4)
    nn.init.ones_(m.weight)
    nn.init.zeros_(m.bias)
    f = wrap(m)

    def call(k):
        with torch.no_grad():
            m.weight.set_(torch.full((4, 4), float(k)))
        with torch.no_grad():
            return [f(x_(k))]

    return call


@program
def metaclass_attr(wrap):
    class Meta(type):
        scale = 1.0

    class K(nn.Module, metaclass=Meta):
        def forward(s, x):
            return x * type(s).scale + 1

    m = K()
    f = wrap(m)

    def call(k):
        Meta.scale = float(k // 3)
        return [f(x_(k))]

    return call


@program
def class_attr_number(wrap):
    class K(nn.Module):
        scale = 1.0

        def forward(s, x):
            return x.sin() * s.scale + 1

    m = K()
    f = wrap(m)

    def call(k):
        K.scale = float(k // 4)
        return [f(x_(k))]

    return call


@program
def base_class_method(wrap):
    class A(nn.Module):
        def inner(s, x):
            return x.sin()

        def forward(s, x):
            return s.inner(x) * 2

    class B(A):
        pass

    m = B()
    f = wrap(m)

    def call(k):
        if k == 6:
            A.inner = lambda s, x: x.cos()
        if k == 8:
            B.inner = lambda s, x: x * 0
        return [f(x_(k))]

    return call


@program
def class_replaced(wrap):
    class A(nn.Module):
        def forward(s, x):
            return x.sin() * 2

    class B(nn.Module):
        def forward(s, x):
            return x.cos() * 3

    m = A()
    f = wrap(m)

    def call(k):
        if k == 6:
            m.__class__ = B
        return [f(x_(k))]

    return call


@program
def property_class(wrap):
    class A(nn.Module):
        n = 1.0

        @property
        def scale(s):
            return A.n

        def forward(s, x):
            return x.sin() * s.scale

    m = A()
    f = wrap(m)

    def call(k):
        A.n = float(k // 4)
        return [f(x_(k))]

    return call


@program
def slots_const(wrap):
    class H:
        __slots__ = ("v",)

    h = H()
    h.v = 1.0
    f = wrap(lambda x: x.sin() * h.v)

    def call(k):
        h.v = float(k // 3)
        return [f(x_(k))]

    return call


@program
def enum_arg(wrap):
    class E(enum.Enum):
        A = 1
        B = 2

    f = wrap(lambda x, e: x.sin() * 2 if e is E.A else x.cos() * 3)
    return lambda k: [f(x_(k), E.A if k % 3 else E.B)]


@program
def bool_int_arg(wrap):
    f = wrap(lambda x, n: x.sin() * n if isinstance(n, bool) else x.cos() * n)
    return lambda k: [f(x_(k), (True, 1, 1.0)[k % 3])]


@program
def nan_arg(wrap):
    f = wrap(lambda x, n: torch.where(x > 0, x * 0 + n, x))
    return lambda k: [
        torch.nan_to_num(f(x_(k), float("nan") if k % 2 else -0.0)),
        torch.copysign(torch.ones(()), f(torch.ones(()), -0.0 if k % 2 else 0.0)),
    ]


@program
def none_arg(wrap):
    f = wrap(lambda x, y=None: (x.sin() + (0 if y is None else y)) * 2)
    return lambda k: [f(x_(k)) if k % 2 else f(x_(k), x_(1)), f(x_(k), None)]


@program
def args_kwargs(wrap):
    f = wrap(lambda *a, **kw: sum(t.sin() for t in a) + sum(v * 2 for v in kw.values()))
    return lambda k: [f(*[x_(k)] * (1 + k % 3)), f(x_(k), b=x_(1)), f(x_(k), x_(2))]


@program
def alias_pairs(wrap):
    f = wrap(lambda a, b: (a.add_(1), b * 2 + a)[1])
    x = x_(0)

    def call(k):
        y = x.clone()
        return [f(y, y) if k % 3 == 0 else f(y, y.clone()) if k % 3 == 1 else f(y, y.view(3, 4))]

    return call


@program
def requires_grad_flip(wrap):
    f = wrap(lambda a, b: (a * b).sin() + a)

    def call(k):
        a = x_(k).requires_grad_(k % 2 == 0)
        b = x_(1).requires_grad_(k % 3 == 0)
        r = f(a, b)
        out = [r]
        if r.requires_grad:
            r.sum().backward()
        return out + [t.grad if t.grad is not None else torch.zeros(1) for t in (a, b)]

    return call


@program
def grads_with_expand(wrap):
    f = wrap(lambda a: (a * 2).sin() + a)

    def call(k):
        a = x_(k).requires_grad_()
        r = f(a)
        (r.sum() if k % 2 else r.mean() * r.max()).backward()
        return [r, a.grad]

    return call


@program
def vjp_none(wrap):
    f = wrap(lambda a: ((a * 2).sin(), (a * 3).cos()))

    def call(k):
        a = x_(k).requires_grad_()
        p, q = f(a)
        (p if k % 2 else q).sum().backward()
        return [a.grad]

    return call


@program
def leaf_in_no_grad(wrap):
    w = torch.ones(4, requires_grad=True)
    f = wrap(lambda a: (a * w).sin() * 2)

    def call(k):
        with torch.set_grad_enabled(k % 2 == 0):
            r = f(x_(k))
        return [r, torch.tensor(float(r.requires_grad))]

    return call


@program
def hooks_on_arg(wrap):
    f = wrap(lambda a: (a * 2).sin() + a)

    def call(k):
        a = x_(k).requires_grad_()
        if k % 2:
            a.register_hook(lambda g: g * 3)
        f(a).sum().backward()
        return [a.grad]

    return call


@program
def weight_hook(wrap):
    m = nn.Linear(4, 2)
    nn.init.ones_(m.weight)
    nn.init.zeros_(m.bias)
    f = wrap(m)
    h = [None]

    def call(k):
        if k == 5:
            h[0] = m.weight.register_hook(lambda g: g * 2)
        if k == 8:
            h[0].remove()
        m.zero_grad()
        f(x_(k)).sum().backward()
        return [m.weight.grad.clone()]

    return call


@program
def exception_then_again(wrap):
    f = wrap(lambda a, b: torch.relu(a @ b) * 2)

    def call(k):
        try:
            f(x_(k), x_(k))
            r = torch.zeros(1)
        except RuntimeError:
            r = torch.ones(1)
        return [r, f(x_(k), x_(k).t())]

    return call


@program
def scalar_tensor_arg(wrap):
    f = wrap(lambda a, s: a * s + s)
    return lambda k: [f(x_(k), torch.tensor(float(k))), f(x_(k), torch.tensor(k)), f(x_(k), float(k)), f(x_(k), k)]


@program
def empty_tensors(wrap):
    f = wrap(lambda a: (a * 2).sin() + 1)
    return lambda k: [f(torch.zeros(0, 4) if k % 2 else x_(k)), f(torch.zeros(3, 0))]


@program
def parameter_arg(wrap):
    f = wrap(lambda a: (a * 2).sin() + 1)
    return lambda k: [f(nn.Parameter(x_(k), requires_grad=False) if k % 2 else x_(k))]


@program
def double_then_float(wrap):
    f = wrap(lambda a: (a * 2).sin() + 1)
    return lambda k: [f(x_(k).to((torch.float32, torch.float64, torch.int64, torch.complex64)[k % 4]).clone())]


@program
def method_descriptor(wrap):
    class K:
        s = 2.0

        @wrap
        def go(self, x):
            return x.sin() * self.s

    a, b = K(), K()
    b.s = 3.0

    def call(k):
        a.s = float(1 + k // 5)
        return [a.go(x_(k)), b.go(x_(k))]

    return call


@program
def static_and_class_method(wrap):
    class K:
        n = 1.0

        @classmethod
        def go(cls, x):
            return x.sin() * cls.n + 1

    f = wrap(K.go)

    def call(k):
        K.n = float(k // 4)
        return [f(x_(k))]

    return call


@program
def deleted_attr(wrap):
    class M(nn.Module):
        s = 5.0

        def __init__(s):
            super().__init__()
            s.__dict__["s"] = 2.0

        def forward(self, x):
            return x.sin() * self.s

    m = M()
    f = wrap(m)

    def call(k):
        if k == 6:
            del m.__dict__["s"]
        return [f(x_(k))]

    return call


@program
def in_place_on_result(wrap):
    f = wrap(lambda a: (a * 2).sin() + 1)
    prev = [None]

    def call(k):
        r = f(x_(k))
        r.mul_(2)
        q = prev[0]
        prev[0] = r
        return [r] + ([q] if q is not None else [torch.zeros(1)])

    return call


@program
def view_results(wrap):
    f = wrap(lambda a: ((a * 2).sin().t(), a[1:], a))

    def call(k):
        a = x_(k)
        r = f(a)
        a.add_(1)
        return list(r)

    return call


@program
def constant_results(wrap):
    f = wrap(lambda a: (a * 2, 3, None, "x", torch.ones(2)))

    def call(k):
        r = f(x_(k))
        assert r[1:4] == (3, None, "x")
        r[4].add_(1)
        return [r[0], r[4]]

    return call


def seen(fn, wrap):
    torch.manual_seed(0)
    call = fn(wrap)
    return [[t.detach().numpy().copy() for t in call(k)] for k in range(CALLS)]


CASES = [(n, m) for m in ("default", "fullgraph") for n in PROGRAMS]
CASES += [(n, "reduce-overhead") for n in PROGRAMS if n not in CONTRACT]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_calls(name, mode):
    options = {"fullgraph": True} if mode == "fullgraph" else {"mode": mode}
    wanted = seen(PROGRAMS[name], lambda fn: fn)
    found = seen(PROGRAMS[name], lambda fn: torch.compile(fn, **options))
    for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape, k
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6, err_msg=f"call {k}")
