"""Moving a module: device, element type, memory format, sharing, and gradients on or off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from ...dtype import meant
from .._base import Tensor, bfloat16, device, dtype, float16, float32, float64, no_grad, ops
from ..parameter import Parameter, is_lazy

__all__ = ["ConvertMethods", "parse_to"]

_TO_FORMS = """
 * (torch.device device = None, torch.dtype dtype = None, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)
 * (torch.dtype dtype, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)
 * (Tensor tensor, bool non_blocking = False, bool copy = False, *, torch.memory_format memory_format = None)
"""  # noqa: E501 - one form a line


def parse_to(*args: Any, **kwargs: Any) -> tuple[device | None, dtype | None, bool, Any]:
    """(device, dtype, non_blocking, memory_format) from the arguments of ``to``, in any of its three forms.

    Raises TypeError for arguments that fit none of them.
    """
    names = ("device", "dtype", "non_blocking", "copy")
    args, kwargs = tuple(map(meant, args)), {name: meant(value) for name, value in kwargs.items()}
    if (args and isinstance(args[0], dtype)) or (not args and "device" not in kwargs and "dtype" in kwargs):
        names = ("dtype", "non_blocking", "copy")
    elif (args and isinstance(args[0], Tensor)) or "tensor" in kwargs:
        names = ("tensor", "non_blocking", "copy")
    given = dict(zip(names, args))
    fits = len(args) <= len(names) and not set(given) & set(kwargs) and set(kwargs) <= {*names, "memory_format"}
    given.update(kwargs)
    if fits:
        if "tensor" in given:
            given["device"], given["dtype"] = given["tensor"].device, given["tensor"].dtype
        where = given.get("device")
        if isinstance(where, (str, int)) and not isinstance(where, bool):
            where = device(where)
        type_ = given.get("dtype")
        flags = [given.get(flag, False) for flag in ("non_blocking", "copy")]
        fits = (
            (where is None or isinstance(where, device))
            and (type_ is None or isinstance(type_, dtype))
            and all(isinstance(flag, bool) for flag in flags)
        )
        if fits:
            return where, type_, flags[0], given.get("memory_format")
    shown = [type(a).__name__ for a in args] + [f"{k}={type(v).__name__}" for k, v in kwargs.items()]
    raise TypeError(
        f"to() received an invalid combination of arguments - got ({', '.join(shown)}), but expected one of:{_TO_FORMS}"
    )


def _move(tensor: Tensor, where: Any, type_: dtype | None, non_blocking: bool, memory_format: Any) -> Tensor:
    """One tensor of a module moved by ``Module.to``: integers keep their type, only images change format."""
    wanted = type_ if tensor.is_floating_point() or tensor.is_complex() else None
    try:
        if memory_format is not None and tensor.dim() in (4, 5):
            return tensor.to(where, wanted, non_blocking, memory_format=memory_format)
        return tensor.to(where, wanted, non_blocking)
    except NotImplementedError as error:
        if str(error).startswith("Cannot copy out of meta tensor; no data!"):
            raise NotImplementedError(
                "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
                "torch.nn.Module.to() when moving module from meta to a different device."
            ) from None
        raise


class ConvertMethods:
    """The part of ``Module`` that replaces its tensors by converted ones."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace every tensor t of the module (gradients too) by ``fn(t)``.

        A parameter stays the same object where its device type stays the same, so that optimizers that hold it
        see the new values.
        """
        if recurse:
            for module in self.children():  # type: ignore[attr-defined]
                module._apply(fn)
        for name, param in self._parameters.items():
            if param is None:
                continue
            grad = param.grad
            with no_grad():
                applied = fn(param)
                grad_applied = None if grad is None else fn(grad)
            if is_lazy(param) or applied.device.type == param.device.type:
                param.data = applied
            else:
                param = Parameter(applied, param.requires_grad)
                self._parameters[name] = param
            if grad_applied is not None:
                param.grad = grad_applied.requires_grad_(grad.requires_grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def apply(self, fn: Callable[[Any], None]) -> Any:
        """Call ``fn`` on every module below this one, children first, and on this one; returns self."""
        for module in self.children():  # type: ignore[attr-defined]
            module.apply(fn)
        fn(self)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move and cast the module in place.

        ``to(device=None, dtype=None, non_blocking=False)``, ``to(dtype, non_blocking=False)``,
        ``to(tensor, non_blocking=False)``, ``to(memory_format=channels_last)``.  Only floating-point and complex
        tensors are cast; only tensors of 4 or 5 dimensions change their memory format.

        Raises TypeError when the arguments fit none of the forms, or the type is neither floating-point nor complex.
        """
        where, type_, non_blocking, memory_format = parse_to(*args, **kwargs)
        if type_ is not None:
            if not (type_.is_floating_point or type_.is_complex):
                raise TypeError(
                    f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={type_}"
                )
            if type_.is_complex:
                warnings.warn(
                    "Complex modules are a new feature: some modules might not work as expected when using complex "
                    "tensors as parameters or buffers.",
                    stacklevel=2,
                )
        return self._apply(lambda t: _move(t, where, type_, non_blocking, memory_format))

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Move to ``device`` without copying: the tensors there are uninitialised."""
        return self._apply(lambda t: ops.empty_like(t, device=device), recurse=recurse)

    def type(self, dst_type: Any) -> Any:
        """Cast every parameter and buffer to ``dst_type``."""
        return self._apply(lambda t: t.type(dst_type))

    def _cast_floating(self, type_: dtype) -> Any:
        return self._apply(lambda t: t.to(type_) if t.is_floating_point() else t)

    def float(self) -> Any:
        """Cast floating-point parameters and buffers to float32."""
        return self._cast_floating(float32)

    def double(self) -> Any:
        """Cast floating-point parameters and buffers to float64."""
        return self._cast_floating(float64)

    def half(self) -> Any:
        """Cast floating-point parameters and buffers to float16."""
        return self._cast_floating(float16)

    def bfloat16(self) -> Any:
        """Cast floating-point parameters and buffers to bfloat16."""
        return self._cast_floating(bfloat16)

    def cpu(self) -> Any:
        """Move to the CPU."""
        return self._apply(lambda t: t.cpu())

    def _to_accelerator(self, type_: str, where: Any) -> Any:
        if where is None:
            where = device(type_)
        elif isinstance(where, int):
            where = device(type_, where)
        return self._apply(lambda t: t.to(where))

    def cuda(self, device: Any = None) -> Any:
        """Move to a CUDA device (the current one by default)."""
        return self._apply(lambda t: t.cuda(device))

    def xpu(self, device: Any = None) -> Any:
        """Move to an XPU device."""
        return self._to_accelerator("xpu", device)

    def mtia(self, device: Any = None) -> Any:
        """Move to an MTIA device."""
        return self._to_accelerator("mtia", device)

    def ipu(self, device: Any = None) -> Any:
        """Move to an IPU device."""
        return self._to_accelerator("ipu", device)

    def share_memory(self) -> Any:
        """Move the tensors into memory that other processes can share."""
        return self._apply(lambda t: t.share_memory_())

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Set ``requires_grad`` of every parameter; returns self."""
        for param in self.parameters():  # type: ignore[attr-defined]
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or with ``set_to_none=False`` fill them with zeros."""
        if getattr(self, "_is_replica", False):
            warnings.warn(
                "Calling .zero_grad() from a module created with nn.DataParallel() has no effect. The parameters are "
                "copied (in a differentiable manner) from the original module. This means they are not leaf nodes in "
                "autograd and so don't accumulate gradients.",
                stacklevel=2,
            )
        for param in self.parameters():  # type: ignore[attr-defined]
            if param.grad is None:
                continue
            if set_to_none:
                param.grad = None
                continue
            if param.grad.grad_fn is not None:
                param.grad.detach_()
            else:
                param.grad.requires_grad_(False)
            param.grad.zero_()
