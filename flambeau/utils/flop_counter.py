"""Counting the floating-point operations of products, convolutions and attention while a program runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ..nn import Module
from ..operator import OPERATORS
from ..overrides import TorchFunctionMode
from ..tensor import Tensor
from .module_tracker import ModuleTracker

__all__ = ["FlopCounterMode", "register_flop_formula"]

flop_registry: dict[str, Callable[..., int]] = {}


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorator: ``formula(*args, out_shape=..., **kwargs)`` counts the operations of the operators ``targets``
    (functions, or names of operators) from the shapes of their arguments and result; with ``get_raw`` from the tensors
    themselves, and ``out``."""

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        def on_shapes(*args: Any, out: Any = None, **kwargs: Any) -> int:
            return formula(*map(_shapes, args), out_shape=_shapes(out), **{k: _shapes(v) for k, v in kwargs.items()})

        for target in targets if isinstance(targets, (list, tuple)) else (targets,):
            name = target if isinstance(target, str) else getattr(target, "operator", target).__name__
            flop_registry[name] = formula if get_raw else on_shapes
        return formula

    return register


def _shapes(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and not hasattr(value, "numel"):
        return type(value)(map(_shapes, value)) if type(value) in (list, tuple) else [_shapes(v) for v in value]
    return value.shape if isinstance(value, Tensor) else value


@register_flop_formula(["mm", "matmul", "bmm"])
def _product(a: Sequence[int], b: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula(["addmm", "baddbmm"])
def _added_product(
    input: Any, a: Sequence[int], b: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula("linear")
def _linear(input: Sequence[int], weight: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * math.prod(out_shape) * input[-1]


@register_flop_formula(["conv1d", "conv2d", "conv3d"])
def _convolution(input: Any, weight: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


@register_flop_formula(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"])
def _transposed(input: Sequence[int], weight: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * math.prod(input) * math.prod(weight[1:])


@register_flop_formula("scaled_dot_product_attention")
def _attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * math.prod(query) * key[-2] + 2 * math.prod(query[:-1]) * key[-2] * value[-1]


class FlopCounterMode(TorchFunctionMode):
    """``with`` this, the operations of products, convolutions and attention that the block calls are counted, by
    module.

    The backward pass is not counted: count it as twice the forward pass.  ``custom_mapping`` gives formulas for further
    operators, as ``register_flop_formula`` takes them.  ``display`` prints the table of ``depth`` levels at the end.
    """

    def __init__(
        self, mods: Module | list[Module] | None = None, depth: int = 2, display: bool = True,
        custom_mapping: dict[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.depth, self.display = depth, display
        self.flop_counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.tracker = ModuleTracker()
        self.formulas = dict(flop_registry)
        for target, formula in (custom_mapping or {}).items():
            name = target if isinstance(target, str) else getattr(target, "operator", target).__name__
            self.formulas[name] = formula

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(getattr(func, "operator", None), "name", getattr(func, "__name__", ""))
        self._count_flops(name, out, args, kwargs or {})
        return out

    def _count_flops(self, name: str, out: Any, args: Any, kwargs: Any) -> None:
        formula = self.formulas.get(name)
        if formula is not None and name in OPERATORS:
            count = formula(*args, **kwargs, out=out)
            for parent in self.tracker.parents:
                self.flop_counts[parent][name] += count

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts.clear()
        self.tracker.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self.tracker.__exit__(*exc)
        if self.display:
            print(self.get_table(self.depth))

    def get_total_flops(self) -> int:
        """All operations counted."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """The operations by module and operator."""
        return {k: dict(v) for k, v in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """A table of modules down to ``depth`` levels, their operations and share of the whole."""
        depth = self.depth if depth is None else depth
        total = max(self.get_total_flops(), 1)
        rows = [("Module", "FLOP", "% Total")]
        for module in sorted(self.flop_counts, key=lambda m: (m != "Global", m)):
            level = 0 if module == "Global" else module.count(".") + 1
            if level > depth:
                continue
            for operator in (None, *self.flop_counts[module]):
                n = sum(self.flop_counts[module].values()) if operator is None else self.flop_counts[module][operator]
                text = "  " * level + (module if operator is None else f" - {operator}")
                rows.append((text, _short(n), f"{100 * n / total:.2f}%"))
        widths = [max(len(r[i]) for r in rows) for i in range(3)]
        lines = [f"{a.ljust(widths[0])}  {b.rjust(widths[1])}  {c.rjust(widths[2])}" for a, b, c in rows]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _short(n: int) -> str:
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if n >= size:
            return f"{n / size:.3f}{unit}"
    return str(n)
