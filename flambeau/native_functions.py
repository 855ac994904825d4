"""Functions of the main namespace that take the arguments of PyTorch's C++ operators, and its helpers for sizes.

Layers and ``nn.functional`` are what programs use; packages reach these where they avoid Python's overhead.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

from . import ops
from .autograd.anomaly_mode import is_anomaly_check_nan_enabled, is_anomaly_enabled, set_detect_anomaly
from .dispatch.callforms import call_forms
from .dtype import dtype as dtype_
from .dtype import get_default_dtype, named, set_default_dtype
from .generator import Generator
from .layout import dense
from .nn import functional as F
from .ops.common import dim_of, give, overridable
from .ops.members import strided
from .ops.storage_classes import UntypedStorage
from .quantized import QuantizedTensor, quantize_per_tensor
from .tensor import Tensor, make
from .utils.dlpack import to_dlpack

__all__ = [
    "adaptive_max_pool1d",
    "affine_grid_generator",
    "avg_pool1d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy_with_logits",
    "celu_",
    "cond",
    "conv_tbc",
    "convolution",
    "cosine_embedding_loss",
    "detach_copy",
    "embedding_bag",
    "frobenius_norm",
    "from_file",
    "hinge_embedding_loss",
    "instance_norm",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "kl_div",
    "lobpcg",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool3d",
    "norm_except_dim",
    "nuclear_norm",
    "poisson_nll_loss",
    "quantized_batch_norm",
    "quantized_max_pool1d",
    "quantized_max_pool2d",
    "quantized_max_pool3d",
    "selu_",
    "set_anomaly_enabled",
    "set_default_tensor_type",
    "sym_float",
    "sym_int",
    "sym_ite",
    "sym_max",
    "sym_min",
    "sym_not",
    "sym_sqrt",
    "sym_sum",
    "thread_safe_generator",
    "threshold_",
    "to_dlpack",
    "triplet_margin_loss",
    "while_loop",
]  # fmt: skip

_REDUCTIONS = ("none", "mean", "sum")


def _reduction(number: int) -> str:
    """The name of a reduction; raises ValueError for a number that stands for none."""
    if isinstance(number, int) and 0 <= number < len(_REDUCTIONS):
        return _REDUCTIONS[number]
    raise ValueError(f"{number!r} is not a valid value for reduction: 0 is none, 1 mean, 2 sum")


avg_pool1d, bilinear = F.avg_pool1d, F.bilinear
celu_, selu_, threshold_ = F.celu_, F.selu_, F.threshold_


# -- normalization, pooling, losses: the arguments of the operators ------------------------------------


@overridable
def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """``nn.functional.batch_norm`` with the weights first."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


@overridable
def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """``nn.functional.instance_norm`` with the weights first."""
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@overridable
def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The greatest in each window along the last dimension."""
    return F.max_pool1d(input, kernel_size, stride or None, padding, dilation, ceil_mode)


@overridable
def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The greatest in each window over the last two dimensions."""
    return F.max_pool2d(input, kernel_size, stride or None, padding, dilation, ceil_mode)


@overridable
def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The greatest in each window over the last three dimensions."""
    return F.max_pool3d(input, kernel_size, stride or None, padding, dilation, ceil_mode)


@overridable
def max_pool1d_with_indices(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """(greatest in each window, their positions)."""
    return F.max_pool1d(input, kernel_size, stride or None, padding, dilation, ceil_mode, True)


@overridable
def adaptive_max_pool1d(input: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    """(greatest in each of ``output_size`` windows, their positions)."""
    return F.adaptive_max_pool1d(input, output_size, True)


@overridable
def affine_grid_generator(theta: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """``nn.functional.affine_grid``."""
    return F.affine_grid(theta, list(size), align_corners)


@overridable
def kl_div(input: Tensor, target: Tensor, reduction: int = 1, *, log_target: bool = False) -> Tensor:
    """``nn.functional.kl_div`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.kl_div(input, target, reduction=_reduction(reduction), log_target=log_target)


@overridable
def poisson_nll_loss(input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int) -> Tensor:
    """``nn.functional.poisson_nll_loss`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.poisson_nll_loss(input, target, log_input, full, eps=eps, reduction=_reduction(reduction))


@overridable
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """``nn.functional.binary_cross_entropy_with_logits`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.binary_cross_entropy_with_logits(
        input, target, weight, pos_weight=pos_weight, reduction=_reduction(reduction)
    )


@overridable
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """``nn.functional.cosine_embedding_loss`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=_reduction(reduction))  # type: ignore[no-any-return]


@overridable
def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 1) -> Tensor:
    """``nn.functional.hinge_embedding_loss`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.hinge_embedding_loss(input, target, margin, reduction=_reduction(reduction))  # type: ignore[no-any-return]


@overridable
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """``nn.functional.margin_ranking_loss`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_reduction(reduction))  # type: ignore[no-any-return]


@overridable
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, reduction: int = 1,
) -> Tensor:  # fmt: skip
    """``nn.functional.triplet_margin_loss`` with a number for the reduction: 0 none, 1 mean, 2 sum."""
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=_reduction(reduction))  # type: ignore[no-any-return]


@overridable
def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(rows of ``weight`` summed, averaged or maximised over bags by ``mode`` 0, 1, 2; the bag of each index; the
    sizes of the bags; where maxima were found: empty)."""
    if mode not in (0, 1, 2):
        raise ValueError(f"embedding_bag: mode must be 0 (sum), 1 (mean) or 2 (max), got {mode!r}")
    found = F.embedding_bag(
        indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], sparse,
        per_sample_weights, include_last_offset, padding_idx,
    )  # fmt: skip
    starts = offsets[:-1] if include_last_offset else offsets  # type: ignore[index]
    ends = ops.cat([starts[1:], ops.full((1,), indices.numel(), dtype=offsets.dtype)])
    sizes = ends - starts
    return found, ops.repeat_interleave(sizes), sizes, ops.empty((0,), dtype=offsets.dtype)


@overridable
def convolution(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """The convolution in as many dimensions as ``weight`` has behind its channels, or a transposed one."""
    n = weight.ndim - 2
    if not 1 <= n <= 3:
        raise RuntimeError(f"convolution: expected a weight of 3 to 5 dimensions, got shape {list(weight.shape)}")
    if transposed:
        form = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        return form(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[n - 1](input, weight, bias, stride, padding, dilation, groups)


@overridable
def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """A convolution over time: ``input`` (time, batch, channels), ``weight`` (kernel, channels in, channels out)."""
    if input.ndim != 3 or weight.ndim != 3 or bias.ndim != 1:
        raise RuntimeError(
            f"conv_tbc: expected input and weight of 3 dimensions and bias of 1, got {input.ndim}, {weight.ndim} and "
            f"{bias.ndim}"
        )
    return F.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


@overridable
def detach_copy(input: Any, *, out: Tensor | None = None) -> Tensor:
    """A copy that is off the tape."""
    made = input.detach().clone()
    return made if out is None else give(made, out)


# -- norms, eigenvalues ----------------------------------------------------------------------------------


@overridable
def frobenius_norm(input: Any, dim: Any, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The square root of the sum of squares over ``dim``."""
    made = ops.linalg_vector_norm(input, 2, dim or None, keepdim)
    return made if out is None else give(made, out)


@call_forms("nuclear_norm(input, dim, keepdim=False, *, out=None)", "nuclear_norm(input, keepdim=False, *, out=None)")
@overridable
def nuclear_norm(input: Any, dim: Any = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The sum of the singular values over the two dimensions ``dim``."""
    if isinstance(dim, bool):
        dim, keepdim = None, dim
    made = ops.linalg_matrix_norm(input, "nuc", (0, 1) if dim is None else tuple(dim), keepdim)
    return made if out is None else give(made, out)


@overridable
def norm_except_dim(v: Any, pow: int = 2, dim: int = 0) -> Any:
    """The ``pow``-norms of the slices along ``dim`` (of everything for -1), with the other dimensions of size 1."""
    if dim == -1:
        return v.norm(pow)
    d = dim_of(dim, v.ndim, "norm_except_dim")
    others = [i for i in range(v.ndim) if i != d]
    return ops.linalg_vector_norm(v, pow, others, True)


@overridable
def lobpcg(
    A: Tensor, k: int | None = None, B: Any = None, X: Any = None, n: int | None = None, iK: Any = None,
    niter: int | None = None, tol: float | None = None, largest: bool | None = None, method: str | None = None,
    tracker: Callable[..., None] | None = None, ortho_iparams: Any = None, ortho_fparams: Any = None,
    ortho_bparams: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(k extreme eigenvalues, eigenvectors) of the symmetric matrices ``A``, or of the pairs ``A x = e B x``.

    All eigenvalues are computed, through LAPACK, and the ``largest`` (or smallest) ``k`` kept, so that ``X``, ``iK``
    and what else steers PyTorch's iteration is not needed.  Raises ValueError for matrices too small for ``k``.
    """
    matrix = A if A.layout is strided else A.to_dense()
    size = matrix.shape[-1]
    count = k if k is not None else 1 if X is None else X.shape[-1]
    if size < 3 * count:
        raise ValueError(
            f"LPBPCG algorithm is not applicable when the number of A rows (={size}) is smaller than 3 x the number of "
            f"requested eigenpairs (={count})"
        )
    factor = None
    if B is not None:
        factor = ops.linalg_cholesky(B if B.layout is strided else B.to_dense())
        half = ops.linalg_solve_triangular(factor, matrix, upper=False)
        matrix = ops.linalg_solve_triangular(factor, half.mT, upper=False).mT
    values, vectors = ops.linalg_eigh(matrix)
    if factor is not None:
        vectors = ops.linalg_solve_triangular(factor.mT, vectors, upper=True)
    if largest is None or largest:
        return values.flip(-1)[..., :count], vectors.flip(-1)[..., :count]
    return values[..., :count], vectors[..., :count]


# -- quantized ---------------------------------------------------------------------------------------


@call_forms(
    "quantized_batch_norm(input, weight, bias, mean, var, eps, output_scale, output_zero_point)",
    "quantized_batch_norm(input, mean, var, eps, output_scale, output_zero_point)",
)
@overridable
def quantized_batch_norm(
    input: Any, weight: Any = None, bias: Any = None, mean: Any = None, var: Any = None, eps: Any = None,
    output_scale: Any = None, output_zero_point: Any = None,
) -> Any:  # fmt: skip
    """Batch normalization of a quantized (N, C, H, W) tensor with these statistics, quantized again."""
    if eps is None:  # by position, without the weight and the bias
        weight, bias, mean, var, eps, output_scale, output_zero_point = None, None, weight, bias, mean, var, eps
    found = F.batch_norm(input.dequantize(), mean, var, weight, bias, False, 0.0, eps)
    return quantize_per_tensor(found, output_scale, output_zero_point, input.dtype)


def _pooled(name: str, input: Any, pool: Callable[..., Any], *arguments: Any) -> Any:
    if not isinstance(input, QuantizedTensor):
        raise NotImplementedError(
            f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: it is of quantized tensors"
        )
    found = pool(input.dequantize(), *arguments)  # type: ignore[attr-defined]
    return quantize_per_tensor(found, input.q_scale(), input.q_zero_point(), input.dtype)  # type: ignore[attr-defined]


@overridable
def quantized_max_pool1d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil_mode: bool = False
) -> Any:
    """``max_pool1d`` of a quantized tensor, with its scale."""
    return _pooled("quantized_max_pool1d", input, max_pool1d, kernel_size, stride, padding, dilation, ceil_mode)


@overridable
def quantized_max_pool2d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """``max_pool2d`` of a quantized tensor, with its scale."""
    return _pooled("quantized_max_pool2d", input, max_pool2d, kernel_size, stride, padding, dilation, ceil_mode)


@overridable
def quantized_max_pool3d(
    input: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """``max_pool3d`` of a quantized tensor, with its scale."""
    return _pooled("quantized_max_pool3d", input, max_pool3d, kernel_size, stride, padding, dilation, ceil_mode)


# -- files, types, generators --------------------------------------------------------------------------


def from_file(
    filename: str, shared: bool | None = None, size: int | None = 0, *, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """A 1-dim tensor of ``size`` elements over a file mapped into memory.

    ``shared``: writes go to the file, which is made as long as it must be; otherwise they stay in this process.
    """
    kind = dtype or get_default_dtype()
    storage = UntypedStorage.from_file(filename, bool(shared), (size or 0) * kind.itemsize)
    made: Any = make(storage._storage, dense(kind, (size or 0,)))
    return made.requires_grad_() if requires_grad else made


def set_default_tensor_type(t: Any, /) -> None:
    """Sets the type of new floating-point tensors by a legacy class or its name ("torch.DoubleTensor").

    Raises TypeError for anything else.
    """
    name = t if isinstance(t, str) else getattr(t, "__name__", "")
    found = {"FloatTensor": "float32", "DoubleTensor": "float64", "HalfTensor": "float16", "BFloat16Tensor": "bfloat16"}
    kind = found.get(name.rpartition(".")[2])
    if kind is None or ".cuda." in name:
        raise TypeError(f"invalid type object: only floating-point types are supported as the default type, got {t}")
    set_default_dtype(named(kind))


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Switches anomaly mode: see ``autograd.set_detect_anomaly``."""
    set_detect_anomaly(enabled, check_nan)


def thread_safe_generator() -> Generator | None:
    """The generator of this data-loading worker thread: None, since workers are processes."""
    return None


# -- sizes, which are Python numbers here ----------------------------------------------------------------


def sym_float(a: Any) -> Any:
    """``float(a)``, or what the object's own ``__sym_float__`` says.

    Raises TypeError for what is no number, ValueError for a string that spells none.
    """
    if hasattr(a, "__sym_float__"):
        return a.__sym_float__()
    try:
        return float(a)
    except (TypeError, ValueError) as error:
        raise type(error)(f"sym_float: expected a number, got {a!r}") from None


def sym_int(a: Any) -> Any:
    """``a`` rounded towards zero."""
    return a if isinstance(a, int) else math.floor(a) if a >= 0 else math.ceil(a)


def sym_not(a: Any) -> Any:
    """``not a``."""
    return a.__sym_not__() if hasattr(a, "__sym_not__") else ~a if isinstance(a, Tensor) else not a


def sym_max(a: Any, b: Any) -> Any:
    """The greater of two numbers, a float if either is."""
    found = builtins.max(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_min(a: Any, b: Any) -> Any:
    """The lesser of two numbers, a float if either is."""
    found = builtins.min(a, b)
    return float(found) if isinstance(a, float) or isinstance(b, float) else found


def sym_sum(*args: Any) -> Any:
    """The sum of numbers, given one by one or as a sequence."""
    return builtins.sum(args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """``t`` if ``b`` else ``f``, which are of one type."""
    if not isinstance(b, bool) or type(t) is not type(f):
        raise TypeError(f"sym_ite: expected a bool and two values of one type, got {type(b)}, {type(t)}, {type(f)}")
    return t if b else f


def sym_sqrt(a: Any) -> Any:
    """The square root; raises ValueError for a negative number."""
    if hasattr(a, "__sym_sqrt__"):
        return a.__sym_sqrt__()
    number = float(a)
    if number < 0:
        raise ValueError(f"sym_sqrt: expected a number that is not negative, got {number}")
    return math.sqrt(number)


# -- control flow ----------------------------------------------------------------------------------------


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """``true_fn(*operands)`` if ``pred`` holds, else ``false_fn(*operands)``; Python decides, also under ``compile``.

    Raises RuntimeError for a predicate of several elements and for what is no function.
    """
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError("Expect both branches to be callable.")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(f"Expect operands to be a tuple of possibly nested dict/list/tuple, got {operands}.")
    if isinstance(pred, Tensor) and pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if not isinstance(pred, (bool, int, Tensor)):
        raise RuntimeError(f"Expected pred to be bool or tensor, but got {pred}.")
    return (true_fn if bool(pred) else false_fn)(*operands)


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any) -> Any:
    """``carried_inputs = body_fn(*carried_inputs)`` while ``cond_fn(*carried_inputs)`` holds; what is left of them.

    Raises RuntimeError for what is no function and for inputs that are no tuple or list.
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError("Expect cond_fn and body_fn to be callable.")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(
            f"Expect carried_inputs to be a tuple of possibly nested dict/list/tuple, got {carried_inputs}."
        )
    values = tuple(carried_inputs)
    while bool(cond_fn(*values)):
        found = body_fn(*values)
        values = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if len(values) != len(carried_inputs):
            raise RuntimeError(
                f"body_fn must return {len(carried_inputs)} values, as many as carried_inputs, got {len(values)}"
            )
    return values
