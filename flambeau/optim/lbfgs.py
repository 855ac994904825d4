"""L-BFGS (Nocedal and Wright, "Numerical Optimization", 2nd edition, algorithms 7.4, 3.5 and 3.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import ops
from ..autograd.mode import enable_grad, no_grad
from ..tensor import Tensor
from .optimizer import Optimizer, ParamsT

__all__ = ["LBFGS"]


class _Trial(NamedTuple):
    """A point of the line search: its distance, its loss, its gradient and the slope along the line."""

    t: Any
    loss: float
    grad: Tensor
    slope: Any


class LBFGS(Optimizer):
    """L-BFGS: steps along the gradient times an inverse Hessian estimated from the last steps.

    Args:
        params: tensors or named tensors; one group only.
        lr: the length of a step, or the first trial of the line search.
        max_iter: iterations in one call of :meth:`step`.
        max_eval: evaluations of the closure in one call (None: 1.25 times ``max_iter``).
        tolerance_grad: stop when no element of the gradient is larger.
        tolerance_change: stop when neither parameters nor loss change more.
        history_size: number of past steps kept.
        line_search_fn: None or "strong_wolfe".
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but has shape {tuple(lr.shape)}")
        if not lr >= 0.0:
            raise ValueError(f"Invalid learning rate: {lr}; it must not be negative")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(
                "LBFGS doesn't support per-parameter options (parameter groups), "
                f"but got {len(self.param_groups)} groups"
            )
        self._params: list[Tensor] = self.param_groups[0]["params"]
        self._numel_cache: int | None = None

    # -- parameters as one vector ----------------------------------------------------------------
    def _numel(self) -> int:
        if self._numel_cache is None:
            self._numel_cache = sum(2 * p.numel() if p.is_complex() else p.numel() for p in self._params)
        return self._numel_cache

    def _gather_flat_grad(self) -> Tensor:
        parts = []
        for param in self._params:
            grad = param.grad
            if grad is None:
                part = param.new_zeros(param.numel())
            else:
                part = (grad.to_dense() if grad.is_sparse else grad).reshape(-1)
            parts.append(ops.view_as_real(part).reshape(-1) if part.is_complex() else part)
        return ops.cat(parts, 0)

    def _add_grad(self, step_size: Any, direction: Tensor) -> None:
        """Move the parameters by ``step_size`` along ``direction``."""
        offset = 0
        for param in self._params:
            real = ops.view_as_real(param) if param.is_complex() else param
            count = real.numel()
            real.add_(direction[offset : offset + count].view_as(real) * step_size)
            offset += count

    def _directional_evaluate(
        self, closure: Callable[[], float], start: list[Tensor], t: Any, direction: Tensor
    ) -> _Trial:
        """Loss and gradient at distance ``t``; the parameters return to ``start``."""
        self._add_grad(t, direction)
        loss, grad = closure(), self._gather_flat_grad()
        for param, value in zip(self._params, start):
            param.copy_(value)
        return _Trial(t, loss, grad, grad.dot(direction))

    # -- the step --------------------------------------------------------------------------------
    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Run up to ``max_iter`` iterations; returns the loss before the first.

        Args:
            closure: clears the gradients, computes the loss and its gradients, and returns the loss.
        """
        group = self.param_groups[0]
        lr = group["lr"].squeeze() if isinstance(group["lr"], Tensor) else group["lr"]
        max_iter, search = group["max_iter"], group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError(f"only 'strong_wolfe' is supported as line_search_fn, but got {search!r}")

        def evaluate() -> Any:
            with enable_grad():
                return closure()

        # The state belongs to the whole vector; by custom it is filed under the first parameter.
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first_loss = evaluate()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        grad = self._gather_flat_grad()
        if grad.abs().max() <= group["tolerance_grad"]:
            return first_loss

        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            direction = self._direction(state, grad, group["history_size"])
            previous_loss = loss
            state["prev_flat_grad"] = grad.clone()
            t = min(1.0, 1.0 / grad.abs().sum()) * lr if state["n_iter"] == 1 else lr
            slope = grad.dot(direction)
            state["d"], state["t"], state["prev_loss"] = direction, t, previous_loss
            if slope > -group["tolerance_change"]:
                break
            evaluated, small = 0, False
            if search is not None:
                start = [param.clone() for param in self._params]
                found, evaluated = _strong_wolfe(
                    lambda t, start=start, d=direction: self._directional_evaluate(
                        lambda: float(evaluate()), start, t, d
                    ),
                    _Trial(0, loss, grad, slope),
                    t,
                    direction,
                )
                loss, grad, t = found.loss, found.grad, found.t
                state["t"] = t
                self._add_grad(t, direction)
                small = bool(grad.abs().max() <= group["tolerance_grad"])
            else:
                self._add_grad(t, direction)
                if iteration != max_iter:
                    loss = float(evaluate())
                    grad = self._gather_flat_grad()
                    small = bool(grad.abs().max() <= group["tolerance_grad"])
                    evaluated = 1
            evaluations += evaluated
            state["func_evals"] += evaluated
            if (
                iteration == max_iter
                or evaluations >= group["max_eval"]
                or small
                or direction.mul(t).abs().max() <= group["tolerance_change"]
                or abs(loss - previous_loss) < group["tolerance_change"]
            ):
                break
        return first_loss

    @staticmethod
    def _direction(state: dict[str, Any], grad: Tensor, history_size: int) -> Tensor:
        """The next direction, after taking the last step into the history (two-loop recursion, algorithm 7.4)."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return grad.neg()
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        change = grad.sub(state["prev_flat_grad"])
        step = state["d"].mul(state["t"])
        curvature = change.dot(step)
        if curvature > 1e-10:  # keeps the estimate positive definite
            if len(changes) == history_size:
                for history in (changes, steps, inverses):
                    history.pop(0)
            changes.append(change)
            steps.append(step)
            inverses.append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change)
        if "al" not in state:
            state["al"] = [None] * history_size
        weights = state["al"]
        direction = grad.neg()
        for i in range(len(changes) - 1, -1, -1):
            weights[i] = steps[i].dot(direction) * inverses[i]
            direction.sub_(changes[i] * weights[i])
        direction = direction.mul(state["H_diag"])
        for i in range(len(changes)):
            direction.add_(steps[i] * (weights[i] - changes[i].dot(direction) * inverses[i]))
        return direction


def _strong_wolfe(
    evaluate: Callable[[Any], _Trial],
    start: _Trial,
    t: Any,
    direction: Tensor,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_trials: int = 25,
) -> tuple[_Trial, int]:
    """A distance along ``direction`` that meets the strong Wolfe conditions, and the number of evaluations.

    First widen until a bracket is found (algorithm 3.5), then shrink it (algorithm 3.6); trial distances are
    minima of cubics, kept away from the ends of the bracket.
    """

    def too_high(trial: _Trial) -> bool:
        return bool(trial.loss > start.loss + c1 * trial.t * start.slope)

    def flat(trial: _Trial) -> bool:
        return bool(abs(trial.slope) <= -c2 * start.slope)

    longest = direction.abs().max()
    previous, trial = start, evaluate(t)
    evaluations, trials = 1, 0
    bracket = [start, trial]
    done = False
    while trials < max_trials:
        if too_high(trial) or (trials > 1 and trial.loss >= previous.loss):
            bracket = [previous, trial]
            break
        if flat(trial):
            bracket, done = [trial], True
            break
        if trial.slope >= 0:
            bracket = [previous, trial]
            break
        bounds = (trial.t + 0.01 * (trial.t - previous.t), trial.t * 10)
        farther = _cubic_minimum(previous, trial, bounds)
        previous, trial = trial, evaluate(farther)
        evaluations += 1
        trials += 1
    if trials == max_trials:
        bracket = [start, trial]

    stalled = False
    low, high = (0, 1) if bracket[0].loss <= bracket[-1].loss else (1, 0)
    while not done and trials < max_trials:
        if abs(bracket[1].t - bracket[0].t) * longest < tolerance_change:
            break
        near, far = min(bracket[0].t, bracket[1].t), max(bracket[0].t, bracket[1].t)
        t = _cubic_minimum(bracket[0], bracket[1])
        margin = 0.1 * (far - near)
        if min(far - t, t - near) < margin:
            # Twice in a row close to an end, or on it: step inside by the margin.
            if stalled or t >= far or t <= near:
                t = far - margin if abs(t - far) < abs(t - near) else near + margin
                stalled = False
            else:
                stalled = True
        else:
            stalled = False
        trial = evaluate(t)
        evaluations += 1
        trials += 1
        if too_high(trial) or trial.loss >= bracket[low].loss:
            bracket[high] = trial
            low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
            continue
        if flat(trial):
            done = True
        elif trial.slope * (bracket[high].t - bracket[low].t) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = trial
    return bracket[low if len(bracket) > 1 else 0], evaluations


def _cubic_minimum(a: _Trial, b: _Trial, bounds: tuple[Any, Any] | None = None) -> Any:
    """The minimum, within ``bounds``, of the cubic with the losses and slopes of both ends (equation 3.59)."""
    if a.t > b.t:
        a, b = b, a
    lowest, highest = bounds if bounds is not None else (a.t, b.t)
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1**2 - a.slope * b.slope
    if not square >= 0:
        return (lowest + highest) / 2.0
    d2 = square.sqrt() if isinstance(square, Tensor) else square**0.5
    minimum = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return min(max(minimum, lowest), highest)
