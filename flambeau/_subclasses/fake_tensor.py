"""Fake tensors: without data, but with a device of their own, for running a program by its shapes alone.

A fake tensor is a tensor on "meta" that says it were elsewhere.  Every call with one goes to its mode, which runs the
operator's shape rule (the same that plans real calls), finds the device of the results from those of the operands, and
makes the results fake.  Within ``with FakeTensorMode():`` functions that make tensors from nothing make fake ones too,
on any device, also on one that the machine does not have.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..device import device as device_
from ..device import get_default_device, meta
from ..dispatch.torch_function import Disabled, modes
from ..dtype import get_default_dtype
from ..errors import NoDataError
from ..nn import Parameter
from ..overrides import TorchFunctionMode
from ..storage import Storage
from ..tensor import Tensor
from ..transform.level import Wrapper
from ..utils._pytree import tree_leaves, tree_map

__all__ = [
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "FakeTensor",
    "FakeTensorMode",
    "UnsupportedOperatorException",
    "is_fake",
    "unset_fake_temporarily",
]

_VALUES = frozenset({
    "item", "tolist", "numpy", "equal", "allclose", "is_nonzero", "__array__", "__bool__", "__complex__",
    "__contains__", "__float__", "__index__", "__int__",
})  # fmt: skip
"""Functions whose result is no tensor and depends on values."""

_ACROSS = frozenset({
    "__getitem__", "__setitem__", "copy_", "cpu", "cuda", "data", "index", "index_put", "index_put_", "set_", "to",
    "type_as",
})  # fmt: skip
"""Functions that take tensors of several devices."""


class UnsupportedOperatorException(RuntimeError):
    """A function cannot be run by shapes alone; ``func`` is the function."""

    def __init__(self, func: Any) -> None:
        super().__init__(getattr(func, "__name__", str(func)))
        self.func = func


class DataDependentOutputException(UnsupportedOperatorException):
    """A Python value is asked for that depends on the values of a fake tensor."""


class DynamicOutputShapeException(UnsupportedOperatorException):
    """The shape of a result depends on the values of a fake tensor."""


class FakeTensorDeviceMismatchError(RuntimeError):
    """Fake tensors of several devices meet in one call."""


class FakeTensor(Tensor):
    """A tensor without data that knows its device; made by `FakeTensorMode`.

    Attributes:
        fake_mode: the mode that made it.
        fake_device: where it would be.
        constant: the values, where they are known: of ``torch.tensor(...)``, and of what is computed from one number.
    """

    fake_mode: FakeTensorMode
    fake_device: device_
    constant: Tensor | None = None

    def __new__(cls, fake_mode: FakeTensorMode, elem: Tensor, device: device_ | str, **options: Any) -> FakeTensor:
        """The fake tensor on ``device`` with the shape, strides and type of ``elem``, a meta tensor."""
        if elem.device.type != "meta":
            raise AssertionError(f"FakeTensor: elem must be a meta tensor, got one on {elem.device}")
        return fake_mode._faked(elem.detach(), device_(device))  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        mode = next(x.fake_mode for x in tree_leaves((args, kwargs or {})) if isinstance(x, FakeTensor))
        return mode._call(func, args, kwargs or {})

    @property
    def device(self) -> device_:
        """Where the tensor would be; within an operator "meta", where it is."""
        return self._layout.device if Disabled.depth else self.fake_device

    @property
    def is_meta(self) -> bool:
        """Whether the tensor says that it were on "meta"."""
        return self.device.type == "meta"

    @property
    def is_cuda(self) -> bool:
        """Whether the tensor says that it were on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """Whether the tensor says that it were on the CPU."""
        return self.device.type == "cpu"

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        parts = ["..."]
        if self.fake_device.type != "cpu":
            parts.append(f"device='{self.fake_device}'")
        parts.append(f"size={tuple(self._layout.shape)}")
        if self._layout.dtype is not get_default_dtype():
            parts.append(f"dtype={self._layout.dtype}")
        if self._node is not None:
            parts.append(f"grad_fn=<{type(self.grad_fn).__name__}>")  # type: ignore[attr-defined]
        elif self._requires_grad:
            parts.append("requires_grad=True")
        kind = "Parameter" if getattr(self, "_is_param", False) else "FakeTensor"
        return f"{kind}({', '.join(parts)})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> FakeTensor:
        if id(self) not in memo:
            memo[id(self)] = self.fake_mode._copy(self)
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("a FakeTensor has no data to save; save the real tensor it stands for")


class FakeTensorMode(TorchFunctionMode):
    """``with`` this, tensors that are made are fake, and calls are run by shapes alone.

    Args:
        allow_fallback_kernels: accepted; every operator has a shape rule here.
        allow_non_fake_inputs: whether real tensors may meet fake ones (they are taken for fake ones then); otherwise
            that is an AssertionError.
        shape_env: accepted; shapes are numbers.
        static_shapes: accepted; shapes are numbers.
        export: accepted.
    """

    def __init__(
        self, *, allow_fallback_kernels: bool = True, allow_non_fake_inputs: bool = False, shape_env: Any = None,
        static_shapes: bool | None = None, export: bool = False,
    ) -> None:  # fmt: skip
        self.allow_fallback_kernels = allow_fallback_kernels
        self.allow_non_fake_inputs = allow_non_fake_inputs
        self.shape_env = shape_env
        self.static_shapes = True if static_shapes is None else static_shapes
        self.export = export
        self._known: dict[int, tuple[weakref.ref[Tensor], FakeTensor]] = {}
        self._places: weakref.WeakKeyDictionary[Storage, device_] = weakref.WeakKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._call(func, args, kwargs or {})

    def from_tensor(self, tensor: Tensor, **options: Any) -> FakeTensor:
        """The fake tensor that stands for a real one: same shape, strides, element type, device and
        ``requires_grad``; the same one when asked again."""
        if isinstance(tensor, FakeTensor):
            if tensor.fake_mode is not self:
                raise AssertionError("Mixing fake modes NYI")
            return tensor
        ref, found = self._known.get(id(tensor), (None, None))
        if ref is None or ref() is not tensor or found is None:
            found = self._like(tensor, tensor.device)
            key = id(tensor)
            self._known[key] = weakref.ref(tensor, lambda _: self._known.pop(key, None)), found
        return found

    def _like(self, tensor: Tensor, where: device_) -> FakeTensor:
        """A new leaf of the same layout."""
        layout = tensor._layout
        with _aside(), no_grad():
            blank = ops.empty_strided(layout.shape, layout.strides, dtype=layout.dtype, device="meta")
            fake = self._faked(blank, where)
            if isinstance(tensor, Parameter):
                fake._is_param = True  # type: ignore[attr-defined]
            fake._requires_grad = tensor._requires_grad
        return fake

    def _copy(self, tensor: FakeTensor) -> FakeTensor:
        fake = self._like(tensor, tensor.fake_device)
        fake.constant = tensor.constant
        return fake

    def _faked(self, tensor: Tensor, where: device_) -> FakeTensor:
        """Makes a meta tensor a fake one."""
        tensor.__class__ = FakeTensor
        tensor._key = None
        fake: FakeTensor = tensor  # type: ignore[assignment]
        fake.fake_mode, fake.fake_device = self, _indexed(where)
        self._places[tensor._storage] = fake.fake_device
        return fake

    # -- calls -----------------------------------------------------------------------------------
    def _call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        name = _name(func)
        if name in ("cpu", "cuda"):
            place = device_("cpu") if name == "cpu" else _cuda(*args[1:2], **kwargs)
            func, name, args, kwargs = Tensor.to, "to", (args[0], place), {}  # type: ignore[attr-defined]
        leaves = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(isinstance(x, Wrapper) for x in leaves):
            return NotImplemented  # a function transform takes the call apart first
        if not leaves:
            return self._make(func, name, args, kwargs)
        for x in leaves:  # another name, made aside, of memory that is fake
            if not isinstance(x, FakeTensor) and x._storage in self._places:
                self._faked(x, self._places[x._storage])
        if not all(isinstance(x, FakeTensor) for x in leaves):
            if not self.allow_non_fake_inputs:
                raise AssertionError(
                    f"{name}: Please convert all Tensors to FakeTensors first or instantiate FakeTensorMode with "
                    "'allow_non_fake_inputs'."
                )
            args, kwargs = tree_map(self._taken, (args, kwargs))
        fakes = [x for x in tree_leaves((args, kwargs)) if isinstance(x, FakeTensor)]
        if name in _VALUES:
            return self._value(func, name, args, kwargs)
        where = self._common(name, fakes)
        args, kwargs, asked = _on_meta(name, args, kwargs)
        constants: list[Any] = []
        if all(x.constant is not None and x.constant.numel() == 1 for x in fakes):  # type: ignore[attr-defined]
            constants = self._constants(func, args, kwargs)
        elif name == "__setitem__" or (name.endswith("_") and not name.endswith("__")) or kwargs.get("out") is not None:
            for x in fakes:
                x.constant = None
        try:
            with _aside():
                result = func(*args, **kwargs)
        except (NoDataError, TypeError) as error:
            if isinstance(error, TypeError) and "meta device type tensor to numpy" not in str(error):
                raise
            raise DynamicOutputShapeException(func) from error
        except NotImplementedError as error:
            raise UnsupportedOperatorException(func) from error
        if asked is not None and isinstance(result, FakeTensor) and result.fake_device != _indexed(asked):
            with _aside():  # "meta" to "meta" is no move for the operator
                result = result.clone()  # type: ignore[attr-defined]
        if any(isinstance(x, Tensor) for x in tree_leaves(result)):
            result = tree_map(lambda x: self._result(x, asked or where), result)
        for fake, constant in zip(tree_leaves(result), constants):
            if isinstance(fake, FakeTensor) and isinstance(constant, Tensor):
                fake.constant = constant
        return result

    def _constants(self, func: Any, args: Any, kwargs: dict[str, Any]) -> list[Any]:
        """The results of a call of single known numbers: counters of steps and the like stay known."""
        with _aside(), no_grad():
            result = func(*tree_map(_constant, args), **tree_map(_constant, kwargs))
        found = tree_leaves(result)
        return found if all(not isinstance(x, Tensor) or x.numel() == 1 for x in found) else []  # type: ignore[attr-defined]

    def _taken(self, x: Any) -> Any:
        return self.from_tensor(x) if isinstance(x, Tensor) else x

    def _result(self, x: Any, where: device_) -> Any:
        return self._faked(x, where) if isinstance(x, Tensor) and not isinstance(x, FakeTensor) else x

    def _make(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """A function that makes a tensor from nothing."""
        where = device_(kwargs["device"]) if kwargs.get("device") is not None else get_default_device()
        constant = name in ("tensor", "as_tensor", "asarray", "frombuffer", "scalar_tensor")
        given = {k: v for k, v in kwargs.items() if k != "device"} if constant else {**kwargs, "device": "meta"}
        with _aside():
            op = getattr(func, "operator", None)
            if name == "normal" or constant or (op is not None and "device" not in op.params):
                given.pop("device", None)
            result = func(*args, **given)
        if not isinstance(result, Tensor):
            return result
        if result._layout.device is meta:
            return self._faked(result, where)
        fake = self._like(result, where)
        fake.constant = result.detach().clone() if constant else None  # type: ignore[attr-defined]
        return fake

    def _value(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """A Python value, if it does not depend on data."""
        known = [x.constant for x in tree_leaves((args, kwargs)) if isinstance(x, FakeTensor)]
        if name in ("numpy", "__array__"):
            raise RuntimeError(".numpy() is not supported for tensor subclasses.")
        if any(x is None for x in known):
            raise DataDependentOutputException(func)
        with _aside():
            return func(*tree_map(_constant, args), **tree_map(_constant, kwargs))

    def _common(self, name: str, fakes: list[FakeTensor]) -> device_:
        """The device of a call's results: that of its operands, of which scalars on the CPU go anywhere."""
        places = {x.fake_device: None for x in fakes if x._layout.ndim or x.fake_device.type != "cpu"}
        if not places:
            return fakes[0].fake_device
        found = list(places)
        if len(found) > 1 and name not in _ACROSS:
            raise FakeTensorDeviceMismatchError(
                f"{name}: Expected all tensors to be on the same device, but found at least two devices, {found[0]} "
                f"and {found[1]}!"
            )
        return found[0]


def _constant(x: Any) -> Any:
    return x.constant if isinstance(x, FakeTensor) else x


def _position(x: Any) -> Any:
    """A known 0-dim index as the number that it is."""
    known = x.constant if isinstance(x, FakeTensor) and not x._layout.ndim else None
    return x if known is None or known.dtype.kind not in "iu" else known.item()  # type: ignore[attr-defined]


def _indexed(where: device_) -> device_:
    """A device as tensors tell it: "cuda" is the first one."""
    return where if where.index is not None or where.type in ("cpu", "meta") else device_(where.type, 0)


def _cuda(device: Any = None, **options: Any) -> device_:
    """The device that ``Tensor.cuda(device)`` means."""
    return device_("cuda", device or 0) if device is None or isinstance(device, int) else device_(device)


def _name(func: Any) -> str:
    name = getattr(func, "__name__", str(func))
    if name in ("__get__", "__set__"):
        owner = getattr(func, "__self__", None)
        name = getattr(getattr(owner, "fget", None), "__name__", name).lstrip("_")
    return name


def _on_meta(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any], device_ | None]:
    """The arguments with "meta" for every device they name, and that device."""
    asked: device_ | None = None
    if name in ("__getitem__", "__setitem__"):
        args = (args[0], tree_map(_position, args[1]), *args[2:])
    if kwargs.get("device") is not None:
        asked = device_(kwargs["device"])
        kwargs = {**kwargs, "device": "meta"}
    if name == "to" and len(args) > 1 and isinstance(args[1], FakeTensor):
        asked = args[1].fake_device
    elif name == "to" and len(args) > 1 and isinstance(args[1], (str, device_)):
        asked = device_(args[1])
        args = (args[0], "meta", *args[2:])
    return args, kwargs, asked


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Inside, fake tensors are the meta tensors that they are, and no mode is asked."""
    stack, modes.stack = modes.stack, []
    Disabled.depth += 1
    try:
        yield
    finally:
        Disabled.depth -= 1
        modes.stack = stack


@contextlib.contextmanager
def unset_fake_temporarily() -> Iterator[FakeTensorMode | None]:
    """Inside, tensors that are made are real; gives the mode that was left."""
    stack = modes.stack
    left = [m for m in stack if isinstance(m, FakeTensorMode)]
    modes.stack = [m for m in stack if not isinstance(m, FakeTensorMode)]
    try:
        yield left[-1] if left else None
    finally:
        modes.stack = stack


def is_fake(x: Any) -> bool:
    """Whether an object is a fake tensor."""
    return isinstance(x, FakeTensor)
