"""What operators do with distributed tensors.

Every rule decides, for each dimension of the mesh by itself, where the operands have to lie so that the operator on
what each process has gives the part, the whole or the addend of the result.  Operators without a rule get the whole
operands.  An operand that is whole where others are in parts has, in every process, an addend of its gradient: ``_lay``
adds them up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...composed import operator_name
from ...dispatch.operator import OPERATORS
from ...tensor import Tensor
from ...utils._pytree import tree_flatten, tree_map, tree_unflatten
from ..device_mesh import DeviceMesh
from .dtensor import DTensor, make
from .layouts import graded, moved
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = ["implicit_replication", "run"]

WHOLE, SUM = Replicate(), Partial()

# Operators made of others that are elementwise; those that are kernels say so themselves (``promote``).
_ELEMENTWISE = frozenset((
    "div pow ldexp round conj_physical clamp clip clamp_min clamp_max where dropout fill zero copy isclose isreal "
    "isfinite isinf isposinf isneginf float_power nan_to_num masked_fill softplus hardshrink softshrink silu mish "
    "gelu clone contiguous to _to _to_dtype detach float double half bfloat16 int long bool short char byte type "
    "type_as zeros_like ones_like empty_like full_like rand_like randn_like randint_like cpu relu relu6 elu celu "
    "selu leaky_relu hardtanh hardsigmoid hardswish tanh sigmoid logsigmoid threshold tanhshrink softsign addcmul "
    "addcdiv lerp rsub bitwise_not logical_not logical_and logical_or logical_xor _clone"
).split())  # fmt: skip
# Of these the result for addends are addends: sums, and products with numbers.
_LINEAR = frozenset("add sub neg clone _clone detach contiguous".split())
_SCALING = frozenset("mul div".split())
_DIMWISE = frozenset("softmax log_softmax layer_norm rms_norm".split())

_state = {"implicit": 0}


class implicit_replication:
    """``with implicit_replication():`` ordinary tensors among distributed ones are taken to be whole everywhere."""

    def __enter__(self) -> None:
        _state["implicit"] += 1

    def __exit__(self, *exc: object) -> None:
        _state["implicit"] -= 1


Lay = list[Placement]
"""Where an operand lies; ``None`` instead of it is an operand that there is not."""


def run(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A call with distributed tensors.  Raises RuntimeError for ordinary tensors of more than one element among them,
    and for tensors of different meshes."""
    name = operator_name(func)
    out = kwargs.pop("out", None)
    leaves, spec = tree_flatten((tuple(args), kwargs))
    mesh = next((t._mesh for t in leaves if isinstance(t, DTensor)), None)
    if mesh is None:  # only ``out`` is distributed
        return out.copy_(func(*args, **kwargs))
    leaves = [_distributed(t, mesh, name) if isinstance(t, Tensor) else t for t in leaves]
    args, kwargs = tree_unflatten(leaves, spec)
    plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    written = args[0] if (plain != name or name in ("__setitem__", "copy_")) and isinstance(args[0], DTensor) else None
    op = getattr(func, "operator", None) or OPERATORS.get(plain)
    if plain in _ELEMENTWISE or (op is not None and op.promote and op.name == plain):
        result = _elementwise(plain, func, leaves, spec, mesh, written)
    elif written is None and plain in _RULES:
        result = _RULES[plain](func, *args, **kwargs)
    else:
        result = _wholly(func, leaves, spec, mesh, written)
    return result if out is None else out.copy_(result)


def _distributed(t: Any, mesh: DeviceMesh, name: str) -> DTensor:
    if isinstance(t, DTensor):
        if t._mesh != mesh:
            raise RuntimeError(f"{name}: all operands must be on one mesh, got {mesh} and {t._mesh}")
        return t
    if t.ndim == 0 or t.numel() == 1 or _state["implicit"]:
        return make(t, mesh, (WHOLE,) * mesh.ndim, t.shape)
    raise RuntimeError(
        f"{name}: got mixed torch.Tensor and DTensor, need to convert all torch.Tensor to DTensor before calling "
        f"distributed operators! (a tensor of shape {tuple(t.shape)}; see distribute_tensor, DTensor.from_local)"
    )


def _lay(t: DTensor, target: Sequence[Placement], addends: Sequence[int] = ()) -> Any:
    """What this process needs of an operand; along ``addends`` of the mesh its gradient comes in addends."""
    local = moved(t._data, t._mesh, t.shape, t._placements, tuple(target))
    if addends:
        comes = tuple(SUM if d in addends else p for d, p in enumerate(target))
        local = graded(local, t._mesh, t.shape, comes, tuple(target))
    return local


def _wholly(func: Any, leaves: list[Any], spec: Any, mesh: DeviceMesh, written: DTensor | None) -> Any:
    """The call on whole operands, in every process."""
    whole = (WHOLE,) * mesh.ndim
    locals_ = [_lay(t, whole) if isinstance(t, DTensor) else t for t in leaves]
    args, kwargs = tree_unflatten(locals_, spec)
    if written is None:
        found = func(*args, **kwargs)
        return tree_map(lambda t: make(t, mesh, whole, t.shape) if isinstance(t, Tensor) else t, found)
    target = args[0].clone() if args[0] is written._data or args[0].requires_grad else args[0]
    func(target, *args[1:], **kwargs)
    part = moved(target, mesh, written.shape, whole, written._placements)
    written._data.copy_(part)
    return written


# -- elementwise -------------------------------------------------------------------------------------


def _broadcast(shapes: Sequence[Sequence[int]]) -> list[int]:
    n = max(map(len, shapes))
    found = [1] * n
    for shape in shapes:
        for i, size in enumerate(shape, n - len(shape)):
            if size != 1:
                found[i] = size
    return found


def _elementwise(
    name: str, func: Any, leaves: list[Any], spec: Any, mesh: DeviceMesh, written: DTensor | None
) -> Any:  # fmt: skip
    tensors = [t for t in leaves if isinstance(t, DTensor)]
    shape = list(written.shape) if written is not None else _broadcast([t.shape for t in tensors])
    ndim = len(shape)
    result: Lay = []
    targets: list[Lay] = [[] for _ in tensors]
    addends: list[list[int]] = [[] for _ in tensors]
    numbers = any(isinstance(x, (int, float, complex)) and not isinstance(x, bool) for x in leaves)
    for d in range(mesh.ndim):
        places = [t._placements[d] for t in tensors]
        if written is not None:
            goal = places[0]
        else:
            goal = _goal(name, tensors, places, ndim, numbers)
        if isinstance(goal, Partial) and not (
            all(p == goal for p in places) and (_linear(name, len(tensors), numbers) or name in ("zero", "copy"))
        ):
            raise RuntimeError(f"{name}_: in-place operations on {goal!r} are supported for sums only; redistribute it")
        result.append(goal)
        for t, target, partial in zip(tensors, targets, addends):
            if isinstance(goal, Shard):
                dim = goal.dim - (ndim - t.ndim)
                if dim >= 0 and t.shape[dim] == shape[goal.dim]:
                    target.append(goal._at(dim))
                    continue
                partial.append(d)
                target.append(WHOLE)
            else:
                target.append(goal)
    found = iter([_lay(*given) for given in zip(tensors, targets, addends)])
    args, kwargs = tree_unflatten([next(found) if isinstance(t, DTensor) else t for t in leaves], spec)
    local = func(*args, **kwargs)
    if written is not None:
        return written
    return make(local, mesh, tuple(result), shape)


def _linear(name: str, count: int, numbers: bool) -> bool:
    return (name in _LINEAR and not (numbers and count == 1 and name in ("add", "sub"))) or (
        name in _SCALING and count == 1
    )


def _goal(name: str, tensors: list[DTensor], places: list[Placement], ndim: int, numbers: bool) -> Placement:
    """Where the result of an elementwise operator lies: in the parts of the largest operand that is in parts."""
    if all(p == SUM for p in places) and _linear(name, len(tensors), numbers):
        return SUM
    found = [(t.numel(), -i) for i, (t, p) in enumerate(zip(tensors, places)) if isinstance(p, Shard)]
    for _, i in sorted(found, reverse=True):
        p, t = places[-i], tensors[-i]
        assert isinstance(p, Shard)
        if t.numel() == max(x.numel() for x in tensors) or t.shape[p.dim] != 1:
            return p._at(p.dim + ndim - t.ndim)
    return WHOLE


# -- products ----------------------------------------------------------------------------------------


def _matmul(func: Any, input: DTensor, other: DTensor) -> Any:
    """matmul and its kin: parts of rows, columns or batches give parts, parts of what is summed over give addends."""
    a, b, mesh = input, other, input._mesh
    if a.ndim < 2 or b.ndim < 2:
        leaves, spec = tree_flatten(((a, b), {}))
        return _wholly(func, leaves, spec, mesh, None)
    ndim = max(a.ndim, b.ndim)
    shape = [*_broadcast([a.shape[:-2], b.shape[:-2]] if ndim > 2 else [()]), a.shape[-2], b.shape[-1]]
    plans: list[tuple[Placement, Placement, Placement, bool, bool]] = []
    for d in range(mesh.ndim):
        p, q = a._placements[d], b._placements[d]
        # dimensions from the end: of the operands by themselves
        i = p.dim - a.ndim if isinstance(p, Shard) else 0
        j = q.dim - b.ndim if isinstance(q, Shard) else 0
        plain = type(p) in (Shard, Replicate, Partial) and type(q) in (Shard, Replicate, Partial)
        if plain and (i == -1 or (j == -2 and i == 0)) and j in (0, -2):
            plans.append((Shard(a.ndim - 1), Shard(b.ndim - 2), SUM, False, False))
        elif plain and i == -2:
            plans.append((Shard(a.ndim - 2), WHOLE, Shard(ndim - 2), False, True))
        elif plain and j == -1:
            plans.append((WHOLE, Shard(b.ndim - 1), Shard(ndim - 1), True, False))
        elif plain and (i < -2 or j < -2):
            k = i if i < -2 else j
            mine, other_ = (-k <= t.ndim and t.shape[k] == shape[k] for t in (a, b))
            plans.append((
                Shard(a.ndim + k) if mine else WHOLE, Shard(b.ndim + k) if other_ else WHOLE, Shard(ndim + k),
                not mine, not other_,
            ))  # fmt: skip
        else:
            plans.append((WHOLE, WHOLE, WHOLE, False, False))
    left = _lay(a, [x[0] for x in plans], [d for d, x in enumerate(plans) if x[3]])
    right = _lay(b, [x[1] for x in plans], [d for d, x in enumerate(plans) if x[4]])
    return make(func(left, right), mesh, tuple(x[2] for x in plans), shape)


def _linear_layer(func: Any, input: DTensor, weight: DTensor, bias: DTensor | None = None) -> Any:
    """linear: parts of the outputs, of the inputs (whose products are addends) or of the rows."""
    mesh, last = input._mesh, input.ndim - 1
    operands = [input, weight] + ([] if bias is None else [bias])
    if weight.ndim != 2:
        leaves, spec = tree_flatten((tuple(operands), {}))
        return _wholly(func, leaves, spec, mesh, None)
    lays: list[Lay] = [[], [], []]
    addends: list[list[int]] = [[], [], []]
    result: Lay = []
    for d in range(mesh.ndim):
        p, q = input._placements[d], weight._placements[d]
        if type(p) is Shard and p.dim != last and not isinstance(q, Shard):
            plan: tuple[Placement, ...] = (p, WHOLE, WHOLE, p)
            addends[1].append(d)
            addends[2].append(d)
        elif type(q) is Shard and q.dim == 0:
            plan = (WHOLE, q, Shard(0), Shard(last))
            addends[0].append(d)
        elif (type(q) is Shard and q.dim == 1) or (type(p) is Shard and p.dim == last and type(q) is Replicate):
            plan = (Shard(last), Shard(1), SUM, SUM)
        else:
            plan = (WHOLE, WHOLE, WHOLE, WHOLE)
        for lay, placement in zip(lays, plan):
            lay.append(placement)
        result.append(plan[3])
    given = [_lay(*each) for each in zip(operands, lays, addends)]
    return make(func(*given), mesh, tuple(result), (*input.shape[:-1], weight.shape[0]))


# -- along dimensions --------------------------------------------------------------------------------


def _reduction(func: Any, input: DTensor, *args: Any, **kwargs: Any) -> Any:
    """sum and mean: over what is in parts they give addends."""
    dim = kwargs.get("dim", args[0] if args else None)
    keep = bool(kwargs.get("keepdim", args[1] if len(args) > 1 else False))
    mesh, mean = input._mesh, operator_name(func) == "mean"
    listed = range(input.ndim) if dim is None or dim == () or dim == [] else [dim] if isinstance(dim, int) else dim
    over = {x % input.ndim for x in listed} if input.ndim else set()
    target = tuple(WHOLE if isinstance(p, Partial) and (p != SUM or mean) else p for p in input._placements)
    local = _lay(input, target)
    shape = [1 if i in over else n for i, n in enumerate(input.shape) if keep or i not in over]
    result: Lay = []
    for p in target:
        if isinstance(p, Shard):
            before = 0 if keep else sum(i < p.dim for i in over)
            result.append(SUM if p.dim in over else p._at(p.dim - before))
        else:
            result.append(p)
    if mean and SUM in result:  # parts may differ in size: their sums do not mind
        count = 1
        for i in over:
            count *= input.shape[i]
        found = local.sum(sorted(over), keepdim=keep, dtype=kwargs.get("dtype")) / count
    else:
        found = func(local, *args, **kwargs)
    return make(found, mesh, tuple(result), shape)


def _permuted(order: Callable[..., Sequence[int]]) -> Callable[..., Any]:
    """The rule of an operator that orders dimensions anew."""

    def rule(func: Any, input: DTensor, *args: Any, **kwargs: Any) -> Any:
        dims = [d % input.ndim for d in order(input, *args, **kwargs)]
        result = tuple(p._at(dims.index(p.dim)) if isinstance(p, Shard) else p for p in input._placements)
        return make(func(input._data, *args, **kwargs), input._mesh, result, [input.shape[d] for d in dims])

    return rule


def _swap(input: DTensor, dim0: int, dim1: int) -> list[int]:
    order = list(range(input.ndim))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return order


def _listed(input: DTensor, *dims: Any) -> Sequence[int]:
    return dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims


def _normalized(func: Any, input: DTensor, *args: Any, **kwargs: Any) -> Any:
    """softmax and normalizations: parts along other dimensions stay."""
    name, mesh = operator_name(func), input._mesh
    if name in ("softmax", "log_softmax"):
        dim = kwargs.get("dim", args[0] if args else None)
        within = set(range(input.ndim)) if dim is None else {dim % max(input.ndim, 1)}
    else:
        shape = kwargs.get("normalized_shape", args[0] if args else ())
        within = set(range(input.ndim - len(shape), input.ndim))
    target = tuple(p if type(p) is Shard and p.dim not in within else WHOLE for p in input._placements)
    parts = [d for d, p in enumerate(target) if isinstance(p, Shard)]
    whole = (WHOLE,) * mesh.ndim

    def other(x: Any) -> Any:
        return _lay(x, whole, parts) if isinstance(x, DTensor) else x

    found = func(_lay(input, target), *map(other, args), **{k: other(v) for k, v in kwargs.items()})
    return make(found, mesh, target, input.shape)


def _embedding(func: Any, input: DTensor, weight: DTensor, *args: Any, **kwargs: Any) -> Any:
    """embedding: parts of the vectors, of the rows of numbers, or of the table, whose vectors are then addends."""
    mesh, max_norm = input._mesh, kwargs.get("max_norm", args[1] if len(args) > 1 else None)
    lays: list[Lay] = [[], []]
    addends: list[int] = []
    result: Lay = []
    for d in range(mesh.ndim):
        p, q = input._placements[d], weight._placements[d]
        if type(q) is Shard and q.dim == 1 and max_norm is None:
            plan: tuple[Placement, ...] = (WHOLE, q, Shard(input.ndim))
        elif type(p) is Shard and not isinstance(q, Shard) and max_norm is None:
            plan = (p, WHOLE, p)
            addends.append(d)
        else:
            plan = (WHOLE, WHOLE, WHOLE)
        for lay, placement in zip((*lays, result), plan):
            lay.append(placement)
    found = func(_lay(input, lays[0]), _lay(weight, lays[1], addends), *args, **kwargs)
    return make(found, mesh, tuple(result), (*input.shape, weight.shape[1]))


_RULES: dict[str, Callable[..., Any]] = {
    "matmul": _matmul, "mm": _matmul, "bmm": _matmul, "__matmul__": _matmul, "linear": _linear_layer,
    "sum": _reduction, "mean": _reduction, "embedding": _embedding,
    "t": _permuted(lambda x: range(x.ndim)[::-1]), "T": _permuted(lambda x: range(x.ndim)[::-1]),
    "transpose": _permuted(_swap), "swapaxes": _permuted(_swap), "permute": _permuted(_listed),
    **dict.fromkeys(_DIMWISE, _normalized),
}  # fmt: skip
DTensor._table[""] = run
