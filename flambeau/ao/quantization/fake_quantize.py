"""Modules that round numbers as quantization will, while training goes on (B. Jacob et al., 2018)."""

from __future__ import annotations

from typing import Any

from ... import ops
from ... import quantized as q
from ...dtype import int32, int64, qint8, quint8, uint8
from ...nn.modules.module import Module
from .observer import MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, with_args

__all__ = [
    "FakeQuantize", "FakeQuantizeBase", "default_fake_quant", "default_per_channel_weight_fake_quant",
    "default_weight_fake_quant", "disable_fake_quant", "disable_observer", "enable_fake_quant", "enable_observer",
]  # fmt: skip


class FakeQuantizeBase(Module):
    """What modules that round have: switches for looking and for rounding."""

    fake_quant_enabled: Any
    observer_enabled: Any

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fake_quant_enabled", ops.tensor([1], dtype=uint8))
        self.register_buffer("observer_enabled", ops.tensor([1], dtype=uint8))

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Switches rounding."""
        self.fake_quant_enabled[0] = int(enabled)

    def disable_fake_quant(self) -> None:
        """Lets numbers pass as they are."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Switches looking."""
        self.observer_enabled[0] = int(enabled)

    def disable_observer(self) -> None:
        """Keeps the scale as it is."""
        self.enable_observer(False)

    @classmethod
    def with_args(cls, **kwargs: Any) -> with_args:
        """The class with some arguments given already."""
        return with_args(cls, **kwargs)


class FakeQuantize(FakeQuantizeBase):
    """Rounds numbers to those that integers from ``quant_min`` to ``quant_max`` stand for, with the scale that an
    observer finds; gradients pass through within the range."""

    scale: Any
    zero_point: Any

    def __init__(
        self, observer: Any = MovingAverageMinMaxObserver, quant_min: int | None = None, quant_max: int | None = None,
        is_dynamic: bool = False, **observer_kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if quant_min is not None and quant_max is not None:
            if quant_min > quant_max:
                raise AssertionError("quant_min must be less than or equal to quant_max")
            observer_kwargs.update(quant_min=quant_min, quant_max=quant_max)
        self.activation_post_process = observer(**observer_kwargs)
        found = self.activation_post_process
        self.quant_min, self.quant_max = found.quant_min, found.quant_max
        self.dtype, self.qscheme = found.dtype, found.qscheme
        self.ch_axis = getattr(found, "ch_axis", -1)
        self.is_per_channel = self.qscheme in (q.per_channel_affine, q.per_channel_symmetric)
        self.register_buffer("scale", ops.tensor([1.0]))
        self.register_buffer("zero_point", ops.tensor([0], dtype=int32))

    def calculate_qparams(self) -> tuple[Any, Any]:
        """(scale, zero point) that the observer found."""
        return self.activation_post_process.calculate_qparams()  # type: ignore[no-any-return,operator,union-attr]

    def forward(self, X: Any) -> Any:
        """Looks, and rounds."""
        if int(self.observer_enabled):
            self.activation_post_process(X.detach())  # type: ignore[operator]
            self.scale, self.zero_point = self.calculate_qparams()
        if not int(self.fake_quant_enabled):
            return X
        if self.is_per_channel:
            return q.fake_quantize_per_channel_affine(
                X, self.scale, self.zero_point.to(int64), self.ch_axis, self.quant_min, self.quant_max
            )
        return q.fake_quantize_per_tensor_affine(X, self.scale, self.zero_point, self.quant_min, self.quant_max)


default_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=quint8, qscheme=q.per_tensor_affine,
    reduce_range=True,
)  # fmt: skip
default_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, quant_min=-128, quant_max=127, dtype=qint8, qscheme=q.per_tensor_symmetric,
    reduce_range=False,
)  # fmt: skip
default_per_channel_weight_fake_quant = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver, quant_min=-128, quant_max=127, dtype=qint8,
    qscheme=q.per_channel_symmetric, reduce_range=False, ch_axis=0,
)  # fmt: skip


def _all(name: str, text: str) -> Any:
    def switch(mod: Any) -> None:
        if isinstance(mod, FakeQuantizeBase):
            getattr(mod, name)()

    switch.__name__ = switch.__qualname__ = name
    switch.__doc__ = f"{text} of a module that rounds, for ``model.apply``."
    return switch


enable_fake_quant, disable_fake_quant = (
    _all("enable_fake_quant", "Switches rounding on"),
    _all("disable_fake_quant", "Switches rounding off"),
)
enable_observer, disable_observer = (
    _all("enable_observer", "Switches looking on"),
    _all("disable_observer", "Switches looking off"),
)
