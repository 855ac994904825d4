"""CUDA's libraries: not here.  Their switches are kept for programs that set them."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from typing import Any

from .. import modes
from ._flags import Precision

__all__ = [
    "SDPAParams", "allow_fp16_bf16_reduction_math_sdp", "blas_workspace_size", "can_use_cudnn_attention",
    "can_use_efficient_attention", "can_use_flash_attention", "cuBLASModule", "cuFFTPlanCache",
    "cuFFTPlanCacheAttrContextProp", "cuFFTPlanCacheManager", "cublas_workspace_size", "cublaslt_workspace_size",
    "cudnn_sdp_enabled", "cufft_plan_cache", "enable_cudnn_sdp", "enable_flash_sdp", "enable_math_sdp",
    "enable_mem_efficient_sdp", "flash_sdp_enabled", "fp16_bf16_reduction_math_sdp_allowed", "is_built",
    "is_ck_sdpa_available", "is_flash_attention_available", "math_sdp_enabled", "matmul", "mem_efficient_sdp_enabled",
    "preferred_blas_library", "preferred_linalg_library", "preferred_rocm_fa_library", "sdp_kernel",
]  # fmt: skip


def is_built() -> bool:
    """Whether there is support for CUDA: no."""
    return False


class cuFFTPlanCacheAttrContextProp:
    """An attribute that is read by ``getter`` and written by ``setter``."""

    def __init__(self, getter: Any, setter: Any) -> None:
        self.getter, self.setter = getter, setter

    def __get__(self, obj: Any, objtype: type) -> Any:
        return self.getter(obj.device_index)

    def __set__(self, obj: Any, val: Any) -> None:
        self.setter(obj.device_index, val)


def _need(*args: Any) -> int:
    raise AssertionError("Torch not compiled with CUDA enabled")


class cuFFTPlanCache:
    """The plans of Fourier transforms on one device, of which there are none."""

    def __init__(self, device_index: int | None) -> None:
        self.device_index = device_index

    size = cuFFTPlanCacheAttrContextProp(_need, _need)
    max_size = cuFFTPlanCacheAttrContextProp(_need, _need)

    def clear(self) -> None:
        """Forgets the plans."""
        _need()


class cuFFTPlanCacheManager:
    """The caches of all devices, by index; attributes are those of the current device's cache."""

    def __getitem__(self, device: Any) -> cuFFTPlanCache:
        index = getattr(device, "index", device)
        raise RuntimeError(f"cufft_plan_cache: expected 0 <= device index < 0, but got device with index {index}")

    def __getattr__(self, name: str) -> Any:
        return getattr(cuFFTPlanCache(None), name)


cufft_plan_cache = cuFFTPlanCacheManager()


class cuBLASModule:
    """Switches of matrix products: how they may round between, and whether float32 may be less than it says."""

    _values: dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(
            self,
            "_values",
            {
                "allow_fp16_reduced_precision_reduction": True, "allow_bf16_reduced_precision_reduction": True,
                "allow_fp16_accumulation": False, "fp32_precision": "none",
            },
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name == "allow_tf32":
            return modes.get_float32_matmul_precision() != "highest"
        if name not in self._values:
            raise AttributeError("Unknown attribute " + name)
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "allow_tf32":
            modes.set_float32_matmul_precision("high" if value else "highest")
        elif name not in self._values:
            raise AttributeError("Unknown attribute " + name)
        else:
            if name == "fp32_precision":
                Precision(value)  # raises for a value that is none
            self._values[name] = value


matmul = cuBLASModule()


# -- which kernels attention may use on CUDA ----------------------------------------------------------

_sdp = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True, "reduced": False}


def _switch(name: str, enabled: bool) -> None:
    if not isinstance(enabled, bool):
        raise RuntimeError(f"set_sdp_use_{name} expects a bool, but got {type(enabled).__name__}")
    _sdp[name] = enabled


def flash_sdp_enabled() -> bool:
    """Whether the flash kernel may be used."""
    return _sdp["flash"]


def enable_flash_sdp(enabled: bool) -> None:
    """Sets whether the flash kernel may be used."""
    _switch("flash", enabled)


def mem_efficient_sdp_enabled() -> bool:
    """Whether the memory-efficient kernel may be used."""
    return _sdp["mem_efficient"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Sets whether the memory-efficient kernel may be used."""
    _switch("mem_efficient", enabled)


def math_sdp_enabled() -> bool:
    """Whether products and a softmax may be used."""
    return _sdp["math"]


def enable_math_sdp(enabled: bool) -> None:
    """Sets whether products and a softmax may be used."""
    _switch("math", enabled)


def cudnn_sdp_enabled() -> bool:
    """Whether cuDNN's kernel may be used."""
    return _sdp["cudnn"]


def enable_cudnn_sdp(enabled: bool) -> None:
    """Sets whether cuDNN's kernel may be used."""
    _switch("cudnn", enabled)


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Sets whether sums in half precision stay in it."""
    _switch("reduced", enabled)


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """Whether sums in half precision stay in it."""
    return _sdp["reduced"]


def is_flash_attention_available() -> bool:
    """Whether there is a flash kernel for CUDA: no."""
    return False


def is_ck_sdpa_available() -> bool:
    """Whether there is composable-kernel attention for ROCm: no."""
    return False


class SDPAParams:
    """The arguments of an attention that one asks about."""

    def __init__(
        self, query: Any, key: Any, value: Any, attn_mask: Any, dropout: float, is_causal: bool, enable_gqa: bool
    ) -> None:
        self.query, self.key, self.value, self.attn_mask = query, key, value, attn_mask
        self.dropout, self.is_causal, self.enable_gqa = dropout, is_causal, enable_gqa


def can_use_flash_attention(params: SDPAParams, debug: bool = False) -> bool:
    """Whether CUDA's flash kernel could run this: no."""
    return False


def can_use_efficient_attention(params: SDPAParams, debug: bool = False) -> bool:
    """Whether CUDA's memory-efficient kernel could run this: no."""
    return False


def can_use_cudnn_attention(params: SDPAParams, debug: bool = False) -> bool:
    """Whether cuDNN's kernel could run this: no."""
    return False


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> Iterator[None]:
    """``with sdp_kernel(...)``: which kernels attention may use inside of the block."""
    before = dict(_sdp)
    _sdp.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield
    finally:
        _sdp.update(before)


# -- which library ------------------------------------------------------------------------------------


class _Blas(enum.Enum):
    Default, Cublas, Cublaslt, Ck = range(4)


class _Linalg(enum.Enum):
    Default, Cusolver, Magma = range(3)


class _FlashAttention(enum.Enum):
    Default, AOTriton, Ck = range(3)


_preferred: dict[type[enum.Enum], enum.Enum] = {
    _Blas: _Blas.Cublas, _Linalg: _Linalg.Default, _FlashAttention: _FlashAttention.Default,
}  # fmt: skip


def _prefer(kind: type[enum.Enum], backend: Any) -> Any:
    if isinstance(backend, str):
        found = [member for member in kind if member.name.lower() == backend.lower()]
        if not found:
            raise RuntimeError(f"Unknown input value. Choose from: {', '.join(m.name.lower() for m in kind)}.")
        backend = found[0]
    if backend is not None:
        if not isinstance(backend, kind):
            raise RuntimeError(f"Unknown input value type: {type(backend).__name__}")
        _preferred[kind] = backend
    return _preferred[kind]


def preferred_blas_library(backend: Any = None) -> Any:
    """Sets, if given, and returns the library preferred for products on CUDA."""
    return _prefer(_Blas, backend)


def preferred_linalg_library(backend: Any = None) -> Any:
    """Sets, if given, and returns the library preferred for linear algebra on CUDA."""
    return _prefer(_Linalg, backend)


def preferred_rocm_fa_library(backend: Any = None) -> Any:
    """Sets, if given, and returns the library preferred for attention on ROCm."""
    return _prefer(_FlashAttention, backend)


def blas_workspace_size(size: int | None = None, backend: Any = None) -> int:
    """The bytes that a library of products may use on CUDA; needs a device."""
    return _need()


def cublas_workspace_size(size: int | None = None) -> int:
    """The bytes that cuBLAS may use; needs a device."""
    return _need()


def cublaslt_workspace_size(size: int | None = None) -> int:
    """The bytes that cuBLASLt may use; needs a device."""
    return _need()
