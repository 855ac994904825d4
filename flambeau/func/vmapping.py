"""``vmap``: a function of single examples, made one of batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..tensor import Tensor
from ..transform.batching import to_front
from ..transform.level import Batched, Level, vmap_level
from ..utils._pytree import TreeSpec, _broadcast_to_and_flatten, tree_flatten, tree_unflatten

__all__ = ["name_of", "vmap"]


def name_of(func: Any) -> str:
    """How a function is called in messages."""
    return getattr(func, "__name__", None) or repr(func)


def _flat_dims(in_dims: Any, args: tuple[Any, ...], func: Any) -> tuple[list[Any], list[int | None], TreeSpec, int]:
    """(leaves of the arguments, the dimension of each to map over, their structure, size of the batch)."""
    where = f"vmap({name_of(func)}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    leaves, spec = tree_flatten(args)
    if not args or not leaves:
        raise ValueError(
            f"vmap({name_of(func)})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to "
            "vmap over a function with no inputs. The latter is unsupported."
        )
    dims = _broadcast_to_and_flatten(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{where}: in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{tree_flatten(in_dims)[1]} but inputs has structure {spec}."
        )
    found: list[int | None] = []
    sizes: list[int] = []
    for leaf, dim in zip(leaves, dims):
        if dim is None:
            found.append(None)
            continue
        if not isinstance(dim, int):
            raise ValueError(
                f"{where}: Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
            )
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"{where}: Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over "
                "non-Tensor arguments, please use None as the respective in_dim"
            )
        if not -leaf.ndim <= dim < leaf.ndim:
            raise ValueError(
                f"{where}: Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {leaf.ndim} "
                f"so expected in_dim to satisfy -{leaf.ndim} <= in_dim < {leaf.ndim}."
            )
        found.append(dim % leaf.ndim)
        sizes.append(leaf.shape[dim % leaf.ndim])
    if not sizes:
        raise ValueError(
            f"{where}: at least one input has to be mapped over, but in_dims is None for all of them; call the "
            "function itself"
        )
    if any(n != sizes[0] for n in sizes):
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
            "mapped dimension"
        )
    return leaves, found, spec, sizes[0]


def vmap(
    func: Callable[..., Any],
    in_dims: int | tuple[Any, ...] = 0,
    out_dims: int | tuple[int, ...] = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that applies ``func`` to every member of a batch, all at once.

    ``in_dims`` says which dimension of each argument runs over the batch (None: the argument is the same for all), as a
    number or in the structure of the arguments; ``out_dims`` where it stands in the results.  Keyword arguments are the
    same for all members.  ``randomness`` is "error", "same" or "different": whether random operators may
    be called, and draw once or for each member.  With ``chunk_size`` so many members are computed at a time.

    Raises ValueError for dimensions that do not fit the arguments or results, RuntimeError for other words of
    ``randomness`` and for a function that looks at values.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and not chunk_size > 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, dims, spec, size = _flat_dims(in_dims, args, func)
        if chunk_size is None or chunk_size >= size:
            return _run(func, leaves, dims, spec, out_dims, randomness, size, kwargs)
        return _in_chunks(func, leaves, dims, spec, out_dims, randomness, size, kwargs, chunk_size)

    return mapped


def _run(
    func: Callable[..., Any], leaves: Sequence[Any], dims: Sequence[int | None], spec: TreeSpec, out_dims: Any,
    randomness: str, size: int, kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    with vmap_level(size, randomness) as level:
        members = [x if d is None else Batched.of(x, d, level) for x, d in zip(leaves, dims)]
        out = func(*tree_unflatten(members, spec), **kwargs)
        return _unwrap(out, out_dims, level, func)


def _unwrap(out: Any, out_dims: Any, level: Level, func: Any) -> Any:
    found, spec = tree_flatten(out)
    dims = _broadcast_to_and_flatten(out_dims, spec)
    if isinstance(out_dims, tuple) and len(out_dims) == 1 and isinstance(out, Tensor):
        dims = list(out_dims)
    name = name_of(func)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
            f"`outputs`. out_dims has structure {tree_flatten(out_dims)[1]} but outputs has structure {spec}."
        )
    results = []
    for x, dim in zip(found, dims):
        if not isinstance(x, Tensor):
            if dim is None:
                results.append(x)
                continue
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(x)}. Did you mean to set "
                "out_dims= to None for output?"
            )
        mine = isinstance(x, Batched) and x._level is level
        value, bdim = (x._value, x._bdim) if mine else (x, None)  # type: ignore[attr-defined]
        if dim is None:
            if bdim is not None:
                raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
            results.append(value)
            continue
        rank = x.ndim + 1
        if not -rank <= dim < rank:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{rank}, {rank - 1}], but got {dim})"
            )
        place = dim % rank
        if bdim != place:
            value = to_front(value, bdim, level.size)
            value = value.movedim(0, place) if place else value
        results.append(value)
    return tree_unflatten(results, spec)


def _in_chunks(
    func: Callable[..., Any], leaves: Sequence[Any], dims: Sequence[int | None], spec: TreeSpec, out_dims: Any,
    randomness: str, size: int, kwargs: dict[str, Any], chunk: int,
) -> Any:  # fmt: skip
    """The batch in pieces of ``chunk`` members; their results are joined."""
    rows = []
    for start in range(0, size, chunk):
        count = min(chunk, size - start)
        part = [x if d is None else x.narrow(d, start, count) for x, d in zip(leaves, dims)]
        rows.append(tree_flatten(_run(func, part, dims, spec, out_dims, randomness, count, kwargs)))
    out_spec = rows[0][1]
    joined = []
    places = _broadcast_to_and_flatten(out_dims, out_spec)
    if places is None:
        places = [out_dims[0]]
    for place, column in zip(places, zip(*[row for row, _ in rows])):
        joined.append(column[0] if place is None else ops.cat(list(column), place))
    return tree_unflatten(joined, out_spec)
