"""Borders around tensors, and what rearranges an image: windows as columns and back, pixels to channels and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor
from .padding_modes import border

__all__: list[str] = []

_F = "torch.nn.functional"


def _pairs(pad: Sequence[int], ndim: int) -> list[tuple[int, int]]:
    """(before, after) of every dimension, from PyTorch's order: last dimension first."""
    found = [(0, 0)] * ndim
    for k in range(len(pad) // 2):
        found[ndim - 1 - k] = (pad[2 * k], pad[2 * k + 1])
    return found


@operator(name="constant_pad_nd", method=False, strides="image")
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """``input`` with a border of ``value``: ``pad`` has (before, after) for the last dimension, then for the one before
    it, ...; negative numbers cut off."""
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    if len(pad) > 2 * input.ndim:
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. "
            f"Pad length is {len(pad)} while the input has {input.ndim} dimensions."
        )
    shape, kept, source, target = [], [], [], []
    for d, (n, (before, after)) in enumerate(zip(input.shape, _pairs(pad, input.ndim))):
        size = n + before + after
        if size < 0:
            raise RuntimeError(
                f"The input size {n}, plus negative padding {before} and {after} resulted in a "
                f"negative output size, which is invalid. Check dimension {d} of your input."
            )
        shape.append(size)
        kept.append(max(0, n + min(before, 0) + min(after, 0)))
        source.append((max(-before, 0), ((d, 1),)))
        target.append((max(before, 0), ((d, 1),)))
    base = prim.const(value, input.dtype, shape)
    if 0 in kept:
        return base
    inner = input if tuple(kept) == input.shape else prim.move(input, tuple(source), kept)
    return inner if tuple(shape) == tuple(kept) else prim.update(base, inner, tuple(target))


@constant_pad_nd.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return constant_pad_nd.function(grad, tuple(-n for n in ctx.pad), 0)


@operator(kind="composite", method=False, namespace=_F, out=False)
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """``input`` with a border: ``pad`` has (before, after) for the last dimension, then for the one before it, and so
    on.

    ``mode`` "constant" fills with ``value`` (negative numbers cut off); "reflect" mirrors without the edge, "replicate"
    repeats the edge, "circular" goes on at the other end, each for the last one to three dimensions.
    """
    width = tuple(int(p) for p in pad)
    if len(width) % 2:
        raise RuntimeError(
            "pad: Padding length must be divisible by 2 (before and after for every dimension, the last one first), "
            f"got {list(width)}"
        )
    if len(width) > 2 * input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but "
            f"got padding length {len(width)} and input of dimension {input.ndim}"
        )
    if mode == "constant":
        return constant_pad_nd.function(input, width, 0 if value is None else value)
    if value is not None and value != 0:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    count = len(width) // 2
    if not (1 <= count <= 3 and input.ndim in (count + 1, count + 2)):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now")
    if 0 in input.shape[input.ndim - count :] or (0 in input.shape[-count - 1 :] and mode != "circular"):
        raise RuntimeError(
            f"Expected {count + 1}D or {count + 2}D (batch mode) tensor with possibly 0 batch "
            f"size and other non-zero dimensions for input, but got: {list(input.shape)}"
        )
    for d, (before, after) in enumerate(_pairs(width, input.ndim)):
        n = input.shape[d]
        if not before and not after:
            continue
        if mode == "reflect" and (before >= n or after >= n):
            raise RuntimeError(
                "Padding size should be less than the corresponding input dimension, but got: "
                f"padding ({before}, {after}) at dimension {d} of input {list(input.shape)}"
            )
        if mode == "circular" and (before > n or after > n):
            raise RuntimeError("Padding value causes wrapping around more than once.")
        if n + before + after <= 0:
            raise RuntimeError(f"input (size {n} at dimension {d}) is too small for padding ({before}, {after})")
    widths = _pairs(width, input.ndim)[input.ndim - count :]
    if not any(before or after for before, after in widths):
        return input.clone()  # type: ignore[attr-defined]
    return border.function(input, tuple(widths), mode)


# -- windows of images -------------------------------------------------------------------------------


def _two(value: Any, name: str) -> tuple[int, int]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) not in (1, 2):
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(values)}")
    return (values[0], values[-1])


def _counts(
    size: Sequence[int], kernel: Sequence[int], dilation: Sequence[int], padding: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...]:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(size, kernel, dilation, padding, stride)
    )


def _positive(name: str, **values: Sequence[int]) -> None:
    for what, pair in values.items():
        if any(v <= 0 for v in pair):
            raise RuntimeError(f"{name}: {what} should be greater than zero, but got {list(pair)}")


@operator(name="im2col", method=False, function=False)
def im2col(
    input: Tensor,
    kernel_size: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
) -> Tensor:
    """The windows of images (N, C, H, W) as columns (N, C * kh * kw, L)."""
    n, c, h, w = input.shape
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = kernel_size, dilation, padding, stride
    oh, ow = _counts((h, w), kernel_size, dilation, padding, stride)
    x = input
    if ph or pw:
        base = prim.const(0, input.dtype, (n, c, h + 2 * ph, w + 2 * pw))
        x = prim.update(base, x, ((0, ((0, 1),)), (0, ((1, 1),)), (ph, ((2, 1),)), (pw, ((3, 1),))))
    windows = prim.move(
        x, ((0, ((0, 1),)), (0, ((1, 1),)), (0, ((2, dh), (4, sh))), (0, ((3, dw), (5, sw)))), (n, c, kh, kw, oh, ow)
    )
    return prim.wrap(prim.current().graph.reshape(prim.read(windows), (n, c * kh * kw, oh * ow)))


@im2col.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return col2im.function(grad, tuple(ctx.shape("input")[2:]), ctx.kernel_size, ctx.dilation, ctx.padding, ctx.stride)


@operator(name="col2im", method=False, function=False)
def col2im(
    input: Tensor, output_size: tuple[int, int], kernel_size: tuple[int, int], dilation: tuple[int, int],
    padding: tuple[int, int],
    stride: tuple[int, int],
) -> Tensor:  # fmt: skip
    """Columns (N, C * kh * kw, L) added up as windows of images (N, C, H, W)."""
    (h, w), (kh, kw), (dh, dw), (ph, pw), (sh, sw) = output_size, kernel_size, dilation, padding, stride
    oh, ow = _counts(output_size, kernel_size, dilation, padding, stride)
    n, c = input.shape[0], input.shape[1] // (kh * kw)
    g = prim.current().graph
    columns = prim.wrap(g.reshape(prim.read(input), (n, c, kh, kw, oh, ow)))
    whole = prim.const(0, input.dtype, (n, c, h + 2 * ph, w + 2 * pw))
    for i in range(kh):
        for j in range(kw):
            place = ((0, ((0, 1),)), (0, ((1, 1),)), (i * dh, ((2, sh),)), (j * dw, ((3, sw),)))
            one = prim.move(
                columns,
                ((0, ((0, 1),)), (0, ((1, 1),)), (i, ()), (j, ()), (0, ((2, 1),)), (0, ((3, 1),))),
                (n, c, oh, ow),
            )
            whole = prim.update(whole, prim.apply("add", prim.move(whole, place, (n, c, oh, ow)), one), place)
    return prim.move(whole, ((0, ((0, 1),)), (0, ((1, 1),)), (ph, ((2, 1),)), (pw, ((3, 1),))), (n, c, h, w))


@col2im.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return im2col.function(grad, ctx.kernel_size, ctx.dilation, ctx.padding, ctx.stride)


@operator(name="_unfold_images", kind="composite", method=False, function=False)
def unfold_images(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """See ``nn.functional.unfold``."""
    kernel, dil, padd, step = (
        _two(kernel_size, "kernel_size"),
        _two(dilation, "dilation"),
        _two(padding, "padding"),
        _two(stride, "stride"),
    )
    _positive("unfold", kernel_size=kernel, dilation=dil, stride=step)
    if min(padd) < 0:
        raise RuntimeError(
            f"padding should be non-negative, but got padding_height: {padd[0]} padding_width: {padd[1]}"
        )
    if input.ndim not in (3, 4) or 0 in input.shape[input.ndim - 3 :]:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    counts = _counts(input.shape[-2:], kernel, dil, padd, step)
    if min(counts) < 1:
        raise RuntimeError(
            f"Given input with spatial size {list(input.shape[-2:])}, kernel_size={kernel}, "
            f"dilation={dil}, padding={padd}, calculated shape of the array of "
            f"sliding blocks as {counts}, but its components must be at least one."
        )
    batched: Any = input if input.ndim == 4 else input.unsqueeze(0)  # type: ignore[attr-defined]
    found = im2col.function(batched, kernel, dil, padd, step)
    return found if input.ndim == 4 else found.squeeze(0)


@operator(kind="composite", method=False, namespace=_F, out=False)
def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Columns of windows (N, C * kh * kw, L) added up into images (N, C, H, W) of ``output_size``."""
    size, kernel, dil = _two(output_size, "output_size"), _two(kernel_size, "kernel_size"), _two(dilation, "dilation")
    padd, step = _two(padding, "padding"), _two(stride, "stride")
    _positive("fold", output_size=size, kernel_size=kernel, dilation=dil, stride=step)
    if min(padd) < 0:
        raise RuntimeError(f"padding should be non-negative, but got {list(padd)}")
    if input.ndim not in (2, 3) or 0 in input.shape[input.ndim - 2 :]:
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    if input.shape[-2] % (kernel[0] * kernel[1]):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of "
            f"kernel_size, but got input.size(1)={input.shape[-2]} and "
            f"kernel_size={kernel}."
        )
    counts = _counts(size, kernel, dil, padd, step)
    if min(counts) < 1 or input.shape[-1] != counts[0] * counts[1]:
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dil}, padding={padd}, "
            f"stride={step}, expected size of input's dimension 2 to match "
            f"the calculated number of sliding blocks {counts[0]} * {counts[1]} = "
            f"{counts[0] * counts[1]}, but got input.size(2)={input.shape[-1]}."
        )
    batched: Any = input if input.ndim == 3 else input.unsqueeze(0)  # type: ignore[attr-defined]
    found = col2im.function(batched, size, kernel, dil, padd, step)
    return found if input.ndim == 3 else found.squeeze(0)


# -- pixels and channels -----------------------------------------------------------------------------


@operator(kind="composite", method=False)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C * r * r, H, W) -> (..., C, H * r, W * r): groups of channels become finer pixels (Shi et al., 2016)."""
    r = upscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the "
            f"square of upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    k = len(lead)
    parts: Any = input.reshape(*lead, c // (r * r), r, r, h, w)  # type: ignore[attr-defined]
    return parts.permute(*range(k), k, k + 3, k + 1, k + 4, k + 2).reshape(*lead, c // (r * r), h * r, w * r)


@operator(kind="composite", method=False)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H * r, W * r) -> (..., C * r * r, H, W): the inverse of ``pixel_shuffle``."""
    r = downscale_factor
    if input.ndim < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    if h % r or w % r:
        raise RuntimeError(
            "pixel_unshuffle expects height and width to be divisible by downscale_factor, but "
            f"input.size is {list(input.shape)} and downscale_factor is {r}"
        )
    k = len(lead)
    parts: Any = input.reshape(*lead, c, h // r, r, w // r, r)  # type: ignore[attr-defined]
    return parts.permute(*range(k), k, k + 2, k + 4, k + 1, k + 3).reshape(*lead, c * r * r, h // r, w // r)


@operator(kind="composite", method=False, aliases=("native_channel_shuffle",))
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, ...): the channels of the groups interleaved (Zhang et al., 2018)."""
    if input.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    n, c, *rest = input.shape
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    parts: Any = input.reshape(n, groups, c // groups, *rest)  # type: ignore[attr-defined]
    return parts.transpose(1, 2).reshape(input.shape)
