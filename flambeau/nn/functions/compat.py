"""Names of PyTorch's functional module that serve its own script compiler, for programs that import them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

__all__ = [
    "GRID_SAMPLE_INTERPOLATION_MODES",
    "GRID_SAMPLE_PADDING_MODES",
    "BroadcastingList1",
    "BroadcastingList2",
    "BroadcastingList3",
    "assert_int_or_pair",
    "boolean_dispatch",
]

GRID_SAMPLE_INTERPOLATION_MODES = {"bilinear": 0, "nearest": 1, "bicubic": 2}
GRID_SAMPLE_PADDING_MODES = {"zeros": 0, "border": 1, "reflection": 2}


class BroadcastingListCls:
    """In an annotation, ``BroadcastingList2[int]`` means a list of 2 ints, or one int for both."""

    def __getitem__(self, types: Any) -> None:
        return None


BroadcastingList1 = BroadcastingListCls()
BroadcastingList2 = BroadcastingListCls()
BroadcastingList3 = BroadcastingListCls()


def assert_int_or_pair(arg: Any, arg_name: str, message: str) -> None:
    """Raises AssertionError unless ``arg`` is a number or a pair."""
    if not isinstance(arg, int) and len(arg) != 2:
        raise AssertionError(message.format(arg_name))


def boolean_dispatch(
    arg_name: str,
    arg_index: int,
    default: bool,
    if_true: Callable[..., Any],
    if_false: Callable[..., Any],
    module_name: str | None,
    func_name: str | None,
) -> Callable[..., Any]:
    """A function that calls one of two others, by the value of one argument.

    Args:
        arg_name: the argument's name.
        arg_index: its position.
        default: its value where it is not given.
        if_true, if_false: what to call.
        module_name, func_name: how the result is called.
    """

    @functools.wraps(if_false)
    def choose(*args: Any, **kwargs: Any) -> Any:
        chosen = kwargs.get(arg_name, args[arg_index] if arg_index < len(args) else default)
        return (if_true if chosen else if_false)(*args, **kwargs)

    if module_name is not None:
        choose.__module__ = module_name
    if func_name is not None:
        choose.__name__ = func_name
    return choose
