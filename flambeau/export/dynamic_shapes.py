"""Names of sizes that may change between calls, and which sizes of the arguments they are."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ..tensor import Tensor
from ..utils._pytree import tree_flatten, tree_leaves

__all__ = ["AdditionalInputs", "Constraint", "Dim", "ShapesCollection", "dims"]


class Hint(enum.Enum):
    """What is to be found out about a size: everything, that it changes, or that it does not."""

    AUTO, DYNAMIC, STATIC = range(3)


class Dim:
    """A size called ``name`` from ``min`` to ``max`` (no bound if None).

    ``2 * dim`` and ``dim + 1`` are sizes that depend on it.  Raises AssertionError for a name that is none, and for
    bounds in the wrong order.  ``Dim.AUTO``, ``Dim.DYNAMIC`` and ``Dim.STATIC`` stand for sizes without a name.
    """

    AUTO: ClassVar[Hint] = Hint.AUTO
    DYNAMIC: ClassVar[Hint] = Hint.DYNAMIC
    STATIC: ClassVar[Hint] = Hint.STATIC

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        if not name.isidentifier():
            raise AssertionError(f"Dim name must be a valid identifier, got {name}")
        low = 0 if min is None else min
        if max is not None and max <= low:
            raise AssertionError(f"Cannot create Dim with inconsistent min={min}, max={max}")
        self.__name__, self.min, self.max = name, low, max

    def __repr__(self) -> str:
        bounds = [f"min={self.min}"] if self.min else []
        bounds += [] if self.max is None else [f"max={self.max}"]
        return f"Dim({', '.join([repr(self.__name__), *bounds])})"

    def __add__(self, other: int) -> DerivedDim:
        return DerivedDim(self, 1, _whole(other))

    def __sub__(self, other: int) -> DerivedDim:
        return DerivedDim(self, 1, -_whole(other))

    def __mul__(self, other: int) -> DerivedDim:
        return DerivedDim(self, _whole(other), 0)

    __radd__, __rmul__ = __add__, __mul__


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise NotImplementedError(f"a Dim can be added to, or multiplied by, an int, not {value!r}")
    return value


class DerivedDim(Dim):
    """``factor * root + offset``."""

    def __init__(self, root: Dim, factor: int, offset: int) -> None:
        if factor <= 0:
            raise AssertionError(f"a Dim must grow with {root.__name__}, got a factor of {factor}")
        self.root, self.factor, self.offset = root, factor, offset
        self.__name__ = (f"{factor}*" if factor != 1 else "") + root.__name__
        self.__name__ += f" + {offset}" if offset > 0 else f" - {-offset}" if offset else ""
        self.min = factor * root.min + offset
        self.max = None if root.max is None else factor * root.max + offset

    def __add__(self, other: int) -> DerivedDim:
        return DerivedDim(self.root, self.factor, self.offset + _whole(other))

    def __sub__(self, other: int) -> DerivedDim:
        return DerivedDim(self.root, self.factor, self.offset - _whole(other))

    def __mul__(self, other: int) -> DerivedDim:
        return DerivedDim(self.root, self.factor * _whole(other), self.offset * other)

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        return f"Dim({self.__name__!r})"


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """One ``Dim`` for every name, with the same bounds."""
    return tuple(Dim(name, min=min, max=max) for name in names)


Constraint = Dim
"""PyTorch's former name for what says that a size may change."""


class ShapesCollection:
    """Which sizes may change, by tensor: ``shapes[tensor] = {0: dim}``, or ``shapes[tensor][0] = dim``."""

    def __init__(self) -> None:
        self._shapes: dict[int, Any] = {}
        self._kept: list[Tensor] = []

    def __setitem__(self, tensor: Tensor, shape: Any) -> None:
        if not isinstance(tensor, Tensor):
            raise AssertionError(f"cannot assign shapes to a {type(tensor).__name__}; a tensor is expected")
        self._kept.append(tensor)
        self._shapes[id(tensor)] = shape

    def __getitem__(self, tensor: Tensor) -> Any:
        self._kept.append(tensor)
        return self._shapes.setdefault(id(tensor), {})

    def __len__(self) -> int:
        return len(self._shapes)

    def dynamic_shapes(self, m: Any, args: Any, kwargs: Any = None) -> Any:
        """The same for the arguments of a call: a tree like these, with an entry for each tensor."""
        return _like((tuple(args), dict(kwargs or {})), lambda t: self._shapes.get(id(t)))


class AdditionalInputs:
    """Arguments of further calls: a size that differs between them and the first call may change."""

    def __init__(self) -> None:
        self._examples: list[tuple[Any, Any]] = []

    def add(self, args: Any, kwargs: Any = None) -> None:
        """Adds a call."""
        self._examples.append((tuple(args), dict(kwargs or {})))

    def dynamic_shapes(self, m: Any, args: Any, kwargs: Any = None) -> Any:
        """What may change, for the arguments of a call."""
        others = [tree_leaves(example) for example in self._examples]
        at = {id(t): k for k, t in enumerate(tree_leaves((tuple(args), dict(kwargs or {}))))}

        def changes(t: Tensor) -> dict[int, Hint]:
            same = [leaves[at[id(t)]].shape for leaves in others]
            return {d: Hint.DYNAMIC for d, n in enumerate(t.shape) if any(shape[d] != n for shape in same)}

        return _like((tuple(args), dict(kwargs or {})), changes)


def _like(tree: Any, of: Callable[[Tensor], Any]) -> Any:
    if isinstance(tree, Tensor):
        return of(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)([_like(t, of) for t in tree])
    if isinstance(tree, Mapping):
        return {name: _like(t, of) for name, t in tree.items()}
    return None


def specified(names: list[str], args: Any, kwargs: dict[str, Any], shapes: Any) -> list[dict[int, Any]]:
    """For each leaf of the arguments the sizes that may change: {dimension: Dim or Hint}.

    ``shapes`` is a tree like the arguments, or a dictionary by parameter name.  Raises RuntimeError where it does not
    fit them.
    """
    if isinstance(shapes, (ShapesCollection, AdditionalInputs)):
        both = shapes.dynamic_shapes(None, args, kwargs)
        trees = [*both[0], *both[1].values()]
    elif isinstance(shapes, Mapping):
        unknown = set(shapes) - set(names)
        if unknown:
            raise RuntimeError(
                f"export: dynamic_shapes names {sorted(map(str, unknown))}, but the arguments are {names}; its keys "
                "must be names of the arguments"
            )
        trees = [shapes.get(name) for name in names]
    elif shapes is None:
        trees = [None] * len(names)
    else:
        trees = list(shapes)
        if len(trees) != len(names):
            raise RuntimeError(
                f"export: dynamic_shapes has {len(trees)} entries for the {len(names)} arguments {names}"
            )
    found: list[dict[int, Any]] = []
    for name, tree, value in zip(names, trees, [*args, *kwargs.values()]):
        _collect(name, tree, value, found)
    return found


def _collect(name: str, tree: Any, value: Any, found: list[dict[int, Any]]) -> None:
    if isinstance(value, Tensor):
        found.append(_of_tensor(name, tree, value))
    elif tree is None:
        found += [{} for _ in tree_flatten(value)[0]]
    elif isinstance(value, (list, tuple)) and isinstance(tree, (list, tuple)) and len(tree) == len(value):
        for k, (t, v) in enumerate(zip(tree, value)):
            _collect(f"{name}[{k}]", t, v, found)
    elif isinstance(value, Mapping) and isinstance(tree, Mapping):
        for key, v in value.items():
            _collect(f"{name}[{key!r}]", tree.get(key), v, found)
    else:
        raise RuntimeError(f"export: dynamic_shapes gives {name} {tree!r}, which does not fit a {type(value).__name__}")


def _of_tensor(name: str, tree: Any, value: Tensor) -> dict[int, Any]:
    if tree is None:
        return {}
    if isinstance(tree, Mapping):
        pairs = list(tree.items())
    elif isinstance(tree, (tuple, list)) and len(tree) == value.ndim:
        pairs = list(enumerate(tree))
    else:
        raise RuntimeError(
            f"export: dynamic_shapes gives {name} {tree!r}; for a tensor of shape {tuple(value.shape)} it must be a "
            "dictionary by dimension, or have one entry for each"
        )
    found: dict[int, Any] = {}
    for d, dim in pairs:
        if type(d) is not int or not -value.ndim <= d < value.ndim:
            raise RuntimeError(f"export: dynamic_shapes names dimension {d!r} of {name}, which has {value.ndim}")
        if isinstance(dim, int) and dim == value.shape[d]:
            continue
        if dim is not None and not isinstance(dim, (Dim, Hint)):
            raise RuntimeError(f"export: dynamic_shapes gives dimension {d} of {name} as {dim!r}, which is no Dim")
        if dim is not None and dim is not Hint.STATIC:
            found[d % value.ndim] = dim
    return found
