"""The vector maths library against mpmath, in units in the last place, for several instruction sets and widths."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
import scipy.special

from flambeau.runtime import cpu
from flambeau.target import vecmath
from flambeau.target.builder import Builder, Module, Val, vec_type

INF, NAN = math.inf, math.nan
DTYPES = {"float": np.float32, "double": np.float64}
DIGITS = {"float": 24, "double": 53}
LOWEST = {"float": -149, "double": -1074}  # exponent of the smallest denormal
LARGEST = {"float": 2.0**128 * (1 - 2.0**-24), "double": 1.7976931348623157e308}

# What each target is: LLVM's cpu, the attributes of the module, the processor's feature it needs, lanes.
TARGETS = {
    "x86-64": ("x86-64", {"fma": False, "round_instructions": False}, None, {"float": 4, "double": 2}),
    "avx2": ("x86-64-v3", {}, "avx2", {"float": 8, "double": 4}),
    "avx512": ("x86-64-v4", {"avx512": True}, "avx512dq", {"float": 16, "double": 8}),
    "scalar": ("", {}, "fma", {"float": 1, "double": 1}),
    "wide": ("x86-64-v4", {"avx512": True}, "avx512dq", {"float": 32, "double": 4}),
}


def supported(target: str) -> bool:
    feature = TARGETS[target][2]
    native = llvm.get_process_triple()
    if target == "scalar":
        return not native.startswith("x86_64") or "fma" in cpu.features()
    return native.startswith("x86_64") and (feature is None or feature in cpu.features())


_engines: list[object] = []


@cache
def compiled(name: str, elem: str, target: str) -> Callable[..., np.ndarray]:
    """``name`` as a function of numpy arrays, through code made for ``target``."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    level, knowledge, _, widths = TARGETS[target]
    lanes, arity = widths[elem], ARITY.get(name, 1)
    module = Module()
    for key, value in knowledge.items():
        setattr(module, key, value)
    b = Builder(module)
    b.br("loop")
    b.place("loop")
    index = Val("%i", "i64")
    b.emit("%i = phi i64 [ 0, %entry ], [ %next, %latch ]")
    type_ = vec_type(elem, lanes)
    operands = [b.load(type_, b.gep(elem, Val(f"%x{k}", "ptr"), index)) for k in range(arity)]
    b.store(vecmath.apply(b, name, *operands), b.gep(elem, Val("%out", "ptr"), index))
    b.br("latch")
    b.place("latch")
    b.emit(f"%next = add i64 %i, {lanes}")
    b.cond_br(b.cmp("slt", Val("%next", "i64"), Val("%n", "i64")), "loop", "done")
    b.place("done")
    b.ret()
    arguments = ", ".join(f"ptr %x{k}" for k in range(arity))
    module.add("run", f"define void @run({arguments}, ptr %out, i64 %n) {{\nentry:\n{b.body()}\n}}")
    parsed = llvm.parse_assembly(module.text())
    parsed.verify()
    host = llvm.Target.from_default_triple()
    if level:
        machine = host.create_target_machine(cpu=level, opt=2, jit=True)
    else:
        features = llvm.get_host_cpu_features().flatten()
        machine = host.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=2, jit=True)
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(parsed, passes)
    called = [f.name for f in parsed.functions if f.is_declaration and not f.name.startswith("llvm.")]
    assert not called, f"{name} calls {called}"
    libm = ("llvm.sin", "llvm.cos", "llvm.exp", "llvm.log", "llvm.pow", "llvm.tan")
    assert not [f.name for f in parsed.functions if f.name.startswith(libm)]
    if target == "x86-64":
        outside = ("llvm.fma.", "llvm.floor", "llvm.ceil", "llvm.trunc", "llvm.rint", "llvm.nearbyint")
        assert not [f.name for f in parsed.functions if f.name.startswith(outside)]
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append(engine)
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (arity + 1), ctypes.c_int64)
    native = prototype(engine.get_function_address("run"))

    def call(*xs: np.ndarray) -> np.ndarray:
        count = len(xs[0])
        padded = -(-count // lanes) * lanes
        inputs = [np.concatenate([np.asarray(x, DTYPES[elem]), np.ones(padded - count, DTYPES[elem])]) for x in xs]
        out = np.empty(padded, DTYPES[elem])
        native(*(x.ctypes.data for x in inputs), out.ctypes.data, padded)
        return out[:count]

    return call


# -- references ------------------------------------------------------------------------------------

mp = mpmath.mp.clone() if hasattr(mpmath.mp, "clone") else mpmath.mp
mp.prec = 200


def _erfinv(x: mpmath.mpf) -> mpmath.mpf:
    if abs(x) > 1:
        return mp.nan
    if abs(x) == 1:
        return mp.sign(x) * mp.inf
    return mp.erfinv(x)


def _logs(function: Callable[..., mpmath.mpf]) -> Callable[[mpmath.mpf], mpmath.mpf]:
    return lambda x: mp.nan if x < 0 else function(x) if x else -mp.inf


def _log1p(x: mpmath.mpf) -> mpmath.mpf:
    return mp.nan if x < -1 else -mp.inf if x == -1 else mp.log1p(x)


def _sigmoid(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 + mp.exp(-x))


def _pow(x: mpmath.mpf, y: mpmath.mpf) -> mpmath.mpf:
    if x < 0 and y != mp.floor(y):
        return mp.nan
    if x == 0:
        return mp.mpf(0) if y > 0 else mp.inf if y < 0 else mp.mpf(1)
    if abs(y * mp.log(abs(x))) > 2000:
        size = mp.inf if (abs(x) > 1) == (y > 0) else mp.mpf(0)
        return -size if x < 0 and y % 2 == 1 else size
    return mp.power(x, y)


def _only(low: float, high: float, function: Callable[[mpmath.mpf], mpmath.mpf]) -> Callable[[mpmath.mpf], mpmath.mpf]:
    return lambda x: function(x) if low <= x <= high else mp.nan


def _bounded(limit: float, function: Callable[[mpmath.mpf], mpmath.mpf], beyond: Callable[[mpmath.mpf], object]):
    """mpmath takes forever where a result overflows or vanishes."""
    return lambda x: function(x) if abs(x) < limit else mp.mpf(beyond(x))


def _fmod(x: mpmath.mpf, y: mpmath.mpf) -> mpmath.mpf:
    """Exact, in integers."""
    if y == 0:
        return mp.nan
    scale = 2**1200
    a, c = int(abs(x) * scale), int(abs(y) * scale)
    return mp.sign(x) * mp.mpf(a % c) / scale


def _lgamma(x: mpmath.mpf) -> mpmath.mpf:
    if x == mp.floor(x) and x <= 0:
        return mp.inf
    if abs(x) > 1e306 and x > 0:
        return mp.inf
    return mp.re(mp.loggamma(x))


def _digamma(x: mpmath.mpf) -> mpmath.mpf:
    if x == 0:
        return -mp.inf  # at +0
    return mp.nan if x == mp.floor(x) and x < 0 else mp.digamma(x)


EXACT: dict[str, Callable[..., mpmath.mpf]] = {
    "acos": _only(-1, 1, mp.acos),
    "acosh": _only(1, INF, mp.acosh),
    "asin": _only(-1, 1, mp.asin),
    "asinh": mp.asinh,
    "atan": mp.atan,
    "atan2": lambda y, x: mp.atan2(y, x),
    "atanh": _only(-1, 1, lambda x: mp.atanh(x) if abs(x) < 1 else x * mp.inf),
    "cbrt": lambda x: mp.sign(x) * mp.cbrt(abs(x)),
    "cos": mp.cos,
    "cosh": _bounded(2000, mp.cosh, lambda x: mp.inf),
    "digamma": _digamma,
    "erfc": _bounded(50, mp.erfc, lambda x: 0 if x > 0 else 2),
    "erfinv": _erfinv,
    "fmod": _fmod,
    "hypot": mp.hypot,
    "lgamma": _lgamma,
    "sinh": _bounded(2000, mp.sinh, lambda x: mp.inf * x),
    "erf": _bounded(10, mp.erf, mp.sign),
    "exp": _bounded(2000, mp.exp, lambda x: mp.inf if x > 0 else 0),
    "exp2": _bounded(2000, lambda x: mp.power(2, x), lambda x: mp.inf if x > 0 else 0),
    "expm1": _bounded(2000, mp.expm1, lambda x: mp.inf if x > 0 else -1),
    "log": _logs(mp.log),
    "log10": _logs(mp.log10),
    "log1p": _log1p,
    "log2": _logs(lambda x: mp.log(x, 2)),
    "pow": _pow,
    "rsqrt": lambda x: mp.nan if x < 0 else 1 / mp.sqrt(x) if x else mp.inf,
    "sigmoid": _bounded(2000, _sigmoid, lambda x: 1 if x > 0 else 0),
    "sin": mp.sin,
    "sqrt": lambda x: mp.nan if x < 0 else mp.sqrt(x),
    "tan": mp.tan,
    "tanh": _bounded(100, mp.tanh, mp.sign),
}
ARITY = {"atan2": 2, "fmod": 2, "hypot": 2, "nextafter": 2, "pow": 2}
BOUND = {"fmod": 0.0, "sqrt": 0.5}  # units, where it is not 2
ROOTS_BELOW_ZERO = ("lgamma", "digamma")  # near those only the absolute error is small
ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "rint": np.rint,
    "trunc": np.trunc,
}

# Where a function is interesting beyond random bit patterns: ranges sampled evenly.
RANGES: dict[str, list[tuple[float, float]]] = {
    "acos": [(-1, 1), (0.9, 1), (-1, -0.9)],
    "acosh": [(1, 2), (1, 1.001), (1, 1000), (1e8, 1e10)],
    "asin": [(-1, 1), (0.9, 1), (-0.01, 0.01)],
    "asinh": [(-1, 1), (-0.001, 0.001), (-100, 100), (1e8, 1e10)],
    "atan": [(-1, 1), (-10, 10), (-0.001, 0.001)],
    "atan2": [(-1, 1), (-100, 100)],
    "atanh": [(-1, 1), (0.99, 1), (-0.001, 0.001)],
    "cbrt": [(-8, 8), (0, 1)],
    "cosh": [(-2, 2), (-90, 90), (-711, 711)],
    "digamma": [(0, 3), (1.4, 1.5), (0, 10), (0, 1000)],
    "erfc": [(-1, 1), (-6, 11), (0, 28)],
    "erfinv": [(-1, 1), (0.99, 1), (-0.001, 0.001)],
    "fmod": [(-10, 10), (-1000, 1000)],
    "hypot": [(-1, 1), (-1000, 1000)],
    "lgamma": [(0, 3), (0.99, 1.01), (1.9, 2.1), (0, 10), (0, 1000)],
    "sinh": [(-1, 1), (-90, 90), (-711, 711)],
    "cos": [(-10, 10), (-1000, 1000), (1e5, 1e7), (1e9, 1e10)],
    "erf": [(-1, 1), (-6, 6)],
    "exp": [(-110, 100), (-1, 1), (-760, 720)],
    "exp2": [(-155, 130), (-1, 1), (-1080, 1030)],
    "expm1": [(-1, 1), (-40, 100), (0, 720)],
    "log": [(0.5, 2), (0.99, 1.01), (0, 100)],
    "log10": [(0.5, 2), (0.99, 1.01), (0, 2000)],
    "log1p": [(-1, 1), (-0.01, 0.01), (0, 100)],
    "log2": [(0.5, 2), (0.99, 1.01), (0, 2000)],
    "pow": [(0, 4), (-3, 3), (0.9, 1.1)],
    "rsqrt": [(0, 4)],
    "sigmoid": [(-5, 5), (-110, 40), (-760, 40)],
    "sin": [(-10, 10), (-1000, 1000), (1e5, 1e7), (1e9, 1e10)],
    "sqrt": [(0, 4)],
    "tan": [(-10, 10), (-1000, 1000), (1e5, 1e7), (1e9, 1e10)],
    "tanh": [(-1, 1), (-22, 22)],
}


def bit_patterns(elem: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of random bits: every exponent, both signs, denormals, infinities and NaN."""
    if elem == "float":
        return rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    return rng.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)


def near_multiples(elem: str, unit: mpmath.mpf, rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers that lie as close as they can to multiples of ``unit``, of all sizes."""
    exponents = rng.integers(0, 100 if elem == "float" else 1000, count)
    numbers = [float(unit * mp.nint(mp.mpf(2) ** int(e) * 1.37)) for e in exponents]
    if elem == "double":
        numbers.append(6381956970095103.0 * 2.0**797)  # the closest of all to a multiple of pi/2 (Muller, Handbook)
    return np.array(numbers, DTYPES[elem])


def samples(name: str, elem: str, count: int = 360) -> list[np.ndarray]:
    """The operands that ``name`` is tried with."""
    rng = np.random.default_rng(sum(name.encode()) + len(elem))
    dtype = DTYPES[elem]
    columns = []
    for _ in range(ARITY.get(name, 1)):
        parts = [bit_patterns(elem, count, rng)]
        with np.errstate(over="ignore"):
            parts += [rng.uniform(low, high, count // 2).astype(dtype) for low, high in RANGES[name]]
        if name in ("sin", "cos", "tan"):
            parts.append(near_multiples(elem, mp.pi / 2, rng, count // 2))
        columns.append(np.concatenate(parts))
    if len(columns) == 2:
        columns[1] = rng.permutation(columns[1])
    return columns


def to_mp(value: np.floating) -> mpmath.mpf:
    return mp.mpf(float(value))


def rounded(value: mpmath.mpf, elem: str) -> float:
    """``value`` rounded to nearest, overflow and denormals included."""
    if mp.isnan(value):
        return NAN
    if mp.isinf(value) or value == 0:
        return float(value)
    exponent = max(int(mp.floor(mp.log(abs(value), 2))) - DIGITS[elem] + 1, LOWEST[elem])
    scaled = mp.nint(mp.ldexp(value, -exponent))
    result = mp.ldexp(scaled, exponent)
    return float(result) if abs(result) <= LARGEST[elem] else math.copysign(INF, float(mp.sign(value)))


def units_off(got: float, exact: mpmath.mpf, elem: str) -> float:
    """The error of ``got`` in units in the last place of the exact value (0 or infinite for special values)."""
    if mp.isnan(exact) or mp.isinf(exact):
        return 0.0 if str(got) == str(float(exact)) else INF
    if math.isnan(got):
        return INF
    wanted = rounded(exact, elem)
    if math.isinf(wanted) or math.isinf(got):
        return 0.0 if got == wanted else INF
    if exact == 0:
        return 0.0 if got == 0 else INF
    exponent = max(int(mp.floor(mp.log(abs(exact), 2))) - DIGITS[elem] + 1, LOWEST[elem])
    return float(abs(mp.mpf(got) - exact) / mp.mpf(2) ** exponent)


@cache
def reference(name: str, elem: str) -> tuple[list[np.ndarray], list[mpmath.mpf]]:
    """The samples whose exact result is finite in theory, and that result."""
    columns = samples(name, elem)
    keep = np.logical_and.reduce([np.isfinite(c) for c in columns])
    columns = [c[keep] for c in columns]
    return columns, [EXACT[name](*map(to_mp, row)) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("elem", ["float", "double"])
@pytest.mark.parametrize("name", sorted(EXACT))
def test_within_two_units(name: str, elem: str) -> None:
    columns, exact = reference(name, elem)
    for target in filter(supported, TARGETS):
        got = compiled(name, elem, target)(*columns)
        errors = [units_off(float(y), e, elem) for y, e in zip(got, exact, strict=True)]
        if name in ROOTS_BELOW_ZERO and elem == "double":
            errors = [
                u * float(min(abs(e), 1)) if x < 0 and 0 < u < INF else u
                for x, u, e in zip(columns[0], errors, exact, strict=True)
            ]
        worst = int(np.argmax(errors))
        operands = [c[worst] for c in columns]
        message = f"{name}{operands} on {target}: {got[worst]!r}, exactly {mp.nstr(exact[worst], 20)}"
        assert errors[worst] <= BOUND.get(name, 2.0), f"{errors[worst]:.3g} units: {message}"


@pytest.mark.parametrize("elem", ["float", "double"])
@pytest.mark.parametrize("name", sorted(ROUNDINGS))
def test_rounding_is_exact(name: str, elem: str) -> None:
    rng = np.random.default_rng(3)
    halves = np.arange(-20, 20) / 4
    edges = [s * (2.0**k + d) for s in (1, -1) for k in (22, 23, 24, 51, 52, 53) for d in (-1.5, -1, -0.5, 0, 0.5, 1)]
    special = [0.0, -0.0, INF, -INF, NAN, 0.49999999999999994, 5e-324, -5e-324]
    x = np.concatenate([bit_patterns(elem, 4000, rng), np.array([*halves, *edges, *special], DTYPES[elem])])
    with np.errstate(invalid="ignore"):  # signalling NaN
        wanted = ROUNDINGS[name](x)
    for target in filter(supported, TARGETS):
        same(compiled(name, elem, target)(x), wanted)


# -- special values: what C's Annex F says ---------------------------------------------------------------

SPECIAL: dict[str, list[tuple[float, float]]] = {
    "acos": [(1.0, 0.0), (2.0, NAN), (-2.0, NAN), (INF, NAN), (-INF, NAN)],
    "acosh": [(1.0, 0.0), (0.5, NAN), (-2.0, NAN), (INF, INF), (-INF, NAN)],
    "asin": [(0.0, 0.0), (-0.0, -0.0), (2.0, NAN), (-2.0, NAN), (INF, NAN), (-INF, NAN)],
    "asinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "atan": [(0.0, 0.0), (-0.0, -0.0), (INF, math.pi / 2), (-INF, -math.pi / 2)],
    "atanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (2.0, NAN), (-2.0, NAN), (INF, NAN), (-INF, NAN)],
    "cbrt": [(0.0, 0.0), (-0.0, -0.0), (27.0, 3.0), (-8.0, -2.0), (INF, INF), (-INF, -INF)],
    "cosh": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, INF), (2000.0, INF)],
    "digamma": [(0.0, -INF), (-0.0, INF), (-1.0, NAN), (-7.0, NAN), (INF, INF), (-INF, NAN)],
    "erfc": [(0.0, 1.0), (-0.0, 1.0), (INF, 0.0), (-INF, 2.0)],
    "erfinv": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (2.0, NAN), (-2.0, NAN), (INF, NAN)],
    "lgamma": [(0.0, INF), (-0.0, INF), (1.0, 0.0), (2.0, 0.0), (-1.0, INF), (-30.0, INF), (INF, INF), (-INF, INF)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (-2000.0, -INF)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (INF, NAN), (-INF, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0)],
    "exp2": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (10.0, 1024.0), (-3.0, 0.125)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (-INF, NAN), (INF, INF)],
    "log10": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (-INF, NAN), (INF, INF), (1000.0, 3.0), (1e7, 7.0)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-2.0, NAN), (-INF, NAN), (INF, INF)],
    "log2": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (-1.0, NAN), (-INF, NAN), (INF, INF), (1024.0, 10.0), (0.25, -2.0)],
    "rsqrt": [(0.0, INF), (-0.0, -INF), (INF, 0.0), (-1.0, NAN), (-INF, NAN), (4.0, 0.5), (1.0, 1.0)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-1.0, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0)],
}


def same(got: np.ndarray, wanted: Sequence[float] | np.ndarray) -> None:
    """Equality that tells zeros apart and takes NaN for NaN."""
    want = np.array(wanted, got.dtype)
    np.testing.assert_array_equal(got, want)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])


@pytest.mark.parametrize("elem", ["float", "double"])
@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_special_values(name: str, elem: str) -> None:
    pairs = [*SPECIAL[name], (NAN, NAN), (-NAN, NAN)]
    for target in filter(supported, TARGETS):
        got = compiled(name, elem, target)(np.array([x for x, _ in pairs]))
        same(got, [y for _, y in pairs])


def test_special_names_are_complete() -> None:
    assert vecmath.NAMES == EXACT.keys() | ROUNDINGS.keys() | {"nextafter"}
    assert vecmath.NAMES == SPECIAL.keys() | ROUNDINGS.keys() | ARITY.keys()
    assert all(vecmath.flops(name) > 0 for name in vecmath.NAMES)


def libm_pow(x: float, y: float) -> float:
    """C's pow for the special cases that Python raises for."""
    try:
        return math.pow(x, y)
    except OverflowError:
        return -INF if x < 0 and y % 2 == 1 else INF
    except ValueError:
        if x == 0:
            return math.copysign(INF, x) if y % 2 == 1 else INF
        return NAN


def libm_fmod(x: float, y: float) -> float:
    """C's fmod, NaN where Python raises."""
    return NAN if math.isinf(x) or y == 0 else math.fmod(x, y)


def nextafter(x: float, y: float, elem: str) -> float:
    """numpy's, whose neighbours depend on the type."""
    return float(np.nextafter(DTYPES[elem](x), DTYPES[elem](y)))


PAIRS: dict[str, Callable[[float, float], float]] = {
    "atan2": math.atan2,
    "fmod": libm_fmod,
    "hypot": math.hypot,
    "pow": libm_pow,
}


@pytest.mark.parametrize("elem", ["float", "double"])
@pytest.mark.parametrize("name", sorted([*PAIRS, "nextafter"]))
def test_special_values_of_pairs(name: str, elem: str) -> None:
    limits = np.finfo(DTYPES[elem])
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 2.0**24 + 2, 1e30, float(limits.max), float(limits.tiny), INF]
    values += [float(limits.smallest_subnormal), *([2.0**53 + 2] if elem == "double" else [])]
    values = [float(DTYPES[elem](v)) for v in values]
    grid = list(itertools.product([*values, *(-v for v in values), NAN], repeat=2))
    function = PAIRS.get(name, lambda x, y: nextafter(x, y, elem))
    with np.errstate(over="ignore", under="ignore"):
        wanted = np.array([function(x, y) for x, y in grid]).astype(DTYPES[elem])
    exact = (wanted == 0) | ~np.isfinite(wanted) | (wanted == 1) | (name in ("fmod", "nextafter"))
    for target in filter(supported, TARGETS):
        got = compiled(name, elem, target)(np.array([x for x, _ in grid]), np.array([y for _, y in grid]))
        same(got[exact], wanted[exact])
        np.testing.assert_allclose(got[~exact], wanted[~exact], rtol=3e-7 if elem == "float" else 5e-16)


# -- properties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_never_exceeds_one(name: str) -> None:
    for elem in ("float", "double"):
        x = np.linspace(-20, 20, 200_000).astype(DTYPES[elem])
        for target in filter(supported, TARGETS):
            assert np.abs(compiled(name, elem, target)(x)).max() <= 1


@pytest.mark.parametrize("name", ["sin", "exp", "pow", "tan", "fmod", "lgamma"])
@pytest.mark.parametrize("elem", ["float", "double"])
def test_lanes_do_not_matter(name: str, elem: str) -> None:
    """A value's result is the same whatever stands in the lanes beside it."""
    (x, *rest), _ = reference(name, elem)
    for target in filter(supported, ("avx2", "avx512")):
        run = compiled(name, elem, target)
        whole = run(x, *rest)
        order = np.random.default_rng(0).permutation(len(x))
        np.testing.assert_array_equal(run(x[order], *(r[order] for r in rest)), whole[order])


@pytest.mark.skipif(not supported("avx512"), reason="looks tables up in AVX-512 registers")
def test_tables_in_registers_serve_any_number_of_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.linspace(-4.2, 4.2, 9973).astype(np.float32)
    want = compiled("erf", "float", "avx512")(x)
    for lanes in (1, 2, 4, 8, 32, 64):
        monkeypatch.setitem(TARGETS, f"avx512 {lanes}", (*TARGETS["avx512"][:3], {"float": lanes}))
        np.testing.assert_array_equal(compiled("erf", "float", f"avx512 {lanes}")(x), want, err_msg=f"{lanes} lanes")


def test_float_sweep_of_all_exponents() -> None:
    """Half a million bit patterns, evenly spread, against double precision (good to 1e-8 units here)."""
    x = np.arange(0, 2**32, 2**13 + 1, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float64)
        exact = {"exp": np.exp(wide), "log": np.log(wide), "tanh": np.tanh(wide), "log1p": np.log1p(wide),
                 "expm1": np.expm1(wide), "sin": np.sin(wide), "cos": np.cos(wide), "log2": np.log2(wide),
                 "erf": scipy.special.erf(wide)}  # fmt: skip
        for name, want in exact.items():
            fits = np.isfinite(want) & (np.abs(want) < LARGEST["float"])
            unit = np.exp2(np.maximum(np.floor(np.log2(np.abs(want) + 1e-300)) - 23, -149))
            for target in filter(supported, ("avx2", "avx512", "wide", "scalar")):
                got = compiled(name, "float", target)(x).astype(np.float64)
                assert (np.abs(got - want) / unit)[fits].max() <= 2.0, name
                np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=name)


def test_errors() -> None:
    b = Builder(Module())
    with pytest.raises(ValueError, match="unknown function 'nonsense'"):
        vecmath.apply(b, "nonsense", b.const("float", 1.0))
    with pytest.raises(ValueError, match="pow takes 2 operands, got 1"):
        vecmath.apply(b, "pow", b.const("float", 1.0))
    with pytest.raises(ValueError, match="float or double lanes"):
        vecmath.apply(b, "exp", b.const("i32", 1))


def test_helpers_are_shared() -> None:
    """Two uses of one function at one type make one definition."""
    module = Module()
    b = Builder(module)
    vecmath.apply(b, "exp", b.const("<8 x float>", 1.0))
    once = module.text()
    vecmath.apply(b, "exp", b.const("<8 x float>", 2.0))
    assert module.text() == once
