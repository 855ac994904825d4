"""``GradScaler``: gradients of a scaled loss, so that small ones do not vanish in float16.

The scale grows while all gradients are finite and shrinks when one is not; a step with such a gradient is left out
(Micikevicius et al. 2018, "Mixed Precision Training", with the dynamic scale of its section 3.2).
"""

from __future__ import annotations

import enum
import math
import warnings
from collections.abc import Iterable
from typing import Any

from ..autograd.mode import no_grad
from ..dispatch.operator import OPERATORS
from ..dtype import float16, float32
from ..ops import create
from ..tensor import Tensor

__all__ = ["GradScaler", "OptState"]

_all_finite = OPERATORS["isfinite"]


class OptState(enum.Enum):
    """What has happened to an optimizer's gradients since the last ``update``."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class GradScaler:
    """Scales losses, unscales gradients, and skips the steps whose gradients are not finite.

    ``init_scale`` is the first scale; it is multiplied by ``growth_factor`` after ``growth_interval`` steps in a row
    with finite gradients, and by ``backoff_factor`` after one without.  With ``enabled=False`` everything passes
    through unchanged.  Raises ValueError for factors on the wrong side of 1.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        self._device = device
        self._enabled = enabled
        if enabled and device != "cpu":
            warnings.warn(
                f"torch.{device}.amp.GradScaler is enabled, but {device.upper()} is not available.  Disabling.",
                stacklevel=2,
            )
            self._enabled = False
        if not self._enabled:
            return
        if growth_factor <= 1.0:
            raise ValueError(f"The growth factor must be > 1.0, got {growth_factor}.")
        if backoff_factor >= 1.0:
            raise ValueError(f"The backoff factor must be < 1.0, got {backoff_factor}.")
        self._init_scale = init_scale
        self._scale: Tensor | None = None
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._growth_tracker = 0
        self._state: dict[int, OptState] = {}
        self._found: dict[int, Tensor] = {}

    def _scale_tensor(self) -> Tensor:
        """The scale, made when it is first needed: a tensor, so that multiplying by it compiles no new kernels."""
        if self._scale is None:
            self._scale = create.full((), self._init_scale, dtype=float32)
        return self._scale

    def _check_ready(self, function: str) -> Tensor:
        if self._scale is None:
            raise AssertionError(
                f"Attempted {function} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        return self._scale

    def scale(self, outputs: Any) -> Any:
        """A tensor, or an iterable of them, multiplied by the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale_tensor().to(outputs.dtype)  # type: ignore[operator,attr-defined]
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled  # type: ignore[call-arg]
        raise ValueError(f"outputs must be a Tensor or an iterable of Tensors, got {type(outputs).__name__}")

    def _unscale_grads(self, optimizer: Any, allow_fp16: bool) -> Tensor:
        """Divides an optimizer's gradients by the scale; 1.0 if one of them is not finite, else 0.0."""
        scale = self._check_ready("unscale_")
        inverse = scale.double().reciprocal().float()  # type: ignore[attr-defined]
        finite = None
        with no_grad():
            for group in optimizer.param_groups:
                for param in group["params"]:
                    if param.grad is None:
                        continue
                    if param.grad.dtype is float16 and not allow_fp16:
                        raise ValueError("Attempting to unscale FP16 gradients.")
                    here = _all_finite.function(param.grad).all()
                    finite = here if finite is None else finite & here
                    param.grad.mul_(inverse.to(param.grad.dtype))
            if finite is None:
                raise AssertionError("No inf checks were recorded for this optimizer: none of its parameters has .grad")
            return finite.logical_not().to(float32)

    def unscale_(self, optimizer: Any) -> None:
        """Divides an optimizer's gradients by the scale, for clipping before ``step``; once in each iteration.

        Raises RuntimeError when called twice, or after ``step``, before ``update``.
        """
        if not self._enabled:
            return
        self._check_ready("unscale_")
        state = self._state.get(id(optimizer), OptState.READY)
        if state is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if state is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        self._found[id(optimizer)] = self._unscale_grads(optimizer, False)
        self._state[id(optimizer)] = OptState.UNSCALED

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(...)`` if all gradients are finite after unscaling; returns what it returns, or None.

        Raises RuntimeError for a closure, and when called twice before ``update``.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check_ready("step")
        state = self._state.get(id(optimizer), OptState.READY)
        if state is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if state is OptState.READY:
            self.unscale_(optimizer)
        self._state[id(optimizer)] = OptState.STEPPED
        if self._found[id(optimizer)].item():  # type: ignore[attr-defined]
            return None
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Adapts the scale after the steps of an iteration, or sets it to ``new_scale``."""
        if not self._enabled:
            return
        scale = self._check_ready("update")
        if new_scale is not None:
            if isinstance(new_scale, Tensor):
                if new_scale.numel() != 1 or new_scale._requires_grad or new_scale.dtype is not float32:
                    raise AssertionError(
                        "new_scale should be a float or a 1-element float32 tensor with requires_grad=False."
                    )
                new_scale = new_scale.item()  # type: ignore[attr-defined]
            scale.fill_(new_scale)  # type: ignore[attr-defined]
        else:
            if not self._found:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(found.item() for found in self._found.values()):  # type: ignore[attr-defined]
                scale.mul_(self._backoff_factor)  # type: ignore[attr-defined]
                self._growth_tracker = 0
            elif self._growth_tracker + 1 == self._growth_interval:
                grown = scale.item() * self._growth_factor  # type: ignore[attr-defined]
                if math.isfinite(grown) and grown <= 3.4028234663852886e38:
                    scale.fill_(grown)  # type: ignore[attr-defined]
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
        self._state.clear()
        self._found.clear()

    def get_scale(self) -> float:
        """The scale; 1.0 if disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else self._scale.item()  # type: ignore[attr-defined]

    def get_growth_factor(self) -> float:
        """The factor by which the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Sets the factor by which the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """The factor by which the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Sets the factor by which the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """The steps with finite gradients after which the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Sets the steps with finite gradients after which the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether losses are scaled."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The state as a dictionary of numbers; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned; raises RuntimeError for the empty one of a disabled scaler."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        if self._scale is not None:
            self._scale.fill_(state_dict["scale"])  # type: ignore[attr-defined]
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval, self._growth_tracker = state_dict["growth_interval"], state_dict["_growth_tracker"]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._state:
                raise AssertionError("A GradScaler instance may only be pickled at the beginning of an iteration, or "
                                     "at the end after scaler.update().")  # fmt: skip
            state["_init_scale"], state["_scale"] = self.get_scale(), None
        return state
