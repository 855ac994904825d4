"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from .._base import Tensor, ops, typename

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _check_devices(parameters: list[Tensor]) -> None:
    if any(p.device != parameters[0].device for p in parameters):
        raise TypeError("Found two parameters on different devices, this is currently not supported.")


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of ``parameters`` in one vector.  Raises TypeError unless they are on one device."""
    listed = list(parameters)
    _check_devices(listed)
    return ops.cat([p.view(-1) for p in listed])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give ``parameters`` the elements of ``vec``, whose memory they share from then on.

    Raises TypeError for what is no tensor and unless the parameters are on one device.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {typename(vec)}")
    listed = list(parameters)
    _check_devices(listed)
    start = 0
    for p in listed:
        end = start + p.numel()
        p.data = vec[start:end].view_as(p).data
        start = end
