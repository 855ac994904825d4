"""The nested tensor: members that differ in the size of one dimension, stored one after the other along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..composed import ComposedTensor, operator_name
from ..dispatch.operator import OPERATORS
from ..layout import Size, dense
from ..ops import members
from ..ops.convert import contiguous_format
from ..printing import tensor_repr
from ..storage import Storage
from ..tensor import Tensor, host_values
from .structure import Structure

__all__ = ["NestedTensor", "make_nested", "pointwise"]

# Operators made of others that are elementwise; those that are kernels say so themselves (``promote``).
_ELEMENTWISE = frozenset((
    "div pow ldexp round conj_physical bernoulli clamp clip clamp_min clamp_max where dropout alpha_dropout "
    "feature_dropout fill zero copy isclose isreal isfinite isinf isposinf isneginf float_power nan_to_num "
    "masked_fill softplus hardshrink softshrink rrelu silu mish gelu clone contiguous to _to_dtype detach float "
    "double half bfloat16 int long bool short char byte type type_as zeros_like ones_like empty_like full_like "
    "rand_like randn_like randint_like requires_grad_ cpu pin_memory relu relu6 elu celu selu leaky_relu hardtanh "
    "hardsigmoid hardswish tanh sigmoid logsigmoid threshold tanhshrink softsign addcmul addcdiv lerp rsub "
    "bitwise_not logical_not logical_and logical_or logical_xor"
).split())  # fmt: skip


class NestedTensor(ComposedTensor):
    """Members of one type whose shapes differ in the dimension ``_ragged``, counted with the batch as dimension 0.

    ``_data`` holds them side by side along that dimension, which there is ``_ragged - 1``.  ``_strided``: made with the
    strided layout, which knows no size that stands for the lengths.
    """

    _parts: Structure
    _ragged: int
    _strided: bool
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "NestedTensor"
    is_nested = property(lambda self: True)

    @property
    def layout(self) -> Any:
        """``torch.jagged``, or ``torch.strided`` where it was made so."""
        return members.strided if self._strided else members.jagged

    @property
    def shape(self) -> Size:
        """The sizes, with a symbol for the one that differs; RuntimeError with the strided layout."""
        if self._strided:
            raise RuntimeError(
                "Internal error: NestedTensorImpl doesn't support sizes. The members differ in size: ask for size(dim)"
            )
        inner = list(self._data.shape)
        inner[self._ragged - 1] = self._parts.symbol
        return tuple.__new__(Size, (self._parts.count, *inner))

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of a dimension: a symbol, or with the strided layout RuntimeError, for the one that
        differs."""
        if dim is None:
            return self.shape
        d = _dim(self, dim, "size")
        if d == self._ragged:
            if self._strided and len(set(self._parts.sizes)) != 1:
                raise RuntimeError(f"Given dimension {d} is irregular and does not have a size.")
            return self._parts.sizes[0] if self._strided else self._parts.symbol
        return self._parts.count if d == 0 else int(self._data.shape[d - 1])

    def stride(self, dim: int | None = None) -> Any:
        """The strides of the members, and for the batch a multiple of the symbol."""
        inner = list(self._data.stride())
        batch = self._parts.symbol * inner[self._ragged - 1]
        found = (batch, *inner)
        return found if dim is None else found[_dim(self, dim, "stride")]

    def numel(self) -> int:
        """The number of elements of all members."""
        rows = self._data.shape[self._ragged - 1]
        return int(self._data.numel() // rows * sum(self._parts.sizes)) if rows else 0

    nelement = numel

    def __len__(self) -> int:
        return self._parts.count

    def is_contiguous(self, memory_format: Any = contiguous_format) -> bool:
        """Whether the members lie one after the other, each in row-major order."""
        return self._parts.lengths is None and self._ragged == 1 and self._data.is_contiguous()  # type: ignore[no-any-return]

    def values(self) -> Any:
        """The members side by side, on the tape."""
        return self._data

    def offsets(self) -> Any:
        """Where each member begins, and the end of the last."""
        return self._parts.offsets

    def lengths(self) -> Any:
        """How many rows each member has, where there are gaps between them; else None."""
        return self._parts.lengths

    @property
    def _min_seqlen(self) -> int:
        """The rows of the shortest member."""
        return min(self._parts.sizes, default=0)

    @property
    def _max_seqlen(self) -> int:
        """The rows of the longest member."""
        return self._parts.longest

    _lengths = property(lambda self: self._parts.lengths)
    _offsets = property(lambda self: self._parts.offsets)
    _values = property(lambda self: self._data)
    _ragged_idx = property(lambda self: self._ragged)

    def _like(self, data: Any, ragged: int | None = None) -> Any:
        return make_nested(data, self._parts, self._ragged if ragged is None else ragged, self._strided)

    def _valid(self) -> Any:
        """The rows of the members alone."""
        rows = self._parts.rows
        return self._data if rows is None else self._data.index_select(self._ragged - 1, rows)

    def tolist(self) -> Any:
        """The members as lists; RuntimeError, as in PyTorch, with the jagged layout."""
        if not self._strided:
            raise RuntimeError(".tolist() is not supported for tensor subclasses, got NestedTensor; use unbind()")
        return [t.tolist() for t in self.unbind()]  # type: ignore[attr-defined]

    def numpy(self, *, force: bool = False) -> Any:
        """There is no array of such a shape: RuntimeError."""
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")

    __array__ = numpy

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        if self._strided:
            indent = "\n  "
            members = []
            for t in (x.detach() for x in self.unbind()):  # type: ignore[attr-defined]
                members.append(tensor_repr(t, host_values(t), None).replace("\n", indent))
            tail = ", requires_grad=True" if self.requires_grad and self.is_leaf else ""
            return f"nested_tensor([{indent}{f',{indent}'.join(members)}\n]{tail})"
        tail = f", requires_grad={self.requires_grad}" if self.requires_grad and self.grad_fn is None else ""
        if self.grad_fn is not None:
            tail = f", grad_fn=<{type(self.grad_fn).__name__}>"
        sizes = ", ".join(map(str, self.shape))
        return f"NestedTensor(size=({sizes}), offsets={self._parts.offsets}{tail}, contiguous={self.is_contiguous()})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        parts = self._parts
        return _rebuilt, (self._data, parts.offsets, parts.lengths, self._ragged, self._strided)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        name = operator_name(func)
        if name not in cls._table:
            plain = name[:-1] if name.endswith("_") and not name.endswith("__") else name
            op = getattr(func, "operator", None) or OPERATORS.get(plain)
            if plain in _ELEMENTWISE or (op is not None and op.promote and op.name == plain):
                return pointwise(name, func, args, dict(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _rebuilt(data: Any, offsets: Any, lengths: Any, ragged: int, strided: bool) -> NestedTensor:
    return make_nested(data, Structure(offsets, lengths), ragged, strided)


def make_nested(data: Any, parts: Structure, ragged: int = 1, strided: bool = False) -> NestedTensor:
    """A nested tensor of these parts, which are not checked."""
    t = object.__new__(NestedTensor)
    # The layout says type, device and number of dimensions; the sizes are the tensor's own business.
    t._layout, t._storage = dense(data.dtype, (parts.count, *([0] * data.ndim)), data.device), Storage(0, 0)
    t._offset, t._key = 0, None
    t._data, t._parts, t._ragged, t._strided = data, parts, ragged, strided
    return t


def _dim(t: NestedTensor, dim: int, name: str) -> int:
    n = t._data.ndim + 1
    if not -n <= dim < n:
        raise IndexError(
            f"{name}(): Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})"
        )
    return dim % n


def _beside(name: str, t: Any, like: NestedTensor) -> Any:
    """A dense operand as the rows of ``like`` need it."""
    n, ragged = like._data.ndim + 1, like._ragged
    if t.ndim <= n - 1 - ragged:  # it has no dimension where the members differ
        return t
    shape = (1,) * (n - t.ndim) + tuple(t.shape)
    if t.ndim > n or shape[ragged] != 1 or shape[0] not in (1, like._parts.count):
        raise RuntimeError(
            f"cannot call binary pointwise function {name} with inputs of shapes {tuple(like.shape)} and "
            f"{tuple(t.shape)}: only sizes 1 can be broadcast along the ragged dimension"
        )
    full = t.reshape(shape)
    if shape[0] == 1:
        return full.squeeze(0)
    if like._parts.lengths is not None:
        raise RuntimeError(
            f"{name}: a batch of values cannot be broadcast to members with gaps; call contiguous() first"
        )
    return full.squeeze(ragged).index_select(0, like._parts.members).movedim(0, ragged - 1)


def pointwise(name: str, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """An elementwise operator on nested tensors of one structure, dense tensors that broadcast, and numbers."""
    flat = [x for a in args for x in (a if isinstance(a, (list, tuple)) else (a,))]
    like = next(x for x in (*flat, *kwargs.values()) if isinstance(x, NestedTensor))

    def part(x: Any) -> Any:
        if isinstance(x, NestedTensor):
            if x._parts is not like._parts or x._ragged != like._ragged or x._data.ndim != like._data.ndim:
                raise RuntimeError(
                    f"cannot call binary pointwise function {name} with inputs of shapes {tuple(like.shape)} and "
                    f"{tuple(x.shape)}: nested tensors must be made with the same offsets"
                )
            return x._data
        if isinstance(x, (list, tuple)) and any(isinstance(y, NestedTensor) for y in x):
            return type(x)(part(y) for y in x)
        return _beside(name, x, like) if isinstance(x, Tensor) and x.ndim else x

    values = [part(a) for a in args]
    named = {k: part(v) for k, v in kwargs.items()}
    found = func(*values, **named)
    if name.endswith("_") and not name.endswith("__"):
        return args[0]
    if isinstance(found, tuple):
        return tuple(like._like(x) if x.shape == like._data.shape else x for x in found)
    return like._like(found)
