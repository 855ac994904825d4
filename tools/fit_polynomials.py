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


LN2 = mp.log(2)
HALF_LN2 = float(LN2 / 2) * 1.0005
QUARTER_PI = float(mp.pi / 4) * 1.001
TWO_OVER_SQRT_PI_F32 = round_to(2 / mp.sqrt(mp.pi), 24)
TWO_OVER_SQRT_PI_F64 = round_to(2 / mp.sqrt(mp.pi), 53)


def neg_log_erfc(a: mp.mpf) -> mp.mpf:
    return -mp.log(mp.erfc(a))


def erf_weight(a: mp.mpf) -> mp.mpf:
    """Relative error of erf per absolute error of g(a)/a, where erf = 1 - exp(-g)."""
    return a * mp.erfc(a) / mp.erf(a)


FITS: dict[str, Fit] = {
    "EXP_F32": Fit(tail(mp.exp, (1, 1), 2), -HALF_LN2, HALF_LN2, 5, 24, lambda x: x, "(e^r - 1 - r) / r^2"),
    "EXP_F64": Fit(tail(mp.exp, (1, 1), 2), -HALF_LN2, HALF_LN2, 10, 53, lambda x: x, "(e^r - 1 - r) / r^2"),
    "EXP2_F32": Fit(tail(lambda x: mp.mpf(2) ** x, (1,), 1), -0.501, 0.501, 6, 24, lambda x: x, "(2^r - 1) / r"),
    "EXP2_F64": Fit(tail(lambda x: mp.mpf(2) ** x, (1,), 1), -0.501, 0.501, 11, 53, lambda x: x, "(2^r - 1) / r"),
    "TANH_F32": Fit(
        of_square(lambda x: (mp.tanh(x) - x) / x**3),
        1e-9,
        0.551**2,
        5,
        24,
        lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z)),
        "(tanh x - x) / x^3 in x^2",
    ),
    "TANH_F64": Fit(
        of_square(lambda x: (mp.tanh(x) - x) / x**3),
        1e-14,
        0.551**2,
        11,
        53,
        lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z)),
        "(tanh x - x) / x^3 in x^2",
    ),
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
    "SIN_F32": Fit(
        of_square(lambda r: (mp.sin(r) - r) / r**3),
        1e-9,
        QUARTER_PI**2,
        3,
        24,
        lambda z: z * mp.sqrt(z) / mp.sin(mp.sqrt(z)),
        "(sin r - r) / r^3 in r^2, |r| <= pi/4",
    ),
    "SIN_F64": Fit(
        of_square(lambda r: (mp.sin(r) - r) / r**3),
        1e-14,
        QUARTER_PI**2,
        6,
        53,
        lambda z: z * mp.sqrt(z) / mp.sin(mp.sqrt(z)),
        "(sin r - r) / r^3 in r^2, |r| <= pi/4",
    ),
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
}


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
    if not names:
        header = '"""Polynomial coefficients, lowest power first.  Written by ``tools/fit_polynomials.py``."""\n\n'
        TARGET.write_text(header + "from __future__ import annotations\n\n" + "\n".join(parts))


if __name__ == "__main__":
    main()
