"""Handles that remove a registered hook again, and the marks of hooks that must not be saved."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]


class RemovableHandle:
    """What every ``register_*_hook`` returns: a handle whose ``remove()`` takes the hook out again.

    The dictionaries are held weakly, so a handle keeps neither the hooks nor their owner alive. Used as a
    context manager it removes the hook on leaving.

    Args:
        hooks_dict: the ordered mapping from handle id to hook; the caller stores the hook under ``handle.id``.
        extra_dict: one more mapping, or a list of them, whose entry of the same id goes at the same time.
    """

    id: int
    next_id: int = 0
    _counter = itertools.count()

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = next(RemovableHandle._counter)
        RemovableHandle.next_id = self.id + 1
        self.hooks_dict_ref: Any = weakref.ref(hooks_dict)
        self.extra_dict_ref: tuple[Any, ...] = tuple(weakref.ref(extra) for extra in _as_dicts(extra_dict))

    def remove(self) -> None:
        """Take the hook out of its dictionaries; a second call does nothing."""
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            mapping = reference()
            if mapping is not None:
                mapping.pop(self.id, None)

    def __getstate__(self) -> tuple[Any, ...]:
        extra = tuple(reference() for reference in self.extra_dict_ref)
        return (self.hooks_dict_ref(), self.id, extra) if extra else (self.hooks_dict_ref(), self.id)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # A mapping that has died since comes back as an empty one that nobody holds.
        self.hooks_dict_ref = weakref.ref(OrderedDict() if state[0] is None else state[0])
        self.id = state[1]
        extra = state[2] if len(state) > 2 else ()
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if one is None else one) for one in extra)
        if self.id >= RemovableHandle.next_id:
            RemovableHandle.next_id = self.id + 1
            RemovableHandle._counter = itertools.count(self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def _as_dicts(extra: Any) -> Iterable[Any]:
    if extra is None:
        return ()
    return extra if isinstance(extra, list) else (extra,)


def unserializable_hook(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark ``function`` as a hook that saving a tensor may drop without a warning; returns it."""
    function.__torch_unserializable__ = True  # type: ignore[attr-defined]
    return function


def warn_if_has_hooks(tensor: Any) -> None:
    """Warn once for each backward hook of ``tensor`` that saving it will lose."""
    for hook in (tensor._backward_hooks or {}).values():
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(
                f"backward hook {hook!r} on tensor will not be serialized. If this is expected, you can decorate "
                "the function with @torch.utils.hooks.unserializable_hook to suppress this warning",
                stacklevel=2,
            )
