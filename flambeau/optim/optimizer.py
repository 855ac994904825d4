"""The base class of all optimizers: parameter groups, state, hooks, and saving and loading of these."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import chain
from typing import Any, TypeAlias, TypeVar

from ..autograd.mode import is_grad_enabled, set_grad_enabled
from ..deferred.steps import acting
from ..dtype import dtype, float32, float64, get_default_dtype
from ..tensor import Tensor
from ..utils.hooks import RemovableHandle

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

ParamsT: TypeAlias = "Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]"
StateDict: TypeAlias = "dict[str, Any]"
Step = TypeVar("Step", bound=Callable[..., Any])

_global_optimizer_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_optimizer_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()

_HOOK_TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class _RequiredParameter:
    """The mark of a group option that has no default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()


def _use_grad_for_differentiable(step: Step) -> Step:
    """Run ``step`` with gradients recorded only when the optimizer was made with ``differentiable=True``."""

    @functools.wraps(step)
    def under_mode(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        before = is_grad_enabled()
        try:
            set_grad_enabled(self.defaults.get("differentiable", False))
            return step(self, *args, **kwargs)
        finally:
            set_grad_enabled(before)

    return under_mode  # type: ignore[return-value]


def _default_to_fused_or_foreach(
    params: list[Tensor], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    """Which of PyTorch's ``fused`` and ``foreach`` implementations to take when the user named none: neither.

    Both words only choose between implementations of one formula. Here every step already goes through one
    launch for all parameters when the tensors allow it, whatever the flags say.
    """
    return False, False


def _get_scalar_dtype(is_fused: bool | None = None) -> dtype:
    """The type of the ``step`` tensors: float32, unless the default type is float64 and nothing is fused."""
    if is_fused:
        return float32
    return float64 if get_default_dtype() is float64 else float32


def _to_scalar(x: Any) -> Any:
    """A tensor of one element as a 0-dimensional one; anything else unchanged."""
    return x.squeeze() if isinstance(x, Tensor) and x.dim() != 0 else x


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` before every optimizer's step; it may return new ``(args, kwargs)``."""
    return _register(_global_optimizer_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(optimizer, args, kwargs)`` after the step of every optimizer."""
    return _register(_global_optimizer_post_hooks, hook)


def _register(hooks: OrderedDict[int, Any], hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


class Optimizer:
    """Base class of optimizers.

    Args:
        params: tensors, ``(name, tensor)`` pairs, or dictionaries that each define a parameter group:
            ``"params"`` and the options in which the group differs from ``defaults``. Its order must be the
            same in every run, for saved states refer to parameters by position.
        defaults: the options of groups that do not set their own.

    Raises:
        TypeError: ``params`` is a single tensor or holds something else than tensors.
        ValueError: it is empty, a tensor is not a leaf, or a tensor is in two groups.
    """

    OptimizerPreHook: TypeAlias = "Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], Any]"
    OptimizerPostHook: TypeAlias = "Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], None]"

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._make_hook_tables()
        self._patch_step_function()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                f"{type(params).__name__}: wrap a single parameter in a list"
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)
        self._warned_capturable_if_run_uncaptured = True

    # -- pickling and printing -------------------------------------------------------------------
    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_hook_tables()
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        lines = [type(self).__name__ + " ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines.extend(f"    {key}: {group[key]}" for key in sorted(group) if key != "params")
        return "\n".join(lines) + "\n)"

    def _make_hook_tables(self) -> None:
        for name in _HOOK_TABLES:
            if name not in self.__dict__:
                self.__dict__[name] = OrderedDict()

    # -- the step and its hooks ------------------------------------------------------------------
    @staticmethod
    def profile_hook_step(func: Step) -> Step:
        """Wrap a ``step`` method so that it runs the step hooks, global ones first, around itself."""

        @functools.wraps(func)
        def hooked_step(*args: Any, **kwargs: Any) -> Any:
            self = args[0]  # hooks see the optimizer among the arguments, as in PyTorch
            with acting(self, repeatable=len(args) == 1 and not kwargs):
                return run(self, args, kwargs)

        def run(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            for hook in (*_global_optimizer_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{type(self).__name__}.step: a step pre-hook must return None or a tuple "
                        f"of (new_args, new_kwargs), but returned {changed!r}"
                    )
                args, kwargs = changed
            result = func(*args, **kwargs)
            self._optimizer_step_code()
            for hook in (*self._optimizer_step_post_hooks.values(), *_global_optimizer_post_hooks.values()):
                hook(self, args, kwargs)
            return result

        hooked_step.hooked = True  # type: ignore[attr-defined]
        return hooked_step  # type: ignore[return-value]

    def _steps_otherwise(self) -> bool:
        """Whether each step is more than its class says: hooks run around it, or this object has a method of its own
        (not one that a schedule gave it, which only notes that there was a step)."""
        own = self.__dict__
        return (
            ("step" in own and not hasattr(own["step"], "_wrapped_by_lr_sched"))
            or "zero_grad" in own
            or bool(_global_optimizer_pre_hooks or _global_optimizer_post_hooks)
            or bool(self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks)
        )

    def _optimizer_step_code(self) -> None:
        """A place that tools may patch to see every finished step."""

    def _patch_step_function(self) -> None:
        self._zero_grad_profile_name = f"Optimizer.zero_grad#{type(self).__name__}.zero_grad"
        step = type(self).step
        if not getattr(step, "hooked", False):
            type(self).step = self.profile_hook_step(step)  # type: ignore[method-assign]

    def register_step_pre_hook(self, hook: OptimizerPreHook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new ``(args, kwargs)``."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: OptimizerPostHook) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once from their gradients; subclasses define it.

        Args:
            closure: computes the loss anew and returns it; optional for most optimizers.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros when ``set_to_none`` is false."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                    continue
                grad = param.grad
                if grad is None:
                    continue
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    # -- saving and loading ----------------------------------------------------------------------
    def register_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` before :meth:`state_dict` collects anything."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` after it; a result other than None replaces the dictionary."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer, state_dict)`` before loading; a result other than None is loaded instead."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(optimizer)`` after a state has been loaded."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    def state_dict(self) -> StateDict:
        """The state as ``{"state": {position: ...}, "param_groups": [...]}``; tensors are not copied."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        position: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for param in group["params"]:
                position.setdefault(id(param), len(position))
            packed["params"] = [position[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {position[id(key)] if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state that :meth:`state_dict` gave; parameters are matched by position.

        Floating-point state is cast to the type and device of its parameter, except ``step``.

        Raises:
            ValueError: the number of groups, or of parameters in a group, differs.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        mine, given = self.param_groups, copy.deepcopy(state_dict["param_groups"])
        if len(mine) != len(given):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(given)}, the optimizer has {len(mine)}"
            )
        for number, (ours, theirs) in enumerate(zip(mine, given)):
            if len(ours["params"]) != len(theirs["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                    f"group {number} has {len(theirs['params'])} parameters, the optimizer's {len(ours['params'])}"
                )
        params = dict(
            zip(
                chain.from_iterable(group["params"] for group in given),
                chain.from_iterable(group["params"] for group in mine),
            )
        )
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in params:
                state[params[key]] = _state_for(params[key], value, key, given)
            else:
                state[key] = value
        for ours, theirs in zip(mine, given):
            theirs["params"] = ours["params"]
            if "param_names" in ours and "param_names" not in theirs:
                theirs["param_names"] = ours["param_names"]
        self.__setstate__({"state": state, "param_groups": given})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    @staticmethod
    def _process_value_according_to_param_policy(
        param: Tensor, value: Tensor, param_id: Hashable, param_groups: list[dict[Any, Any]], key: Hashable = None
    ) -> Tensor:
        """The tensor ``value`` of a loaded state, on the device and in the type that its parameter asks for."""
        if key == "step":
            for group in param_groups:
                if param_id in group["params"]:
                    if group.get("fused") or group.get("capturable"):
                        return value.to(dtype=_get_scalar_dtype(is_fused=True), device=param.device)
                    break
            return value
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)

    # -- groups ----------------------------------------------------------------------------------
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Append a group: a dictionary with ``"params"`` and options that override the defaults.

        Raises:
            TypeError: it is no dictionary, or its parameters are no tensors or come in a set.
            ValueError: a tensor is not a leaf or already in a group, a required option is missing, or only
                some parameters have names.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in "
                "sets will change between runs. Please use a list instead."
            )
        params, names = _split_names(list(params))
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {type(param).__name__}")
            if not self.defaults.get("differentiable") and not (param.is_leaf or param.retains_grad):
                raise ValueError(
                    "can't optimize a non-leaf Tensor: pass the tensor it was computed from, or call detach() first"
                )
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)
        if len({id(param) for param in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error",
                stacklevel=3,
            )
        known = {id(param) for group in self.param_groups for param in group["params"]}
        if any(id(param) in known for param in params):
            raise ValueError("some parameters appear in more than one parameter group")
        if self.param_groups and ("param_names" in param_group) != ("param_names" in self.param_groups[0]):
            given = "with" if "param_names" in param_group else "without"
            raise ValueError(
                "all optimizer param groups should be with/without names. cannot add param group "
                f"{given} names to the optimizer"
            )
        self.param_groups.append(param_group)


def _split_names(params: list[Any]) -> tuple[list[Any], list[str]]:
    """Separate ``(name, tensor)`` pairs; all parameters of a group have names, or none."""
    named = [isinstance(param, tuple) for param in params]
    if not any(named):
        return params, []
    if not all(named):
        raise ValueError("all optimizer params should be with/without names. Some param names are missing")
    return [param for _, param in params], [name for name, _ in params]


def _state_for(param: Tensor, value: Any, param_id: Hashable, groups: list[dict[Any, Any]], key: Any = None) -> Any:
    """A loaded state with all tensors in it, however nested, made fit for ``param``."""
    if isinstance(value, Tensor):
        return Optimizer._process_value_according_to_param_policy(param, value, param_id, groups, key)
    if isinstance(value, Mapping):
        return {name: _state_for(param, item, param_id, groups, name) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(_state_for(param, item, param_id, groups) for item in value)
    return value
