"""What a call of an operator does, and how: its body traced, its plan, or the recipe for a deferred program.

Both depend on the call's signature alone: layouts and static arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import graph
from .. import primitives as prim
from ..autograd.mode import state as grad_state
from ..deferred.record import CHAIN, WHOLE, Recipe
from ..device import cpu, device, meta
from ..dtype import bool_, complex128, dtype, float64, get_default_dtype, int64
from ..graph.node import Node, topological
from ..layout import Layout, contiguous_strides, dense, image_strides, iterated_strides, of, ordered_strides
from ..primitives import Recorder
from ..promotion import check_cast, result_type
from ..tensor import Tensor
from .operator import FACTOR, OPERAND, SCALAR, Operator

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = [
    "LIMIT",
    "NUMBERS",
    "OpPlan",
    "build",
    "common_device",
    "fit",
    "frozen",
    "is_one",
    "recipe_of",
    "tensors_in",
    "trace_body",
]

LIMIT = 4096  # plans kept of one operator


NUMBERS = (bool, int, float, complex)


def _number(value: Any, constant: bool) -> Tensor:
    """A Python number as a 0-dim tensor of the graph being recorded."""
    kind = (
        bool_
        if isinstance(value, bool)
        else int64
        if isinstance(value, int)
        else float64
        if isinstance(value, float)
        else complex128
    )
    recorder = prim.current()
    if constant:
        node = (
            recorder.graph.const(value, kind.code)
            if kind is not int64 or -(1 << 63) <= value < 1 << 63
            else recorder.number(value)
        )
    else:
        node = recorder.number(value)
        if kind is bool_:
            node = recorder.graph.cast(node, "b1")
    t = prim.wrap(node)
    t._weak = True
    return t


def trace_body(op: Operator, args: Sequence[Any], constant: bool) -> Any:
    """Runs the body on tensors of the graph being recorded: numbers become tensors, operands are promoted, half
    precision is computed in float32.  Returns a tensor or a tuple of tensors."""
    values = list(args)
    for i, k in enumerate(op.kinds):
        if k == FACTOR and is_one(values[i]):
            values[i] = None
        elif k in (OPERAND, SCALAR, FACTOR) and isinstance(values[i], NUMBERS):
            values[i] = _number(values[i], constant)
    narrow: dtype | None = None
    if op.promoted:
        operands = [values[i] for i in op.promoted if values[i] is not None]
        flat = [t for v in operands for t in (v if isinstance(v, (list, tuple)) else (v,))]
        common = result_type(flat)
        if op.to == "float" and common.kind in "bui":
            common = get_default_dtype()
        work = common
        if common.wide is not common:
            narrow, work = common, common.wide
        for i in op.promoted:
            v = values[i]
            if isinstance(v, (list, tuple)):
                values[i] = [_cast(t, work) for t in v]
            elif v is not None:
                values[i] = _cast(v, work)
    result = op.run_body(values)
    if narrow is None:
        return result
    if isinstance(result, Tensor):
        return _narrowed(result, narrow)
    return tuple(_narrowed(t, narrow) for t in result)


def _narrowed(t: Tensor, narrow: dtype) -> Tensor:
    """A result of a body that computed in a wider type: its type, or that of its parts, is narrow again."""
    wide, found = narrow.wide, t._layout.dtype
    if found is wide:
        return _cast(t, narrow)
    return _cast(t, narrow.to_real()) if found is wide.to_real() else t


def is_one(value: Any) -> bool:
    """Whether a factor is the default, which operators leave out."""
    return value.__class__ is int and value == 1


def _cast(t: Tensor, type_: dtype) -> Tensor:
    """A conversion that is on the tape if its operand is (while a body is differentiated)."""
    if t._requires_grad and grad_state.grad and t._layout.dtype is not type_:
        return t.to(type_)  # type: ignore[attr-defined]
    return prim.cast(t, type_)


def _pick_strides(op: Operator, result: Tensor, inputs: Sequence[Layout]) -> tuple[int, ...]:
    """The strides of a result: its own where the body says so, otherwise those that the ``inputs`` agree on."""
    natural = result._storage.pending.layout  # type: ignore[union-attr]
    shape = result._layout.shape
    if result._layout is natural and natural.strides != contiguous_strides(shape):
        return natural.strides
    if op.strides == "image":
        return image_strides(shape, inputs)
    if op.strides == "order":
        (first,) = inputs
        steps = iterated_strides(first.shape, inputs)
        return ordered_strides(shape, sorted(range(len(shape)), key=lambda d: (-steps[d], d)))
    deciding = [x for x in inputs if _broadcasts(x.shape, shape)] if len(shape) > 1 else []
    return iterated_strides(shape, deciding) if deciding else contiguous_strides(shape)


def _broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    return len(shape) <= len(to) and all(m in (1, n) for m, n in zip(reversed(shape), reversed(to)))


_DECIDING = {"operands": None, "first": 1, "order": 1, "image": 1, "row-major": 0}
"""How many of the operands decide the strides of results."""


_OF_NUMBERS = {"add", "sub", "mul", "true_divide", "floor_divide"}
"""Public operators that PyTorch also applies to two numbers."""


class OpPlan:
    """How to run an operator on one signature: the layouts of the results and the plan that fills them."""

    __slots__ = ("call", "layout", "layouts", "nbytes", "plan", "several")

    def __init__(self, plan: Plan | None, layouts: tuple[Layout, ...], several: bool) -> None:
        self.plan, self.layouts, self.several = plan, layouts, several
        self.layout = layouts[0] if layouts else None
        self.nbytes = layouts[0].span * layouts[0].itemsize if layouts else 0
        self.call = None


def common_device(op: Operator, tensors: Sequence[Tensor]) -> device:
    """The device of a call; raises RuntimeError when tensors with dimensions are on different ones."""
    found = None
    for t in tensors:
        where = t._layout.device
        if found is None or where is found:
            found = where
        elif meta in (where, found) and (t._layout.ndim == 0 or where is cpu or found is cpu):
            if any(x._layout.ndim and x._layout.device is cpu for x in tensors):
                raise RuntimeError(
                    f"{op.name}: Expected all tensors to be on the same device, but found at least "
                    f"two devices, {found} and {where}!"
                )
            found = meta
        else:
            raise RuntimeError(
                f"{op.name}: Expected all tensors to be on the same device, but found at least two "
                f"devices, {found} and {where}!"
            )
    return found or cpu


def _placeholders(recorder: Recorder, args: Sequence[Any]) -> list[Any]:
    """The arguments with every tensor replaced by one that stands for it in the graph."""
    result: list[Any] = []
    for a in args:
        if isinstance(a, Tensor):
            layout = a._layout
            if layout.dtype.kind == "s":
                raise NotImplementedError(f"no operator takes {layout.dtype}, which names memory alone; view it")
            p = recorder.placeholder(
                layout if layout.device is cpu else of(layout.dtype, cpu, layout.shape, layout.strides)
            )
            p._weak = a._weak
            result.append(p)
        elif isinstance(a, (list, tuple)) and a and isinstance(a[0], Tensor):
            result.append([_placeholders(recorder, [x])[0] for x in a])
        else:
            result.append(a)
    return result


def build(op: Operator, args: Sequence[Any], tensors: Sequence[Tensor], target: Layout | None = None) -> OpPlan:
    """Traces and plans a call; with ``target``, the result goes into the first argument."""
    if not tensors and OPERAND in op.kinds and op.namespace and op.name not in _OF_NUMBERS:
        found = next(a for a, kind in zip(args, op.kinds) if kind == OPERAND)
        raise TypeError(
            f"{op.name}(): argument '{op.params[op.kinds.index(OPERAND)]}' (position 1) must be Tensor, not "
            f"{type(found).__name__}"
        )
    where = target.device if target is not None and op.across else common_device(op, tensors)
    if target is not None and target.device is cpu and any(t._layout.device is meta for t in tensors):
        raise NotImplementedError(f"{op.name}_: Cannot copy out of meta tensor; no data!")
    kind = _flat_kind(op, args, tensors, target) if where is cpu else None
    if kind is not None and kind in op.flat:
        like = op.flat[kind]
        shape = next(t._layout for t in tensors if t._layout.ndim)
        plan = like.plan.resized(shape.numel) if like.plan is not None else None
        if plan is not None:
            return OpPlan(plan, tuple(dense(layout.dtype, shape.shape) for layout in like.layouts), like.several)
    recipe = _trace(op, args, tensors, where, target)
    layouts, several = recipe.layouts, recipe.several
    if where is meta:
        return OpPlan(None, layouts, several)
    into = 0 if target is not None else None
    outputs = [graph.schedule.Output(n, layout.strides, into) for n, layout in zip(recipe.nodes, layouts)]
    made = OpPlan(graph.plan.make_plan(outputs, recipe.inputs), layouts, several)
    if (
        kind is not None
        and made.plan is not None
        and made.plan._flat is not None
        and len(layouts) == 1
        and layouts[0].contiguous
    ):
        op.flat[kind] = made
    return made


def _trace(
    op: Operator, args: Sequence[Any], tensors: Sequence[Tensor], where: device, target: Layout | None
) -> Recipe:
    """What a call does: the graph of its body on arguments of these layouts, and the layouts of its results."""
    before = grad_state.grad
    grad_state.grad = False
    try:
        with Recorder() as recorder:
            found = trace_body(op, _placeholders(recorder, args), False)
            several = not isinstance(found, Tensor)
            results = list(found) if several else [found]
            if target is not None:
                results[0] = fit(op, results[0], target)
            nodes = tuple([prim.read(r) for r in results])
    finally:
        grad_state.grad = before
    if target is not None:
        layouts: tuple[Layout, ...] = tuple(
            of(r._layout.dtype, where, r._layout.shape, target.strides) for r in results
        )
    else:
        inputs = [t._layout for t in tensors[: _DECIDING[op.strides]]]
        layouts = tuple(of(r._layout.dtype, where, r._layout.shape, _pick_strides(op, r, inputs)) for r in results)
    return Recipe(op.name, nodes, layouts, several, len(recorder.arguments), len(recorder.numbers), _joins(op, nodes))


def _joins(op: Operator, nodes: tuple[Node, ...]) -> int:
    """What an operator may become part of that waits (``Recipe.joins``): not what draws random numbers, and nothing
    that can fail because of its operands' values, which has to be known at the call."""
    if op.follows:
        return CHAIN
    if op.random or any(n.op in _CHECKED or (n.op == "extern" and _on_host(n)) for n in topological(nodes)):
        return 0
    return WHOLE


_CHECKED = ("gather", "require", "scatter")


def _on_host(node: Node) -> bool:
    return not hasattr(node.attrs[0], "launches")


def recipe_of(op: Operator, args: Sequence[Any], key: list[Any], target: Layout | None = None) -> Recipe:
    """The recipe of a deferred call with this signature."""
    k = tuple(key) if target is None else ("in place", *key)
    found = op.recipes.get(k)
    if found is None:
        if len(op.recipes) >= LIMIT:
            op.recipes.clear()
        if common_device(op, tensors_in(args)) is meta:  # only calls with memory wait
            raise RuntimeError(
                f"{op.name}: Expected all tensors to be on the same device, but found at least two devices, cpu and "
                "meta! Tensors without data cannot be written to memory."
            )
        found = op.recipes[k] = _trace(op, args, tensors_in(args), cpu, target)
    return found


def _flat_kind(
    op: Operator, args: Sequence[Any], tensors: Sequence[Tensor], target: Layout | None
) -> tuple[Any, ...] | None:
    """What a call has in common with others that differ in the number of elements only: all operands contiguous and of
    one shape, or 0-dim.  None for other calls, and for operators that are not elementwise (``promote``)."""
    shape = None
    for t in tensors:
        layout = t._layout
        if layout.ndim:
            if not layout.contiguous or layout.numel < 2 or (shape is not None and layout.shape != shape):
                return None
            shape = layout.shape
    if shape is None or not (op.promote or op.elementwise) or op.lists:
        return None
    key: list[Any] = [target is not None, len(shape) == 1]
    for a, k in zip(args, op.kinds):
        if isinstance(a, Tensor):
            key += [a._layout.dtype, a._layout.ndim > 0, a._weak]
        else:
            number = k in (OPERAND, SCALAR) or (k == FACTOR and not is_one(a))
            key += [a.__class__, None if number else frozen(a)]
    return tuple(key)


def fit(op: Operator, result: Tensor, target: Layout) -> Tensor:
    """The result of an in-place form as the target can hold it; raises RuntimeError when it cannot."""
    if result._layout.shape != target.shape:
        raise RuntimeError(
            f"{op.name}_: output with shape {list(target.shape)} doesn't match the broadcast "
            f"shape {list(result._layout.shape)}"
        )
    check_cast(result._layout.dtype, target.dtype)
    return prim.cast(result, target.dtype)


def frozen(value: Any) -> Any:
    """A static argument as part of a key: lists as tuples, each value with its class (1, 1.0 and True are equal)."""
    if isinstance(value, (list, tuple)):
        return tuple((v.__class__, frozen(v)) for v in value)
    return value


def hashable(key: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A key of a short path whose lists are `frozen`; None where that does not make it one."""
    found = tuple([frozen(k) if k.__class__ is list else k for k in key])
    try:
        hash(found)
    except TypeError:
        return None
    return found


def tensors_in(args: Sequence[Any]) -> list[Tensor]:
    """The tensors among the arguments of a call, and in lists among them."""
    found: list[Tensor] = []
    for a in args:
        if isinstance(a, Tensor):
            found.append(a)
        elif isinstance(a, (list, tuple)):
            found.extend(x for x in a if isinstance(x, Tensor))
    return found
