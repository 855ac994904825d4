"""Operators that programs add: their kernels by device, what shapes they give, and how to differentiate them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..amp.autocast_mode import _cast_all, autocast, is_autocast_enabled
from ..autograd.function import Function
from ..autograd.mode import no_grad
from ..autograd.mode import state as grad_state
from ..dispatch.planning import tensors_in
from ..dispatch.torch_function import overridden
from ..tensor import Tensor
from ..transform.level import wrappers_in
from .schema import Schema, parse

__all__ = ["OPERATORS", "CustomOperator", "lookup", "split_name"]

OPERATORS: dict[str, CustomOperator] = {}
# Registrations for operators that nobody has defined yet, by name.
WAITING: dict[str, list[Callable[[CustomOperator], None]]] = {}
# Kernels of operators that have none, by dispatch key.
FALLBACKS: dict[str, Callable[..., Any]] = {}
_EVERYWHERE = ("CompositeExplicitAutograd", "CompositeImplicitAutograd")


def split_name(qualname: str) -> tuple[str, str]:
    """("ns", "op") of "ns::op"; raises ValueError for other texts."""
    space, separator, name = qualname.partition("::")
    if not separator or not space or not name:
        raise ValueError(f"expected the name of an operator as 'namespace::name', got {qualname!r}")
    return space, name.removesuffix(".default")


def lookup(qualname: str) -> CustomOperator:
    """The operator of a name; raises RuntimeError if nobody has defined it."""
    space, name = split_name(qualname)
    found = OPERATORS.get(f"{space}::{name}")
    if found is None:
        raise RuntimeError(f"operator {space}::{name} does not exist; define it first, by torch.library.define")
    return found


def when_defined(qualname: str, register: Callable[[CustomOperator], None]) -> None:
    """Registers something with an operator, now or when it is defined."""
    space, name = split_name(qualname)
    found = OPERATORS.get(f"{space}::{name}")
    if found is not None:
        register(found)
    else:
        WAITING.setdefault(f"{space}::{name}", []).append(register)


class CustomOperator:
    """One operator: ``kernels`` by PyTorch's names of dispatch keys ("CPU", "Meta", "CompositeImplicitAutograd")."""

    def __init__(self, qualname: str, schema: str | Schema, tags: tuple[Any, ...] = ()) -> None:
        self.qualname = qualname
        self.schema = schema if isinstance(schema, Schema) else parse(schema)
        self.tags = tags
        self.kernels: dict[str, Callable[..., Any]] = {}
        self.fake: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None
        self.setup_context: Callable[..., Any] | None = None
        self.autocast: dict[str, Any] = {}
        self.batched: type[Function] | None = None
        self.classes: dict[type, Callable[..., Any]] = {}
        self.symmetric: tuple[str, ...] = ()
        self.function = functools.partial(self)
        if qualname in OPERATORS:
            raise RuntimeError(f"operator {qualname} is defined already")
        OPERATORS[qualname] = self
        for register in WAITING.pop(qualname, ()):
            register(self)

    def __repr__(self) -> str:
        return f"<operator {self.qualname}>"

    # -- calls ---------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        values = self.schema.bind(args, kwargs)
        result = overridden(self.function, (*args, *kwargs.values()), kwargs, None, args)
        if result is not NotImplemented:
            return result
        for cls, rule in self.classes.items():
            if any(isinstance(v, cls) for v in values):
                return rule(cls, self.function, tuple({type(t) for t in tensors_in(values)}), tuple(values), {})
        if self.batched is not None and wrappers_in(values):
            return self.batched.apply(*values)  # type: ignore[no-untyped-call]
        for device_type, wanted in self.autocast.items():
            if is_autocast_enabled(device_type):
                with autocast(device_type, enabled=False):
                    return self._differentiated([_cast_all(v, device_type, wanted) for v in values])
        return self._differentiated(values)

    def _differentiated(self, values: list[Any]) -> Any:
        """The call, on the tape if an argument requires grad."""
        if not (grad_state.grad and any(t._requires_grad for t in tensors_in(values))):
            return self._run(values)
        own = self.kernels.get("Autograd") or self.kernels.get("AutogradCPU")
        if own is not None:
            return self._apply(own, values)
        if self.backward is None and "CompositeImplicitAutograd" in self.kernels:
            return self._run(values)
        return _node_class(self).apply(*values)  # type: ignore[no-untyped-call]

    def _run(self, values: list[Any]) -> Any:
        """The kernel for the device of the tensors."""
        tensors = tensors_in(values)
        meta = any(t._layout.device.type == "meta" for t in tensors)
        kind = "Meta" if meta else "CPU"
        kernel = (self.fake if meta else None) or self.kernels.get(kind)
        if kernel is None:
            kernel = next((self.kernels[k] for k in _EVERYWHERE if k in self.kernels), None)
        if kernel is None and kind in FALLBACKS:
            kernel = functools.partial(FALLBACKS[kind], self.function)
        if kernel is None:
            raise NotImplementedError(
                f"There is no kernel of the operator {self.qualname} for {kind}: register one (torch.library.impl), or "
                "a rule for shapes (torch.library.register_fake); there are "
                f"{sorted(self.kernels) or 'none'}"
            )
        result = self._apply(kernel, values)
        for argument, value in zip(self.schema.arguments, values):
            if argument.is_write:
                for t in tensors_in([value]):
                    t._storage.version += 1
        return result

    def _apply(self, kernel: Callable[..., Any], values: list[Any]) -> Any:
        args = [v for a, v in zip(self.schema.arguments, values) if not a.kwarg_only]
        kwargs = {a.name: v for a, v in zip(self.schema.arguments, values) if a.kwarg_only}
        return kernel(*args, **kwargs)

    # -- what is registered --------------------------------------------------------------------------

    def implement(self, key: str, kernel: Callable[..., Any], replace: bool = False) -> None:
        """Gives the kernel for a dispatch key; raises RuntimeError if there is one already."""
        if key in self.kernels and not replace:
            raise RuntimeError(f"operator {self.qualname} has a kernel for {key} already")
        self.kernels[key] = kernel

    def batch_by(self, rule: Callable[..., Any]) -> None:
        """Gives what the operator does with a batch."""
        op = self

        class Batched(Function):
            @staticmethod
            def forward(*values: Any) -> Any:
                return op._run(list(values))

            @staticmethod
            def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
                if op.setup_context is not None:
                    op.setup_context(ctx=ctx, inputs=inputs, output=output)

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                return _node_class(op).backward(ctx, *grads)

            @staticmethod
            def vmap(info: Any, in_dims: Any, *values: Any) -> Any:
                return rule(info, in_dims, *values)

        self.batched = Batched

    def differentiate(self, backward: Callable[..., Any], setup_context: Callable[..., Any] | None) -> None:
        """Gives the formula of the gradients."""
        self.backward, self.setup_context = backward, setup_context
        _node_class.cache_clear()


@functools.cache
def _node_class(op: CustomOperator) -> type[Function]:
    """The ``autograd.Function`` of an operator."""
    keyword_only = [a.name for a in op.schema.arguments if a.kwarg_only]

    class Node(Function):
        @staticmethod
        def forward(ctx: Any, *values: Any) -> Any:
            with no_grad():
                result = op._run(list(values))
            if op.setup_context is not None:
                positional = tuple(v for a, v in zip(op.schema.arguments, values) if not a.kwarg_only)
                if keyword_only:
                    named = {a.name: v for a, v in zip(op.schema.arguments, values) if a.kwarg_only}
                    op.setup_context(ctx=ctx, inputs=positional, keyword_only_inputs=named, output=result)
                else:
                    op.setup_context(ctx=ctx, inputs=positional, output=result)
            written = [v for a, v in zip(op.schema.arguments, values) if a.is_write and isinstance(v, Tensor)]
            if written:
                ctx.mark_dirty(*written)
            return tuple(result) if isinstance(result, list) else result

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            if op.backward is None:
                raise RuntimeError(
                    f"Trying to backward through {op.qualname} but no autograd formula was registered. Please use "
                    "register_autograd to add one."
                )
            found = op.backward(ctx, *grads)
            found = found if isinstance(found, tuple) else (found,)
            return (*found, *[None] * len(keyword_only))

    Node.__name__ = Node.__qualname__ = f"{op.qualname.replace('::', '_')}_Backward"
    return Node
