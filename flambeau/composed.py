"""Tensors made of other tensors: sparse, masked, nested and quantized ones.

Such a tensor has no memory of its own.  Its parts are ordinary tensors; what an operator does with them is a function
in the table of its class, by the operator's name.  Of the parts ``_data`` holds the elements and may be on the tape:
operators are written with operators on it, so that gradients need no rules of their own.  Operators that are not in the
table raise NotImplementedError: no kernel ever sees such a tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from .device import device
from .dtype import dtype
from .layout import contiguous_strides, of
from .storage import Storage
from .tensor import Tensor, all_attributes

__all__ = ["ComposedTensor", "member_of", "operator_name"]

C = TypeVar("C", bound="ComposedTensor")
F = TypeVar("F", bound=Callable[..., Any])


_NAMESAKES = frozenset({"embedding"})
"""Functions above operators with the name of an operator that takes other arguments."""


def operator_name(function: Any) -> str:
    """The name of an operator by one of its forms, with "_" for the in-place form; that of other members as it is."""
    op = getattr(function, "operator", None)
    name = getattr(function, "__name__", str(function))
    if name == "__get__":  # of a property
        prop = function.__self__
        return next((n for n, member in vars(Tensor).items() if member is prop), name)
    return name if op is None else op.name + "_" * (name.endswith("_") and not op.name.endswith("_"))


class ComposedTensor(Tensor):
    """See the module.  A subclass has ``_table`` and ``_backend``, the name of its kind in messages."""

    _data: Any
    _foreign = True  # handled by its class even where the overrides of users' classes are off
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _asked: ClassVar[dict[str, Callable[..., Any]]] = {}  # the table, where ``__torch_function__`` asks nothing else
    _backend = "Composed"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._asked = cls._table if cls.__torch_function__.__func__ is _ask_table else {}  # type: ignore[attr-defined]

    # What the layout of the whole says is as for any tensor.
    for _name in (
        "shape dtype device ndim itemsize dim ndimension numel nelement size element_size __len__ __hash__ is_cpu "
        "is_meta is_cuda is_floating_point is_complex is_signed get_device names name"
    ).split():
        locals()[_name] = vars(Tensor)[_name]
    # The methods that Python spells with symbols call operators, which come here by themselves.
    for _name, _member in list(vars(Tensor).items()):
        if getattr(_member, "__name__", None) == "method":
            locals()[_name] = _member

    is_sparse = is_sparse_csr = is_quantized = is_nested = is_mkldnn = property(lambda self: False)

    def _shape_as(self, type_: dtype, device_: device, shape: Sequence[int]) -> None:
        """Says what the whole is like."""
        shape = tuple(shape)
        self._layout = of(type_, device_, shape, contiguous_strides(shape))
        self._storage, self._offset, self._key = Storage(0, 0), 0, None

    @classmethod
    def implements(cls, *names: str) -> Callable[[F], F]:
        """Decorator: a function is what the operators of these names do with such tensors.

        An in-place form that is not in the table itself replaces the parts of its first argument by the result's.
        """

        def register(function: F) -> F:
            cls._table.update(dict.fromkeys(names, function))
            return function

        return register

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = operator_name(func)
        table = next((t._table for t in types if issubclass(t, ComposedTensor)), cls._table)
        above = getattr(func, "__wrapped__", None)  # of a function above operators
        found = None if above is not None and name in _NAMESAKES else table.get(name)
        if found is not None:
            out = kwargs.pop("out", None)
            result = found(*args, **kwargs)
            return result if out is None else out.copy_(result)
        if name.endswith("_") and name[:-1] in table and isinstance(args[0], ComposedTensor):
            return args[0]._replace(table[name[:-1]](*args, **kwargs))
        if above is not None:
            return above(*args, **kwargs)
        raise NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the '{cls._backend}' backend: {cls.__name__} has no "
            "such operator"
        )

    def _replace(self: C, other: C) -> C:
        """Takes the parts of another tensor; returns itself."""
        version = self._storage.version
        all_attributes(self).update(all_attributes(other))
        self._storage = Storage(0, 0)
        self._storage.version = version + 1
        return self

    # -- the tape ------------------------------------------------------------------------------------

    def _like(self, data: Any) -> Any:
        """A tensor as this one with other elements."""
        raise NotImplementedError

    def _matching(self, gradient: Any) -> Any:
        """The elements of a gradient, in the order of ``_data``."""
        return gradient._data if isinstance(gradient, ComposedTensor) else gradient

    @property
    def requires_grad(self) -> bool:
        """Whether the elements are on the tape."""
        return self._data.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._data.requires_grad = value

    def requires_grad_(self: C, requires_grad: bool = True) -> C:
        """Says whether gradients are wanted; returns the tensor."""
        self._data.requires_grad_(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the elements are a leaf of the tape."""
        return self._data.is_leaf

    @property
    def grad_fn(self) -> Any:
        """The node that made the elements."""
        return self._data.grad_fn

    @property
    def grad(self) -> Any:
        """The gradient, as such a tensor."""
        found = self._data.grad
        return None if found is None else self._like(found)

    @grad.setter
    def grad(self, value: Any) -> None:
        self._data.grad = None if value is None else self._matching(value)

    @property
    def data(self) -> Any:
        """The tensor off the tape."""
        return self._like(self._data.data)

    def detach(self) -> Any:
        """The tensor off the tape."""
        return self._like(self._data.detach())

    def backward(self, gradient: Any = None, *args: Any, **kwargs: Any) -> None:
        """As of any tensor; ``gradient`` is such a tensor, or dense."""
        self._data.backward(None if gradient is None else self._matching(gradient), *args, **kwargs)

    def retain_grad(self) -> None:
        """Keeps the gradient though the tensor is no leaf."""
        self._data.retain_grad()

    def register_hook(self, hook: Callable[[Any], Any]) -> Any:
        """Calls ``hook(gradient)`` when the gradient has been computed; what it returns takes its place."""

        def on_elements(grad: Any) -> Any:
            found = hook(self._like(grad))
            return None if found is None else self._matching(found)

        return self._data.register_hook(on_elements)

    def untyped_storage(self) -> Any:
        """There is none: raises NotImplementedError."""
        raise NotImplementedError(f"Cannot access storage of {type(self).__name__}")

    storage = untyped_storage

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self._like(self._data.__deepcopy__(memo))
        return memo[id(self)]


def member_of(name: str, dense: Callable[..., Any], signature: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A method of every tensor: of a composed one what its table says, of others ``dense(self, ...)``."""

    @functools.wraps(signature or dense)
    def member(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, ComposedTensor):
            found = None if kwargs else self._asked.get(key)
            if found is not None:
                return found(self, *args)
            cls = type(self)
            return cls.__torch_function__(member, (cls,), (self, *args), kwargs)
        return dense(self, *args, **kwargs)

    member.__name__ = member.__qualname__ = name
    key = "" if name in _NAMESAKES else operator_name(member)
    return member


_ask_table = ComposedTensor.__torch_function__.__func__  # type: ignore[attr-defined]
