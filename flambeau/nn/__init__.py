"""Neural networks: modules, the functions they are made of, initial values and helpers."""

# ruff: noqa: F403
from __future__ import annotations

from typing import Any

from . import attention, functional, grad, init, parallel, utils
from . import modules as modules
from .modules import *
from .modules import __all__ as _layers
from .parallel import DataParallel
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "attention",
    "factory_kwargs",
    "functional",
    "grad",
    "init",
    "parallel",
    "utils",
    *_layers,
]

_FACTORY = ("device", "dtype", "memory_format")


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of tensor factories among ``kwargs``: "device", "dtype", "memory_format", and the dictionary
    "factory_kwargs".

    Raises TypeError for other keys, and for one that is given twice.
    """
    if kwargs is None:
        return {}
    unknown = set(kwargs) - {*_FACTORY, "factory_kwargs"}
    if unknown:
        raise TypeError(f"unexpected kwargs {unknown}")
    result = dict(kwargs.get("factory_kwargs", {}))
    for name in _FACTORY:
        if name in kwargs:
            if name in result:
                raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
            result[name] = kwargs[name]
    return result
