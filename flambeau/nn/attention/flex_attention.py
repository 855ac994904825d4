"""Attention whose scores a function of the user modifies or masks.

Functions get indices as tensors that broadcast against each other to (batch, heads, queries, keys), and compute for
all of them at once; they must be made of elementwise operations and of look-ups by these indices together
(``table[head, q]``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

from ...dtype import bool_
from .._base import Tensor, int32, ops

__all__ = [
    "AuxOutput",
    "AuxRequest",
    "BlockMask",
    "FlexKernelOptions",
    "and_masks",
    "create_block_mask",
    "create_mask",
    "flex_attention",
    "noop_mask",
    "or_masks",
]

_DEFAULT_SPARSE_BLOCK_SIZE = 128
MaskFunction = Callable[..., Tensor]


class AuxRequest(NamedTuple):
    """What ``flex_attention`` gives besides the output."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """The log-sum-exp and the largest score of each query, (batch, heads, queries)."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


class FlexKernelOptions(TypedDict, total=False):
    """PyTorch's hints to its kernels; they have no effect."""

    num_warps: int
    num_stages: int
    BLOCK_M: int
    BLOCK_N: int
    FORCE_USE_FLEX_ATTENTION: bool
    PRESCALE_QK: bool
    ROWS_GUARANTEED_SAFE: bool
    BLOCKS_ARE_CONTIGUOUS: bool
    WRITE_DQ: bool


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """Lets every query see every key."""
    return batch.new_ones(size=(), dtype=bool_, device=batch.device)


def _indices(B: int, H: int, Q: int, KV: int, device: Any) -> list[Tensor]:
    """The four indices, each along its dimension of (B, H, Q, KV)."""
    result = []
    for dim, size in enumerate((B, H, Q, KV)):
        shape = [1, 1, 1, 1]
        shape[dim] = size
        result.append(ops.arange(size, dtype=int32, device=device).reshape(shape))
    return result


def _spread(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """A function's result in the full shape; raises RuntimeError where it does not broadcast to it."""
    if not isinstance(value, Tensor):
        value = ops.as_tensor(value)
    if value.dim() > len(shape):
        raise RuntimeError(
            f"flex_attention: {what} gave shape {tuple(value.shape)}, which does not broadcast to {shape}; look tables "
            "up by all indices at once: table[b, h], not table[b][h]"
        )
    return value.expand(shape)


def create_mask(
    mod_fn: Callable[..., Tensor],
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
) -> Tensor:
    """The values (B, H, Q_LEN, KV_LEN) of a mask function; of a score function, those it makes of zeros.

    Args:
        mod_fn: ``mask(b, h, q, kv) -> bool`` or ``score(score, b, h, q, kv) -> score``.
        B, H: 1 if None, for a function that does not look at them.
        Q_LEN, KV_LEN: the numbers of queries and keys.
        device: where.
    """
    shape = (B or 1, H or 1, Q_LEN, KV_LEN)
    indices = _indices(*shape, device)
    if _takes_score(mod_fn):
        return _spread(mod_fn(ops.zeros(shape, device=device), *indices), shape, "the score function")
    return _spread(mod_fn(*indices), shape, "the mask function")


def _takes_score(function: Callable[..., Tensor]) -> bool:
    """Whether a function has five arguments, the first being the score."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    count = code.co_argcount - (1 if hasattr(function, "__self__") else 0)
    return count - len(function.__defaults__ or ()) == 5


def and_masks(*mask_mods: MaskFunction) -> MaskFunction:
    """The mask function that is true where all are."""
    _check_callable(mask_mods)

    def and_mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = b.new_ones(size=(), dtype=bool_)
        for mask in mask_mods:
            result = result & mask(b, h, q_idx, kv_idx)
        return result

    return and_mask


def or_masks(*mask_mods: MaskFunction) -> MaskFunction:
    """The mask function that is true where one is."""
    _check_callable(mask_mods)

    def or_mask(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        result = b.new_zeros(size=(), dtype=bool_)
        for mask in mask_mods:
            result = result | mask(b, h, q_idx, kv_idx)
        return result

    return or_mask


def _check_callable(functions: tuple[Any, ...]) -> None:
    if not all(callable(function) for function in functions):
        raise RuntimeError(f"All inputs should be callable mask_mods: {functions}")


def _ordered(dense: Tensor) -> tuple[Tensor, Tensor]:
    """For a table of blocks (..., rows, columns): how many each row has, and their numbers, the others after them."""
    present = dense.to(int32)
    return present.sum(-1).to(int32), ops.argsort(present, dim=-1, descending=True, stable=True).to(int32)


def _dense(counts: Tensor, indices: Tensor) -> Tensor:
    """The table of blocks of which ``_ordered`` made counts and numbers."""
    columns = indices.size(-1)
    listed = ops.arange(columns, device=indices.device) < counts.unsqueeze(-1)
    table = ops.zeros(indices.shape, dtype=int32, device=indices.device)
    return table.scatter(-1, indices.long(), listed.to(int32))


class BlockMask:
    """Which blocks of BLOCK_SIZE queries by keys have anything to compute, and which of these need no mask.

    Made by ``create_block_mask``.

    Args:
        seq_lengths: the numbers of queries and keys.
        kv_num_blocks: (B, H, rows), how many blocks a row of blocks has that the mask covers in part.
        kv_indices: (B, H, rows, columns), which.
        full_kv_num_blocks, full_kv_indices: the same of blocks without a masked element.
        q_num_blocks, q_indices, full_q_num_blocks, full_q_indices: the same by columns.
        BLOCK_SIZE: the size of a block.
        mask_mod: the mask function.
        dq_write_order, dq_write_order_full, dq_kv_order, dq_kv_order_spt: hints to PyTorch's kernels, kept.
    """

    _TENSOR_ATTRS = (
        "kv_num_blocks",
        "kv_indices",
        "full_kv_num_blocks",
        "full_kv_indices",
        "q_num_blocks",
        "q_indices",
        "full_q_num_blocks",
        "full_q_indices",
    )
    kv_num_blocks: Tensor
    kv_indices: Tensor
    full_kv_num_blocks: Tensor | None
    full_kv_indices: Tensor | None

    def __init__(
        self,
        seq_lengths: tuple[int, int],
        kv_num_blocks: Tensor,
        kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None,
        full_kv_indices: Tensor | None,
        q_num_blocks: Tensor | None,
        q_indices: Tensor | None,
        full_q_num_blocks: Tensor | None,
        full_q_indices: Tensor | None,
        BLOCK_SIZE: tuple[int, int] = (_DEFAULT_SPARSE_BLOCK_SIZE, _DEFAULT_SPARSE_BLOCK_SIZE),
        mask_mod: MaskFunction = noop_mask,
        *,
        dq_write_order: Tensor | None = None,
        dq_write_order_full: Tensor | None = None,
        dq_kv_order: Tensor | None = None,
        dq_kv_order_spt: bool | None = None,
    ) -> None:
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if kv_num_blocks is None or kv_indices is None:
            raise AssertionError("kv_num_blocks and kv_indices must be provided")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        self.seq_lengths = seq_lengths
        self.kv_num_blocks = kv_num_blocks
        self.kv_indices = kv_indices
        self.full_kv_num_blocks = full_kv_num_blocks
        self.full_kv_indices = full_kv_indices
        self.q_num_blocks = q_num_blocks
        self.q_indices = q_indices
        self.full_q_num_blocks = full_q_num_blocks
        self.full_q_indices = full_q_indices
        self.BLOCK_SIZE = BLOCK_SIZE
        self.mask_mod = mask_mod
        self.dq_write_order = dq_write_order
        self.dq_write_order_full = dq_write_order_full
        self.dq_kv_order = dq_kv_order
        self.dq_kv_order_spt = dq_kv_order_spt

    @classmethod
    def from_kv_blocks(
        cls,
        kv_num_blocks: Tensor,
        kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None = None,
        full_kv_indices: Tensor | None = None,
        BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE,
        mask_mod: MaskFunction | None = None,
        seq_lengths: tuple[int, int] | None = None,
        compute_q_blocks: bool = True,
        *,
        dq_write_order: Tensor | None = None,
        dq_write_order_full: Tensor | None = None,
        dq_kv_order: Tensor | bool | None = None,
    ) -> BlockMask:
        """A mask from the blocks of each row; those of each column are computed.  Arguments as for the class."""
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
        if seq_lengths is None:
            seq_lengths = (kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1])
        columns: list[Tensor | None] = [None] * 4
        if compute_q_blocks:
            columns[:2] = _ordered(_dense(kv_num_blocks, kv_indices).transpose(-2, -1))
            if full_kv_num_blocks is not None and full_kv_indices is not None:
                columns[2:] = _ordered(_dense(full_kv_num_blocks, full_kv_indices).transpose(-2, -1))
        return cls(
            seq_lengths,
            kv_num_blocks,
            kv_indices,
            full_kv_num_blocks,
            full_kv_indices,
            *columns,
            size,
            mask_mod or noop_mask,
            dq_write_order=dq_write_order,
            dq_write_order_full=dq_write_order_full,
            dq_kv_order=dq_kv_order,  # type: ignore[arg-type]
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, queries, keys)."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def as_tuple(self, flatten: bool = True) -> tuple[Any, ...]:
        """The parts, in the order of the class's arguments."""
        head = self.seq_lengths if flatten else (self.seq_lengths,)
        size = self.BLOCK_SIZE if flatten else (self.BLOCK_SIZE,)
        hints = (self.dq_write_order, self.dq_write_order_full, self.dq_kv_order, self.dq_kv_order_spt)
        return (*head, *(getattr(self, name) for name in self._TENSOR_ATTRS), *hints, *size, self.mask_mod)

    def __getitem__(self, index: Any) -> BlockMask:
        """The part of the batch (and heads) that ``index`` selects; a number keeps the dimension."""
        chosen = index if isinstance(index, tuple) else (index,)
        chosen = tuple(slice(i, i + 1 or None) if isinstance(i, int) else i for i in chosen)
        parts = [None if t is None else t[chosen] for t in self._tensors()]
        return BlockMask(self.seq_lengths, *parts, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod)

    def _tensors(self) -> list[Any]:
        return [getattr(self, name) for name in self._TENSOR_ATTRS]

    def _adjust(self, new_q_len: int, new_kv_len: int) -> BlockMask:
        """The upper left part, for fewer queries and keys."""
        rows = -(-new_q_len // self.BLOCK_SIZE[0])
        columns = -(-new_kv_len // self.BLOCK_SIZE[1])
        parts = []
        for counts, indices in (
            (self.kv_num_blocks, self.kv_indices),
            (self.full_kv_num_blocks, self.full_kv_indices),
        ):
            if counts is None or indices is None:
                parts += [None, None]
            else:
                parts += _ordered(_dense(counts, indices)[..., :rows, :columns])
        return BlockMask.from_kv_blocks(*parts, self.BLOCK_SIZE, self.mask_mod, (new_q_len, new_kv_len))

    def numel(self) -> int:
        """The number of elements of the mask, masked ones included."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """The percentage of elements in blocks that need not be computed."""
        blocks = int(self.kv_num_blocks.sum())
        if self.full_kv_num_blocks is not None:
            blocks += int(self.full_kv_num_blocks.sum())
        computed = blocks * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1]
        return 100 * (1 - computed / self.numel())

    def to_dense(self) -> Tensor:
        """(B, H, rows, columns), 1 for blocks that are computed."""
        table = _dense(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None and self.full_kv_indices is not None:
            table = table | _dense(self.full_kv_num_blocks, self.full_kv_indices)
        return table

    def to_string(self, grid_size: Any = (20, 20), limit: int = 4) -> str:
        """A picture of each mask: a full block for rows and columns computed wholly, shades for parts, else blank."""
        dense = self.to_dense()
        *batch, rows, columns = dense.shape
        if isinstance(grid_size, int):
            grid_size = (grid_size, grid_size)
        height, width = (rows, columns) if grid_size == -1 else (min(rows, grid_size[0]), min(columns, grid_size[1]))
        pictures = []
        flat = dense.reshape(-1, rows, columns)
        for number in range(min(flat.size(0), limit)):
            table = flat[number].tolist()
            lines = []
            for y in range(height):
                line = ""
                for x in range(width):
                    cells = [
                        cell
                        for row in table[y * rows // height : (y + 1) * rows // height]
                        for cell in row[x * columns // width : (x + 1) * columns // width]
                    ]
                    share = sum(cells) / len(cells)
                    line += "██" if share == 1 else "  " if share == 0 else "░░"
                lines.append(line)
            place = tuple(number // math.prod(batch[i + 1 :]) % size for i, size in enumerate(batch))
            pictures.append(f"{place}\n" + "\n".join(lines))
        if flat.size(0) > limit:
            pictures.append("...")
        return "\n".join(pictures)

    def to(self, device: Any) -> BlockMask:
        """The same on another device."""
        parts = [None if t is None else t.to(device) for t in self._tensors()]
        return BlockMask(self.seq_lengths, *parts, BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod)

    def __str__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string()}\n)"

    def __repr__(self) -> str:
        lines = []
        for name, part in zip(self._TENSOR_ATTRS, self._tensors()):
            lines.append(f"    {name}={None if part is None else part.shape},\n")
        return (
            "BlockMask(\n"
            + "".join(lines)
            + f"    BLOCK_SIZE={self.BLOCK_SIZE},\n    shape={self.shape},\n    sparsity={self.sparsity():.2f}%,\n"
            f"    mask_mod={getattr(self.mask_mod, '__name__', self.mask_mod)}\n)"
        )


def create_block_mask(
    mask_mod: MaskFunction,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
    BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE,
    _compile: bool = False,
    separate_full_blocks: bool = True,
    compute_dq_write_order: bool = False,
    dq_kv_order: bool = True,
) -> BlockMask:
    """The blocks of a mask function ``mask(b, h, q, kv) -> bool``.

    Args:
        mask_mod: the function, true where a query may see a key.
        B, H: 1 if None, for a function that does not look at them.
        Q_LEN, KV_LEN: the numbers of queries and keys.
        device: where.
        BLOCK_SIZE: the size of a block, for queries and for keys.
        _compile, compute_dq_write_order, dq_kv_order: hints without effect.
        separate_full_blocks: tell blocks without a masked element apart.
    """
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    rows, columns = -(-Q_LEN // size[0]), -(-KV_LEN // size[1])
    # Elements beyond the sequences are masked, so that a block at the edge is no full one.
    padded = ops.zeros((*mask.shape[:2], rows * size[0], columns * size[1]), dtype=int32, device=mask.device)
    padded[..., :Q_LEN, :KV_LEN] = mask.to(int32)
    counts = padded.reshape(*mask.shape[:2], rows, size[0], columns, size[1]).sum((-3, -1))
    full = counts == size[0] * size[1]
    if not separate_full_blocks:
        return BlockMask.from_kv_blocks(*_ordered(counts > 0), None, None, size, mask_mod, (Q_LEN, KV_LEN))
    partial = (counts > 0) & full.logical_not()
    return BlockMask.from_kv_blocks(*_ordered(partial), *_ordered(full), size, mask_mod, (Q_LEN, KV_LEN))


def _check_inputs(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    if not query.dim() == key.dim() == value.dim() == 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    if query.size(0) != key.size(0) and key.size(0) != 1:
        raise ValueError(f"flex_attention: query has batch {query.size(0)} but key has batch {key.size(0)}")
    heads, kv_heads = query.size(1), key.size(1)
    if not enable_gqa and heads != kv_heads:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={kv_heads}. "
            "Try setting enable_gqa=True for GQA."
        )
    if enable_gqa and heads % kv_heads != 0:
        raise ValueError(
            f"Expect number of query heads to be a multiple of kv heads for GQA but got Hq={heads} and Hkv={kv_heads}."
        )


def _check_block_mask(block_mask: BlockMask, queries: int, keys: int) -> None:
    mask_q, mask_kv = block_mask.shape[-2:]
    if queries < mask_q and keys <= mask_kv:
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={queries} and "
            f"kv_len={keys}. "
            "As the block mask was created for a larger length than you're using it for, you can either 1. create a "
            "new block mask with the correct length, or 2. 'adjust' the existing block mask to the correct length by "
            "calling block_mask._adjust(q_len, kv_len). This essentially 'crops' the block mask to the upper left "
            "corner, which does not work for all mask_mods!"
        )
    if queries != mask_q or keys != mask_kv:
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={queries} and "
            f"kv_len={keys}. "
            "Create a block mask for these lengths."
        )


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Callable[..., Tensor] | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: FlexKernelOptions | None = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """softmax(score_mod(q k^T scale, b, h, q, kv)) v, with minus infinity where the mask is false.

    Args:
        query: (B, H, L, E).
        key: (B, H or a divisor of it, S, E).
        value: (B, as key, S, Ev).
        score_mod: changes a score; see the module on what such a function may do.
        block_mask: see ``create_block_mask``.
        scale: 1 / sqrt(E) if None.
        enable_gqa: keys and values have fewer heads, each serving several of the queries'.
        return_lse: the old way to ask for the log-sum-exp.
        kernel_options: hints without effect.
        return_aux: what to give besides the output.

    Returns:
        (B, H, L, Ev), or a pair with the log-sum-exp or an ``AuxOutput``.  Queries without a key give 0.
    """
    _check_inputs(query, key, value, enable_gqa)
    batch, heads, queries, features = query.shape
    keys = key.size(2)
    groups = heads // key.size(1)
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    shape = (batch, heads, queries, keys)
    scores = query.float() if query.dtype.itemsize < 4 else query
    scores = ops.matmul(scores, key.to(scores.dtype).transpose(-2, -1))
    scores = (scores * (1.0 / math.sqrt(features) if scale is None else scale)).expand(shape)
    indices = _indices(*shape, query.device)
    if score_mod is not None:
        scores = _spread(score_mod(scores, *indices), shape, "the score function")
    if block_mask is not None:
        _check_block_mask(block_mask, queries, keys)
        allowed = _spread(block_mask.mask_mod(*indices), shape, "the mask function")
        scores = scores.masked_fill(allowed.logical_not(), float("-inf"))
    lse = ops.logsumexp(scores, -1)
    # A query that sees nothing has no distribution: its row is 0.
    empty = (lse == float("-inf")).unsqueeze(-1)
    weights = ops.exp(scores - lse.unsqueeze(-1).masked_fill(empty, 0.0)).masked_fill(empty, 0.0)
    output = ops.matmul(weights.to(value.dtype), value).to(query.dtype)
    if return_aux is not None:
        if not (return_aux.lse or return_aux.max_scores):
            return output, AuxOutput()
        return output, AuxOutput(lse if return_aux.lse else None, scores.amax(-1) if return_aux.max_scores else None)
    return (output, lse) if return_lse else output
