"""Adding operators: ``custom_op``, or a ``Library`` of definitions and kernels, and what goes with them.

registry.py holds the operators and runs them, schema.py reads their signatures, namespaces.py is ``torch.ops``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..dtype import dtype
from . import registry as _registry
from .namespaces import OpOverload, OpOverloadPacket, namespace_of
from .registry import CustomOperator, lookup, split_name, when_defined
from .schema import infer_schema, parse

__all__ = [
    "CustomOpDef", "Library", "custom_op", "define", "fallthrough_kernel", "get_ctx", "get_kernel", "impl",
    "impl_abstract", "infer_schema", "register_autocast", "register_autograd", "register_fake", "register_kernel",
    "register_torch_dispatch", "register_vmap", "triton_op", "wrap_triton",
]  # fmt: skip

_KEYS = {
    "cpu": "CPU",
    "cuda": "CUDA",
    "meta": "Meta",
    "xpu": "XPU",
    "mps": "MPS",
    "default": "CompositeExplicitAutograd",
}


def _qualname(op: Any) -> str:
    """The name of an operator given as a name, a definition, or an entry of ``torch.ops``."""
    if isinstance(op, str):
        return op
    if isinstance(op, CustomOpDef):
        return op._qualname
    if isinstance(op, OpOverload):
        return op._packet._qualname
    if isinstance(op, OpOverloadPacket):
        return op._qualname
    raise ValueError(f"expected the name of an operator or an operator, got {type(op).__name__}")


def _key(device_type: str) -> str:
    return _KEYS.get(device_type, device_type)


class Library:
    """Definitions ("DEF", "FRAGMENT") or kernels ("IMPL") of the operators of one namespace.

    ``dispatch_key`` is the one of all kernels that are given without.  Raises ValueError for other kinds.
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        if ns == "prim" and kind in ("DEF", "FRAGMENT"):
            raise ValueError(f"{ns} is a reserved namespace.")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._defined: list[str] = []

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """Defines an operator by its schema; returns its name.  Raises RuntimeError for one that exists."""
        if self.kind == "IMPL":
            raise RuntimeError("define(): a library of kernels (kind 'IMPL') cannot define operators")
        read = parse(schema)
        name = f"{self.ns}::{read.name}"
        CustomOperator(name, read, tuple(tags) if isinstance(tags, (tuple, list)) else (tags,))
        self._defined.append(name)
        return read.name

    def impl(
        self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False,
        allow_override: bool = False,
    ) -> None:  # fmt: skip
        """Gives the kernel of an operator for a dispatch key; raises TypeError for what cannot be called."""
        if not callable(fn):
            raise TypeError(f"Input function is required to be a callable but found type {type(fn)}")
        name = op_name if isinstance(op_name, str) else _qualname(op_name)
        full = name if "::" in name else f"{self.ns}::{name}"
        if split_name(full)[0] != self.ns:
            raise RuntimeError(f"impl(): the operator {full} is not in the namespace of this library, {self.ns!r}")
        key = dispatch_key or self.dispatch_key or "CompositeImplicitAutograd"
        if fn is fallthrough_kernel:
            return
        when_defined(full, lambda op: op.implement(key, fn, allow_override))

    def fallback(self, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False) -> None:
        """Gives the kernel of all operators that have none for a dispatch key: ``fn(op, *args, **kwargs)``.

        Raises RuntimeError unless the library is that of all namespaces ("_"), of kind "IMPL".
        """
        if self.ns != "_" or self.kind != "IMPL":
            raise RuntimeError(
                'Fallback can only be registered using library fragment on the global namespace "_" but it is '
                f"{self.ns!r}"
            )
        _registry.FALLBACKS[dispatch_key or self.dispatch_key] = fn

    def register_symm_mem_args(self, op_name: str, arg_names: Any) -> None:
        """Says which arguments must lie in memory that processes share symmetrically: kept with the operator."""
        lookup(op_name if "::" in op_name else f"{self.ns}::{op_name}").symmetric = tuple(arg_names)

    def _destroy(self) -> None:
        """Takes the definitions of this library away."""
        for name in self._defined:
            _registry.OPERATORS.pop(name, None)
            vars(namespace_of(self.ns)).pop(name.partition("::")[2], None)
        self._defined.clear()


@contextlib.contextmanager
def _scoped_library(*args: Any, **kwargs: Any) -> Iterator[Library]:
    """A library whose definitions go at the end of the block."""
    library = Library(*args, **kwargs)
    try:
        yield library
    finally:
        library._destroy()


def fallthrough_kernel() -> None:
    """Stands for the kernel of another dispatch key; raises NotImplementedError when it is called."""
    _not_a_kernel("fallthrough_kernel")


def _not_a_kernel(name: str) -> None:
    raise NotImplementedError(f"{name}() should never be called.")


def define(qualname: str, schema: str, *, lib: Library | None = None, tags: Any = ()) -> None:
    """Defines an operator: ``define("mine::twice", "(Tensor x) -> Tensor")``.  Raises ValueError for a bad name."""
    if not isinstance(qualname, str):
        raise ValueError(f"define(qualname, schema): expected qualname to be a str, got {type(qualname).__name__}")
    space, name = split_name(qualname)
    (lib or Library(space, "FRAGMENT")).define(name + schema, tags=tags)


def impl(qualname: str, types: Any, func: Callable[..., Any] | None = None, *, lib: Library | None = None) -> Any:
    """Gives the kernel of an operator for device types or dispatch keys ("default": all devices); also a decorator."""
    keys = [_key(t) for t in ((types,) if isinstance(types, str) else types)]

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        for key in keys:
            lookup(qualname).implement(key, fn)
        return fn

    return register if func is None else register(func)


def register_kernel(
    op: Any, device_types: Any, func: Callable[..., Any] | None = None, /, *, lib: Library | None = None
) -> Any:
    """Gives the kernel of an operator for device types (None: all devices); also a decorator."""
    return impl(_qualname(op), "default" if device_types is None else device_types, func, lib=lib)


def register_fake(
    op: Any, func: Callable[..., Any] | None = None, /, *, lib: Library | None = None, _stacklevel: int = 1,
    allow_override: bool = False,
) -> Any:  # fmt: skip
    """Gives what an operator returns for tensors without data (on the meta device); also a decorator.

    It may come before the operator is defined.
    """
    name = _qualname(op)

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        def put(found: CustomOperator) -> None:
            found.fake = fn

        when_defined(name, put)
        return fn

    return register if func is None else register(func)


def impl_abstract(
    qualname: Any, func: Callable[..., Any] | None = None, *, lib: Library | None = None, _stacklevel: int = 1
) -> Any:
    """``register_fake`` by its old name."""
    return register_fake(qualname, func, lib=lib, _stacklevel=_stacklevel)


class _FakeContext:
    """What a fake kernel may ask for; sizes that depend on data are not to be had."""

    def new_dynamic_size(self, *, min: int = 0, max: int | None = None) -> int:
        """The size of a result that depends on data; raises RuntimeError: every size is a number here."""
        raise RuntimeError("new_dynamic_size(): a tensor without data has no size that depends on data")

    create_unbacked_symint = new_dynamic_size


def get_ctx() -> _FakeContext:
    """What a fake kernel may ask for."""
    return _FakeContext()


def register_autograd(
    op: Any, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None,
    lib: Library | None = None,
) -> None:  # fmt: skip
    """Gives the gradients of an operator: ``backward(ctx, *grads)``; ``setup_context`` saves what it needs."""
    lookup(_qualname(op)).differentiate(backward, setup_context)


def register_vmap(op: Any, func: Callable[..., Any] | None = None, /, *, lib: Library | None = None) -> Any:
    """Gives what an operator does with a batch; also a decorator.

    ``func(info, in_dims, *args, **kwargs)`` gets arguments with a batch dimension at ``in_dims`` (None: none) and
    returns (result, its batch dimension); ``info`` has ``batch_size`` and ``randomness``.
    """
    name = _qualname(op)

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        lookup(name).batch_by(fn)
        return fn

    return register if func is None else register(func)


def register_torch_dispatch(
    op: Any, torch_dispatch_class: type, func: Callable[..., Any] | None = None, /, *, lib: Library | None = None
) -> Any:
    """Gives what an operator does with instances of a class of tensors; also a decorator.

    ``func(cls, op, types, args, kwargs)`` is called when an argument is an instance of the class.
    """
    name = _qualname(op)

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        lookup(name).classes[torch_dispatch_class] = fn
        return fn

    return register if func is None else register(func)


def get_kernel(op: Any, dispatch_key: Any) -> Callable[..., Any]:
    """The kernel that was given for a dispatch key: a function that takes a set of keys before the arguments.

    Raises RuntimeError if there is none.
    """
    found = lookup(_qualname(op))
    key = str(getattr(dispatch_key, "name", dispatch_key))
    if key not in found.kernels:
        raise RuntimeError(f"operator {found.qualname} has no kernel for {key}; there are {sorted(found.kernels)}")

    def kernel(dispatch_keys: Any, *args: Any, **kwargs: Any) -> Any:
        return found.kernels[key](*args, **kwargs)

    return kernel


def wrap_triton(triton_kernel: Any, /) -> Any:
    """A Triton kernel, as it is: nothing has to see into it here."""
    return triton_kernel


def triton_op(
    name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: str | Iterable[str], schema: str | None = None
) -> Any:
    """``custom_op`` of a function that launches Triton kernels; also a decorator."""
    return custom_op(name, fn, mutates_args=mutates_args, schema=schema)


def register_autocast(op: Any, device_type: str, cast_inputs: dtype, /, *, lib: Library | None = None) -> None:
    """Says that under autocast on a device an operator's floating-point tensors are brought to a type first."""
    if not isinstance(device_type, str):
        raise ValueError(f"expected device_type to be a str, got {type(device_type).__name__}")
    if device_type not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device type: {device_type}")
    lookup(_qualname(op)).autocast[device_type] = cast_inputs


class CustomOpDef:
    """A function that is an operator: what ``custom_op`` returns."""

    def __init__(self, qualname: str, schema: str, fn: Callable[..., Any], tags: Any = ()) -> None:
        self._qualname, self._init_fn = qualname, fn
        self._namespace, self._name = split_name(qualname)
        self._op = CustomOperator(qualname, self._name + schema, tuple(tags or ()))
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", self._name)

    @property
    def _opoverload(self) -> Any:
        return getattr(namespace_of(self._namespace), self._name).default

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._op(*args, **kwargs)

    def register_kernel(self, device_types: Any, fn: Callable[..., Any] | None = None, /) -> Any:
        """Gives the kernel for device types (None: all devices), instead of the first function; also a decorator."""
        keys = ["CompositeExplicitAutograd"] if device_types is None else [
            _key(t) for t in ((device_types,) if isinstance(device_types, str) else device_types)
        ]  # fmt: skip

        def register(found: Callable[..., Any]) -> Callable[..., Any]:
            for key in keys:
                self._op.implement(key, found, replace=True)
            return found

        return register if fn is None else register(fn)

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Gives what it returns for tensors without data."""
        self._op.fake = fn
        return fn

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Gives the gradients; see ``torch.library.register_autograd``."""
        self._op.differentiate(backward, setup_context)

    def register_vmap(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Gives what it does with a batch; see ``torch.library.register_vmap``."""
        return register_vmap(self, func)  # type: ignore[no-any-return]

    def register_torch_dispatch(
        self, torch_dispatch_class: type, fn: Callable[..., Any] | None = None, /
    ) -> Callable[..., Any]:
        """See ``torch.library.register_torch_dispatch``."""
        return register_torch_dispatch(self, torch_dispatch_class, fn)  # type: ignore[no-any-return]

    def register_autocast(self, device_type: str, cast_inputs: dtype) -> None:
        """See ``torch.library.register_autocast``."""
        register_autocast(self, device_type, cast_inputs)


def custom_op(
    name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: str | Iterable[str], device_types: Any = None,
    schema: str | None = None, tags: Any = None,
) -> Any:  # fmt: skip
    """Makes an operator of a function; also a decorator.

    ``mutates_args`` names the tensors that it writes to, ``device_types`` the devices it is the kernel for (None: all),
    ``schema`` the signature, which the function's annotations say otherwise.
    """

    def make(function: Callable[..., Any]) -> CustomOpDef:
        text = infer_schema(function, mutates_args=mutates_args) if schema is None else schema
        made = CustomOpDef(name, text, function, tags)
        made.register_kernel(device_types)(function)
        return made

    return make if fn is None else make(fn)
