"""Points that fill a cube more evenly than random ones: Sobol sequences.

Direction numbers and scrambling come from ``scipy.stats.qmc`` (direction numbers of S. Joe and F. Y. Kuo, 2008, as in
PyTorch, so that unscrambled sequences agree).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from . import ops
from .dtype import dtype as dtype_
from .dtype import get_default_dtype, int64
from .random import default_generator
from .tensor import Tensor

__all__ = ["SobolEngine"]


class SobolEngine:
    """Draws points of the Sobol sequence in ``[0, 1) ** dimension``; the first point is the origin.

    ``scramble`` applies a random linear scramble and shift, from ``seed`` or the default generator.  Raises ValueError
    for more than 21201 dimensions.
    """

    MAXBIT = 30
    MAXDIM = 21201

    def __init__(self, dimension: int, scramble: bool = False, seed: int | None = None) -> None:
        if not 1 <= dimension <= self.MAXDIM:
            raise ValueError(
                f"Supported range of dimensionality for SobolEngine is [1, {self.MAXDIM}], got {dimension}"
            )
        self.dimension, self.scramble, self.seed = dimension, scramble, seed
        self.num_generated = 0
        if scramble and seed is None:
            drawn = ops.randint(0, 1 << 31, (1,), dtype=int64, generator=default_generator)
            self._start = int(drawn.item())  # type: ignore[attr-defined]
        else:
            self._start = seed or 0
        qmc = importlib.import_module("scipy.stats.qmc")
        self._engine = qmc.Sobol(dimension, scramble=scramble, bits=self.MAXBIT, rng=np.random.default_rng(self._start))

    def draw(self, n: int = 1, out: Tensor | None = None, dtype: dtype_ | None = None) -> Tensor:
        """The next ``n`` points, (n, dimension)."""
        points = self._draw(n) if n else np.empty((0, self.dimension))
        made = ops.as_tensor(points).to(dtype or get_default_dtype())  # type: ignore[attr-defined]
        if out is None:
            return made  # type: ignore[no-any-return]
        return out.resize_(made.shape).copy_(made)  # type: ignore[attr-defined,no-any-return]

    def _draw(self, n: int) -> np.ndarray[Any, Any]:
        self.num_generated += n
        return np.concatenate([self._engine.random(k) for k in _powers(n)])

    def draw_base2(self, m: int, out: Tensor | None = None, dtype: dtype_ | None = None) -> Tensor:
        """The next ``2 ** m`` points; raises ValueError if the points drawn are no power of two afterwards."""
        n = 1 << m
        total = self.num_generated + n
        if total & (total - 1):
            raise ValueError(
                "The balance properties of Sobol' points require n to be a power of 2. "
                f"{self.num_generated} points have been previously generated, then: n={self.num_generated}+2**{m}="
                f"{total}. If you still want to do this, please use 'SobolEngine.draw()' instead."
            )
        return self.draw(n, out, dtype)

    def reset(self) -> SobolEngine:
        """Starts again with the first point."""
        self._engine.reset()
        self.num_generated = 0
        return self

    def fast_forward(self, n: int) -> SobolEngine:
        """Leaves out ``n`` points."""
        self._engine.fast_forward(n)
        self.num_generated += n
        return self

    def __repr__(self) -> str:
        kind = f"SobolEngine(dimension={self.dimension}"
        if self.scramble:
            kind += ", scramble=True"
        return kind + (f", seed={self.seed})" if self.seed is not None else ")")


def _powers(n: int) -> list[int]:
    """``n`` as a sum of powers of two, the greatest first: the sizes that are drawn without a warning."""
    return [1 << i for i in range(n.bit_length() - 1, -1, -1) if n >> i & 1]
