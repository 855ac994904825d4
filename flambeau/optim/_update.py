"""How optimizers apply one update rule to all parameters of a group.

A rule is a formula over values and scalars, written once with operators and a few methods that tensors and
the values of a kernel under construction share. It says what replaces the parameter and its state, and it
does so out of place, so that it can be differentiated and fused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

from .. import ops
from ..autograd.mode import enable_grad, is_grad_enabled
from ..tensor import Tensor
from ._launch import advance_counters, launch
from ._record import record
from .optimizer import Optimizer, _get_scalar_dtype, _to_scalar, _use_grad_for_differentiable

__all__ = [
    "FLAGS",
    "GroupOptimizer",
    "Rule",
    "TensorMaths",
    "advance",
    "apply",
    "apply_by_flag",
    "as_real",
    "bias_corrections",
    "check_beta",
    "check_flags",
    "check_lr",
    "check_nonnegative",
    "check_steps",
    "common_kind",
    "decay_kind",
    "new_step",
    "number",
    "scalars_by_step",
    "sqrt",
    "start",
    "unscale",
]

Scalar = TypeVar("Scalar")


class Rule(NamedTuple):
    """One optimizer's update of one parameter.

    ``formula(variant, arrays, scalars, maths)`` gets values in the order of ``arrays`` (the last may be missing in
    some variants) and returns what replaces them, but for those named in ``reads``. ``variant`` holds what is decided
    before any number is known: flags, not quantities. ``maths`` has the functions of :class:`TensorMaths`.
    """

    name: str
    arrays: str
    reads: str
    formula: Callable[[Any, Sequence[Any], Sequence[Any], Any], tuple[Any, ...]]

    def written(self, count: int) -> tuple[int, ...]:
        """The positions, among the first ``count`` arrays, that the formula's results replace."""
        reads = self.reads.split()
        return tuple(i for i, name in enumerate(self.arrays.split()[:count]) if name not in reads)


class TensorMaths:
    """What a rule needs besides ``+ - * /`` and comparisons, on tensors; for kernels see ``template/optimizer.py``."""

    @staticmethod
    def sqrt(x: Tensor) -> Tensor:
        """The square root."""
        return x.sqrt()

    @staticmethod
    def abs(x: Tensor) -> Tensor:
        """The magnitude."""
        return x.abs()

    @staticmethod
    def maximum(x: Tensor, y: Tensor) -> Tensor:
        """The greater of two, NaN if one is."""
        return x.maximum(y)

    @staticmethod
    def lerp(start: Tensor, end: Tensor, weight: Any) -> Tensor:
        """``start + weight * (end - start)``."""
        return start.lerp(end, weight)

    @staticmethod
    def sign(x: Tensor) -> Tensor:
        """-1, 0 or 1."""
        return x.sign()

    @staticmethod
    def select(mask: Tensor, yes: Any, no: Tensor) -> Tensor:
        """``yes`` where the mask is set, ``no`` elsewhere."""
        return ops.where(mask, yes, no) if isinstance(yes, Tensor) else no.masked_fill(mask, yes)

    @staticmethod
    def clamp(x: Tensor, least: Any, most: Any) -> Tensor:
        """The nearest number from ``least`` to ``most``."""
        return x.clamp(least, most)


def apply(rule: Rule, variant: Any, arrays: Sequence[Sequence[Tensor]], scalars: Sequence[Sequence[Any]]) -> None:
    """Update every parameter in place: in the deferred program where that computes the gradients, by one kernel for all
    of them where memory allows, else one by one.

    Args:
        arrays: one list of tensors per array of the rule, all of the same length.
        scalars: the scalars of each parameter.
    """
    written = rule.written(len(arrays))
    if is_grad_enabled():
        left: Sequence[int] = range(len(arrays[0]))
    elif record(rule.name, rule.formula, variant, arrays, scalars, written, TensorMaths):
        left = ()
    else:
        left = launch(rule.name, rule.formula, variant, arrays, scalars, written)
    for i in left:
        row = [tensors[i] for tensors in arrays]
        for k, value in zip(written, rule.formula(variant, row, scalars[i], TensorMaths)):
            row[k].copy_(value)


def apply_by_flag(
    rule: Rule,
    variant: tuple[Any, ...],
    flags: Sequence[bool],
    arrays: Sequence[Sequence[Tensor]],
    scalars: Sequence[Sequence[Any]],
) -> None:
    """``apply`` where the last member of the variant is a flag that differs among the parameters."""
    for flag in (False, True):
        chosen = [i for i, own in enumerate(flags) if own == flag]
        apply(
            rule,
            (*variant, flag),
            [[tensors[i] for i in chosen] for tensors in arrays],
            [scalars[i] for i in chosen],
        )


def decay_kind(weight_decay: float, decoupled: bool) -> str:
    """How ``start`` takes the weight decay: "coupled", "decoupled", or "" for none."""
    return "" if weight_decay == 0 else "decoupled" if decoupled else "coupled"


def start(
    param: Any, grad: Any, maximize: bool, decay: bool | str, weight_decay: Any, shrink: Any = None
) -> tuple[Any, Any]:
    """The first part of most formulas: the parameter and gradient with the sign of ``maximize`` and the weight decay,
    which joins the gradient or, "decoupled", shrinks the parameter."""
    if maximize:
        grad = -grad
    if decay == "decoupled":
        return param * shrink, grad
    return param, grad + param * weight_decay if decay else grad


_PARTS = {
    **{f"beta{i + 1}": ("betas", i) for i in (0, 1)},
    **{f"eps{i + 1}": ("eps", i) for i in (0, 1)},
    "etaminus": ("etas", 0),
    "etaplus": ("etas", 1),
    "step_size_min": ("step_sizes", 0),
    "step_size_max": ("step_sizes", 1),
}
"""Arguments of functional forms that are one half of an option."""


FLAGS: dict[str, Any] = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}
"""Options that most optimizers share, and that saved states of older versions lack."""


class GroupOptimizer(Optimizer):
    """An optimizer whose step treats each group alone.

    A subclass says what a fresh state is, and which functional form updates lists of tensors: ``_functional`` takes
    parameters, gradients, one list for each of ``_states`` (``"name if option"``: empty where the group's option is
    off), and any options of the group by their names.
    """

    _functional: ClassVar[Callable[..., None]]
    _states: tuple[str, ...] = ()
    _options: tuple[str, ...] = ()  # the arguments of ``_functional`` after its lists
    _sparse_remedy = ""
    _takes_sparse = False
    _later_options: ClassVar[dict[str, Any]] = {}  # options that saved states of older versions lack

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "_functional" in cls.__dict__:
            code = cls._functional.__code__  # type: ignore[attr-defined]
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            cls._options = tuple(name for name in names[2 + len(cls._states) :] if name != "has_complex")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self._later_options.items():
                group.setdefault(name, default)
            for param in group["params"]:
                own = self.state.get(param, {})
                if "step" in own and not isinstance(own["step"], Tensor):  # a number in states of old versions
                    own["step"] = ops.tensor(float(own["step"]), dtype=_get_scalar_dtype())

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Update ``params``, those of the group that have gradients."""
        lists = []
        for entry in self._states:
            name, _, option = entry.partition(" if ")
            lists.append(common_kind(states, name) if not option or group[option] else [])
        type(self)._functional(params, grads, *lists, **self._arguments(group, grads))

    def _arguments(self, group: dict[str, Any], grads: list[Tensor]) -> dict[str, Any]:
        """What the functional form takes besides its lists: options of the group, or parts of them, what mixed
        precision left on the optimizer, and whether a gradient is sparse."""
        arguments = {}
        for name in self._options:
            if name in group:
                arguments[name] = group[name]
            elif name in _PARTS:
                option, half = _PARTS[name]
                arguments[name] = group[option][half]
            elif name == "has_sparse_grad":
                arguments[name] = has_sparse(grads)
            else:
                arguments[name] = getattr(self, name, None)
        return arguments

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss anew and returns it, and so does this call then.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            found = [(param, param.grad) for param in group["params"]]
            params = [param for param, grad in found if grad is not None]
            if not params:
                continue
            grads = [grad for _, grad in found if grad is not None]
            if not self._takes_sparse and has_sparse(grads):
                raise RuntimeError(f"{type(self).__name__} does not support sparse gradients{self._sparse_remedy}")
            states = [self.state[param] for param in params]
            for param, state in zip(params, states):
                if not state:
                    state.update(self._new_state(param, group))
            self._update(group, params, grads, states)
        return loss


# -- scalars ---------------------------------------------------------------------------------------
def new_step(param: Tensor, on_device: bool) -> Tensor:
    """The step counter of a parameter: a 0-dimensional tensor, on the CPU unless ``on_device``."""
    if on_device:
        return ops.zeros((), dtype=_get_scalar_dtype(is_fused=True), device=param.device)
    return ops.tensor(0.0, dtype=_get_scalar_dtype(), device="cpu")


def advance(steps: Sequence[Tensor], keep: bool) -> list[Any]:
    """Add one to every counter and return their values: numbers, or the tensors themselves when ``keep``."""
    if not is_grad_enabled():
        values = advance_counters(steps)
        if values is not None:
            return list(steps) if keep else values
    for step in steps:
        step += 1
    return list(steps) if keep else [step.item() for step in steps]


def scalars_by_step(steps: Sequence[Any], make: Callable[[Any], Scalar]) -> list[Scalar]:
    """``make(step)`` for every counter; once for each value when they are numbers."""
    if steps and not isinstance(steps[0], Tensor) and steps.count(steps[0]) == len(steps):
        return [make(steps[0])] * len(steps)
    known: dict[Any, Scalar] = {}
    found = []
    for step in steps:
        key = id(step) if isinstance(step, Tensor) else step
        if key not in known:
            known[key] = make(step)
        found.append(known[key])
    return found


def bias_corrections(step: Any, *betas: Any) -> tuple[Any, ...]:
    """``1 - beta**step`` for each beta (Kingma and Ba, "Adam", 2015, section 3)."""
    return tuple(1 - beta**step for beta in betas)


def number(x: Any, keep: bool) -> Any:
    """A hyperparameter that may be a tensor: its value, or the 0-dimensional tensor itself when ``keep``."""
    if not isinstance(x, Tensor):
        return x
    return _to_scalar(x) if keep else x.item()


def sqrt(x: Any) -> Any:
    """The square root of a number or tensor."""
    return x.sqrt() if isinstance(x, Tensor) else x**0.5


# -- tensors ---------------------------------------------------------------------------------------
def as_real(*lists: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    """The lists with each complex tensor replaced by a real view of its parts."""
    if "c" not in {t._layout.dtype.kind for t in lists[0]}:
        return list(lists)
    return [[ops.view_as_real(t) if t.dtype.is_complex else t for t in tensors] for tensors in lists]


def has_sparse(grads: Sequence[Tensor]) -> bool:
    """Whether some gradient is sparse; plain tensors, which nearly all are, are not asked."""
    others = [grad for grad in grads if grad.__class__ is not Tensor]
    return any(grad.is_sparse for grad in others)


def common_kind(states: Sequence[dict[str, Any]], key: str) -> list[Any]:
    """The tensors called ``key`` of all states."""
    return [state[key] for state in states]


def unscale(grads: Sequence[Tensor], scale: Tensor | None, found_inf: Tensor | None) -> bool:
    """Divide the gradients by the scale of mixed-precision training; False when an infinity forbids the step."""
    if found_inf is not None and found_inf.item() != 0:
        return False
    if scale is not None:
        for grad in grads:
            grad.div_(scale)
    return True


# -- checks ----------------------------------------------------------------------------------------
def check_nonnegative(what: str, value: Any) -> None:
    """Raises ValueError if an option is negative or NaN."""
    if not 0.0 <= value:
        raise ValueError(f"Invalid {what}: {value}; it must not be negative")


def check_lr(lr: Any, foreach: bool | None = None, capturable: bool = False, where: str = "") -> None:
    """A learning rate is not negative and, as a tensor, has one element."""
    if isinstance(lr, Tensor):
        if foreach and not capturable:
            raise ValueError(
                f"lr as a Tensor is not supported for capturable=False and foreach=True{where}: pass a float"
            )
        if lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but has shape {tuple(lr.shape)}")
    check_nonnegative("learning rate", lr)


def check_beta(index: int, beta: Any) -> None:
    """Raises ValueError if a rate of decay is not in [0, 1)."""
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"Invalid beta parameter at index {index}: {beta}; it must lie in [0, 1)")


def check_flags(foreach: bool | None, fused: bool | None, differentiable: bool, params: Sequence[Tensor] = ()) -> None:
    """Refuse the combinations of implementation flags that PyTorch refuses."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
    if fused and not all(param.is_floating_point() for param in params):
        raise RuntimeError("`fused=True` requires all the params to be floating point Tensors")


def check_steps(steps: Sequence[Any], params: Sequence[Tensor], capturable: bool, foreach_differentiable: bool) -> None:
    """Refuse step counters that are no tensors, and ``capturable`` where nothing can be captured."""
    if set(map(type, steps)) != {Tensor} and not all(isinstance(step, Tensor) for step in steps):
        raise RuntimeError("API has changed, `state_steps` argument must contain a list of singleton tensors")
    if foreach_differentiable:
        raise AssertionError("_foreach ops don't support autograd: pass foreach=False with differentiable=True")
    if capturable and any(param.device.type in ("cpu", "meta") for param in params):
        raise AssertionError(
            "If capturable=True, params and state_steps must be on supported devices: cuda; got a parameter on the CPU"
        )
