"""Which modules are shared out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch

from ....nn import Module
from ...device_mesh import DeviceMesh, current_mesh
from .style import ParallelStyle

__all__ = ["parallelize_module"]


def _found(module: Module, path: list[str]) -> Iterator[Module]:
    """The modules inside of ``module`` whose names fit the patterns of ``path``, one for each level."""
    if not path:
        yield module
        return
    for name, child in module.named_children():
        if fnmatch(name, path[0]):
            yield from _found(child, path[1:])


def parallelize_module(
    module: Module, device_mesh: DeviceMesh | None = None,
    parallelize_plan: ParallelStyle | Mapping[str, ParallelStyle] | None = None, *, src_data_rank: int | None = 0,
) -> Module:  # fmt: skip
    """Shares a module out over a mesh of one dimension, in place, and returns it.

    Args:
        module: what is shared out.
        device_mesh: the processes; None is the mesh of the enclosing ``with``.
        parallelize_plan: a style for the module, or one for each of the modules inside that a name stands for, in which
            every part between dots may have wildcards ("layers.*.mlp"); "" is the module itself.
        src_data_rank: the process whose parameters count; None: everyone takes its own.

    Raises TypeError for a plan of other things, ValueError for a mesh of several dimensions.
    """
    mesh = device_mesh or current_mesh()
    if mesh.ndim != 1:
        raise ValueError(f"parallelize_module: expected a mesh of one dimension, got {mesh}: slice it by its name")
    if parallelize_plan is None:
        warnings.warn("No parallelize_plan is given: parallelize_module leaves the module as it is", stacklevel=2)
        return module
    plan = {"": parallelize_plan} if isinstance(parallelize_plan, ParallelStyle) else parallelize_plan
    if not isinstance(plan, Mapping) or not all(isinstance(style, ParallelStyle) for style in plan.values()):
        given = type(parallelize_plan).__name__
        raise TypeError(f"parallelize_module: expected a ParallelStyle or a dictionary of them, got {given}")
    for name, style in plan.items():
        chosen = list(_found(module, name.split(".") if name else []))
        if not chosen:
            warnings.warn(f"parallelize_module: no module is called {name!r}; its style is not used", stacklevel=2)
        for part in chosen:
            style.src_data_rank = src_data_rank
            style._apply(part, mesh)
    return module
