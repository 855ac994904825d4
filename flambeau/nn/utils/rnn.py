"""Sequences of unequal length: padded to one tensor, or packed without padding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .._base import Tensor, float16, float32, float64, int8, int16, int32, int64, ops, uint8
from ..modules._convert import parse_to

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence_(NamedTuple):
    """The fields of a packed sequence."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(PackedSequence_):
    """Sequences of unequal length as one tensor: the first elements of all, then the second elements of those that
    have one, and so on, longest sequence first.

    Made by ``pack_padded_sequence`` and ``pack_sequence``; recurrent layers take and give it.

    Args:
        data: (sum of lengths, *).
        batch_sizes: how many sequences have a first, second, ... element, on the CPU.
        sorted_indices: where the i-th longest sequence was in the batch; None if it was sorted.
        unsorted_indices: the inverse of that.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            # The older form: data and batch sizes in a tuple.
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequences in "
                "nn.utils.rnn."
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def pin_memory(self) -> PackedSequence:
        """The same in page-locked memory."""
        return self._mapped(lambda t: t.pin_memory(), batch_sizes=True)

    def _mapped(self, fn: Callable[[Tensor], Tensor], batch_sizes: bool = False) -> PackedSequence:
        indices = (None if t is None else fn(t) for t in (self.sorted_indices, self.unsorted_indices))
        sizes = fn(self.batch_sizes) if batch_sizes else self.batch_sizes
        return type(self)(fn(self.data), sizes, *indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move and cast ``data`` as ``Tensor.to`` does; the indices move along, ``batch_sizes`` stays."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        where, _, non_blocking, _ = parse_to(*args, **kwargs)
        copy = kwargs.get("copy", False)
        indices = (
            None if t is None else t.to(where or data.device, non_blocking=non_blocking, copy=copy)
            for t in (self.sorted_indices, self.unsorted_indices)
        )
        return type(self)(data, self.batch_sizes, *indices)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to a CUDA device."""
        return self.to(*args, device=kwargs.pop("device", "cuda"), **kwargs)

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """Move to the CPU."""
        return self.to(*args, device="cpu", **kwargs)

    def double(self) -> PackedSequence:
        """Cast to float64."""
        return self.to(dtype=float64)

    def float(self) -> PackedSequence:
        """Cast to float32."""
        return self.to(dtype=float32)

    def half(self) -> PackedSequence:
        """Cast to float16."""
        return self.to(dtype=float16)

    def long(self) -> PackedSequence:
        """Cast to int64."""
        return self.to(dtype=int64)

    def int(self) -> PackedSequence:
        """Cast to int32."""
        return self.to(dtype=int32)

    def short(self) -> PackedSequence:
        """Cast to int16."""
        return self.to(dtype=int16)

    def char(self) -> PackedSequence:
        """Cast to int8."""
        return self.to(dtype=int8)

    def byte(self) -> PackedSequence:
        """Cast to uint8."""
        return self.to(dtype=uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a CUDA device."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data is in page-locked memory."""
        return self.data.is_pinned()


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The inverse q of a permutation p: q[p[i]] = i; None for None."""
    if permutation is None:
        return None
    places = ops.arange(0, permutation.numel(), device=permutation.device)
    return ops.empty_like(permutation).scatter_(0, permutation, places.to(permutation.dtype))


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | list[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch (T, N, *), or (N, T, *) with ``batch_first``.

    Args:
        input: the batch.
        lengths: the length of each sequence, between 1 and T.
        batch_first: see above.
        enforce_sorted: demand sequences in order of falling length; otherwise they are sorted.

    Raises RuntimeError for lengths that do not fit.
    """
    lengths = ops.as_tensor(lengths, dtype=int64, device="cpu")
    if lengths.dim() != 1:
        raise RuntimeError(
            f"'lengths' argument should be a 1D CPU int64 tensor, but got {lengths.dim()}D "
            f"{lengths.device.type} Long tensor"
        )
    if enforce_sorted:
        sorted_indices = None
    else:
        lengths, sorted_indices = ops.sort(lengths, descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if batch_first:
        input = input.transpose(0, 1)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    counts = lengths.tolist()
    steps, batch = input.shape[:2]
    if len(counts) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size={batch})"
        )
    if min(counts) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(longer < shorter for longer, shorter in itertools.pairwise(counts)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if counts[0] > steps:
        raise RuntimeError(f"Expected lengths of at most {steps} (the padded length), but got {counts[0]}")
    sizes = [sum(1 for count in counts if count > t) for t in range(counts[0])]
    data = ops.cat([input[t, :size] for t, size in enumerate(sizes)])
    return PackedSequence(data, ops.tensor(sizes, dtype=int64), sorted_indices)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(padded batch (T, N, *), lengths (N,)): what ``pack_padded_sequence`` was given.

    Args:
        sequence: the packed sequences.
        batch_first: give (N, T, *).
        padding_value: what stands after the end of a sequence.
        total_length: T, at least the longest length (ValueError); that length if None.
    """
    sizes = sequence.batch_sizes.tolist()
    if total_length is not None and total_length < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {len(sizes)}"
        )
    steps = sequence.data.split(sizes)
    batch = sizes[0]
    rows = []
    for step in steps:
        if step.size(0) < batch:
            missing = step.new_full((batch - step.size(0), *step.shape[1:]), padding_value)
            step = ops.cat([step, missing])
        rows.append(step)
    if total_length is not None and total_length > len(rows):
        rows += [rows[0].new_full(rows[0].shape, padding_value)] * (total_length - len(rows))
    padded = ops.stack(rows, 1 if batch_first else 0)
    lengths = ops.tensor([sum(1 for size in sizes if size > i) for i in range(batch)], dtype=int64)
    unsorted_indices = sequence.unsorted_indices
    if unsorted_indices is not None:
        padded = padded.index_select(0 if batch_first else 1, unsorted_indices)
        lengths = lengths[unsorted_indices.cpu()]
    return padded, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (L_i, *) as one tensor (max L_i, N, *), or (N, max L_i, *) with ``batch_first``.

    Args:
        sequences: the tensors, equal in all but their first dimension.
        batch_first: see above.
        padding_value: what fills the gaps.
        padding_side: "right" or "left".

    Raises RuntimeError for no sequences, unequal shapes or an unknown side.
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    longest = max(s.size(0) for s in sequences)
    padded = []
    for s in sequences:
        gap = longest - s.size(0)
        if gap:
            fill = s.new_full((gap, *s.shape[1:]), padding_value)
            s = ops.cat([s, fill] if padding_side == "right" else [fill, s])
        padded.append(s)
    return ops.stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences (L_i, *) of a padded batch (T, N, *), or (N, T, *) with ``batch_first``."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [sequence[:length] for sequence, length in zip(padded_sequences.unbind(0), lengths.tolist())]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L_i, *), by default in order of falling length."""
    lengths = ops.tensor([s.size(0) for s in sequences], dtype=int64)
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (L_i, *) that were packed, in the order of the batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
