"""Normalisation: layer, group, instance, batch and RMS norm.  Each is one kernel forward and one or two backward."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes

from .. import dtype as dtypes
from .. import primitives as prim
from ..autograd.mode import state as grad_state
from ..dispatch.operator import Scalar, operator
from ..dispatch.planning import LIMIT
from ..tensor import Tensor
from .convert import lies_last

__all__: list[str] = []

_F = "torch.nn.functional"


def _wide(x: Tensor) -> Tensor:
    return prim.cast(x, dtypes.float32) if x.dtype in (dtypes.bfloat16, dtypes.float16) else x


def _standard(x: Tensor, dims: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """((x - mean) * rstd, mean, rstd) over ``dims`` (kept with size 1)."""
    count = prim.size(math.prod(x.shape[d] for d in dims), x.dtype)
    center = prim.apply("div", prim.reduce("add", x, dims), count)
    off = prim.apply("sub", x, center)
    spread = prim.apply("div", prim.reduce("add", prim.apply("mul", off, off), dims), count)
    scale = prim.apply("rsqrt", prim.apply("add", spread, prim.const(eps, x.dtype)))
    return prim.apply("mul", off, scale), center, scale


@operator(name="_layer_norm", method=False, function=False)
def layer_norm_kernel(input: Tensor, weight: Tensor | None, bias: Tensor | None, ndim: int, eps: float) -> Tensor:
    """(result, mean, 1/deviation) over the last ``ndim`` dimensions."""
    dims = tuple(range(input.ndim - ndim, input.ndim))
    x = _wide(input)
    y, center, scale = _standard(x, dims, eps)
    if weight is not None:
        y = prim.apply("mul", y, prim.cast(weight, x.dtype))
    if bias is not None:
        y = prim.apply("add", y, prim.cast(bias, x.dtype))
    return prim.cast(y, input.dtype), center, scale  # type: ignore[return-value]


@layer_norm_kernel.gradient("input", "weight", "result1", "result2")
def _(ctx, grad, grad_mean, grad_scale):  # type: ignore[no-untyped-def]
    _, center, scale = ctx.results
    dx = dw = db = None
    shape = ctx.shape("input")
    plain = grad is not None and grad_mean is None and grad_scale is None and not grad_state.grad
    if plain and ctx.ndim < len(shape) and all(ctx.needs(name) for name in ("input", "weight", "bias")):
        return layer_norm_gradients.function(grad, ctx.input, center, scale, ctx.weight, ctx.ndim)
    if ctx.needs("input"):
        if grad is not None:
            dx = layer_norm_backward.function(grad, ctx.input, center, scale, ctx.weight, ctx.ndim)
        count = math.prod(shape[len(shape) - ctx.ndim :])
        dx = _through_statistics(dx, ctx.input, center, scale, count, grad_mean, None, grad_scale)
    if grad is None:
        return dx, None, None
    lead = tuple(range(len(shape) - ctx.ndim))
    if ctx.weight is not None and ctx.needs("weight"):
        dw = norm_weight_grad.function(grad, ctx.input, center, scale, lead)
    if ctx.bias is not None and ctx.needs("bias"):
        db = grad.sum(lead) if lead else grad
    return dx, dw, db


def _through_statistics(dx, x, center, scale, count, g_center, g_spread, g_scale):  # type: ignore[no-untyped-def]
    """``dx`` with the gradients that came back through mean, biased variance and 1/deviation (None: none did).

    The second derivative of a norm comes this way: the first one reads the mean and the deviation.
    """
    parts = [] if dx is None else [dx]
    if g_center is not None:
        parts.append((g_center / count).expand(x.shape))
    if g_spread is not None:
        parts.append((x - center) * (g_spread * (2 / count)))
    if g_scale is not None:
        parts.append((x - center) * (g_scale * scale**3 * (-1 / count)))
    return sum(parts[1:], parts[0]) if parts else None


@operator(name="_layer_norm_backward", method=False, function=False)
def layer_norm_backward(
    grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, weight: Tensor | None, ndim: int
) -> Tensor:
    """The gradient of the input: ``scale * (g - mean(g) - y * mean(g * y))`` with g the gradient times the weight."""
    dims = tuple(range(input.ndim - ndim, input.ndim))
    count = math.prod(input.shape[d] for d in dims)
    x = input.to(center.dtype)  # type: ignore[attr-defined]
    g = grad.to(center.dtype)  # type: ignore[attr-defined]
    if weight is not None:
        g = g * weight.to(center.dtype)  # type: ignore[attr-defined]
    y = (x - center) * scale
    first, second = prim.share(g.sum(dims, True), count), prim.share((g * y).sum(dims, True), count)
    return (scale * (g - first - y * second)).to(input.dtype)  # type: ignore[no-any-return]


@operator(name="_layer_norm_gradients", method=False, function=False)
def layer_norm_gradients(grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, weight: Tensor, ndim: int) -> Any:
    """The gradients of layer_norm by its input, weight and bias; the latter two are sums in one pass."""
    lead = tuple(range(input.ndim - ndim))
    return (
        layer_norm_backward.function(grad, input, center, scale, weight, ndim),
        norm_weight_grad.function(grad, input, center, scale, lead),
        grad.sum(lead),  # type: ignore[attr-defined]
    )


@operator(name="_norm_weight_grad", method=False, function=False)
def norm_weight_grad(grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, lead: tuple[int, ...]) -> Tensor:
    """The gradient of an elementwise weight: the sum of gradient times normalised input over ``lead``."""
    y = (input.to(center.dtype) - center) * scale  # type: ignore[attr-defined]
    product = grad.to(center.dtype) * y  # type: ignore[attr-defined]
    return (product.sum(lead) if lead else product).to(grad.dtype)  # type: ignore[no-any-return]


def check_normalized(
    name: str, input: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None = None
) -> None:
    """Raises RuntimeError unless ``shape`` is how the input's sizes end, and that of weight and bias."""
    shape = tuple(shape)
    key = input._layout, shape, None if weight is None else weight._layout, None if bias is None else bias._layout
    if key in _fitting:
        return
    if not shape:
        raise RuntimeError(
            f"{name}: Expected normalized_shape to be at least 1-dimensional, i.e., containing "
            "at least one element, but got normalized_shape = []"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != shape:
            raise RuntimeError(
                f"Expected {what} to be of same shape as normalized_shape, but got {what} of shape "
                f"{list(t.shape)} and normalized_shape = {list(shape)}"
            )
    if input.ndim < len(shape) or tuple(input.shape[input.ndim - len(shape) :]) != shape:
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, "
            f"{', '.join(map(str, shape))}], but got input of size{list(input.shape)}"
        )
    if len(_fitting) >= LIMIT:
        _fitting.clear()
    _fitting.add(key)


_fitting: set[Any] = set()  # what ``check_normalized`` has found to fit


@operator(kind="composite", method=False, out=False)
def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-05,
    cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions, which ``normalized_shape`` names.

    ``cudnn_enable`` is of the form in the main namespace and changes nothing.

    Raises RuntimeError for shapes that do not fit.  Ba, Kiros, Hinton 2016.
    """
    check_normalized("layer_norm", input, normalized_shape, weight, bias)
    return layer_norm_kernel.function(input, weight, bias, len(normalized_shape), eps)[0]  # type: ignore[no-any-return]


@operator(name="_group_stats", method=False, function=False, differentiable=False)
def _stats(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """(mean, biased variance) over ``dims``, which stay with size 1, in float32 at least."""
    x = _wide(input)
    count = prim.size(math.prod(x.shape[d] for d in dims), x.dtype)
    center = prim.apply("div", prim.reduce("add", x, dims), count)
    off = prim.apply("sub", x, center)
    return center, prim.apply("div", prim.reduce("add", prim.apply("mul", off, off), dims), count)  # type: ignore[return-value]


@operator(name="_normalize", method=False, function=False, preserve=True, strides="image")
def normalize_kernel(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, dims: tuple[int, ...], channel: int, eps: float
) -> Tensor:
    """(result, mean, biased variance, 1/deviation): standardised over ``dims``, scaled and shifted along dimension
    ``channel``."""
    x = _wide(input)
    count = prim.size(math.prod(x.shape[d] for d in dims), x.dtype)
    center = prim.apply("div", prim.reduce("add", x, dims), count)
    off = prim.apply("sub", x, center)
    spread = prim.apply("div", prim.reduce("add", prim.apply("mul", off, off), dims), count)
    scale = prim.apply("rsqrt", prim.apply("add", spread, prim.const(eps, x.dtype)))
    y = prim.apply("mul", off, scale)
    y = _affine(y, weight, bias, channel)
    return prim.cast(y, input.dtype), center, spread, scale  # type: ignore[return-value]


def _along(t: Tensor, channel: int, like: Tensor) -> Tensor:
    """A vector laid along one dimension of ``like``, while tracing; raises RuntimeError for one of another size."""
    if t.shape != (like.shape[channel],):
        raise RuntimeError(
            f"normalization: expected weight and bias of shape [{like.shape[channel]}], got {list(t.shape)}"
        )
    g = prim.current().graph
    node = g.cast(prim.read(t), like.dtype.code)
    return prim.wrap(
        g.move(node, ((0, ((channel, 1),)),), [n if d == channel else 1 for d, n in enumerate(like.shape)])
    )


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None, channel: int) -> Tensor:
    if weight is not None:
        y = prim.apply("mul", y, _along(weight, channel, y))
    if bias is not None:
        y = prim.apply("add", y, _along(bias, channel, y))
    return y


@normalize_kernel.gradient("input", "weight", "result1", "result3")
def _(ctx, grad, g1, g2, g3):  # type: ignore[no-untyped-def]
    center, scale = ctx.results[1], ctx.results[3]
    ndim = len(ctx.shape("input"))
    others = tuple(d for d in range(ndim) if d != ctx.channel)
    statistics = g1 is not None or g2 is not None or g3 is not None
    together = ctx.weight is not None and ctx.bias is not None and others == tuple(ctx.dims)
    if together and grad is not None and not statistics and ctx.needs("input"):
        return channel_backward.function(grad, ctx.input, center, scale, ctx.weight, ctx.dims, ctx.channel)
    dx = dw = db = None
    if ctx.needs("input"):
        if grad is not None:
            dx = normalize_backward.function(grad, ctx.input, center, scale, ctx.weight, ctx.dims, ctx.channel)
        count = math.prod(ctx.shape("input")[d] for d in ctx.dims)
        dx = _through_statistics(dx, ctx.input, center, scale, count, g1, g2, g3)
    if grad is None:
        return dx, None, None
    if ctx.weight is not None and ctx.needs("weight"):
        dw = norm_weight_grad.function(grad, ctx.input, center, scale, others)
    if ctx.bias is not None and ctx.needs("bias"):
        db = grad.sum(others)
    return dx, dw, db


@operator(name="_normalize_backward", method=False, function=False, preserve=True)
def normalize_backward(
    grad: Tensor,
    input: Tensor,
    center: Tensor,
    scale: Tensor,
    weight: Tensor | None,
    dims: tuple[int, ...],
    channel: int,
) -> Tensor:
    """The gradient of ``_normalize`` by its input."""
    count = math.prod(input.shape[d] for d in dims)
    x, g = input.to(center.dtype), grad.to(center.dtype)  # type: ignore[attr-defined]
    if weight is not None:
        g = g * weight.to(center.dtype).reshape([-1 if d == channel else 1 for d in range(input.ndim)])  # type: ignore[attr-defined]
    y = (x - center) * scale
    first, second = prim.share(g.sum(dims, True), count), prim.share((g * y).sum(dims, True), count)
    return (scale * (g - first - y * second)).to(input.dtype)  # type: ignore[no-any-return]


@operator(name="_channel_backward", method=False, function=False, preserve=True)
def channel_backward(
    grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, weight: Tensor, dims: tuple[int, ...], channel: int
) -> Tensor:
    """The gradients of ``_normalize`` by its input, weight and bias where ``dims`` are all but ``channel``: the sums
    that the latter two are serve the first as well."""
    count = math.prod(input.shape[d] for d in dims)
    x, g = input.to(center.dtype), grad.to(center.dtype)  # type: ignore[attr-defined]
    y = (x - center) * scale
    shift, spread = g.sum(dims, True), (g * y).sum(dims, True)
    step = scale * weight.to(center.dtype).reshape([-1 if d == channel else 1 for d in range(input.ndim)])  # type: ignore[attr-defined]
    dx = step * (g - prim.share(shift + y * spread, count))
    return dx.to(input.dtype), spread.reshape(-1).to(weight.dtype), shift.reshape(-1).to(weight.dtype)  # type: ignore[return-value]


@operator(name="_normalize_with", method=False, function=False, preserve=True, strides="image")
def normalize_with(
    input: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` along dimension 1, with given statistics."""
    kind = input.dtype
    shape = [-1 if d == 1 else 1 for d in range(input.ndim)]
    work = dtypes.float32 if kind.itemsize < 4 else kind
    x = input.to(work)  # type: ignore[attr-defined]
    y = (x - mean.to(work).reshape(shape)) * (var.to(work).reshape(shape) + eps).rsqrt()  # type: ignore[attr-defined]
    if weight is not None:
        y = y * weight.to(work).reshape(shape)  # type: ignore[attr-defined]
    if bias is not None:
        y = y + bias.to(work).reshape(shape)  # type: ignore[attr-defined]
    return y.to(kind)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, namespace=_F, out=False)
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-05,
) -> Tensor:  # fmt: skip
    """Standardises each channel (dimension 1) with the statistics of the batch (training) or the running ones.

    In training the running statistics move towards the batch's by ``momentum`` (with the unbiased variance).  Raises
    ValueError for a training batch of one value per channel.  Ioffe & Szegedy 2015.
    """
    shape = input._layout.shape
    if len(shape) < 2:
        if shape and not input._layout.numel:
            return input.clone()  # type: ignore[attr-defined,no-any-return]
        raise RuntimeError(f"batch_norm: expected 2D or higher input (got {len(shape)}D input)")
    channels = shape[1]
    check_channels(channels, running_mean, running_var, weight, bias, training)
    if not training:
        return normalize_with.function(input, running_mean, running_var, weight, bias, eps)  # type: ignore[no-any-return]
    if channels and input.numel() == channels:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
    return batch_statistics(input, running_mean, running_var, weight, bias, momentum, eps)[0]


def check_channels(
    channels: int, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    training: bool,
) -> None:  # fmt: skip
    """Raises RuntimeError for vectors that do not have an element for every channel, or statistics that are missing."""
    for t in (running_mean, running_var, weight, bias):
        if t is not None and t._layout.numel != channels:
            names = ("running_mean", "running_var", "weight", "bias")
            given = (running_mean, running_var, weight, bias)
            what = names[next(k for k, other in enumerate(given) if other is t)]
            raise RuntimeError(f"{what} should contain {channels} elements not {t.numel()}")
    if not training and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when training=False")


def batch_statistics(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None, bias: Tensor | None,
    momentum: float, eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(``batch_norm`` in training, the means, 1/deviations); moves the running statistics."""
    count = input.numel() // input.shape[1] if input.shape[1] else 0
    dims = tuple(d for d in range(input.ndim) if d != 1)
    y, center, spread, scale = normalize_kernel.function(input, weight, bias, dims, 1, eps)
    unbiased = count / (count - 1) if count > 1 else math.inf
    for running, now, times in ((running_mean, center, 1.0), (running_var, spread, unbiased)):
        if running is not None:
            _move_towards(running, now.detach(), momentum, times)
    return y, center, scale


def _move_towards(running: Tensor, now: Tensor, momentum: float, scale: float) -> None:
    moved.inplace(running, now, 1 - momentum, momentum * scale)  # type: ignore[misc]


@operator(name="_moved", method=False, function=False, inplace=True, differentiable=False)
def moved(input: Tensor, now: Tensor, kept: Scalar, gain: Scalar) -> Tensor:
    """``kept * input + gain * now``: a running statistic's step."""
    return kept * input + gain * now.reshape(input.shape).to(input.dtype)  # type: ignore[attr-defined,operator,no-any-return]


@operator(kind="composite", method=False, out=False)
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-05,
    cudnn_enabled: bool = True,
) -> Tensor:
    """Standardises each of ``num_groups`` groups of channels of each sample; weight and bias are per channel.  Wu & He
    2018.

    ``cudnn_enabled`` is of the form in the main namespace and changes nothing.
    """
    if input.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.ndim}")
    c = input.shape[1]
    if num_groups <= 0 or c % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(input.shape)} and num_groups={num_groups}"
        )
    for what, t in (("weight", weight), ("bias", bias)):
        if t is not None and tuple(t.shape) != (c,):
            raise RuntimeError(
                f"Expected {what} to be a vector of size equal to the number of channels in input, "
                f"but got {what} of shape {list(t.shape)} and input of shape {list(input.shape)}"
            )
    return group_statistics(input, input, num_groups, weight, bias, eps)[0]


def group_statistics(
    input: Tensor, samples: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(``group_norm``, the means, 1/deviations); ``samples`` is ``input`` as (N, C, ...)."""
    n, c = samples.shape[:2]
    if groups <= 0 or c % groups:
        raise RuntimeError(
            f"group_norm: expected the number of channels to be divisible by num_groups (> 0), but got {c} channels "
            f"and num_groups={groups}"
        )
    grouped = (groups, c // groups)
    x = samples.reshape([n, *grouped, math.prod(samples.shape[2:])])  # type: ignore[attr-defined]
    w, b = (None if t is None else t.reshape(grouped) for t in (weight, bias))  # type: ignore[attr-defined]
    kernel = group_norm_last if lies_last(samples) else group_norm_kernel
    y, mean, scale = kernel.function(x, w, b, eps)
    return y.reshape(input.shape), mean, scale


@operator(name="_group_norm", method=False, function=False)
def group_norm_kernel(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """(result, mean, 1/deviation) of (samples, groups, channels of a group, elements), each group by itself; weight and
    bias are (groups, channels of a group)."""
    y, center, scale = _standard(_wide(input), (2, 3), eps)
    if weight is not None:
        y = y * _of_channels(weight, y)  # type: ignore[operator]
    if bias is not None:
        y = y + _of_channels(bias, y)  # type: ignore[operator]
    return prim.cast(y, input.dtype), center, scale  # type: ignore[return-value]


@operator(name="_group_norm_last", kind="composite", method=False, function=False)
def group_norm_last(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    """What ``group_norm_kernel`` computes, where the channels of an element lie side by side: the channels of a group
    are too few for vectors, so that sums are those of channels first, and each channel has its own copy of what its
    group has."""
    n, groups, size, count = input.shape
    x: Any = input.permute(0, 3, 1, 2).reshape(n, count, groups * size)  # type: ignore[attr-defined]
    w, b = (None if t is None else t.reshape(groups * size) for t in (weight, bias))  # type: ignore[attr-defined]
    total = x.sum(1, dtype=dtypes.float32 if x.dtype.itemsize < 4 else x.dtype)
    center, centers = _of_groups.function(total, groups, count)
    variance, variances = _of_groups.function(_squares.function(x, centers), groups, count)
    y = _by_channels.function(x, centers, _factors.function(variances, w, eps), b)
    y = y.reshape(n, count, groups, size).permute(0, 2, 3, 1)
    return y, center.reshape(n, groups, 1, 1), (variance + eps).rsqrt().reshape(n, groups, 1, 1)


@operator(name="_of_groups", method=False, function=False, differentiable=False)
def _of_groups(sums: Tensor, groups: int, count: int) -> Any:
    """The means (samples, groups) of sums (samples, channels) over ``count`` elements each, and once more for each
    channel."""
    n, channels = sums.shape
    size = channels // groups
    mean: Any = sums.reshape(n, groups, size).sum(2) / (size * count)  # type: ignore[attr-defined]
    return mean, mean.unsqueeze(2).expand(n, groups, size).reshape(n, channels)


@operator(name="_squares", method=False, function=False, differentiable=False)
def _squares(x: Tensor, center: Tensor) -> Tensor:
    """Sums (samples, channels) of the squares of x (samples, elements, channels) less ``center``."""
    off: Any = _wide(x) - center.unsqueeze(1)  # type: ignore[attr-defined,operator]
    return (off * off).sum(1)  # type: ignore[no-any-return]


@operator(name="_factors", method=False, function=False, differentiable=False)
def _factors(variance: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """``weight / sqrt(variance + eps)``, by channel."""
    scale: Any = (variance + eps).rsqrt()  # type: ignore[operator]
    return scale if weight is None else scale * weight.to(scale.dtype)  # type: ignore[attr-defined,no-any-return]


@operator(name="_by_channels", method=False, function=False, differentiable=False)
def _by_channels(x: Tensor, center: Tensor, factor: Tensor, bias: Tensor | None) -> Tensor:
    """``(x - center) * factor + bias`` of x (samples, elements, channels), all else by channel."""
    y: Any = (_wide(x) - center.unsqueeze(1)) * factor.unsqueeze(1)  # type: ignore[attr-defined,operator]
    return prim.cast(y if bias is None else y + bias.to(y.dtype), x.dtype)  # type: ignore[attr-defined]


def _of_channels(t: Tensor, like: Tensor) -> Tensor:
    return t.to(like.dtype).reshape([1, *t.shape, 1])  # type: ignore[attr-defined,no-any-return]


@group_norm_last.gradient("input", "weight", "result1", "result2")
@group_norm_kernel.gradient("input", "weight", "result1", "result2")
def _(ctx, grad, grad_mean, grad_scale):  # type: ignore[no-untyped-def]
    _, center, scale = ctx.results
    dx = dw = db = None
    if ctx.needs("input"):
        if grad is not None:
            dx = group_norm_backward.function(grad, ctx.input, center, scale, ctx.weight)
        count = math.prod(ctx.shape("input")[2:])
        dx = _through_statistics(dx, ctx.input, center, scale, count, grad_mean, None, grad_scale)
    if grad is None:
        return dx, None, None
    if ctx.weight is not None and ctx.needs("weight"):
        dw = norm_weight_grad.function(grad, ctx.input, center, scale, (0, 3))
    if ctx.bias is not None and ctx.needs("bias"):
        db = grad.sum((0, 3))
    return dx, dw, db


@operator(name="_group_norm_backward", method=False, function=False)
def group_norm_backward(grad: Tensor, input: Tensor, center: Tensor, scale: Tensor, weight: Tensor | None) -> Tensor:
    """The gradient of the input: as that of layer_norm, in each group."""
    count = math.prod(input.shape[2:])
    x, g = input.to(center.dtype), grad.to(center.dtype)  # type: ignore[attr-defined]
    if weight is not None:
        g = g * _of_channels(weight, g)
    y = (x - center) * scale
    first, second = prim.share(g.sum((2, 3), True), count), prim.share((g * y).sum((2, 3), True), count)
    return (scale * (g - first - y * second)).to(input.dtype)  # type: ignore[no-any-return]


@operator(name="_rms_norm", method=False, function=False, strides="image")
def rms_norm_kernel(input: Tensor, weight: Tensor | None, ndim: int, eps: float) -> Tensor:
    """``x / sqrt(mean(x**2) + eps) * weight`` over the last ``ndim`` dimensions."""
    dims = tuple(range(input.ndim - ndim, input.ndim))
    x = input.to(dtypes.float32) if input.dtype.itemsize < 4 else input  # type: ignore[attr-defined]
    y = x * ((x * x).mean(dims, True) + eps).rsqrt()
    return (y if weight is None else y * weight.to(y.dtype)).to(input.dtype)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", method=False, out=False)
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """``x / sqrt(mean(x**2) + eps) * weight`` over the last dimensions, which ``normalized_shape`` names.  Zhang &
    Sennrich 2019."""
    check_normalized("rms_norm", input, normalized_shape, weight)
    if input.dtype.kind in "bui":
        raise NotImplementedError(f'"rms_norm" not implemented for {input.dtype}')
    if eps is None:
        eps = float(ml_dtypes.finfo(input.dtype.to_real().numpy).eps)
    return rms_norm_kernel.function(input, weight, len(normalized_shape), eps)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, namespace=_F, out=False)
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-05,
) -> Tensor:  # fmt: skip
    """Standardises each channel of each sample; without ``use_input_stats`` with the running statistics.  Ulyanov et
    al. 2016."""
    if input.ndim < 2:
        raise RuntimeError(f"instance_norm: expected at least 2 dimensions, got {input.ndim}")
    if not use_input_stats:
        return batch_norm.function(input, running_mean, running_var, weight, bias, False, momentum, eps)  # type: ignore[no-any-return]
    count = math.prod(input.shape[2:])
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    y, center, spread, _ = normalize_kernel.function(input, weight, bias, tuple(range(2, input.ndim)), 1, eps)
    for running, now in ((running_mean, center), (running_var, spread)):
        if running is not None:
            _move_towards(
                running, now.detach().mean(0), momentum, count / (count - 1) if running is running_var else 1.0
            )
    return y  # type: ignore[no-any-return]
