"""Streams of random numbers: the engine against NumPy's, distributions against PyTorch bit for bit and in law."""

from __future__ import annotations

import copy
import math
import os
import pickle
import threading

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flambeau import generator as fg
from flambeau import settings
from flambeau.generator import Generator

NUMPY = {
    "b1": np.bool_, "u8": np.uint8, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "u16": np.uint16,
    "u32": np.uint32, "u64": np.uint64, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f32": np.float32,
    "f64": np.float64,
}  # fmt: skip
FLOATS = ("f32", "f64", "f16", "bf16")
INTEGERS = ("u8", "i8", "i16", "i32", "i64")
SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 100, 623, 624, 625, 1000, 9001)


def filled(generator, fill, size, code, *args, **kwargs):
    """A fresh array made by one of the fill functions."""
    out = np.zeros(size, NUMPY[code])
    fill(generator, out.ctypes.data, size, code, *args, **kwargs)
    return out


def words(generator, count):
    out = np.zeros(count, np.uint32)
    generator.draw("words", (), out.ctypes.data, count)
    return out


class TestEngine:
    def test_reference_numbers(self):
        """The first and the 10000th number of seed 5489, as in the C++ standard ([rand.predef])."""
        numbers = words(Generator().manual_seed(5489), 10000)
        assert numbers[0] == 3499211612
        assert numbers[-1] == 4123659995

    @given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 1500), max_size=5))
    def test_same_as_numpy_whatever_the_pieces(self, seed, pieces):
        generator = Generator().manual_seed(seed)
        ours = np.concatenate([words(generator, n) for n in [*pieces, 3]])
        theirs = np.random.RandomState(seed).randint(0, 2**32, size=len(ours), dtype=np.uint32)
        np.testing.assert_array_equal(ours, theirs)

    def test_only_the_low_half_of_the_seed_matters(self):
        a, b = Generator().manual_seed(2**40 + 7), Generator().manual_seed(7)
        np.testing.assert_array_equal(words(a, 10), words(b, 10))
        assert a.initial_seed() == 2**40 + 7

    @pytest.mark.parametrize("isa", ["x86-64", "avx2"])
    def test_same_bits_on_narrower_processors(self, isa):
        if settings.isa == "native" and not os.uname().machine.startswith("x86"):
            pytest.skip("x86 only")

        def everything():
            g = Generator().manual_seed(3)
            parts = [filled(g, fg.fill_uniform, 700, c, -1.0, 2.0) for c in FLOATS]
            parts += [filled(g, fg.fill_normal, 700, c, -1.0, 2.0) for c in FLOATS]
            parts += [filled(g, fg.fill_bernoulli, 700, c, 0.3) for c in ("f32", "i64", "b1")]
            parts += [filled(g, fg.fill_integers, 700, "i64", -5, 5), filled(g, fg.fill_integers, 70, "i64", 0, 2**40)]
            return [p.tobytes() for p in parts]

        want = everything()
        with settings.override(isa=isa):
            assert everything() == want


class TestGenerator:
    def test_default_seed(self):
        assert Generator().initial_seed() == 67280421310721

    def test_negative_seed_wraps(self):
        assert Generator().manual_seed(-1).initial_seed() == 2**64 - 1

    @pytest.mark.parametrize("seed", [2**64, -(2**63) - 1])
    def test_seed_out_of_range(self, seed):
        with pytest.raises(ValueError, match="Overflow"):
            Generator().manual_seed(seed)

    @pytest.mark.parametrize("seed", ["a", 1.5, True, None])
    def test_seed_of_a_wrong_type(self, seed):
        with pytest.raises(RuntimeError, match="manual_seed expected a long"):
            Generator().manual_seed(seed)

    def test_seed_differs_each_time(self):
        g = Generator()
        seeds = {g.seed() for _ in range(10)}
        assert len(seeds) == 10
        assert g.initial_seed() in seeds

    def test_device(self):
        assert Generator().device.type == "cpu"
        assert Generator("cpu:0").device.type == "cpu"
        with pytest.raises(RuntimeError, match="meta"):
            Generator("meta")

    def test_offset(self):
        with pytest.raises(RuntimeError, match="does not use offset"):
            Generator().get_offset()
        with pytest.raises(RuntimeError, match="does not use offset"):
            Generator().set_offset(1)

    @pytest.mark.parametrize("before", [0, 1, 623, 624, 625, 1000])
    @pytest.mark.parametrize("normals", [0, 3])
    def test_copies_continue_on_their_own(self, before, normals):
        g = Generator().manual_seed(11)
        filled(g, fg.fill_uniform, before, "f32")
        filled(g, fg.fill_normal, normals, "f32")
        copies = [copy.copy(g), copy.deepcopy(g), pickle.loads(pickle.dumps(g)), g.clone_state(), Generator()]
        copies[-1].set_state_bytes(g.state_bytes())
        want = filled(g, fg.fill_normal, 9, "f64")
        for c in copies:
            assert c.initial_seed() == 11
            np.testing.assert_array_equal(filled(c, fg.fill_normal, 9, "f64"), want)

    def test_bad_states(self):
        g = Generator()
        state = bytearray(g.state_bytes())
        with pytest.raises(RuntimeError, match="size 5056 but found the input RNG state size to be 10"):
            g.set_state_bytes(bytes(10))
        with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
            g.set_state_bytes(bytes(5056))
        for offset, value in ((8, 0), (8, 250), (28, 1)):  # words left, words left, a word of 33 bits
            bad = bytearray(state)
            bad[offset] = value
            with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
                g.set_state_bytes(bad)
        assert g.state_bytes() == state

    def test_draws_of_several_threads_do_not_mix(self):
        g, parts = Generator().manual_seed(1), []

        def work():
            for _ in range(50):
                parts.append(words(g, 624))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        whole = words(Generator().manual_seed(1), 624 * 200).reshape(200, 624)
        assert {p.tobytes() for p in parts} == {row.tobytes() for row in whole}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_lock_held_at_fork_does_not_block_the_child(self):
        g = Generator().manual_seed(1)
        words(g, 1)
        with g._lock:
            pid = os.fork()
            if pid == 0:
                words(g, 1)
                os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0


class TestLaws:
    """Distributions by their law: the Kolmogorov-Smirnov distance, or the counts, of a fixed stream."""

    @staticmethod
    def close(sample, law):
        assert stats.kstest(np.asarray(sample, np.float64), law).pvalue > 1e-3

    def test_continuous(self):
        g, n = Generator().manual_seed(0), 4000
        self.close(filled(g, fg.fill_uniform, n, "f64", -1.0, 3.0), stats.uniform(-1, 4).cdf)
        self.close(filled(g, fg.fill_uniform, n, "f32", -1.0, 3.0), stats.uniform(-1, 4).cdf)
        for blocks in (False, True):
            for code in ("f32", "f64"):
                self.close(filled(g, fg.fill_normal, n, code, 2.0, 0.5, blocks=blocks), stats.norm(2, 0.5).cdf)
        self.close(filled(g, fg.fill_exponential, n, "f64", 1.5), stats.expon(scale=1 / 1.5).cdf)
        self.close(filled(g, fg.fill_cauchy, n, "f64", 1.0, 2.0), stats.cauchy(1, 2).cdf)
        self.close(filled(g, fg.fill_log_normal, n, "f64", 0.5, 0.7), stats.lognorm(0.7, scale=math.exp(0.5)).cdf)

    @pytest.mark.parametrize("shape", [0.05, 0.9, 1.0, 3.3, 50.0])
    def test_gamma(self, shape):
        shapes, out = np.full(3000, shape), np.zeros(3000)
        fg.fill_gamma(Generator().manual_seed(4), out.ctypes.data, 3000, "f64", shapes.ctypes.data)
        self.close(out, stats.gamma(shape).cdf)

    def test_gamma_of_bad_shapes(self):
        shapes, out = np.array([0.0, -1.0, np.nan, -np.inf]), np.zeros(4)
        fg.fill_gamma(Generator(), out.ctypes.data, 4, "f64", shapes.ctypes.data)
        assert out[0] == np.finfo(np.float64).tiny
        assert np.isnan(out[1:]).all()

    def test_dirichlet(self):
        shapes = np.tile([0.5, 2.0, 4.0], (3000, 1))
        out = np.zeros_like(shapes)
        fg.fill_dirichlet(Generator().manual_seed(6), out.ctypes.data, 3000, 3, "f64", shapes.ctypes.data)
        np.testing.assert_allclose(out.sum(1), 1, rtol=1e-14)
        for k, a in enumerate((0.5, 2.0, 4.0)):
            self.close(out[:, k], stats.beta(a, 6.5 - a).cdf)

    @staticmethod
    def counts_agree(sample, law):
        """Chi-squared over the values whose expected count is not small."""
        values = np.arange(int(sample.min()), int(sample.max()) + 1)
        expected = law.pmf(values) * len(sample)
        keep = expected > 8
        observed = np.array([(sample == v).sum() for v in values])
        statistic = ((observed - expected)[keep] ** 2 / expected[keep]).sum()
        assert stats.chi2(keep.sum()).sf(statistic) > 1e-3

    @pytest.mark.parametrize("rate", [0.3, 4.0, 9.9, 10.0, 60.0])
    def test_poisson(self, rate):
        rates, out = np.full(5000, rate), np.zeros(5000)
        assert fg.fill_poisson(Generator().manual_seed(3), out.ctypes.data, 5000, "f64", rates.ctypes.data)
        self.counts_agree(out, stats.poisson(rate))

    @pytest.mark.parametrize("rate", [-1.0, np.nan])
    def test_poisson_of_a_bad_rate(self, rate):
        rates, out, g = np.array([1.0, rate]), np.zeros(2), Generator().manual_seed(1)
        before = g.state_bytes()
        assert not fg.fill_poisson(g, out.ctypes.data, 2, "f64", rates.ctypes.data)
        assert g.state_bytes() == before

    @pytest.mark.parametrize(("n", "p"), [(5, 0.3), (40, 0.4), (100, 0.95), (1000, 0.02), (100000, 0.5)])
    def test_binomial(self, n, p):
        numbers, chances, out = np.full(5000, float(n)), np.full(5000, p), np.zeros(5000)
        g = Generator().manual_seed(3)
        fg.fill_binomial(g, out.ctypes.data, 5000, "f64", numbers.ctypes.data, chances.ctypes.data)
        self.counts_agree(out, stats.binom(n, p))

    def test_binomial_at_the_edges(self):
        numbers = np.array([0.0, -3.0, 7.0, 7.0, 7.0, np.nan, 7.0, np.inf])
        chances = np.array([0.5, 0.5, 0.0, 1.0, 2.0, 0.5, np.nan, 0.5])
        out = np.zeros(8)
        fg.fill_binomial(Generator(), out.ctypes.data, 8, "f64", numbers.ctypes.data, chances.ctypes.data)
        np.testing.assert_array_equal(out, [0, 0, 0, 7, 7, np.nan, np.nan, np.nan])

    def test_geometric(self):
        self.counts_agree(filled(Generator().manual_seed(8), fg.fill_geometric, 5000, "i64", 0.2), stats.geom(0.2))

    def test_bernoulli(self):
        g = Generator().manual_seed(5)
        assert abs(filled(g, fg.fill_bernoulli, 10000, "b1", 0.3).mean() - 0.3) < 0.02
        assert not filled(g, fg.fill_bernoulli, 1000, "f32", 0.0).any()
        assert (filled(g, fg.fill_bernoulli, 1000, "f32", 1.0, 2.5) == 2.5).all()

    def test_bernoulli_of_bad_chances(self):
        g, out = Generator().manual_seed(1), np.zeros(3, np.float32)
        before = g.state_bytes()
        for bad in (-0.1, 1.1, np.nan):
            chances = np.array([0.5, bad, 0.5], np.float32)
            assert not fg.fill_bernoulli_each(g, out.ctypes.data, 3, "f32", chances.ctypes.data, "f32")
        assert g.state_bytes() == before

    @given(st.integers(1, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1))
    def test_integers_are_the_remainders(self, size, low, seed):
        high = low + size
        ours = filled(Generator().manual_seed(seed), fg.fill_integers, 40, "i64", low, high)
        raw = words(Generator().manual_seed(seed), 80).tolist()
        if size >= 2**28:
            raw = [raw[i] << 32 | raw[i + 1] for i in range(0, 80, 2)]
        want = [(low + w % size + 2**63) % 2**64 - 2**63 for w in raw[:40]]
        assert ours.tolist() == want

    @pytest.mark.parametrize("code", [*INTEGERS, "f32", "f16"])
    @pytest.mark.parametrize("size", [0, 1, 2, 50])
    def test_permutation(self, code, size):
        out = filled(Generator().manual_seed(2), fg.fill_permutation, size, code)
        assert sorted(out.tolist()) == list(range(size))

    def test_permutations_are_equally_likely(self):
        g = Generator().manual_seed(2)
        seen = [tuple(filled(g, fg.fill_permutation, 3, "i64")) for _ in range(3000)]
        counts = [seen.count(p) for p in set(seen)]
        assert len(counts) == 6
        assert stats.chisquare(counts).pvalue > 1e-3

    def test_multinomial(self):
        weights = np.array([[0.0, 1.0, 2.0, 5.0], [3.0, 0.0, 1.0, 0.0]])
        out = np.zeros((2, 4000), np.int64)
        assert fg.fill_multinomial(Generator(), out.ctypes.data, 2, 4, 4000, "f64", weights.ctypes.data) == 0
        for row, w in zip(out, weights):
            counts = np.bincount(row, minlength=4)
            assert (counts[w == 0] == 0).all()
            assert stats.chisquare(counts[w > 0], w[w > 0] / w.sum() * 4000).pvalue > 1e-3

    @pytest.mark.parametrize(("row", "fault"), [((1, -1), 1), ((1, np.inf), 1), ((np.nan, 1), 1), ((0, 0), 2)])
    def test_multinomial_of_bad_weights(self, row, fault):
        weights, out = np.array([[1.0, 1.0], row]), np.zeros((2, 3), np.int64)
        g = Generator()
        before = g.state_bytes()
        assert fg.fill_multinomial(g, out.ctypes.data, 2, 2, 3, "f64", weights.ctypes.data) == fault
        assert g.state_bytes() == before


# -- bit for bit -----------------------------------------------------------------------------------

RANGES = ((0.0, 1.0), (-2.0, 5.0), (0.1, 0.7))


class TestSameBitsAsPyTorch:
    """Numbers and the state afterwards; PyTorch's own bits need the vector code of AVX2 or later."""

    @pytest.fixture
    def torch(self):
        torch = pytest.importorskip("torch")
        if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
            pytest.skip("PyTorch's stream differs without AVX2")
        return torch

    @staticmethod
    def check(torch, code, size, ours, theirs, seeds=(0, 42)):
        dtype = getattr(torch, np.dtype(NUMPY[code]).name)
        for seed in seeds:
            g, h = Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
            words(g, seed % 5)
            torch.rand(seed % 5, generator=h)
            want = theirs(torch.zeros(size, dtype=dtype), h)
            got = ours(g)
            assert want.numel() * want.element_size() == got.nbytes
            assert want.contiguous().view(torch.uint8).numpy().tobytes() == got.tobytes()
            assert h.get_state().numpy().tobytes() == g.state_bytes()

    @pytest.mark.parametrize("code", FLOATS)
    @pytest.mark.parametrize("size", SIZES)
    def test_continuous(self, torch, code, size):
        def same(fill, theirs, *args):
            self.check(torch, code, size, lambda g: filled(g, fill, size, code, *args), theirs)

        for low, high in RANGES:
            same(fg.fill_uniform, lambda x, h: x.uniform_(low, high, generator=h), low, high)  # noqa: B023
        for mean, std in ((0.0, 1.0), (2.0, 3.0)):
            same(fg.fill_normal, lambda x, h: x.normal_(mean, std, generator=h), mean, std)  # noqa: B023
        same(fg.fill_exponential, lambda x, h: x.exponential_(1.5, generator=h), 1.5)
        same(fg.fill_cauchy, lambda x, h: x.cauchy_(2.0, 3.0, generator=h), 2.0, 3.0)
        same(fg.fill_log_normal, lambda x, h: x.log_normal_(0.5, 0.7, generator=h), 0.5, 0.7)

    def test_normals_of_strided_tensors(self, torch):
        for code in FLOATS:
            self.check(
                torch, code, (50, 2),
                lambda g: filled(g, fg.fill_normal, 50, code, 2.0, 3.0, blocks=False),  # noqa: B023
                lambda x, h: x[:, 1].normal_(2.0, 3.0, generator=h),
            )  # fmt: skip

    def test_a_million_normals(self, torch):
        for code in FLOATS:
            self.check(
                torch, code, 1_000_003,
                lambda g: filled(g, fg.fill_normal, 1_000_003, code, 0.1, 0.02),  # noqa: B023
                lambda x, h: x.normal_(0.1, 0.02, generator=h), (7,),
            )  # fmt: skip

    @pytest.mark.parametrize("code", [*FLOATS, *INTEGERS, "b1"])
    @pytest.mark.parametrize("size", [0, 7, 100, 1000])
    def test_discrete(self, torch, code, size):
        def same(fill, theirs, *args):
            self.check(torch, code, size, lambda g: filled(g, fill, size, code, *args), theirs)

        same(fg.fill_bernoulli, lambda x, h: x.bernoulli_(0.3, generator=h), 0.3)
        same(fg.fill_random, lambda x, h: x.random_(generator=h))
        if code != "b1":
            same(fg.fill_integers, lambda x, h: x.random_(3, 100, generator=h), 3, 100)
            same(fg.fill_geometric, lambda x, h: x.geometric_(0.3, generator=h), 0.3)
        chances = torch.linspace(0, 1, size)
        for chance_code, p in (("f32", chances), ("f64", chances.double()), ("bf16", chances.bfloat16())):

            def ours(g, chance_code=chance_code, p=p):
                out = np.zeros(size, NUMPY[code])
                assert fg.fill_bernoulli_each(g, out.ctypes.data, size, code, p.data_ptr(), chance_code)
                return out

            self.check(torch, code, size, ours, lambda x, h, p=p: x.bernoulli_(p, generator=h))

    @pytest.mark.parametrize("high", [2**28 - 1, 2**28, 2**40, 2**63 - 1])
    def test_wide_integers(self, torch, high):
        for low in (0, -1000):
            self.check(
                torch, "i64", 300,
                lambda g: filled(g, fg.fill_integers, 300, "i64", low, high),  # noqa: B023
                lambda x, h: x.random_(low, high, generator=h),  # noqa: B023
            )  # fmt: skip

    def test_all_integers(self, torch):
        self.check(
            torch, "i64", 300,
            lambda g: filled(g, fg.fill_integers, 300, "i64", -(2**63), 2**63),
            lambda x, h: x.random_(-(2**63), None, generator=h),
        )  # fmt: skip

    @pytest.mark.parametrize("size", [0, 1, 2, 1000])
    def test_permutation(self, torch, size):
        for code in ("i64", "i32", "f32"):
            self.check(
                torch, code, size,
                lambda g: filled(g, fg.fill_permutation, size, code),  # noqa: B023
                lambda x, h: torch.randperm(size, dtype=x.dtype, generator=h),
            )  # fmt: skip

    @pytest.mark.parametrize("code", ["f32", "f64"])
    def test_samplers(self, torch, code):
        n = 2000

        def same(fill, theirs, *arrays):
            def ours(g):
                out = np.zeros(n, NUMPY[code])
                fill(g, out.ctypes.data, n, code, *(a.ctypes.data for a in arrays))
                return out

            self.check(torch, code, n, ours, lambda x, h: theirs(*(torch.from_numpy(a) for a in arrays), generator=h))

        def full(value):
            return np.full(n, value, NUMPY[code])

        for rate in (0.0, 3.5, 12.0, 1000.0):
            same(fg.fill_poisson, torch.poisson, full(rate))
        for shape in (0.01, 0.5, 2.5, 100.0):
            same(fg.fill_gamma, torch._standard_gamma, full(shape))
        for number, chance in ((5, 0.3), (100, 0.9), (1000, 0.01), (10**6, 0.7)):
            same(fg.fill_binomial, torch.binomial, full(number), full(chance))

    def test_dirichlet(self, torch):
        shapes = np.tile(np.float32([0.5, 2.0, 4.0]), (100, 1))

        def ours(g):
            out = np.zeros_like(shapes)
            fg.fill_dirichlet(g, out.ctypes.data, 100, 3, "f32", shapes.ctypes.data)
            return out

        self.check(torch, "f32", 0, ours, lambda x, h: torch._sample_dirichlet(torch.from_numpy(shapes), h))

    @pytest.mark.parametrize("code", FLOATS)
    def test_multinomial_with_replacement(self, torch, code):
        weights = torch.rand(9, 77).to(getattr(torch, np.dtype(NUMPY[code]).name))

        def ours(g):
            out = np.zeros((9, 200), np.int64)
            assert fg.fill_multinomial(g, out.ctypes.data, 9, 77, 200, code, weights.data_ptr()) == 0
            return out

        self.check(torch, code, 0, ours, lambda x, h: torch.multinomial(weights, 200, True, generator=h))

    @pytest.mark.parametrize("code", ["f32", "f64", "bf16"])
    def test_rrelu(self, torch, code):
        values = torch.randn(500).to(getattr(torch, np.dtype(NUMPY[code]).name))

        def ours(g):
            out, noise = np.zeros(500, NUMPY[code]), np.zeros(500, NUMPY[code])
            fg.fill_rrelu(g, out.ctypes.data, 500, code, values.data_ptr(), noise.ctypes.data, 0.1, 0.3)
            return out

        self.check(torch, code, 0, ours, lambda x, h: torch.rrelu(values, 0.1, 0.3, True, generator=h))
