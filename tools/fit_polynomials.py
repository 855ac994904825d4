"""Fits the polynomials of ``flambeau/target/vecmath`` and writes ``coefficients.py`` there.

Each entry of ``FITS`` describes one function, the interval, the number of terms and the weight of the error.
The fit is least squares on a dense Chebyshev grid in high precision, reweighted by Lawson's iteration towards
the least greatest error (Rice and Usow, "The Lawson algorithm and extensions", 1968).  Coefficients are then
rounded to the target format one after another, lowest power first, each time refitting the remaining ones, so
that the rounding of one is made good by the next (the idea of Brisebarre and Chevillard's ``fpminimax``,
without its lattice).

Run ``python tools/fit_polynomials.py`` for all of them, or with names to print only those.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mpmath as mp

mp.mp.prec = 400
TARGET = Path(__file__).resolve().parent.parent / "flambeau" / "target" / "vecmath" / "coefficients.py"
Function = Callable[[mp.mpf], mp.mpf]


@dataclass(frozen=True)
class Fit:
    """Approximate ``function`` by a sum of ``c_k x**k`` over ``powers`` with the error times ``weight`` minimal."""

    function: Function
    low: float
    high: float
    terms: int
    digits: int
    weight: Function = lambda x: mp.mpf(1)
    comment: str = ""
    fixed: tuple[float, ...] = ()  # values of the lowest coefficients, where they are prescribed


def round_to(value: mp.mpf, digits: int) -> mp.mpf:
    """``value`` rounded to ``digits`` significant bits (24: float, 53: double), to nearest."""
    if digits == 24:
        return mp.mpf(struct.unpack("f", struct.pack("f", float(value)))[0])
    return mp.mpf(float(value))


def grid(low: mp.mpf, high: mp.mpf, count: int) -> list[mp.mpf]:
    """Chebyshev points of the first kind, ends added."""
    middle, half = (low + high) / 2, (high - low) / 2
    inner = [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    return [low, *inner, high]


def minimax(
    points: Sequence[mp.mpf], target: Sequence[mp.mpf], weight: Sequence[mp.mpf], first: int, terms: int, rounds: int
) -> list[mp.mpf]:
    """Nearly minimax coefficients of ``x**first ... x**(first+terms-1)`` for the weighted error over the points.

    Weighted least squares through a QR-free normal system (the working precision absorbs its condition),
    with ``rounds`` of Lawson's reweighting by the error.
    """
    rows = [[x ** (first + k) * w for k in range(terms)] for x, w in zip(points, weight, strict=True)]
    wanted = [y * w for y, w in zip(target, weight, strict=True)]
    stress = [mp.mpf(1)] * len(rows)
    best: tuple[mp.mpf, list[mp.mpf]] | None = None
    for _ in range(rounds):
        normal = mp.matrix(terms, terms)
        right = mp.matrix(terms, 1)
        columns = [[s * row[k] for s, row in zip(stress, rows, strict=True)] for k in range(terms)]
        for i in range(terms):
            for j in range(i, terms):
                normal[i, j] = normal[j, i] = mp.fdot(columns[i], (row[j] for row in rows))
            right[i] = mp.fdot(columns[i], wanted)
        solution = list(mp.lu_solve(normal, right))
        errors = [abs(mp.fdot(row, solution) - y) for row, y in zip(rows, wanted, strict=True)]
        if best is None or max(errors) < best[0]:
            best = max(errors), solution
        mean = mp.fsum(s * e for s, e in zip(stress, errors, strict=True)) / mp.fsum(stress)
        stress = [s * (e / mean + mp.mpf("0.05")) for s, e in zip(stress, errors, strict=True)]
    assert best is not None
    return best[1]


def fit(job: Fit) -> tuple[list[float], float]:
    """The rounded coefficients, lowest power first, and the weighted error they reach."""
    points = grid(mp.mpf(job.low), mp.mpf(job.high), max(6 * job.terms, 40))
    points = [x for x in points if x != 0]
    target = [job.function(x) for x in points]
    weight = [abs(job.weight(x)) for x in points]
    done: list[mp.mpf] = []
    rest: list[mp.mpf] = []
    for step in range(job.terms):
        if step < len(job.fixed):
            value = mp.mpf(job.fixed[step])
        else:
            rest = minimax(points, target, weight, step, job.terms - step, 12 if not rest else 2)
            value = round_to(rest[0], job.digits)
        done.append(value)
        target = [y - value * x**step for x, y in zip(points, target, strict=True)]
    return [float(c) for c in done], float(max(abs(t * w) for t, w in zip(target, weight, strict=True)))


def tail(function: Function, subtract: Sequence[float | mp.mpf], power: int) -> Function:
    """``(function(x) - sum subtract_k x**k) / x**power``: what is left after known leading terms."""
    return lambda x: (function(x) - sum(mp.mpf(c) * x**k for k, c in enumerate(subtract))) / x**power


def of_square(function: Function) -> Function:
    """``function`` of x as a function of ``x*x``."""
    return lambda z: function(mp.sqrt(z))


def odd(function: Function, high: float, terms: int, digits: int, name: str) -> Fit:
    """An odd function as ``x + x^3 P(x^2)`` on [0, high], of least relative error."""
    low = 1e-9 if digits == 24 else 1e-14
    return Fit(
        of_square(lambda x: (function(x) - x) / x**3), low, high**2, terms, digits,
        lambda z: z * mp.sqrt(z) / function(mp.sqrt(z)), f"({name} x - x) / x^3 in x^2",
    )  # fmt: skip


def relative(function: Function, low: float, high: float, terms: int, comment: str) -> Fit:
    """A double polynomial for ``function`` itself, of least relative error."""
    return Fit(function, low, high, terms, 53, lambda x: 1 / function(x), comment)


def exp2(x: mp.mpf) -> mp.mpf:
    return mp.mpf(2) ** x


LN2 = mp.log(2)
HALF_LN2 = float(LN2 / 2) * 1.0005
QUARTER_PI = float(mp.pi / 4) * 1.001
LOG2_C1 = 2 / LN2
LOG2_C3 = LOG2_C1 / 3
TWO_OVER_SQRT_PI_F32 = round_to(2 / mp.sqrt(mp.pi), 24)
TWO_OVER_SQRT_PI_F64 = round_to(2 / mp.sqrt(mp.pi), 53)


ERF_SCALE = 15.49 / 3.94  # pieces of erf per unit


def erf_piece(k: int) -> Fit:
    """erf around k/4 where ``k`` is ``ERF_SCALE`` times the argument rounded to an integer; exactly 0 at 0."""
    centre = mp.mpf(k) / 4
    low = (k - mp.mpf("0.501")) / mp.mpf(ERF_SCALE) - centre if k else mp.mpf("1e-9")
    high = (k + mp.mpf("0.501")) / mp.mpf(ERF_SCALE) - centre
    fixed = () if k else (0.0, float(TWO_OVER_SQRT_PI_F64))  # the program adds what rounding takes from the slope
    return Fit(
        lambda r: mp.erf(centre + r), float(low), float(high), 6, 24, lambda r: 1 / mp.erf(centre + r), "", fixed
    )


def neg_log_erfc(a: mp.mpf) -> mp.mpf:
    return -mp.log(mp.erfc(a))


def erf_weight(a: mp.mpf) -> mp.mpf:
    """Relative error of erf per absolute error of g(a)/a, where erf = 1 - exp(-g)."""
    return a * mp.erfc(a) / mp.erf(a)


def scaled_erfc(t: mp.mpf) -> mp.mpf:
    a = 4 * (1 + t) / (1 - t)
    return (1 + 2 * a) * mp.exp(a * a) * mp.erfc(a)


ERFC_HIGH_LOW = (10.4 - 4) / (10.4 + 4)
ERFC_HIGH = (27.5 - 4) / (27.5 + 4)


@cache
def erfinv_ratio(w: mp.mpf) -> mp.mpf:
    """``erfinv(x) / x`` where ``w = -log(1 - x^2)``."""
    complement = -mp.expm1(mp.log1p(-mp.exp(-w)) / 2)
    if w < 0.5:
        return mp.erfinv(1 - complement) / (1 - complement)
    root = mp.findroot(lambda y: mp.log(mp.erfc(y)) - mp.log(complement), mp.sqrt(w) * mp.mpf("0.82"))
    return root / (1 - complement)


def stirling(w: mp.mpf) -> mp.mpf:
    x = 1 / mp.sqrt(w)
    main = (x - mp.mpf(1) / 2) * (mp.log(x) - 1) + (mp.log(2 * mp.pi) - 1) / 2
    return (mp.loggamma(x) - main) * x


DIGAMMA_ROOT = mp.findroot(mp.digamma, 1.4616)


@cache
def digamma_ratio(u: mp.mpf) -> mp.mpf:
    x = mp.mpf(3) / 2 + u
    return mp.digamma(x) / (x - DIGAMMA_ROOT)


@cache
def digamma_tail(w: mp.mpf) -> mp.mpf:
    x = 1 / mp.sqrt(w)
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) / w


FITS: dict[str, Fit] = {
    # -- exponentials
    "EXP_F32": Fit(tail(mp.exp, (1, 1), 2), -HALF_LN2, HALF_LN2, 5, 24, lambda x: x, "(e^r - 1 - r) / r^2"),
    "EXP_F64": Fit(tail(mp.exp, (1, 1), 2), -HALF_LN2, HALF_LN2, 10, 53, lambda x: x, "(e^r - 1 - r) / r^2"),
    "EXP2_F32": Fit(tail(exp2, (1,), 1), -0.501, 0.501, 6, 24, lambda x: x, "(2^r - 1) / r"),
    "EXP2_F64": Fit(tail(exp2, (1,), 1), -0.501, 0.501, 11, 53, lambda x: x, "(2^r - 1) / r"),
    "EXP2_LOW": Fit(exp2, -0.501, 0.501, 7, 53, comment="2^r, for float results"),
    "TANH_F32": odd(mp.tanh, 0.551, 5, 24, "tanh"),
    "TANH_F64": odd(mp.tanh, 0.551, 11, 53, "tanh"),
    "SINH_F32": odd(mp.sinh, 1.001, 4, 24, "sinh"),
    "SINH_F64": odd(mp.sinh, 1.001, 7, 53, "sinh"),
    "INVERSE_CBRT": relative(lambda v: 1 / mp.cbrt(v), 0.333, 2.667, 5, "v^(-1/3), to start an iteration"),
    # -- logarithms
    "LOG_F32": Fit(
        tail(mp.log1p, (0, 1), 2),
        -0.3335,
        0.501,
        9,
        24,
        lambda f: f * f / mp.log1p(f),
        "(log(1+f) - f) / f^2",
        fixed=(-0.5,),
    ),
    "LOG_F64": Fit(
        of_square(lambda s: (2 * mp.atanh(s) - 2 * s) / s**3),
        1e-8,
        0.0402,
        8,
        53,
        lambda z: z,
        "(2 atanh(s) - 2 s) / s^3 in s^2",
    ),
    "LOG2_LOW": Fit(
        of_square(lambda s: LOG2_C1 * mp.atanh(s) / s),
        1e-8,
        0.0402,
        5,
        53,
        comment="log2((1+s) / (1-s)) / s in s^2, for float results",
    ),
    "LOG2_TAIL": Fit(
        of_square(lambda s: (LOG2_C1 * mp.atanh(s) - LOG2_C1 * s - LOG2_C3 * s**3) / s**5),
        1e-8,
        0.0402,
        8,
        53,
        lambda z: z * z,
        "the terms of log2((1+s) / (1-s)) from s^5 on, over s^5, in s^2",
    ),
    # -- trigonometry
    "SIN_F32": odd(mp.sin, QUARTER_PI, 3, 24, "sin"),
    "SIN_F64": odd(mp.sin, QUARTER_PI, 6, 53, "sin"),
    "COS_F32": Fit(
        of_square(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4),
        1e-9,
        QUARTER_PI**2,
        3,
        24,
        lambda z: z * z / mp.cos(mp.sqrt(z)),
        "(cos r - 1 + r^2/2) / r^4 in r^2",
    ),
    "COS_F64": Fit(
        of_square(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4),
        1e-14,
        QUARTER_PI**2,
        6,
        53,
        lambda z: z * z,
        "(cos r - 1 + r^2/2) / r^4 in r^2",
    ),
    "ATAN_F32": odd(mp.atan, 1.0, 9, 24, "atan"),
    "ATAN_F64": odd(mp.atan, 1.0, 20, 53, "atan"),
    "ASIN_F32": odd(mp.asin, 0.5005, 5, 24, "asin"),
    "ASIN_F64": odd(mp.asin, 0.5005, 13, 53, "asin"),
    # -- error functions
    "ERF_F32": Fit(
        lambda a: neg_log_erfc(a) / a - mp.mpf(TWO_OVER_SQRT_PI_F32),
        1e-6,
        3.94,
        10,
        24,
        erf_weight,
        "-log(erfc a) / a less 2/sqrt(pi) as a float",
    ),
    "ERF_F64": Fit(
        lambda a: neg_log_erfc(a) / a - mp.mpf(TWO_OVER_SQRT_PI_F64),
        1e-10,
        5.93,
        25,
        53,
        erf_weight,
        "-log(erfc a) / a less 2/sqrt(pi) as a double",
    ),
    "ERFC_LOW": relative(scaled_erfc, -1.0, ERFC_HIGH_LOW, 12, "(1 + 2a) exp(a^2) erfc(a) in (a-4) / (a+4), for float"),
    "ERF_NEAR": relative(of_square(lambda x: mp.erf(x) / x), 1e-14, 0.2505, 11, "erf(x) / x in x^2"),
    "ERFC": Fit(
        lambda t: scaled_erfc(t) - 1.25,
        -0.78,
        ERFC_HIGH,
        22,
        53,
        lambda t: 1 / scaled_erfc(t),
        "(1 + 2a) exp(a^2) erfc(a) - 5/4 in (a-4) / (a+4)",
    ),
    "ERFINV_LOW_NEAR": relative(lambda v: erfinv_ratio(v + 2.5), -2.5 + 1e-9, 2.5, 10, "erfinv(x)/x, w = 2.5 + v"),
    "ERFINV_LOW_FAR": relative(lambda v: erfinv_ratio((v + 3) ** 2), -0.765, 1.1, 10, "erfinv(x)/x, w = (3 + v)^2"),
    "ERFINV_NEAR": relative(lambda v: erfinv_ratio(v + 3.125), 1e-12 - 3.125, 3.1251, 24, "erfinv(x)/x, w = v + 25/8"),
    "ERFINV_MIDDLE": relative(
        lambda v: erfinv_ratio((v + 3.25) ** 2), -0.7501, 0.7501, 21, "erfinv(x)/x, w = (3.25 + v)^2"
    ),
    "ERFINV_FAR": relative(lambda v: erfinv_ratio((v + 5) ** 2), -1.0001, 1.09, 19, "erfinv(x)/x, w = (5 + v)^2"),
    # -- gamma functions
    "LGAMMA": relative(lambda t: mp.loggamma(2 + t) / t, -0.7501, 0.2501, 21, "log(gamma(2+t)) / t"),
    "STIRLING": relative(stirling, 1e-12, 6.24**-2, 9, "x times the rest of Stirling's formula in 1/x^2"),
    "DIGAMMA": relative(digamma_ratio, -0.5001, 0.5001, 23, "digamma(3/2+u) / (3/2+u-root)"),
    "DIGAMMA_TAIL": relative(digamma_tail, 1e-12, 6.49**-2, 8, "x^2 (log x - 1/(2x) - digamma x) in 1/x^2"),
}


PIECEWISE = {
    "ERF_F32_PIECES": ([erf_piece(k) for k in range(16)], "erf(k/4 + r) in r, for k = 0 ... 15: each power's 16"),
}


def render_pieces(name: str, jobs: Sequence[Fit], comment: str) -> str:
    """The assignment of the coefficients of several polynomials, those of each power together."""
    fits = [fit(job) for job in jobs]
    rows = zip(*(values for values, _ in fits), strict=True)
    text = "\n".join("    (\n" + "\n".join(f"        {v!r}," for v in row) + "\n    )," for row in rows)
    error = max(error for _, error in fits)
    return f"# {comment}; weighted error 2^{float(mp.log(error, 2)):.1f}\n{name} = (\n{text}\n)\n"


def render(name: str, job: Fit, values: Sequence[float], error: float) -> str:
    """The assignment of one tuple of coefficients, with what it approximates and how well."""
    text = "\n".join(f"    {value!r}," for value in values)
    note = f"# {job.comment} on [{job.low:.6g}, {job.high:.6g}]; weighted error 2^{float(mp.log(error, 2)):.1f}"
    return f"{note}\n{name} = (\n{text}\n)\n"


def main() -> None:
    names = sys.argv[1:]
    parts = []
    for name, job in FITS.items():
        if names and name not in names:
            continue
        values, error = fit(job)
        parts.append(render(name, job, values, error))
        print(parts[-1], flush=True)
    for name, (jobs, comment) in PIECEWISE.items():
        if names and name not in names:
            continue
        parts.append(render_pieces(name, jobs, comment))
        print(parts[-1], flush=True)
    if not names:
        header = '"""Polynomial coefficients, lowest power first.  Written by ``tools/fit_polynomials.py``."""\n\n'
        TARGET.write_text(header + "from __future__ import annotations\n\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
