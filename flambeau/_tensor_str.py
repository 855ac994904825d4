"""``torch._tensor_str``: the text of tensors, for classes that print themselves as tensors do.

The names are PyTorch's; ``printing.py`` does the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .printing import (
    format_values,
    get_printoptions,
    options_in_force,
    set_options,
    set_printoptions,
    tensor_repr,
    with_suffixes,
)
from .tensor import Tensor, host_values

__all__ = ["PRINT_OPTS", "get_printoptions", "printoptions", "set_printoptions"]


class _Options:
    """The print options in force, as attributes: reading sees what ``set_printoptions`` set, writing sets it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(options_in_force(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        set_options(**{name: value})

    def __repr__(self) -> str:
        return repr(options_in_force())


PRINT_OPTS = _Options()


@contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """Inside of the block tensors are printed with these options of ``set_printoptions``."""
    before = get_printoptions()
    set_printoptions(**{"sci_mode": before["sci_mode"], **kwargs})
    try:
        yield
    finally:
        set_options(**before)


def _tensor_str(self: Tensor, indent: int) -> str:
    """The numbers of a tensor as nested lists, whose further lines start ``indent`` columns in."""
    plain: Any = self.detach()  # type: ignore[attr-defined]
    return format_values(host_values(plain.to_dense() if plain.is_sparse else plain.resolve_conj()), indent)


def _add_suffixes(tensor_str: str, suffixes: Sequence[str], indent: int, force_newline: bool) -> str:
    """``tensor_str`` with ``suffixes`` behind it, on a line of their own with ``force_newline``, and a bracket."""
    return with_suffixes(tensor_str, suffixes, indent, options_in_force().linewidth, own_line=force_newline)


def _str_intern(inp: Tensor, *, tensor_contents: str | None = None) -> str:
    """The whole text of a tensor, with ``tensor_contents`` in the place of its numbers."""
    return tensor_repr(inp, None if inp.device.type == "meta" else host_values(inp), tensor_contents)


def _str(self: Tensor, *, tensor_contents: str | None = None) -> str:
    """``repr`` of a tensor."""
    return _str_intern(self, tensor_contents=tensor_contents)
