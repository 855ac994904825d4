"""``backward`` and ``grad``: the engine with PyTorch's signatures and checks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..ops.common import overridable
from ..tensor import Tensor, contiguous
from ..transform.level import Batched, Level, vmap_level
from .engine import execute
from .graph import GradientEdge
from .mode import set_grad_enabled
from .node import Edge
from .view import edge_of

__all__ = ["backward", "grad"]

Root = Tensor | GradientEdge


def _listed(what: Any) -> list[Any]:
    return [what] if isinstance(what, Tensor | GradientEdge) else list(what)


def _edge(what: Root) -> Edge:
    return (what.node, what.output_nr) if isinstance(what, GradientEdge) else edge_of(what)


def _layout(what: Root) -> Any:
    if isinstance(what, Tensor):
        return what._layout
    outputs = what.node._outputs
    return outputs[what.output_nr] if type(outputs) is tuple else outputs


def _check_seed(index: int, root: Root, seed: Tensor, batched: bool) -> None:
    layout, given = _layout(root), seed._layout
    shape = given.shape[1:] if batched else given.shape
    if shape != layout.shape:
        batch = " (of which the first dimension is the batch)" if batched else ""
        raise RuntimeError(
            f"Mismatch in shape: grad_output[{index}] has a shape of {given.shape}{batch} and output[{index}] has a "
            f"shape of {layout.shape}."
        )
    if layout.dtype.is_complex != given.dtype.is_complex:
        raise RuntimeError(
            "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
            f"grad_output[{index}] has a dtype of {given.dtype} and output[{index}] has a dtype of {layout.dtype}."
        )


def _seeds(roots: Sequence[Root], grads: Sequence[Tensor | None], batched: bool) -> list[Tensor | None]:
    """The gradients that the run starts with: those given, or ones for scalars."""
    found: list[Tensor | None] = []
    for index, (root, seed) in enumerate(zip(roots, grads)):
        if isinstance(seed, Tensor):
            _check_seed(index, root, seed, batched)
        elif seed is not None:
            raise TypeError(f"gradients can be either Tensors or None, but got {type(seed).__name__}")
        elif isinstance(root, GradientEdge) or root._requires_grad:
            layout = _layout(root)
            if layout.numel != 1:
                raise RuntimeError(
                    f"grad can be implicitly created only for scalar outputs, got shape {list(layout.shape)}; pass a "
                    "gradient of that shape, or reduce the output first"
                )
            if not layout.dtype.is_floating_point:
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {layout.dtype}"
                )
            seed = contiguous(layout.dtype, layout.shape, layout.device)
            seed.fill_(1)  # type: ignore[attr-defined]
        found.append(seed)
    return found


def _roots(
    outputs: Sequence[Root], grads: Sequence[Tensor | None], batched: bool = False
) -> list[tuple[Edge, Tensor | None]]:
    if len(outputs) != len(grads):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    seeds = _seeds(outputs, grads, batched)
    found = []
    for index, (output, seed) in enumerate(zip(outputs, seeds)):
        edge = _edge(output)
        if edge[0] is None:
            raise RuntimeError(
                f"element {index} of tensors does not require grad and does not have a grad_fn: set requires_grad on "
                "what it is computed from, and compute it in grad mode"
            )
        found.append((edge, seed))
    return found


def _elements(roots: list[Any], seeds: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Roots and their gradients, of tensors made of tensors (sparse, masked) the elements: those are on the tape."""
    parts = [getattr(root, "_foreign", False) for root in roots]
    return (
        [root._data if part else root for root, part in zip(roots, parts)],
        [
            root._matching(seed) if part and seed is not None else seed
            for root, seed, part in zip(roots, seeds, parts, strict=True)
        ]
        if any(parts)
        else list(seeds),
    )


def _given(grads: Any, count: int) -> list[Tensor | None]:
    if grads is None:
        return [None] * count
    return [grads] if isinstance(grads, Tensor) else list(grads)


@overridable
def backward(
    tensors: Root | Sequence[Root],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Tensor | Sequence[Tensor | None] | None = None,
    inputs: Root | Sequence[Root] | None = None,
) -> None:
    """Adds to the ``.grad`` of every leaf the derivatives of ``sum(dot(tensor, grad_tensor))``.

    ``grad_tensors`` have the shapes of ``tensors``; None stands for a one where the tensor is a real scalar.
    ``retain_graph`` (default: as ``create_graph``) keeps the graph for another run; ``create_graph`` records this run,
    so that gradients can be differentiated again.  With ``inputs`` only their gradients are accumulated.

    Raises RuntimeError for a tensor that requires no gradient, a non-scalar without its gradient, a mismatch in
    shape, or a graph that was freed.
    """
    if grad_variables is not None:
        warnings.warn("`grad_variables` is deprecated. Use `grad_tensors` instead.", FutureWarning, stacklevel=2)
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to `backward()`. Please only "
                "use `grad_tensors`."
            )
        grad_tensors = grad_variables
    targets: list[Edge] | None = None
    if inputs is not None:
        sources = _listed(inputs)
        if not sources:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        targets = _targets(sources)
        for source in sources:
            if isinstance(source, Tensor) and source._node is not None:
                source.retain_grad()  # type: ignore[attr-defined]
    roots = _listed(tensors)
    roots, seeds = _elements(roots, _given(grad_tensors, len(roots)))
    execute(
        _roots(roots, seeds),
        keep_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        targets=targets,
    )


def _targets(sources: Sequence[Root]) -> list[Edge]:
    targets: list[Edge] = []
    for source in sources:
        if not isinstance(source, Tensor | GradientEdge):
            raise TypeError(f"grad: inputs must be Tensors or GradientEdges, got {type(source).__name__}")
        edge = _edge(source)
        if edge[0] is None:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        targets.append(edge)
    return targets


@overridable
def grad(
    outputs: Root | Sequence[Root],
    inputs: Root | Sequence[Root],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """The derivatives of ``sum(dot(output, grad_output))`` with respect to ``inputs``, without touching ``.grad``.

    Arguments are those of ``backward``.  An input that the outputs do not depend on is an error, unless
    ``allow_unused`` (its derivative is then None) or ``materialize_grads`` (zeros).  With ``is_grads_batched`` every
    ``grad_outputs`` has a leading batch dimension, and so has every result.
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if allow_unused is None:
        allow_unused = materialize_grads
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True). To accumulate gradient for "
            "other parts of the graph, please use torch.autograd.backward.",
            FutureWarning,
            stacklevel=2,
        )
    roots, given = _listed(outputs), _listed(inputs)
    keep_graph = create_graph if retain_graph is None else retain_graph
    roots, seeds = _elements(roots, _given(grad_outputs, len(roots)))
    sources, _ = _elements(given, [None] * len(given))
    if is_grads_batched:
        found = _batched(roots, seeds, _targets(sources), keep_graph, create_graph)
    else:
        found = execute(
            _roots(roots, seeds),
            keep_graph=keep_graph,
            create_graph=create_graph,
            targets=_targets(sources),
            accumulate=False,
        )
    for index, (source, derivative) in enumerate(zip(sources, found)):
        if derivative is not None:
            continue
        if materialize_grads:
            found[index] = source.new_zeros(source.shape)
        elif not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {index} appears to not have been used in the graph. Set "
                "allow_unused=True if this is the desired behavior."
            )
    return tuple(
        source._like(derivative) if getattr(source, "_foreign", False) and derivative is not None else derivative
        for source, derivative in zip(given, found)
    )  # type: ignore[arg-type]


def _batched(
    roots: Sequence[Root],
    seeds: Sequence[Tensor | None],
    targets: list[Edge],
    keep_graph: bool,
    create_graph: bool,
) -> list[Tensor | None]:
    """The gradients for all members of a batch of seeds: one run over members that stand for all (``vmap``)."""
    pairs = _roots(roots, seeds, batched=True)
    sizes = {seed._layout.shape[0] for _, seed in pairs if seed is not None}
    if len(sizes) != 1 or any(seed is None for _, seed in pairs):
        raise RuntimeError(
            f"grad: with is_grads_batched=True every grad_output needs the same leading dimension, got sizes {sizes}"
        )
    (size,) = sizes
    with set_grad_enabled(create_graph), vmap_level(size) as level:
        found = execute(
            [(edge, Batched.of(seed, 0, level)) for edge, seed in pairs],  # type: ignore[arg-type]
            keep_graph=keep_graph,
            create_graph=create_graph,
            targets=targets,
            accumulate=False,
        )
        return [None if g is None else _whole(g, level) for g in found]


def _whole(grad: Tensor, level: Level) -> Tensor:
    """The gradients of all members side by side."""
    mine = isinstance(grad, Batched) and grad._level is level
    value, bdim = (grad._value, grad._bdim) if mine else (grad, None)  # type: ignore[attr-defined]
    if bdim is None:
        return value.expand((level.size, *value.shape))  # type: ignore[attr-defined,no-any-return]
    return value.movedim(bdim, 0)  # type: ignore[attr-defined,no-any-return]
