"""The random operators: PyTorch's numbers, forms, layouts, gradients and errors.

What the numbers are is tested in test_random_kernels.py; here it is how operators draw them.
"""

from __future__ import annotations

import math
import re
import sys

import numpy as np
import pytest

import flambeau as fl
from flambeau.tensor import numpy_view

SEEDS = (0, 42)
DTYPES = ("float32", "float64", "float16", "bfloat16")


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        pytest.skip("PyTorch's stream differs without AVX2")
    return torch


def raw(t):
    """Shape, strides, type and bytes of a tensor, of either package."""
    array = numpy_view(t) if isinstance(t, fl.Tensor) else _array(t.detach())
    return list(t.shape), list(t.stride()), str(t.dtype), array.tobytes()


def _array(t):
    """The bits of a tensor of PyTorch, of which NumPy may not know the type."""
    torch = sys.modules["torch"]
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.float64}
    return t.contiguous().reshape(-1).view(bits[t.element_size()]).numpy()


def line(m, low, high, n):
    """Numbers at equal distances, the same in both packages."""
    return m.tensor(np.linspace(low, high, n).tolist())


def same(torch, make):
    """``make(package)`` gives the same tensors and leaves the same state."""
    for seed in SEEDS:
        torch.manual_seed(seed)
        fl.manual_seed(seed)
        want, got = make(torch), make(fl)
        assert raw(got) == raw(want)
        assert fl.get_rng_state().tolist() == torch.get_rng_state().tolist()


class TestFactories:
    @pytest.mark.parametrize("size", [(), (0,), (7,), (16,), (3, 5), (2, 3, 50), (4, 0, 2)])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_rand_and_randn(self, torch, size, dtype):
        same(torch, lambda m: m.rand(size, dtype=getattr(m, dtype)))
        same(torch, lambda m: m.randn(size, dtype=getattr(m, dtype)))
        same(torch, lambda m: m.randint(-5, 9, size, dtype=getattr(m, dtype)))

    def test_sizes_may_be_separate(self, torch):
        same(torch, lambda m: m.rand(2, 3))
        same(torch, lambda m: m.randn([2, 3]))
        same(torch, lambda m: m.rand(m.Size([2, 3])))

    @pytest.mark.parametrize("dtype", ["complex64", "complex128"])
    def test_complex(self, torch, dtype):
        for n in (3, 20):
            same(torch, lambda m: m.rand(n, dtype=getattr(m, dtype)))  # noqa: B023
            same(torch, lambda m: m.randn(n, dtype=getattr(m, dtype)))  # noqa: B023
            same(torch, lambda m: m.zeros(n, dtype=getattr(m, dtype)).normal_(1.5, 2))  # noqa: B023

    def test_forms_of_randint(self, torch):
        same(torch, lambda m: m.randint(5, (4,)))
        same(torch, lambda m: m.randint(5, size=(4,)))
        same(torch, lambda m: m.randint(high=5, size=(4,)))
        same(torch, lambda m: m.randint(2, 5, (4,)))
        same(torch, lambda m: m.randint(low=2, high=5, size=(4,)))
        same(torch, lambda m: m.randint(-(2**63), 2**63 - 1, (4,)))
        same(torch, lambda m: m.randint(0, 2, (40,), dtype=m.bool))
        same(torch, lambda m: m.randint(0, 200, (40,), dtype=m.uint8))

    @pytest.mark.parametrize("n", [0, 1, 2, 100])
    def test_randperm(self, torch, n):
        same(torch, lambda m: m.randperm(n))
        same(torch, lambda m: m.randperm(n, dtype=m.int32))
        same(torch, lambda m: m.randperm(n, dtype=m.float16))

    def test_like(self, torch):
        for make in (lambda m: m.zeros(3, 20), lambda m: m.zeros(20, 3).t(), lambda m: m.zeros(3, 40)[:, ::2]):
            same(torch, lambda m: m.rand_like(make(m)))  # noqa: B023
            same(torch, lambda m: m.randn_like(make(m)))  # noqa: B023
            same(torch, lambda m: m.randn_like(make(m), dtype=m.float64))  # noqa: B023
            same(torch, lambda m: m.randint_like(make(m), 9))  # noqa: B023
            same(torch, lambda m: m.randint_like(make(m), 2, 9, dtype=m.int16))  # noqa: B023

    def test_out(self, torch):
        same(torch, lambda m: m.rand(5, out=m.zeros(5)))
        same(torch, lambda m: m.randn(2, 3, out=m.zeros(0)))
        same(torch, lambda m: m.randint(9, (5,), out=m.zeros(5)))
        same(torch, lambda m: m.randperm(5, out=m.zeros(5, dtype=m.int64)))
        same(torch, lambda m: m.normal(1.0, 2.0, (20,), out=m.zeros(20)))
        out = fl.zeros(3)
        assert fl.rand(3, out=out) is out
        with pytest.raises(RuntimeError, match="does not match dtype of out"):
            fl.rand(3, dtype=fl.float64, out=out)

    def test_generator(self, torch):
        same(torch, lambda m: m.rand(5, generator=m.Generator().manual_seed(7)))
        g, h = fl.Generator().manual_seed(7), torch.Generator().manual_seed(7)
        for _ in range(3):
            assert raw(fl.randn(5, generator=g)) == raw(torch.randn(5, generator=h))

    def test_requires_grad(self):
        assert fl.rand(3, requires_grad=True).requires_grad
        assert fl.rand(3, requires_grad=True).is_leaf
        with pytest.raises(RuntimeError, match="floating point"):
            fl.randint(5, (3,), requires_grad=True)

    def test_meta(self):
        before = fl.get_rng_state().tolist()
        for t in (fl.rand(2, 3, device="meta"), fl.randint(3, (2, 3), device="meta")):
            assert t.device.type == "meta"
            assert t.shape == (2, 3)
        assert fl.get_rng_state().tolist() == before

    @pytest.mark.parametrize(
        ("call", "error", "text"),
        [
            (lambda: fl.rand(-1), RuntimeError, "negative dimension"),
            (lambda: fl.rand(2.5), TypeError, "must be tuple of ints"),
            (lambda: fl.rand(2, dtype=fl.int32), NotImplementedError, "not implemented for 'Int'"),
            (lambda: fl.randn(2, dtype=fl.int32), NotImplementedError, "not implemented for 'Int'"),
            (lambda: fl.rand(2, generator=3), TypeError, "generator"),
            (lambda: fl.randint(5), TypeError, "size"),
            (lambda: fl.randint(1.5, (2,)), TypeError, "must be int, not float"),
            (lambda: fl.randint(3, 3, (2,)), RuntimeError, "expects 'from' to be less than 'to'"),
            (
                lambda: fl.randint(0, 300, (2,), dtype=fl.uint8),
                RuntimeError,
                "to - 1 is out of bounds for unsigned char",
            ),
            (lambda: fl.randperm(-1), RuntimeError, "negative dimension"),
            (lambda: fl.randperm(300, dtype=fl.uint8), RuntimeError, "without overflow"),
            (lambda: fl.randperm(3000, dtype=fl.float16), RuntimeError, "2049 for Half"),
            (lambda: fl.randperm(2.5), TypeError, "must be int"),
            (lambda: fl.normal(2.0, 1.0), TypeError, "size"),
            (lambda: fl.normal(2.0, -1.0, (3,)), RuntimeError, "std >= 0.0"),
        ],
    )
    def test_errors(self, call, error, text):
        with pytest.raises(error, match=re.escape(text)):
            call()


FILLS = {
    "uniform": lambda x: x.uniform_(-2, 5),
    "normal": lambda x: x.normal_(2, 3),
    "log_normal": lambda x: x.log_normal_(0.5, 0.7),
    "exponential": lambda x: x.exponential_(1.5),
    "cauchy": lambda x: x.cauchy_(2, 3),
    "geometric": lambda x: x.geometric_(0.3),
    "bernoulli": lambda x: x.bernoulli_(0.3),
    "random": lambda x: x.random_(3, 100),
}


class TestFills:
    @pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
    def test_layouts(self, torch, fill):
        same(torch, lambda m: fill(m.zeros(3, 20)))
        same(torch, lambda m: fill(m.zeros(20, 3).t()))
        same(torch, lambda m: fill(m.zeros(3, 4, 5).permute(1, 2, 0)))
        same(torch, lambda m: fill(m.zeros(3, 40)[:, ::2]))
        same(torch, lambda m: fill(m.zeros(40, 3)[::2].t()))
        same(torch, lambda m: fill(m.zeros(5, 20)[1:3]))

        def neighbours(m):
            x = m.zeros(4, 10)
            fill(x[1:3, 2:5])
            return x

        same(torch, neighbours)

    def test_chances_in_a_tensor(self, torch):
        for dtype in ("float32", "float64", "bfloat16"):

            def make(m):
                p = line(m, 0, 1, 20).to(getattr(m, dtype))  # noqa: B023
                x = m.zeros(20, 3).t().bernoulli_(p)
                return m.cat([x.contiguous(), m.zeros(3, 20).bernoulli_(p), m.bernoulli(p.expand(2, 20)).to(x.dtype)])

            same(torch, make)

    def test_forms_of_random_(self, torch):
        same(torch, lambda m: m.zeros(9).random_())
        same(torch, lambda m: m.zeros(9).random_(5))
        same(torch, lambda m: m.zeros(9).random_(to=5))
        same(torch, lambda m: m.zeros(9).random_(2, 5))
        for dtype in ("uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"):
            same(torch, lambda m: m.zeros(9, dtype=getattr(m, dtype)).random_())  # noqa: B023
            same(torch, lambda m: m.zeros(9, dtype=getattr(m, dtype)).random_(5, None))  # noqa: B023
        same(torch, lambda m: m.zeros(9, dtype=m.int64).random_(-(2**63), None))

    @pytest.mark.filterwarnings("ignore:.*Due to precision limitations")
    def test_integers_beyond_the_precision(self, torch):
        for low, high in (
            (0, 2**25),
            (2**25, 2**25 + 3),
            (2**24 - 3, 2**24 + 1),
            (-(2**25), 7),
            (2**30 + 1, 2**31 + 5),
        ):
            same(torch, lambda m: m.zeros(50).random_(low, high))  # noqa: B023
        with pytest.warns(UserWarning, match="precision limitations"):
            fl.zeros(3).random_(0, 2**25)

    def test_returns_itself_and_counts_versions(self):
        x = fl.zeros(3)
        assert x.uniform_() is x
        before = x._version
        x.normal_()
        x[:2].bernoulli_(0.5)
        assert x._version == before + 2

    def test_arguments_as_tensors_and_numpy_numbers(self, torch):
        same(torch, lambda m: m.zeros(5).uniform_(m.tensor(1.0), 3))
        same(torch, lambda m: m.zeros(5).geometric_(m.tensor(0.5)))
        fl.zeros(3).normal_(np.float32(1), np.float64(2))

    @pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
    def test_gradient_is_zero(self, fill):
        x = fl.ones(4, requires_grad=True)
        y = x * 1
        fill(y)
        assert y.grad_fn is not None
        y.sum().backward()
        assert x.grad.tolist() == [0, 0, 0, 0]
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            fill(x)
        with fl.no_grad():
            assert fill(x) is x

    def test_shared_memory_is_refused(self):
        with pytest.raises(RuntimeError, match="single memory location"):
            fl.zeros(2).expand(3, 2).uniform_()

    @pytest.mark.parametrize(
        ("call", "error", "text"),
        [
            (lambda: fl.zeros(3).exponential_(0), RuntimeError, "lambda > 0.0, but found lambda=0"),
            (lambda: fl.zeros(3).exponential_(math.nan), RuntimeError, "lambda > 0.0"),
            (lambda: fl.zeros(3, dtype=fl.int64).exponential_(), RuntimeError, "dtype must be a floating point"),
            (lambda: fl.zeros(3).geometric_(0), RuntimeError, "p to be in (0, 1), but got p=0"),
            (lambda: fl.zeros(3).geometric_(1), RuntimeError, "p to be in (0, 1), but got p=1"),
            (lambda: fl.zeros(3, dtype=fl.bool).geometric_(0.5), NotImplementedError, "'Bool'"),
            (lambda: fl.zeros(3).bernoulli_(1.5), RuntimeError, "p to be in [0, 1], but got p=1.5"),
            (lambda: fl.zeros(3).bernoulli_(math.nan), RuntimeError, "p to be in [0, 1], but got p=nan"),
            (lambda: fl.zeros(3).bernoulli_(fl.full((3,), 2.0)), RuntimeError, "p to be in [0, 1]"),
            (lambda: fl.zeros(3).bernoulli_(fl.zeros(2, 3)), RuntimeError, "expand"),
            (lambda: fl.zeros(3).bernoulli_(fl.ones(3, dtype=fl.int64)), NotImplementedError, "'Long'"),
            (lambda: fl.zeros(3).uniform_(3, 2), RuntimeError, "found from=3 > to=2"),
            (lambda: fl.zeros(3).uniform_(-3e38, 3e38), RuntimeError, "exceed the limit"),
            (lambda: fl.zeros(3).uniform_(math.nan, 2), RuntimeError, "from is out of bounds for float"),
            (lambda: fl.zeros(3, dtype=fl.float16).uniform_(0, 1e6), RuntimeError, "to is out of bounds for c10::Half"),
            (lambda: fl.zeros(3).normal_(0, -1), RuntimeError, "std >= 0.0, but found std -1"),
            (lambda: fl.zeros(3).log_normal_(0, 0), RuntimeError, "std > 0.0, but found std=0"),
            (lambda: fl.zeros(3).cauchy_(0, 0), RuntimeError, "sigma > 0.0, but found sigma=0"),
            (lambda: fl.zeros(3, dtype=fl.int64).cauchy_(), RuntimeError, "you specified long int"),
            (lambda: fl.zeros(3).random_(5, 5), RuntimeError, "got from=5 >= to=5"),
            (lambda: fl.zeros(3, dtype=fl.int8).random_(0, 200), RuntimeError, "out of bounds for signed char"),
            (lambda: fl.zeros(3, dtype=fl.uint16).random_(), NotImplementedError, "'UInt16'"),
            (lambda: fl.zeros(3, dtype=fl.complex64).random_(0, 5), RuntimeError, "check_random_bounds"),
            (lambda: fl.zeros(3).uniform_("a"), TypeError, "must be float"),
            (lambda: fl.zeros(3).normal_(generator=5), TypeError, "generator"),
        ],
    )
    def test_errors(self, call, error, text):
        before = fl.get_rng_state().tolist()
        with pytest.raises(error, match=re.escape(text)):
            call()
        assert fl.get_rng_state().tolist() == before


class TestDistributions:
    def test_normal_of_tensors(self, torch):
        same(torch, lambda m: m.normal(line(m, 0, 1, 20), m.full((20,), 2.7)))
        same(torch, lambda m: m.normal(m.full((20,), 0.3, dtype=m.float64), 2.7))
        same(torch, lambda m: m.normal(0.3, m.full((20,), 2.7, dtype=m.float64)))
        same(torch, lambda m: m.normal(mean=m.zeros(2, 1), std=m.ones(3)))
        same(torch, lambda m: m.normal(m.zeros(5)))
        same(torch, lambda m: m.normal(1, 2, (3,)))
        with pytest.raises(RuntimeError, match="all elements of std"):
            fl.normal(fl.zeros(2), fl.tensor([1.0, -1.0]))

    def test_poisson(self, torch):
        same(torch, lambda m: m.poisson(line(m, 0, 30, 40)))
        same(torch, lambda m: m.poisson(line(m, 0, 30, 40).double().reshape(5, 8).t()))
        with pytest.raises(RuntimeError, match="non-negative"):
            fl.poisson(fl.tensor([1.0, -1.0]))
        with pytest.raises(NotImplementedError, match="Long"):
            fl.poisson(fl.ones(2, dtype=fl.int64))

    def test_binomial(self, torch):
        same(torch, lambda m: m.binomial(m.full((20,), 50.0), line(m, 0, 1, 20)))
        with pytest.raises(RuntimeError, match="Found dtype Double but expected Float"):
            fl.binomial(fl.ones(2), fl.ones(2, dtype=fl.float64))

    def test_bernoulli(self, torch):
        same(torch, lambda m: m.bernoulli(line(m, 0, 1, 40)))
        same(torch, lambda m: line(m, 0, 1, 40).bernoulli())
        same(torch, lambda m: m.bernoulli(m.zeros(40), 0.3))
        x = fl.full((3,), 0.5, requires_grad=True)
        fl.bernoulli(x).sum().backward()
        assert x.grad.tolist() == [0, 0, 0]

    def test_multinomial(self, torch):
        same(torch, lambda m: m.multinomial(m.arange(1.0, 9), 40, replacement=True))
        same(torch, lambda m: m.multinomial(m.rand(5, 8), 3))
        same(torch, lambda m: m.multinomial(m.rand(5, 8), 8))
        same(torch, lambda m: m.multinomial(m.rand(5, 8), 1))
        same(torch, lambda m: m.rand(8).multinomial(1, True))

    @pytest.mark.parametrize(
        ("call", "text"),
        [
            (lambda: fl.multinomial(fl.zeros(2), 1), "sum of probabilities <= 0"),
            (lambda: fl.multinomial(fl.zeros(2), 3, True), "sum of probabilities <= 0"),
            (lambda: fl.multinomial(fl.tensor([1.0, -1.0]), 1), "element < 0"),
            (lambda: fl.multinomial(fl.tensor([1.0, math.inf]), 1), "inf"),
            (lambda: fl.multinomial(fl.tensor([1.0, math.nan]), 3, True), "nan"),
            (lambda: fl.multinomial(fl.ones(2), 3), "without replacement"),
            (lambda: fl.multinomial(fl.ones(2), 0), "n_sample <= 0"),
            (lambda: fl.multinomial(fl.ones(2, 2, 2), 1), "1 or 2 dim"),
            (lambda: fl.multinomial(fl.ones(2, dtype=fl.int64), 1), "floating-point"),
        ],
    )
    def test_multinomial_errors(self, call, text):
        with pytest.raises(RuntimeError, match=re.escape(text)):
            call()

    def test_gamma(self, torch):
        same(torch, lambda m: _internal(m, "_standard_gamma")(line(m, 0.1, 5, 40)))
        same(torch, lambda m: _internal(m, "_sample_dirichlet")(line(m, 0.1, 5, 40).reshape(20, 2)))

    def test_gradient_of_gamma(self, torch):
        """Against the difference quotient of the quantile function."""
        special = pytest.importorskip("scipy.special")
        shapes = fl.tensor([0.1, 0.9, 2.5, 30.0, 1000.0], dtype=fl.float64, requires_grad=True)
        fl.manual_seed(1)
        x = fl.ops._standard_gamma(shapes)
        x.sum().backward()
        a, s, h = np.array(shapes.tolist()), np.array(x.tolist()), 1e-5
        p = special.gammainc(a, s)
        want = (special.gammaincinv(a * (1 + h), p) - special.gammaincinv(a * (1 - h), p)) / (2 * h * a)
        np.testing.assert_allclose(shapes.grad.tolist(), want, rtol=1e-5)

    def test_gradient_of_dirichlet(self):
        special = pytest.importorskip("scipy.special")
        a, b = np.array([0.3, 1.0, 2.5, 30.0, 4.0]), np.array([0.4, 1.0, 7.0, 2.0, 300.0])
        x = np.array([0.2, 0.5, 0.3, 0.97, 0.01])
        p, h = special.betainc(a, b, x), 1e-5
        want = (special.betaincinv(a * (1 + h), b, p) - special.betaincinv(a * (1 - h), b, p)) / (2 * h * a) / (1 - x)
        got = fl.ops._dirichlet_grad(fl.tensor(x), fl.tensor(a), fl.tensor(a + b))
        np.testing.assert_allclose(got.tolist(), want, rtol=1e-5)


def _internal(package, name):
    return getattr(fl.ops, name) if package is fl else getattr(package, name)


class TestDropout:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_numbers(self, torch, dtype):
        def x(m):
            return line(m, -2, 2, 48).reshape(4, 6, 2).to(getattr(m, dtype))

        for p in (0.0, 0.3, 0.5, 1.0):
            same(torch, lambda m: m.dropout(x(m), p, True))  # noqa: B023
            same(torch, lambda m: m.dropout(x(m), p, False))  # noqa: B023
            same(torch, lambda m: m.dropout_(x(m), p, True))  # noqa: B023
            same(torch, lambda m: m.feature_dropout(x(m), p, True))  # noqa: B023
            same(torch, lambda m: m.native_dropout(x(m), p, True)[0])  # noqa: B023
            same(torch, lambda m: m.native_dropout(x(m), p, True)[1])  # noqa: B023

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_alpha(self, torch, dtype):
        def x(m):
            return line(m, -2, 2, 48).reshape(4, 6, 2).to(getattr(m, dtype))

        same(torch, lambda m: m.alpha_dropout(x(m), 0.3, True))
        same(torch, lambda m: m.feature_alpha_dropout(x(m), 0.3, True))

    def test_strides(self, torch):
        same(torch, lambda m: m.dropout(m.ones(6, 5).t(), 0.4, True))

    def test_no_change(self):
        x = fl.ones(3)
        assert fl.dropout(x, 0.5, False) is x
        assert fl.dropout(x, 0.0, True) is x

    def test_gradient(self):
        x = fl.ones(50, requires_grad=True)
        y = fl.dropout(x, 0.4, True)
        y.sum().backward()
        assert x.grad.tolist() == y.tolist()
        z = fl.ones(50, requires_grad=True)
        out, mask = fl.native_dropout(z, 0.4, True)
        out.sum().backward()
        assert (z.grad != 0).tolist() == mask.tolist()

    def test_rrelu(self, torch):
        for dtype in ("float32", "float64", "bfloat16"):
            same(torch, lambda m: m.rrelu(line(m, -2, 2, 48).to(getattr(m, dtype)), 0.1, 0.4, True))  # noqa: B023
        same(torch, lambda m: m.rrelu_(line(m, -2, 2, 48), training=True))
        x = fl.tensor([-1.0, 2.0], requires_grad=True)
        y = fl.rrelu(x, training=True)
        y.sum().backward()
        assert x.grad.tolist() == [-y[0].item(), 1]

    @pytest.mark.parametrize(
        ("call", "text"),
        [
            (lambda: fl.dropout(fl.ones(2), 1.5, True), "between 0 and 1, but got 1.5"),
            (lambda: fl.feature_dropout(fl.ones(2), 0.5, True), "at least 2 dimensions"),
            (
                lambda: fl.dropout(fl.ones(2, dtype=fl.int64), 0.5, True),
                "can't be cast to the desired output type Long",
            ),
            (lambda: fl.rrelu(fl.ones(2), 0.5, 0.3, True), "Lower bound"),
            (lambda: fl.rrelu(fl.ones(2), 0.5, math.inf, True), "finite"),
        ],
    )
    def test_errors(self, call, text):
        with pytest.raises(RuntimeError, match=re.escape(text)):
            call()


class TestState:
    def test_seeds(self, torch):
        for seed in (0, -1, 2**63 - 1, 1.7, "5"):
            assert fl.manual_seed(seed).initial_seed() == torch.manual_seed(seed).initial_seed() == fl.initial_seed()
        with pytest.raises(ValueError, match="Overflow"):
            fl.manual_seed(2**64)
        assert fl.seed() == fl.initial_seed()

    def test_states_are_exchanged_with_pytorch(self, torch):
        fl.manual_seed(3)
        fl.randn(5), fl.rand(700)
        torch.set_rng_state(torch.tensor(fl.get_rng_state().tolist(), dtype=torch.uint8))
        assert raw(fl.randn(9)) == raw(torch.randn(9))
        torch.manual_seed(8)
        torch.randn(7)
        fl.set_rng_state(fl.tensor(torch.get_rng_state().tolist(), dtype=fl.uint8))
        assert raw(fl.randn(9)) == raw(torch.randn(9))

    def test_bad_states(self):
        with pytest.raises(TypeError, match="ByteTensor"):
            fl.set_rng_state(fl.zeros(5056))
        with pytest.raises(TypeError, match=r"expected a torch\.ByteTensor, but got int"):
            fl.set_rng_state(3)
        with pytest.raises(RuntimeError, match="5056"):
            fl.set_rng_state(fl.zeros(10, dtype=fl.uint8))

    def test_fork(self):
        fl.manual_seed(0)
        before = fl.get_rng_state().tolist()
        with fl.random.fork_rng():
            fl.rand(10)
            fl.manual_seed(9)
        assert fl.get_rng_state().tolist() == before
        with fl.random.fork_rng(enabled=False):
            fl.rand(1)
        assert fl.get_rng_state().tolist() != before
        state = fl.get_rng_state().tolist()

        def fails():
            with fl.random.fork_rng():
                fl.rand(1)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        assert fl.get_rng_state().tolist() == state
