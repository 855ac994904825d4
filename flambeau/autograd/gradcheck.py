"""``gradcheck``: derivatives compared with finite differences.

Everything is compared in the real numbers: a complex tensor counts as its real and imaginary parts.  The derivative
of a complex output's real part is its gradient for the seed 1, that of its imaginary part for the seed i.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dispatch.operator import OPERATORS
from ..tensor import Tensor, from_numpy
from ..transform.level import Batched, Dual, levels, vmap_level
from .api import grad
from .function import Function
from .mode import no_grad
from .tape import record

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A derivative does not agree with finite differences, or breaks a rule that derivatives obey."""


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of ``func(*inputs)`` agree with central differences of step ``eps``.

    Inputs that require grad should be float64 or complex128, since lower precision drowns in rounding.  ``fast_mode``
    compares one random projection of each Jacobian instead of all its entries.  ``nondet_tol`` bounds how much two
    runs may differ; ``check_undefined_grad`` and ``check_batched_grad`` also pass missing and batched gradients.
    ``check_forward_ad`` compares the derivatives of forward mode, ``check_batched_forward_grad`` those along several
    directions at once.

    Raises GradcheckError (RuntimeError) where they disagree, unless ``raise_exception`` is False; ValueError if no
    input requires grad.
    """
    if not check_backward_ad and not check_forward_ad:
        raise ValueError("gradcheck: at least one of check_forward_ad and check_backward_ad must be True")
    if check_batched_grad and not check_backward_ad:
        raise ValueError("gradcheck: check_batched_grad=True needs check_backward_ad=True")
    if check_batched_forward_grad and not check_forward_ad:
        raise ValueError("gradcheck: check_batched_forward_grad=True needs check_forward_ad=True")
    check = _Check(func, _tuple(inputs), eps, atol, rtol, check_grad_dtypes)
    try:
        if check_forward_ad:
            check.compare_forward()
        if check_batched_forward_grad:
            check.batched_tangents()
        if not check_backward_ad:
            return True
        check.compare(fast_mode)
        check.compare_runs(nondet_tol)
        check.zero_gradients()
        if check_undefined_grad:
            check.undefined_gradients()
        if check_batched_grad:
            check.batched_gradients()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """``gradcheck`` of the gradients of ``func``, as functions of ``inputs`` and of ``grad_outputs``.

    ``grad_outputs`` default to random numbers; the other arguments are those of ``gradcheck``.
    """
    if not check_rev_over_rev and not check_fwd_over_rev:
        raise ValueError("gradgradcheck: at least one of check_fwd_over_rev and check_rev_over_rev must be True")
    arguments = _tuple(inputs)
    if grad_outputs is None:
        with no_grad():
            outputs = [out for out in _tuple(func(*arguments)) if _differentiable(out)]
        random = np.random.default_rng(2)
        seeds = tuple(_random_like(out, random, gen_non_contig_grad_outputs).requires_grad_() for out in outputs)
    else:
        seeds = _tuple(grad_outputs)
    count = len(seeds)

    def first_order(*args: Any) -> tuple[Tensor, ...]:
        own, given = args[: len(args) - count], args[len(args) - count :]
        own = tuple(_again(a) for a in own)
        outputs = [out for out in _tuple(func(*own)) if _differentiable(out)]
        wanted = [a for a in own if isinstance(a, Tensor) and a._requires_grad]
        found = grad(outputs, wanted, given, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        first_order,
        (*arguments, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
        fast_mode=fast_mode,
        masked=masked,
    )


def _again(what: Any) -> Any:
    """Another tensor for one that requires grad, which the function may then write to."""
    return what.view_as(what) if isinstance(what, Tensor) and what._requires_grad else what  # type: ignore[attr-defined]


def _tuple(what: Any) -> tuple[Any, ...]:
    return tuple(what) if isinstance(what, (tuple, list)) else (what,)


def _differentiable(what: Any) -> bool:
    return isinstance(what, Tensor) and what._layout.dtype.kind in "fc"


def _array(tensor: Any) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy(), copy=True)


def _real(array: np.ndarray) -> np.ndarray:
    """The real and imaginary parts as one vector."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if not np.iscomplexobj(flat):
        return flat.astype(np.float64)
    return flat.astype(np.complex128).view(np.float64)


def _random_like(tensor: Tensor, random: np.random.Generator, gap: bool = False) -> Any:
    """Standard normal numbers in the layout of ``tensor``; with ``gap``, every other element of a larger one."""
    kind = tensor._layout.dtype
    shape = tuple(tensor._layout.shape) + ((2,) if gap else ())
    numbers = random.standard_normal(shape)
    if kind.is_complex:
        numbers = numbers + 1j * random.standard_normal(shape)
    made: Any = from_numpy(np.asarray(numbers.astype(kind.numpy)))
    return made.select(-1, 0) if gap else made


def _write(x: Any, values: np.ndarray) -> None:
    """Puts ``values`` into the memory of ``x``, where functions that hold on to it see them, too."""
    with no_grad():
        x.copy_(from_numpy(np.asarray(values)))


class _Undefined(Function):
    """The identity, with a missing gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None


class _Check:
    """The comparison of one function at one point."""

    def __init__(
        self, func: Callable[..., Any], inputs: tuple[Any, ...], eps: float, atol: float, rtol: float, dtypes: bool
    ) -> None:
        self.func, self.inputs = func, inputs
        self.eps, self.atol, self.rtol, self.dtypes = eps, atol, rtol, dtypes
        self.places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x._requires_grad]
        if not self.places:
            raise ValueError(
                "gradcheck expects at least one input tensor to require gradient, but none of the them have "
                "requires_grad=True."
            )
        for place in self.places:
            self._check_input(place, inputs[place]._layout)
        for x in self.wanted:
            if x._node is not None:
                x.retain_grad()
        self.outputs = self._call()

    @property
    def wanted(self) -> list[Any]:
        """The inputs whose derivatives are checked."""
        return [self.inputs[place] for place in self.places]

    @staticmethod
    def _check_input(place: int, layout: Any) -> None:
        if layout.dtype.kind not in "fc" or layout.dtype.to_real().itemsize < 8:
            warnings.warn(
                f"Input #{place} requires gradient and is not a double precision floating point or complex. This "
                "check will likely fail if all the inputs are not of double precision floating point or complex. ",
                stacklevel=4,
            )
        if any(stride == 0 and size > 1 for stride, size in zip(layout.strides, layout.shape)):
            raise RuntimeError(
                f"The {place}th input has a dimension with stride 0. gradcheck only supports inputs that are "
                "non-overlapping to be able to compute the numerical gradients correctly. You should call "
                ".contiguous on the input before passing it to gradcheck."
            )

    def _call(self) -> list[Any]:
        return [out for out in _tuple(self.func(*self.inputs)) if _differentiable(out)]

    def _values(self) -> list[np.ndarray]:
        """The outputs as real vectors."""
        return [_real(_array(out)) for out in self._call()]

    def _moved(self, x: Any, direction: np.ndarray) -> list[np.ndarray]:
        """The derivative of every output along ``direction`` of input ``x``, by central differences."""
        before, version = _array(x), x._storage.version
        results = []
        try:
            for step in (self.eps, -self.eps):
                shifted = _real(before) + step * direction
                if np.iscomplexobj(before):
                    shifted = shifted.view(np.complex128)
                _write(x, shifted.reshape(before.shape).astype(before.dtype))
                results.append(self._values())
        finally:
            _write(x, before)
            x._storage.version = version  # what the graph has saved is there again
        return [(up - down) / (2 * self.eps) for up, down in zip(*results)]

    def _gradients(self, output: Any, seed: np.ndarray) -> list[np.ndarray]:
        """The gradients of an output's dot product with ``seed`` (a real vector), as real vectors."""
        if output._layout.dtype.is_complex:
            seed = seed.view(np.complex128)
        start = from_numpy(np.asarray(seed.reshape(output.shape).astype(output._layout.dtype.numpy)))
        found: Sequence[Any] = grad(output, self.wanted, start, retain_graph=True, allow_unused=True)
        vectors = []
        for x, g in zip(self.wanted, found):
            if g is None:
                vectors.append(np.zeros(x.numel() * (2 if x._layout.dtype.is_complex else 1)))
                continue
            self._check_gradient(x, g)
            vectors.append(_real(_array(g)))
        return vectors

    def _check_gradient(self, x: Any, g: Any) -> None:
        if g.shape != x.shape:
            raise GradcheckError(f"grad is of shape {tuple(g.shape)}, but its input is of shape {tuple(x.shape)}")
        if self.dtypes and g.dtype is not x.dtype:
            raise GradcheckError(f"grad is {g.dtype}, but its input is {x.dtype}; check_grad_dtypes asks for the same")

    @staticmethod
    def _basis(size: int) -> Iterator[np.ndarray]:
        for index in range(size):
            unit = np.zeros(size)
            unit[index] = 1.0
            yield unit

    def compare(self, fast: bool) -> None:
        """The gradients against finite differences."""
        outputs = [out for out in self.outputs if out._requires_grad]
        if not outputs:
            return self._compare_constant()
        if fast:
            return self._compare_projections()
        numeric = [self._jacobians(x) for x in self.wanted]
        for nr, output in enumerate(self.outputs):
            if not output._requires_grad:
                continue
            size = numeric[0][nr].shape[0]
            rows = [self._gradients(output, seed) for seed in self._basis(size)]
            for at in range(len(self.wanted)):
                columns = numeric[at][nr].shape[1]
                analytic = np.array([row[at] for row in rows]).reshape(size, columns)
                self._agree(numeric[at][nr], analytic, nr, self.places[at])
        return None

    def _pushed(self, place: int, direction: Any) -> list[Any]:
        """The derivative of every output along ``direction`` of one input, by forward mode; None for zero."""
        level = levels.push(shared=True)
        try:
            given = list(self.inputs)
            given[place] = Dual.of(given[place], direction, level)
            record(OPERATORS["alias"], (self.inputs[place],), given[place])
            outputs = [out for out in _tuple(self.func(*given)) if _differentiable(out)]
            return [out._tangent if isinstance(out, Dual) and out._level is level else None for out in outputs]
        finally:
            levels.pop(level)

    def _directions(self, x: Any) -> list[Any]:
        """The unit vectors of an input (of its real and imaginary parts)."""
        before = _array(x)
        units = [
            unit.view(before.dtype) if np.iscomplexobj(before) else unit for unit in self._basis(_real(before).size)
        ]
        return [from_numpy(np.asarray(unit.reshape(before.shape).astype(before.dtype))) for unit in units]

    def compare_forward(self) -> None:
        """The derivatives of forward mode against finite differences."""
        for x, place in zip(self.wanted, self.places):
            numeric = self._jacobians(x)
            columns = [self._pushed(place, direction) for direction in self._directions(x)]
            for nr, expected in enumerate(numeric):
                found = [np.zeros(expected.shape[0]) if c[nr] is None else _real(_array(c[nr])) for c in columns]
                analytic = np.array(found).reshape(expected.shape[::-1]).T
                if not np.allclose(analytic, expected, rtol=self.rtol, atol=self.atol, equal_nan=True):
                    raise GradcheckError(
                        f"Jacobian computed with forward mode mismatch for output {nr} with respect to input {place},\n"
                        f"numerical:{expected.T}\nanalytical:{analytic.T}\n"
                    )

    def batched_tangents(self) -> None:
        """A batch of directions gives the batch of the derivatives along them."""
        for x, place in zip(self.wanted, self.places):
            directions = self._directions(x)[:5]
            if not directions:
                continue
            alone = [self._pushed(place, direction) for direction in directions]
            with vmap_level(len(directions)) as level:
                whole = from_numpy(np.stack([_array(direction) for direction in directions]))
                together = self._pushed(place, Batched.of(whole, 0, level))
                found = [
                    (t._value, t._bdim) if isinstance(t, Batched) and t._level is level else (t, None) for t in together
                ]
            for nr, (value, bdim) in enumerate(found):
                expected = [c[nr] for c in alone]
                if value is None or all(e is None for e in expected):
                    continue
                rows = np.moveaxis(_array(value), bdim, 0) if bdim is not None else [_array(value)] * len(directions)
                if not np.allclose(rows, np.stack([_array(e) for e in expected]), self.rtol, self.atol, equal_nan=True):
                    raise GradcheckError(
                        f"the batched forward-mode derivative of output {nr} by input {place} differs from those one "
                        "by one"
                    )

    def _compare_constant(self) -> None:
        for x, place in zip(self.wanted, self.places):
            for jacobian in self._jacobians(x):
                if np.abs(jacobian).max(initial=0) > self.atol:
                    raise GradcheckError(
                        f"Numerical gradient for function expected to be zero, but it is not for input {place}"
                    )

    def _jacobians(self, x: Any) -> list[np.ndarray]:
        """For every output the matrix of its finite differences by ``x``."""
        size = _real(_array(x)).size
        columns = [self._moved(x, unit) for unit in self._basis(size)]
        lengths = [vector.size for vector in self._values()]
        return [
            np.array([column[nr] for column in columns]).reshape(size, length).T for nr, length in enumerate(lengths)
        ]

    def _compare_projections(self) -> None:
        random = np.random.default_rng(2)
        directions = []
        for x in self.wanted:
            vector = random.standard_normal(_real(_array(x)).size)
            directions.append(vector / max(float(np.linalg.norm(vector)), 1e-300))
        numeric = [self._moved(x, direction) for x, direction in zip(self.wanted, directions)]
        for nr, output in enumerate(self.outputs):
            if not output._requires_grad:
                continue
            seed = random.standard_normal(numeric[0][nr].size)
            seed /= max(float(np.linalg.norm(seed)), 1e-300)
            for at, vector in enumerate(self._gradients(output, seed)):
                expected, found = float(seed @ numeric[at][nr]), float(vector @ directions[at])
                if not np.isclose(found, expected, rtol=self.rtol, atol=self.atol, equal_nan=True):
                    raise GradcheckError(
                        f"Jacobian mismatch for output {nr} with respect to input {self.places[at]}, in a random "
                        f"projection (fast_mode),\nnumerical:{expected}\nanalytical:{found}\nThe slow mode "
                        "(fast_mode=False) shows the whole Jacobian."
                    )

    def _agree(self, numeric: np.ndarray, analytic: np.ndarray, output: int, place: int) -> None:
        if not np.allclose(analytic, numeric, rtol=self.rtol, atol=self.atol, equal_nan=True):
            raise GradcheckError(
                f"Jacobian mismatch for output {output} with respect to input {place},\n"
                f"numerical:{numeric.T}\nanalytical:{analytic.T}\n"
            )

    def _seeds(self) -> list[tuple[Any, np.ndarray]]:
        random = np.random.default_rng(3)
        return [
            (output, random.standard_normal(_real(_array(output)).size))
            for output in self.outputs
            if output._requires_grad
        ]

    def compare_runs(self, tolerance: float) -> None:
        """Two runs of the same graph must give the same gradients."""
        for output, seed in self._seeds():
            first, second = self._gradients(output, seed), self._gradients(output, seed)
            for one, two in zip(first, second):
                if not np.allclose(one, two, rtol=0.0, atol=tolerance, equal_nan=True):
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and grad_output multiple "
                        "times gives different values, although analytical gradient matches numerical gradient. The "
                        f"tolerance for nondeterminism was {tolerance}."
                    )

    def zero_gradients(self) -> None:
        """Gradients are linear in the seed: a zero seed gives zeros."""
        for output, seed in self._seeds():
            if any(vector.any() for vector in self._gradients(output, np.zeros_like(seed))):
                raise GradcheckError("backward not multiplied by grad_output")

    def undefined_gradients(self) -> None:
        """A missing gradient counts as zero."""
        outputs = [output for output in self.outputs if output._requires_grad]
        if not outputs:
            return
        for missing in [set(range(len(outputs))), *({nr} for nr in range(len(outputs)) if len(outputs) > 1)]:
            fresh = [output for output in self._call() if output._requires_grad]
            ends: list[Any] = [_Undefined.apply(out) if nr in missing else out for nr, out in enumerate(fresh)]
            seeds = [_random_like(end, np.random.default_rng(4)) for end in ends]
            zeros = [seed * 0 if nr in missing else seed for nr, seed in enumerate(seeds)]
            try:
                found = grad(ends, self.wanted, seeds, retain_graph=True, allow_unused=True)
            except RuntimeError as error:
                raise GradcheckError(
                    "Expected backward function to handle undefined output grads, that is None in place of a gradient; "
                    f"it raised: {error}"
                ) from error
            expected = grad(fresh, self.wanted, zeros, allow_unused=True)
            for one, two in zip(found, expected):
                left = 0.0 if one is None else _array(one)
                right = 0.0 if two is None else _array(two)
                if not np.allclose(left, right, rtol=self.rtol, atol=self.atol, equal_nan=True):
                    raise GradcheckError(
                        "Expected all input grads to be undefined or zero when all output grads are undefined or zero."
                        if len(missing) == len(fresh)
                        else f"Expected undefined output grads {sorted(missing)} to count as zero"
                    )

    def batched_gradients(self) -> None:
        """A batch of seeds gives the batch of their gradients."""
        random = np.random.default_rng(5)
        for output in self.outputs:
            if not output._requires_grad:
                continue
            seeds = [_random_like(output, random) for _ in range(3)]
            batch = from_numpy(np.stack([_array(seed) for seed in seeds]))
            options: dict[str, Any] = {"retain_graph": True, "allow_unused": True}
            together: Sequence[Any] = grad(output, self.wanted, batch, is_grads_batched=True, **options)
            each: list[Sequence[Any]] = [grad(output, self.wanted, seed, **options) for seed in seeds]
            for at, found in enumerate(together):
                alone = [one[at] for one in each]
                if found is None and all(one is None for one in alone):
                    continue
                if found is None or not np.allclose(
                    _array(found), np.stack([_array(one) for one in alone]), self.rtol, self.atol
                ):
                    raise GradcheckError(
                        f"the batched gradient of input {self.places[at]} differs from the gradients one by one"
                    )
