"""sin, cos and tan, right for every argument.

Arguments up to a limit are reduced by Cody and Waite's scheme with three constants; a branch, taken only
when some lane is beyond, reduces those lanes one by one with as many bits of 2/pi as they need (Payne and
Hanek, "Radian reduction for trigonometric functions", 1983).  Every lane's result is independent of the
others'.
"""

from __future__ import annotations

from ..builder import Builder, Val
from . import coefficients as table
from .exponential import FORMATS
from .lanes import Lanes, fast_two_sum, horner, mad, two_prod, two_sum, where
from .rare import patch

__all__ = ["cos", "sin", "sine_and_cosine", "tan"]

_TWO_OVER_PI = 0.6366197723675814
_HALF_PI_F32 = (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15)
_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
_HALF_PI_HEAD = (1.570796325802803, 9.920935184482005e-10)  # _HALF_PI[0] in halves, products with 26 bits exact
_HALF_PI_TAIL = (6.123233932053594e-17, 6.36831716351095e-25)  # the rest of pi/2, likewise
_LIMIT_F32 = 2.0**19
_LIMIT_F64 = {True: 2.0**30, False: 2.0**25}
_ZERO_BITS = 64
_TABLE_WORDS = 22


def sin(x: Lanes) -> Lanes:
    """Sine."""
    a = x.abs()
    wave = _quarter_wave(*_reduced(a), 0)
    return _patched(x, wave.toggled_sign(x), "sin")


def cos(x: Lanes) -> Lanes:
    """Cosine."""
    return _patched(x, _quarter_wave(*_reduced(x.abs()), 1), "cos")


def tan(x: Lanes) -> Lanes:
    """Tangent."""
    wide = x.widen() if x.single else x
    ratio = _quarter_tangent(*_reduced(wide.abs())).toggled_sign(wide)
    return _patched(x, ratio.narrow() if x.single else ratio, "tan")


def _reduced(a: Lanes) -> tuple[Lanes, Lanes | None, Lanes]:
    """``(high, low, n)`` with a = n pi/2 + high + low and ``n`` in the low bits of an integer.

    The first difference is exact.  In float there is no low part: the two roundings after it are relative
    to what is left.
    """
    magic = FORMATS[a.elem].magic
    t = mad(a, _TWO_OVER_PI, magic)
    n = t - magic
    if a.single:
        high = mad(n, -_HALF_PI_F32[0], a)
        high = mad(n, -_HALF_PI_F32[1], high)
        return mad(n, -_HALF_PI_F32[2], high), None, t.bits()
    if a.builder.module.fma:
        first = mad(n, -_HALF_PI[0], a)
        step, lost = two_prod(n, n.like(_HALF_PI[1]))
        rest = mad(n, _HALF_PI[2], lost)
    else:
        first = (a - n * _HALF_PI_HEAD[0]) - n * _HALF_PI_HEAD[1]
        step = n * _HALF_PI_TAIL[0]
        rest = n * _HALF_PI_TAIL[1]
    high = first - step
    return high, ((first - high) - step) - rest, t.bits()


def sine_and_cosine(high: Lanes, low: Lanes) -> tuple[tuple[Lanes, Lanes], tuple[Lanes, Lanes]]:
    """Sine and cosine of ``high + low``, which is at most pi/4, each as a sum of two numbers (double)."""
    z = high * high
    half = z * 0.5
    near = 1.0 - half
    tail = ((1.0 - near) - half) + mad(z * z, horner(z, table.COS_F64), -(high * low))
    return (high, mad(z * high, horner(z, table.SIN_F64), low)), (near, tail)


def _quarter_wave(high: Lanes, low: Lanes | None, n: Lanes, shift: int) -> Lanes:
    """``sin(high + low + (n + shift) pi/2)``."""
    if low is None:
        z = high * high
        sine = mad(z * high, horner(z, table.SIN_F32), high)
        cosine = horner(z, (1.0, -0.5, *table.COS_F32))
    else:
        sine, cosine = (main + rest for main, rest in sine_and_cosine(high, low))
    if shift:
        n = n + shift
    wave = where((n & 1).equals(0), sine, cosine)
    top = 30 if high.single else 62
    return wave.toggled_sign((n << top).as_float())


def _quarter_tangent(high: Lanes, low: Lanes | None, n: Lanes) -> Lanes:
    """``tan(high + low + n pi/2)`` (double): sine over cosine, with the rounding errors of both made good."""
    assert low is not None
    (sine, sine_low), (cosine, cosine_low) = (fast_two_sum(*pair) for pair in sine_and_cosine(high, low))
    even = (n & 1).equals(0)
    above, above_low = where(even, sine, -cosine), where(even, sine_low, -cosine_low)
    below, below_low = where(even, cosine, sine), where(even, cosine_low, sine_low)
    ratio = above / below
    product, lost = two_prod(ratio, below)
    missing = ((above - product) - lost) + (above_low - ratio * below_low)
    return ratio + missing / below


# -- huge arguments --------------------------------------------------------------------------------


def _patched(x: Lanes, result: Lanes, name: str) -> Lanes:
    """``result``, except in lanes where x is so large that only ``_define_large`` gets it right."""
    limit = _LIMIT_F32 if x.single and name != "tan" else _LIMIT_F64[x.builder.module.fma]
    return patch(name, [x], result, lambda xs: xs[0].abs() > limit, lambda b: _define_large(b, name))


def _define_large(builder: Builder, name: str) -> str:
    """A scalar double function for any argument beyond the limits, infinity and NaN included."""
    module = builder.module
    symbol = f"fb.{name}.large"

    def make() -> str:
        b = Builder(module)
        x = Lanes(b, Val("%x", "double"))
        high, low, quarters = _payne_hanek(x.bits())
        if name == "tan":
            wave = _quarter_tangent(high, low, quarters)
        else:
            wave = _quarter_wave(high, low, quarters, int(name == "cos"))
        if name != "cos":
            wave = wave.toggled_sign(x)
        b.ret(where(x.abs() < float("inf"), wave, x - x).value)
        head = f"define internal double @{symbol}(double %x) noinline cold nounwind {module.attributes}"
        return f"{head} {{\nentry:\n{b.body()}\n}}"

    return module.require(symbol, make)


def _payne_hanek(bits: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """``|x|`` (its bits, a scalar; x at least 2^18) as n pi/2 + high + low; ``n`` modulo 4.

    With ``|x| = M 2^k``, the product of M and 192 bits of 2/pi, from the bit of weight ``2^(1-k)`` on, holds
    ``2 |x| / pi`` modulo 4 and 126 bits of its fraction.  No double comes closer than 2^-62 to a multiple.
    """
    b = bits.builder
    exponent = (bits >> 52) & 0x7FF
    mantissa = (bits & ((1 << 52) - 1)) | (1 << 52)
    # Infinity and NaN read within the table as well; their results are replaced.
    first = exponent - (1075 + 2 - _ZERO_BITS)
    word, shift = first >> 6, first & 63
    words = []
    for i in range(4):
        place = b.gep("i64", Val(_define_two_over_pi(b), "ptr"), (word + i).value)
        words.append(b.load("i64", place, 8))
    window = [Lanes(b, b.intrinsic("llvm.fshl", "i64", words[i], words[i + 1], shift.value)) for i in range(3)]
    carried = _high_product(mantissa, window[2])
    middle = mantissa * window[1] + carried
    carry = middle.below(carried).cast("zext", "i64")
    top = mantissa * window[0] + _high_product(mantissa, window[1]) + carry
    quarters = (top + (1 << 61)) >> 62
    fraction = top - (quarters << 62)
    # The 126 bits of the signed fraction in four exact doubles, then their sum as two
    low_half = (1 << 32) - 1
    parts = [fraction.ashr(32), fraction & low_half, middle >> 32, middle & low_half]
    units = [part.cast("sitofp", "double") * 2.0 ** (-30 - 32 * i) for i, part in enumerate(parts)]
    high, low = fast_two_sum(units[0], units[1])
    high, rest = two_sum(high, units[2] + units[3])
    low = low + rest
    main, lost = two_prod(high, high.like(_HALF_PI[0]))
    main, rest = fast_two_sum(main, mad(high, _HALF_PI[1], mad(low, _HALF_PI[0], lost)))
    return main, rest, quarters


def _high_product(a: Lanes, b: Lanes) -> Lanes:
    """The upper half of the product of two unsigned i64."""
    return ((a.cast("zext", "i128") * b.cast("zext", "i128")) >> 64).cast("trunc", "i64")


def _define_two_over_pi(builder: Builder) -> str:
    """The bits of 2/pi after ``_ZERO_BITS`` zeros, as 64-bit words, the most significant first."""

    def make() -> str:
        bits = _two_over_pi(_TABLE_WORDS * 64 - _ZERO_BITS)
        words = [(bits >> (64 * (_TABLE_WORDS - 1 - i))) & ((1 << 64) - 1) for i in range(_TABLE_WORDS)]
        text = ", ".join(f"i64 {w}" for w in words)
        return f"@fb.two_over_pi = internal unnamed_addr constant [{_TABLE_WORDS} x i64] [{text}], align 64"

    return builder.module.require("fb.two_over_pi", make)


def _two_over_pi(bits: int) -> int:
    """``floor(2^bits * 2 / pi)``, with pi from Machin's formula 16 arctan(1/5) - 4 arctan(1/239)."""
    guard = bits + 64

    def arctan_inverse(n: int) -> int:
        total, power, k = 0, (1 << guard) // n, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power //= n * n
            k += 2
        return total

    pi = 16 * arctan_inverse(5) - 4 * arctan_inverse(239)
    return (2 << (guard + bits)) // pi
