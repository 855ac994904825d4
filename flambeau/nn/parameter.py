"""Tensors that a module owns: parameters, buffers, and both before their shape is known."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ._base import Size, Tensor, disabled_torch_function, make_subclass, no_grad, ops, preserve_format

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]


class _MarkedMeta(type(Tensor)):  # type: ignore[misc]
    """Lets ``isinstance(t, Parameter)`` hold for tensors of other classes that carry the mark ``_is_param``."""

    def __instancecheck__(cls, instance: object) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        # A subclass of Parameter is an ordinary class: only the two public names look at the mark.
        mark = cls.__dict__.get("_mark_of_instances")
        return mark is not None and isinstance(instance, Tensor) and getattr(instance, mark, False)


class Parameter(Tensor, metaclass=_MarkedMeta):
    """A tensor that a module trains: assigned to an attribute of a ``Module`` it appears in ``parameters()``.

    Args:
        data: the values; None makes an empty tensor.  The parameter shares their memory.
        requires_grad: whether gradients are wanted (also under ``no_grad``).
    """

    _mark_of_instances = "_is_param"
    # What is computed from a parameter is a plain tensor.
    __torch_function__ = disabled_torch_function

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = ops.empty(0)
        if type(data) is Tensor or type(data) is Parameter:
            return make_subclass(cls, data, requires_grad)
        # Subclasses of Tensor keep their class, so that they keep their behaviour, and carry a mark.
        result = data.detach().requires_grad_(requires_grad)
        if type(result) is not type(data):
            raise RuntimeError(
                f"Creating a Parameter from an instance of type {type(data).__name__} requires that detach() returns "
                f"an instance of the same type, but return type {type(result).__name__} was found instead. To use the "
                "type as a Parameter, please correct the detach() semantics defined by its __torch_dispatch__() "
                "implementation."
            )
        result._is_param = True
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(_copied(self.data), self.requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        return "Parameter containing:\n" + Tensor.__repr__(self)

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        # Hooks are not saved; PyTorch stores an empty dictionary in their place.
        state = dict(self.__dict__)
        if not state:
            return (_rebuild_parameter, (self.data, self.requires_grad, OrderedDict()))
        return (_rebuild_parameter_with_state, (self.data, self.requires_grad, OrderedDict(), state))


def _copied(data: Tensor) -> Tensor:
    """A copy in memory of its own, with the same strides."""
    with no_grad():
        return data.clone(memory_format=preserve_format)


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Parameter:
    """The parameter that ``Parameter.__reduce_ex__`` took apart."""
    result = Parameter(data, requires_grad)
    if backward_hooks:
        result._backward_hooks = backward_hooks
    return result


def _rebuild_parameter_with_state(
    data: Tensor, requires_grad: bool, backward_hooks: Any, state: dict[str, Any]
) -> Parameter:
    """As ``_rebuild_parameter``, with the attributes that the user had set."""
    result = _rebuild_parameter(data, requires_grad, backward_hooks)
    for name, value in state.items():
        setattr(result, name, value)
    return result


class Buffer(Tensor, metaclass=_MarkedMeta):
    """A tensor that is part of a module's state without being trained, such as a running mean.

    The result is a plain tensor with a mark; assigned to an attribute of a ``Module`` it becomes a buffer.

    Args:
        data: the values; None makes an empty tensor.
        persistent: whether the buffer is part of ``state_dict()``.
    """

    _mark_of_instances = "_is_buffer"

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = ops.empty(0)
        result = data.detach().requires_grad_(data.requires_grad)
        result.persistent = persistent
        result._is_buffer = True
        return result


# What may be asked of a tensor without a shape: its type and place, its flags, and to be moved.
_ALLOWED = frozenset(
    "__get__ __set__ __repr__ __format__ __deepcopy__ __hash__ __reduce_ex__ to cpu cuda xpu float double half "
    "bfloat16 type detach requires_grad_ is_floating_point is_complex size dim get_device is_pinned set_ copy_ "
    "_is_view element_size register_hook retain_grad".split()
)


class UninitializedTensorMixin:
    """What tensors without a shape have in common; ``materialize`` gives them one."""

    cls_to_become: type | None = None

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Turn into an ordinary parameter or buffer with uninitialised values of this shape.

        The memory is replaced and the class changed in place, so that an optimizer that holds the object
        already keeps holding the right one.

        Args:
            shape: the shape to take.
            device: where to put it; the current device by default.
            dtype: the element type; the current one by default.
        """
        self.data = ops.empty(shape, device=device or self.data.device, dtype=dtype or self.data.dtype)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

    @property
    def shape(self) -> Size:
        """Raises RuntimeError: there is no shape yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    def share_memory_(self) -> None:
        """Raises RuntimeError: there is no memory yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__}>"

    def __reduce_ex__(self, proto: Any) -> tuple[Any, ...]:
        return (self.__class__, (self.requires_grad,))  # type: ignore[attr-defined]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _ALLOWED:
            # A buffer that is moved stays one without a shape; a parameter takes the result as its data.
            kind = Tensor if issubclass(cls, Parameter) else cls
            return Tensor.__torch_function__.__func__(kind, func, types, args, kwargs or {})
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {func}. This error happens when you are using a "
            "`LazyModule` or explicitly manipulating `torch.nn.parameter.UninitializedParameter` objects. When using "
            "LazyModules Call `forward` with a dummy batch to initialize the parameters before calling torch functions"
        )


def is_lazy(param: Any) -> bool:
    """Whether ``param`` still waits for its shape."""
    return isinstance(param, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A parameter whose shape is not known yet; lazy modules make them.

    Args:
        requires_grad: whether gradients are wanted.
        device: where the parameter will be.
        dtype: its element type.
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        return make_subclass(cls, ops.empty(0, device=device, dtype=dtype), requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> UninitializedParameter:
        if id(self) in memo:
            return memo[id(self)]
        result = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        memo[id(self)] = result
        return result


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is not known yet.

    Args:
        requires_grad: whether gradients are wanted.
        device: where the buffer will be.
        dtype: its element type.
        persistent: whether the buffer is part of ``state_dict()``.
    """

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        result = make_subclass(cls, ops.empty(0, device=device, dtype=dtype), requires_grad)
        result.persistent = persistent
        result._is_buffer = True
        return result
