"""Derivatives of functions, as functions: gradients, products with Jacobians and Hessians, and the matrices.

Reverse mode records the function on the tape of the level that it is called in (``transform/level.py``).  What comes
out keeps its history only if somebody outside can ask for it: if the function depends on tensors that were on that tape
before.  Forward mode is a level of dual numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import ops
from ..autograd import api
from ..autograd.graph import GradientEdge
from ..autograd.mode import state as grad_state
from ..autograd.node import AccumulateGrad, Node, number
from ..autograd.view import edge_of
from ..tensor import Tensor
from ..transform.forward import check_tangent
from ..transform.level import Batched, Dual, Level, Wrapper, bare, levels, lifted
from ..utils._pytree import TreeSpec, tree_flatten, tree_map_only, tree_unflatten
from .vmapping import vmap

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "vjp"]

Function = Callable[..., Any]


# -- the tape of one transform -----------------------------------------------------------------------


class _Recording:
    """A context manager: operators are recorded, also inside of ``no_grad``; levels further out keep their mode."""

    def __enter__(self) -> _Recording:
        self.before = (grad_state.grad, grad_state.track_views)
        self.outer = grad_state.grad
        self.level = levels.stack[-1] if levels.stack else None
        if self.level is not None:
            self.level.modes.append(grad_state.grad)
        grad_state.grad = grad_state.track_views = True
        self.start = number()
        self.leaves: list[Tensor] = []
        self.edges: list[Any] = []
        return self

    def __exit__(self, *exc: object) -> None:
        grad_state.grad, grad_state.track_views = self.before
        if self.level is not None:
            self.level.modes.pop()
        for leaf in self.leaves:
            if leaf._node is None:
                leaf._requires_grad = False  # its gradient is nobody's but ours

    def variable(self, x: Tensor) -> Tensor:
        """A tensor of this level to differentiate by; on the tape behind ``x`` if that is on it."""
        if x._layout.dtype.kind not in "fc":
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        here = x if self.level is None else lifted(x, self.level)
        if here._requires_grad and self.outer:
            leaf: Tensor = ops.alias(here)
        else:
            leaf = bare(here)
            leaf._requires_grad = True
        self.leaves.append(leaf)
        self.edges.append(GradientEdge(*edge_of(leaf)))  # type: ignore[arg-type]
        return leaf

    def depends_outside(self, outputs: Iterable[Tensor]) -> bool:
        """Whether the outputs depend on anything that was on the tape before."""
        if not self.outer:
            return False
        own = {id(leaf) for leaf in self.leaves}
        seen: set[int] = set()
        stack: list[Node] = [n for n, _ in map(edge_of, outputs) if n is not None]
        while stack:
            node = stack.pop()
            if node._sequence in seen:
                continue
            seen.add(node._sequence)
            if type(node) is AccumulateGrad:
                if id(node.variable) not in own:
                    return True
            elif node._sequence < self.start:
                return True
            stack.extend(n for n, _ in node.next_functions if n is not None)
        return False


def _variables(recording: _Recording, tree: Any) -> Any:
    return tree_map_only(Tensor, recording.variable, tree)


def _stripped(tree: Any, keep: bool) -> Any:
    """Results without their place on the tape, unless they have to ``keep`` it."""
    return tree if keep else tree_map_only(Tensor, lambda t: bare(t) if t._requires_grad else t, tree)


def _at_level(t: Tensor, level: Level | None) -> Tensor:
    """What a tensor of a level inside of ``level`` stands for there."""
    while isinstance(t, Wrapper) and t._level is not level:
        t = t._value
    return t


def _forgotten(t: Tensor, level: Level | None) -> Tensor:
    """The same value without a place on the tape of ``level``.

    A pull inside of a further level (a ``vmap`` over it) leaves what it computed from saved tensors on the tape of the
    recording, which nobody may differentiate by any more.
    """
    if isinstance(t, Batched) and t._level is not level:
        return Batched.of(_forgotten(t._value, level), t._bdim, t._level)
    if isinstance(t, Dual) and t._level is not level:
        tangent = None if t._tangent is None else _forgotten(t._tangent, level)
        return Dual.of(_forgotten(t._value, level), tangent, t._level)
    return bare(t) if t._requires_grad else t


def _pull(
    recording: _Recording, outputs: Sequence[Tensor], seeds: Sequence[Any], keep_graph: bool, create_graph: bool
) -> list[Tensor]:
    """The gradients by all variables; zeros where nothing depends on one."""
    pairs = [(y, s) for y, s in zip(outputs, seeds) if y._requires_grad]
    found: Sequence[Tensor | None] = [None] * len(recording.edges)
    if pairs:
        found = api.grad(
            [y for y, _ in pairs], recording.edges, [s for _, s in pairs], retain_graph=keep_graph,
            create_graph=create_graph, allow_unused=True,
        )  # fmt: skip
    return [ops.zeros_like(bare(x)) if g is None else g for g, x in zip(found, recording.leaves)]


def _chosen(args: tuple[Any, ...], argnums: Any) -> tuple[Any, tuple[int, ...]]:
    """(the arguments to differentiate by, their positions)."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnum must be int or Tuple[int], got: {type(argnums)}")
    several = isinstance(argnums, tuple)
    wanted = argnums if isinstance(argnums, tuple) else (argnums,)
    if several and not wanted:
        raise RuntimeError("argnums must be non-empty")
    positions = []
    for n in wanted:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int or Tuple[int], got: {type(n)} in {argnums}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
        positions.append(n % len(args))
    if len(set(positions)) != len(positions):
        raise RuntimeError(f"argnums elements must be unique, got argnums={argnums}")
    chosen = tuple(args[p] for p in positions)
    return (chosen if several else chosen[0]), tuple(positions)


def _with(args: tuple[Any, ...], positions: Sequence[int], several: bool, chosen: Any) -> tuple[Any, ...]:
    full = list(args)
    for p, x in zip(positions, chosen if several else (chosen,)):
        full[p] = x
    return tuple(full)


def _take_aux(out: Any, what: str) -> tuple[Any, Any]:
    if not (isinstance(out, tuple) and len(out) == 2):
        raise RuntimeError(f"{what}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return out


# -- reverse mode ------------------------------------------------------------------------------------


def grad_and_value(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """A function that returns (the gradient of ``func`` by the arguments ``argnums``, its value).

    ``func`` returns a tensor of one element without dimensions; with ``has_aux`` a pair of that and anything else, and
    the value is then the pair.  Arguments may be trees (lists, tuples, dictionaries) of tensors.  Raises RuntimeError
    for other results.
    """
    what = "grad_and_value(f)(*args)"

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        chosen, positions = _chosen(args, argnums)
        with _Recording() as recording:
            variables = _variables(recording, chosen)
            out = func(*_with(args, positions, isinstance(argnums, tuple), variables), **kwargs)
            aux = None
            if has_aux:
                out, aux = _take_aux(out, what)
            if not isinstance(out, Tensor):
                raise RuntimeError(f"{what}: Expected f(*args) to return a Tensor, got {type(out)}")
            if out.ndim:
                raise RuntimeError(
                    f"{what}: Expected f(*args) to return a scalar Tensor, got tensor with {out.ndim} dims. Maybe you "
                    "wanted to use the vjp or jacrev APIs instead?"
                )
            kept = recording.depends_outside([out])
            flat, spec = tree_flatten(variables)
            found = iter(_pull(recording, [out], [None], kept, kept))
            grads = tree_unflatten([next(found) if isinstance(x, Tensor) else None for x in flat], spec)
            keep_aux = has_aux and recording.depends_outside(_tensors(aux))
        value = _stripped(out, kept)
        return grads, ((value, _stripped(aux, keep_aux)) if has_aux else value)

    return wrapped


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_flatten(tree)[0] if isinstance(x, Tensor)]


def grad(func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Function:
    """A function that returns the gradient of ``func`` by the arguments ``argnums`` (with ``has_aux`` a pair of it and
    the other result).  See ``grad_and_value``."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapped


def vjp(func: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(``func(*primals)``, a function of a vector v that returns v'J): J is the Jacobian of ``func`` at ``primals``.

    v has the structure of the results; the function returns a tuple of one gradient for each of ``primals``, and can be
    called again.  With ``has_aux`` the function's other result is returned as a third.
    """
    with _Recording() as recording:
        variables = _variables(recording, primals)
        out = func(*variables)
        aux = None
        if has_aux:
            out, aux = _take_aux(out, "vjp(f, *primals)")
        flat, spec = tree_flatten(out)
        for y in flat:
            if not isinstance(y, Tensor):
                raise RuntimeError(
                    f"vjp(f, *primals): Expected f(*primals) to return only tensors, got unsupported type {type(y)}"
                )
        if not flat:
            raise RuntimeError("vjp(f, *primals): Expected f to return at least one tensor, got an empty tree")
        kept = recording.depends_outside(flat)
        keep_aux = has_aux and recording.depends_outside(_tensors(aux))
    leaves, in_spec = tree_flatten(variables)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        seeds, seed_spec = tree_flatten(cotangents)
        if seed_spec != spec:
            raise RuntimeError(
                f"Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {seed_spec}, primal output: {spec}"
            )
        outer = grad_state.grad
        history = kept or any(s._requires_grad for s in seeds)
        create = history and outer if create_graph is None else create_graph
        found = _pull(recording, flat, seeds, retain_graph, create)
        if not (kept or any(_at_level(s, recording.level)._requires_grad for s in seeds)):
            found = [_forgotten(g, recording.level) for g in found]
        rest = iter(found)
        return tree_unflatten([next(rest) if isinstance(x, Tensor) else None for x in leaves], in_spec)

    value = tree_unflatten([_stripped(y, kept) for y in flat], spec)
    return (value, pull, _stripped(aux, keep_aux)) if has_aux else (value, pull)


# -- forward mode ------------------------------------------------------------------------------------


def jvp(func: Function, primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False) -> Any:
    """(``func(*primals)``, its derivative along ``tangents``): the product of the Jacobian with them.

    ``tangents`` have the structure and shapes of ``primals``, a tuple.  ``strict`` raises RuntimeError where a result
    does not depend on ``primals`` (otherwise its derivative is zero).  With ``has_aux`` the function's other result is
    returned as a third.
    """
    what = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{what}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    flat, spec = tree_flatten(primals)
    directions, directions_spec = tree_flatten(tangents)
    if spec != directions_spec:
        raise RuntimeError(
            f"{what}: Expected primals and tangents to have the same python structure. For example, if primals is a "
            f"tuple of 3 tensors, tangents also must be. Got primals with structure {spec} and tangents with structure "
            f"{directions_spec}"
        )
    for name, items in (("primals", flat), ("tangents", directions)):
        if not items or any(not isinstance(x, Tensor) for x in items):
            bad = next((type(x) for x in items if not isinstance(x, Tensor)), None)
            raise RuntimeError(
                f"{what}: Expected {name} to be a tree of at least one tensor, "
                + ("got an empty one" if bad is None else f"got unsupported type {bad}")
            )
    level = levels.push()
    try:
        duals = [Dual.of(x, check_tangent(x, d), level) for x, d in zip(flat, directions)]
        out = func(*tree_unflatten(duals, spec))
        aux = None
        if has_aux:
            out, aux = _take_aux(out, what)
        results, out_spec = tree_flatten(out)
        if not results:
            raise RuntimeError(f"{what}: expected f(*primals) to return at least one tensor, got an empty tree")
        values, pushed = [], []
        for y in results:
            if not isinstance(y, Tensor):
                raise RuntimeError(
                    f"{what}: expected f(*primals) to return only tensors, got unsupported type {type(y)}"
                )
            mine = isinstance(y, Dual) and y._level is level
            value, tangent = (y._value, y._tangent) if mine else (y, None)  # type: ignore[attr-defined]
            if tangent is None:
                if strict:
                    raise RuntimeError(
                        f"{what}: The output of f is independent of the inputs. This is not allowed with strict=True."
                    )
                tangent = ops.zeros_like(value)
            values.append(value)
            pushed.append(tangent)
        if has_aux:
            aux = tree_map_only(Dual, lambda t: t._value if t._level is level else t, aux)
    finally:
        levels.pop(level)
    found = (tree_unflatten(values, out_spec), tree_unflatten(pushed, out_spec))
    return (*found, aux) if has_aux else found


def linearize(func: Function, *primals: Any) -> tuple[Any, Function]:
    """(``func(*primals)``, a function of tangents that returns the derivative along them).

    ``func`` is run once: its transpose is recorded, and the returned function transposes that again.
    """
    value, pull = vjp(func, *primals)
    flat, spec = tree_flatten(value)
    with _Recording() as recording:
        duals = [recording.variable(ops.zeros_like(y)) for y in flat]
        pulled = pull(tree_unflatten(duals, spec), create_graph=True)
        pulled_flat, pulled_spec = tree_flatten(pulled)
    shapes = [x.shape for x in tree_flatten(primals)[0]]

    def push(*tangents: Any) -> Any:
        given, given_spec = tree_flatten(tangents)
        if given_spec != pulled_spec:
            raise RuntimeError(
                f"The tangents given to the linearized function have the structure {given_spec}, its primals "
                f"{pulled_spec}"
            )
        for t, shape in zip(given, shapes):
            if t.shape != shape:
                raise RuntimeError(f"The linearized function got a tangent of shape {list(t.shape)} for {list(shape)}")
        found = _pull(recording, pulled_flat, given, True, grad_state.grad and any(t._requires_grad for t in given))
        return tree_unflatten(found, spec)

    return value, push


# -- matrices ----------------------------------------------------------------------------------------


def _basis(tensors: Sequence[Tensor]) -> list[Tensor]:
    """For each tensor the unit vectors of all of them together: (number of elements of all, *shape)."""
    counts = [t.numel() for t in tensors]
    total = sum(counts)
    found = []
    start = 0
    for t, n in zip(tensors, counts):
        unit = ops.zeros(total, n, dtype=t.dtype, device=t.device)
        ops.diagonal(unit, -start).fill_(1)  # type: ignore[attr-defined]
        found.append(unit.view(total, *t.shape))
        start += n
    return found


def jacrev(
    func: Function, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Function:  # fmt: skip
    """A function that returns the Jacobian of ``func`` by the arguments ``argnums``, computed by rows (reverse mode).

    For each result and argument a tensor of shape ``result.shape + argument.shape``, in the structure of the results,
    and there in that of the arguments.  ``chunk_size`` rows are computed at a time.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen, positions = _chosen(args, argnums)
        several = isinstance(argnums, tuple)
        primals = chosen if several else (chosen,)

        def partial(*xs: Any) -> Any:
            return func(*_with(args, positions, True, xs), **kwargs)

        found = vjp(partial, *primals, has_aux=has_aux)
        value, pull = found[:2]
        outputs, out_spec = tree_flatten(value)
        inputs, in_spec = tree_flatten(chosen)

        def rows(*seeds: Tensor) -> list[Tensor]:
            pulled = pull(tree_unflatten(seeds, out_spec))
            return tree_flatten(pulled)[0]

        basis = tuple(_basis(outputs))
        if basis[0].shape[0] == 0:
            columns = [x.new_zeros((0, *x.shape)) for x in inputs]  # type: ignore[attr-defined]
        else:
            columns = vmap(rows, chunk_size=chunk_size)(*basis)
        sizes = [y.numel() for y in outputs]
        parts = [c.split(sizes, 0) for c in columns]  # type: ignore[attr-defined]
        jacobians = []
        for k, y in enumerate(outputs):
            blocks = [part[k].reshape((*y.shape, *x.shape)) for part, x in zip(parts, inputs)]
            jacobians.append(tree_unflatten(blocks, in_spec))
        result = tree_unflatten(jacobians, out_spec)
        return (result, found[2]) if has_aux else result

    return wrapped


def jacfwd(
    func: Function, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Function:
    """A function that returns the Jacobian of ``func`` by the arguments ``argnums``, computed by columns (forward
    mode).  The result is that of ``jacrev``; ``randomness`` is that of ``vmap``."""

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen, positions = _chosen(args, argnums)
        several = isinstance(argnums, tuple)
        primals = chosen if several else (chosen,)
        inputs, in_spec = tree_flatten(primals)

        def partial(*xs: Any) -> Any:
            return func(*_with(args, positions, True, xs), **kwargs)

        aux: Any = None

        def column(*directions: Tensor) -> Any:
            pushed = jvp(partial, primals, tree_unflatten(directions, in_spec), has_aux=has_aux)
            return (pushed[1], pushed[2]) if has_aux else pushed[1]

        found = vmap(column, randomness=randomness, out_dims=(0, None) if has_aux else 0)(*_basis(inputs))  # type: ignore[arg-type]
        columns, aux = found if has_aux else (found, None)
        outputs, out_spec = tree_flatten(columns)
        sizes = [x.numel() for x in inputs]
        chosen_spec = tree_flatten(chosen)[1]
        jacobians = [_block_row(y, sizes, inputs, chosen_spec) for y in outputs]
        result = tree_unflatten(jacobians, out_spec)
        return (result, aux) if has_aux else result

    return wrapped


def _block_row(columns: Any, sizes: Sequence[int], inputs: Sequence[Any], spec: TreeSpec) -> Any:
    """The derivatives of one result by every input, from all columns one after the other."""
    turned = columns.movedim(0, -1)
    blocks = [part.reshape((*columns.shape[1:], *x.shape)) for part, x in zip(turned.split(list(sizes), -1), inputs)]
    return tree_unflatten(blocks, spec)


def hessian(func: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """A function that returns the second derivatives of ``func`` by the arguments ``argnums``: ``jacfwd`` of
    ``jacrev``."""
    return jacfwd(jacrev(func, argnums), argnums)
