"""flambeau under PyTorch's name: ``import torch`` and all its submodules give flambeau's own module objects.

A finder in front of all others answers for ``torch`` and ``torch.*``, so that no part of a PyTorch that is installed
as well can slip in.  ``tree/`` holds a small package ``torch`` with a dist-info folder, which goes onto the path: it
answers ``importlib.metadata``, and installs the finder in processes that start afresh.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

__all__ = ["TREE", "install_as_torch"]

TREE = Path(__file__).resolve().parent / "tree"
_PACKAGE = __name__.partition(".")[0]


def _own_name(name: str) -> str:
    """The name in this package of the module that is called ``name`` in PyTorch."""
    return _PACKAGE + name[len("torch") :]


class _Loader(Loader):
    """Gives a module of this package out under another name, which it says it has from then on.

    Programs go by a module's ``__name__`` when they build names of what is in it; what Python goes by when it imports,
    ``__spec__`` and ``__package__``, stays.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name, self.title = name, title

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just given the module the spec of its other name.
        module.__spec__ = self.spec
        module.__name__ = self.title


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "torch":
            return None
        name = _own_name(fullname)
        found = importlib.util.find_spec(name)
        if found is None:
            return None  # the other finders look into this package's own folder, and do not find it either
        spec = ModuleSpec(
            fullname,
            _Loader(name, fullname),
            origin=found.origin,
            is_package=found.submodule_search_locations is not None,
        )
        if found.submodule_search_locations is not None:
            spec.submodule_search_locations = list(found.submodule_search_locations)
        return spec


def _is_ours(module: ModuleType) -> bool:
    """Whether a module called torch is this package, or the one in ``tree/`` that stands for it."""
    file = getattr(module, "__file__", None)
    return module is sys.modules[_PACKAGE] or (file is not None and Path(file).resolve().is_relative_to(TREE))


def install_as_torch() -> None:
    """Makes ``import torch`` give flambeau, in this process and in those that it starts.

    Raises RuntimeError if another ``torch`` has been imported already.  Calling it twice does no harm.
    """
    other = sys.modules.get("torch")
    if other is not None and not _is_ours(other):
        raise RuntimeError(
            f"install_as_torch(): torch has been imported already, from {getattr(other, '__file__', 'somewhere')}; "
            "call this before anything imports torch, or run the program by `python -m flambeau`"
        )
    sys.modules["torch"] = sys.modules[_PACKAGE]
    sys.modules["torch"].__name__ = "torch"
    sys.modules["torch"].torch = sys.modules[_PACKAGE]  # type: ignore[attr-defined]  # packages write torch.torch
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    # Where other processes find the package of this name, and the package itself.
    parent = str(TREE.parent.parent.parent)
    if str(TREE) not in sys.path:
        sys.path.insert(1 if sys.path else 0, str(TREE))
    if parent not in sys.path:
        sys.path.append(parent)
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    if str(TREE) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(TREE), *paths, *([parent] if parent not in paths else [])])
