"""The operator record: everything that is known of an operator, in one place.

An operator is a Python function with PyTorch's signature, decorated::

    @operator(promote=("input", "other"), inplace=True)
    def mul(input: Tensor, other: Operand) -> Tensor:
        '''...'''
        return prim.apply("mul", input, other)

    @mul.derivative("input:other", "other:input")
    def _(ctx, grad): ...

The annotations of its parameters say what they are: ``Tensor``, ``Tensor | None``, ``Tensors`` (a list of them),
``Operand`` (a tensor, or a number given at run time), ``Scalar`` (a number given at run time), ``Factor`` (such a
number of which 1, its default, is left out: the body gets None); anything else is static: part of the plan by value.

Kinds: "kernel" (the body is traced once for each signature, fused and compiled; the default), "view" (the body
returns a tensor over the same storage), "composite" (the body just calls other operators, each of which is recorded
and planned by itself), "eager" (the body works on memory).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from ..tensor import Tensor

__all__ = ["OPERATORS", "Derivative", "Factor", "Operand", "Operator", "Scalar", "Tensors", "namespace", "operator"]

Scalar = Any  # int | float | bool | complex, given at run time
Factor = Any  # the same, by which something is multiplied: 1 is not
Operand = Any  # Tensor | Scalar
Tensors = Sequence[Tensor]

OPERATORS: dict[str, Operator] = {}

TENSOR, OPTIONAL, OPERAND, TENSORS, SCALAR, FACTOR, STATIC = range(7)  # those of tensors first
_KINDS = {
    "Tensor": TENSOR, "Tensor | None": OPTIONAL, "Operand": OPERAND, "Operand | None": OPERAND, "Tensors": TENSORS,
    "Scalar": SCALAR,
    "Scalar | None": SCALAR, "Factor": FACTOR,
}  # fmt: skip

_NUMERALS = re.compile(r"(int|float|Sequence\[(int|float)|tuple\[(int|float))\b")

F = TypeVar("F", bound=Callable[..., Any])


class Derivative:
    """How to differentiate an operator.

    ``saves`` names the parameters (and "result") whose values ``fn(ctx, *grads)`` reads; "a:b" saves a only if the
    gradient of b is wanted.  ``fn`` returns the gradient of each tensor parameter, in order (a list for a list).
    """

    __slots__ = ("fn", "saves")

    def __init__(self, saves: tuple[str, ...], fn: Callable[..., Any]) -> None:
        self.saves, self.fn = saves, fn


class Operator:
    """See the module; ``name`` is PyTorch's."""

    # What is the same for nearly all is left to the class: all operators are made while the package is imported.
    make_function: Callable[[str], Callable[..., Any]] | None = None
    make_inplace: Callable[[], Callable[..., Any]] | None = None
    namespace = ""
    aliases: tuple[str, ...] = ()
    _derivative: Derivative | None = None  # that was given
    _automatic: Derivative | None = None
    differentiable = True
    warmable = False
    writes = False
    preserve = False
    strides = "row-major"
    looks = False
    elementwise = False  # although nothing is promoted
    disjoint: tuple[str, ...] = ()  # operands that are not promoted and may not share memory with a target in part
    # Of a call in place: its arguments for a target whose elements stand for several each (expanded), with each of them
    # once.  Without it such a target is refused.
    folded: Callable[..., tuple[Any, ...]] | None = None
    across = False  # a call in place takes operands of other devices than the target's
    spoken = ""  # the name in messages, where ``name`` is an inner one
    apart = False  # reads elements other than the one it writes: ``out`` must not be an input
    index_error: type[Exception] = IndexError
    synonyms: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    overloads: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()  # special methods that are this operator's: "mul", "and"
    random = False
    # In its floating-point tensors together: forward mode calls the operator with tangents.  Needs to be said only
    # where the reverse derivative is not the exact transpose; one that is leads to the same.
    linear = False
    # Of an eager body: its arguments with a batch in front of every tensor, from those of one member, tensors changed
    # already.
    batching: Callable[[list[Any]], list[Any]] | None = None
    samples: Callable[[], Any] | None = None
    reference: Callable[..., Any] | None = None

    def __init__(
        self, name: str, body: Callable[..., Any], kind: str, promote: tuple[str, ...], to: str | None, returns: Any
    ) -> None:
        self.name = name
        self.body = body
        self.kind = kind
        self.promote = promote
        self.to = to
        self.returns = returns
        names, annotations, self._positional = parameters(body)
        self.params: tuple[str, ...] = names
        self.kinds: tuple[int, ...] = tuple([_KINDS.get(annotations.get(p, ""), STATIC) for p in names])
        self.tensors = tuple([i for i, k in enumerate(self.kinds) if k <= TENSORS])
        self.lists = frozenset([i for i, k in enumerate(self.kinds) if k == TENSORS])
        self.promoted = tuple([names.index(p) for p in promote])
        self.plans: dict[Any, Any] = {}
        self.recipes: dict[Any, Any] = {}
        self.quick: dict[Any, Any] = {}  # recipes by what the short path of deferral has at hand
        self.hot: dict[Any, Any] = {}
        self.hot_inplace: dict[Any, Any] = {}
        self.warm: dict[Any, Any] = {}
        self.writing: dict[Any, Any] = {}
        self.flat: dict[Any, Any] = {}
        self.given: dict[Any, Any] = {}  # plans by layouts, that of ``out`` first
        self.waiting: dict[Any, Any] = {}  # recipes by what ``waiting.wait`` has at hand; None for a call met once

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def run_body(self, args: Sequence[Any]) -> Any:
        """Calls the body with all arguments, in the order of ``params``."""
        n = self._positional
        return self.body(*args[:n], **dict(zip(self.params[n:], args[n:])))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @functools.cached_property
    def follows(self) -> bool:
        """Whether the operator computes element by element, so that it may become part of what computes its operand."""
        return self.kind == "kernel" and self.preserve and not self.lists and not self.random

    @functools.cached_property
    def whole(self) -> tuple[int, ...]:
        """Where the operands beside the first are of which a call in place may not overwrite what it still has to
        read: those that are computed with element by element, and those that ``disjoint`` names."""
        named = tuple(self.params.index(name) for name in self.disjoint)
        return (*(i for i in self.promoted if i), *named)

    @functools.cached_property
    def numbers(self) -> frozenset[int]:
        """Where the parameters are that take a tensor or a number, and not None."""
        annotations = parameters(self.body)[1]
        return frozenset(
            i for i, name in enumerate(self.params) if annotations.get(name) in ("Operand", "Scalar", "Factor")
        )

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The parameters of the body."""
        return inspect.signature(self.body)

    @functools.cached_property
    def numerals(self) -> tuple[int, ...]:
        """Where the parameters are that take numbers, or sequences of them, which are part of a plan's key."""
        annotations = parameters(self.body)[1]
        return tuple(
            i
            for i, (name, kind) in enumerate(zip(self.params, self.kinds))
            if kind == STATIC and (name in ("dim", "dims") or _NUMERALS.match(str(annotations.get(name))))
        )

    @functools.cached_property
    def function(self) -> Callable[..., Any]:
        """The public function."""
        return self.named(self.name)

    def named(self, name: str) -> Callable[..., Any]:
        """The public function by its name or another name it has, each with a function of its own as in PyTorch."""
        return self.body if self.make_function is None else self.make_function(name)

    @functools.cached_property
    def inplace(self) -> Callable[..., Any] | None:
        """The in-place method, or None."""
        return None if self.make_inplace is None else self.make_inplace()

    @property
    def derivative(self) -> Derivative | None:
        """The derivative given, the automatic one of a body made of operators, or None."""
        if self._derivative is not None:
            return self._derivative
        if self._automatic is None and self.differentiable and self.kind == "kernel" and derive is not None:
            self._automatic = derive(self)
        return self._automatic

    def gradient(self, *saves: str) -> Callable[[F], F]:
        """Decorator: gives the derivative."""

        def keep(fn: F) -> F:
            self._derivative = Derivative(saves, fn)
            return fn

        return keep

    def without_gradient(self) -> Operator:
        """Says that the results do not depend on the arguments differentiably."""
        self.differentiable = False
        return self


def parameters(body: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any], int]:
    """(names, annotations, number of positional ones) of a body's parameters.

    Read from the code, which is ten times quicker than ``inspect.signature``, where the body does not state its own.
    """
    if hasattr(body, "__signature__"):
        found = inspect.signature(body).parameters
        positional = sum(p.kind is not inspect.Parameter.KEYWORD_ONLY for p in found.values())
        return tuple(found), {n: p.annotation for n, p in found.items()}, positional
    code = (inspect.unwrap(body) if hasattr(body, "__wrapped__") else body).__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], body.__annotations__, code.co_argcount


derive: Callable[[Operator], Derivative] | None = None
"""Makes the derivative of a body that is made of operators; set by ``autograd``, which stands above this file."""


def namespace(
    space: dict[str, Any], members: dict[str, Operator], lazy: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """(``__getattr__``, ``__dir__``) of a module whose members are made or imported when they are first used (PEP 562).

    ``space`` are the module's globals; what is there already comes first.  ``members`` are operators.  ``lazy`` maps
    other names to the module that has them ("load": ".serialization"), or to "." where the name is that of a module
    in this package itself ("nn": ".").  ``dir()`` lists these, what starts with an underscore, and ``__all__`` where
    the module has one: what it only imports for its own use is not shown.
    """
    package = space["__name__"]
    title = package.replace("flambeau", "torch", 1)

    def find(name: str) -> Any:
        found: Any
        if name in members:
            op = members[name]
            found = op.named(name) if name in op.aliases else op.function
        elif name in lazy:
            home = lazy[name]
            if home == ".":
                found = importlib.import_module(f"{package}.{name}")
            else:
                found = getattr(importlib.import_module(home, package), name)
        else:
            raise AttributeError(f"module {title!r} has no attribute {name!r}")
        space[name] = found
        return found

    def listed() -> list[str]:
        all_ = space.get("__all__", space.keys() - {"annotations"})
        return sorted({*(name for name in space if name.startswith("_")), *all_, *members, *lazy})

    return find, listed


def operator(
    *, name: str | None = None, kind: str = "kernel", promote: tuple[str, ...] = (), to: str | None = None,
    method: bool = True,
    function: bool = True, inplace: bool = False, out: bool = True, differentiable: bool = True,
    aliases: Sequence[str] = (),
    returns: Any = None, namespace: str = "torch", preserve: bool | None = None, strides: str = "", looks: bool = False,
    index_error: type[Exception] = IndexError, synonyms: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    overloads: tuple[str, ...] = (), factors: tuple[str, ...] = (), loose: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Operator]:  # fmt: skip
    """Registers an operator; see the module.

    ``promote`` names the parameters that are brought to one element type; ``to`` is "float" if integers become the
    default floating type.  ``method``, ``function``, ``inplace`` and ``out`` say which forms exist; ``aliases`` are
    other names of all of them.  ``returns`` is the named tuple of several results.  ``namespace`` is where the function
    is public.
    ``preserve``: the operator computes element by element (default: if there is ``promote``).
    ``strides``: how results lie in memory, where the body does not say so: as the "operands" do, for which see
    `layout.iterated_strides` (default with ``preserve``), as the "first" of them does if the result has its shape,
    with dimensions in the "order" of its, as an "image" with channels last if it is one, or "row-major" (default).
    ``looks``: the results are views that the layout of the first argument and the numbers given besides determine, so
    that they may be remembered (needs to be said where they are several, or made by another operator).
    ``index_error`` is raised for an index outside of its dimension.  ``synonyms`` are other keywords for parameters;
    ``overloads`` the calls of the function where one signature does not tell them; ``factors`` the numbers that old
    programs give by position among the tensors (``add(input, alpha, other)``); ``loose`` the keywords that may be given
    to methods (and functions of other namespaces than ``torch``) by position, too, as PyTorch's documentation has it.
    """

    def register(body: Callable[..., Any]) -> Operator:
        op = Operator(name or body.__name__, body, kind, promote, to, returns)
        op.differentiable = differentiable
        op.preserve = bool(promote) if preserve is None else preserve
        op.strides = strides or ("operands" if op.preserve else "row-major")
        op.index_error = index_error
        op.looks = looks
        if synonyms or overloads or factors or loose:
            op.synonyms, op.overloads, op.factors, op.loose = synonyms, overloads, factors, loose
        op.__doc__ = body.__doc__
        op.__module__ = body.__module__
        if op.name in OPERATORS:
            raise ValueError(f"operator {op.name!r} is defined twice")
        OPERATORS[op.name] = op
        assert finish is not None
        finish(
            op, method=method, function=function, inplace=inplace, out=out, aliases=tuple(aliases), namespace=namespace
        )
        return op

    return register


finish: Callable[..., None] | None = None
"""Makes the public forms of an operator; set by ``call.py``, which stands above this file."""
