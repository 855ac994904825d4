"""Counting the floating-point operations of products, convolutions and attention while a program runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ..library.namespaces import OpOverload, OpOverloadPacket, namespace_of
from ..nn import Module
from ..tensor import Tensor
from ._python_dispatch import TorchDispatchMode
from .module_tracker import ModuleTracker

__all__ = ["FlopCounterMode", "register_flop_formula"]

aten = namespace_of("aten")

flop_registry: dict[OpOverloadPacket, Callable[..., int]] = {}


def _packet(target: Any) -> OpOverloadPacket:
    """The entry of ``torch.ops`` that is meant by one, by one of its overloads, or by a name of ``torch.ops.aten``."""
    if isinstance(target, str):
        target = getattr(aten, target)
    found = target.overloadpacket if isinstance(target, OpOverload) else target
    if not isinstance(found, OpOverloadPacket):
        raise ValueError(
            f"register_flop_formula(targets): expected each target to be OpOverloadPacket (i.e. torch.ops.mylib.foo), "
            f"got {target} which is of type {type(target)}"
        )
    return found


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorator: ``formula(*args, out_shape=..., **kwargs)`` counts the operations of the operators ``targets``
    (``torch.ops.aten.mm``, or a list) from the shapes of their arguments and result; with ``get_raw`` from the tensors
    themselves, and ``out_val``.  Raises ValueError for other than entries of ``torch.ops``."""

    def register(formula: Callable[..., int]) -> Callable[..., int]:
        for target in targets if isinstance(targets, (list, tuple)) else (targets,):
            flop_registry[_packet(target)] = formula if get_raw else shape_wrapper(formula)
        return formula

    return register


def shape_wrapper(formula: Callable[..., int]) -> Callable[..., int]:
    """A formula of shapes as one of tensors."""

    def on_shapes(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        shapes = {k: _shapes(v) for k, v in kwargs.items()}
        return formula(*map(_shapes, args), out_shape=_shapes(out_val), **shapes)

    return on_shapes


def _shapes(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and not hasattr(value, "numel"):
        return type(value)(map(_shapes, value)) if type(value) in (list, tuple) else [_shapes(v) for v in value]
    return value.shape if isinstance(value, Tensor) else value


@register_flop_formula([aten.mm, aten.matmul, aten.bmm, aten.dot])
def _product(a: Sequence[int], b: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula([aten.addmm, aten.baddbmm])
def _added_product(
    input: Any, a: Sequence[int], b: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return 2 * math.prod(out_shape) * a[-1]


@register_flop_formula(aten.convolution)
def _convolution(
    input: Sequence[int], weight: Sequence[int], bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    *args: Any, out_shape: Any = None, **kwargs: Any,
) -> int:  # fmt: skip
    return 2 * math.prod(input if transposed else out_shape) * math.prod(weight[1:])


@register_flop_formula(aten._convolution_weight)
def _convolution_weight(
    input: Any, weight_size: Sequence[int], grad: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    return 2 * math.prod(grad) * math.prod(weight_size[1:])


def _scores(query: Sequence[int], key: Sequence[int]) -> int:
    return 2 * math.prod(query) * key[-2]


@register_flop_formula(aten._flash_attention)
def _attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return _scores(query, key) + 2 * math.prod(query[:-1]) * key[-2] * value[-1]


@register_flop_formula(aten._flash_attention_gradient)
def _attention_gradient(
    grad: Any, query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    # The scores and their gradients by query and key; the gradients of the weights and by the values.
    return 3 * _scores(query, key) + 2 * 2 * math.prod(query[:-1]) * key[-2] * value[-1]


class FlopCounterMode(TorchDispatchMode):
    """``with`` this, the operations of products, convolutions and attention are counted, by module, those of backward
    passes included.

    ``custom_mapping`` gives formulas for further operators, as ``register_flop_formula`` takes them; one with
    ``_get_raw`` gets tensors.  ``display`` prints the table of ``depth`` levels at the end.
    """

    def __init__(
        self, mods: Module | list[Module] | None = None, depth: int = 2, display: bool = True,
        custom_mapping: dict[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.depth, self.display = depth, display
        self.flop_counts: dict[str, dict[OpOverloadPacket, int]] = defaultdict(lambda: defaultdict(int))
        self.mod_tracker = ModuleTracker()
        self.flop_registry = dict(flop_registry)
        for target, formula in (custom_mapping or {}).items():
            raw = getattr(formula, "_get_raw", False)
            self.flop_registry[_packet(target)] = formula if raw else shape_wrapper(formula)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = self.flop_registry.get(func.overloadpacket)
        if formula is not None:
            count = formula(*args, **kwargs, out_val=out)
            for parent in self.mod_tracker.parents:
                self.flop_counts[parent][func.overloadpacket] += count
        return out

    def __enter__(self) -> FlopCounterMode:
        self.flop_counts.clear()
        self.mod_tracker.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self.mod_tracker.__exit__(*exc)
        if self.display:
            print(self.get_table(self.depth))

    def get_total_flops(self) -> int:
        """All operations counted."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self) -> dict[str, dict[OpOverloadPacket, int]]:
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
