"""Whether a call's Python can be left out without anybody noticing: what it ran, and what it may have depended on.

A compiled function runs its Python at every call unless that is known to do the same again.  ``SideEffects`` sees a
call happen: it names the program's own code that ran, and notices what is more than computing (attributes that are set,
functions of the standard library, a print).  ``Environment`` is then everything that such code can read besides its
arguments: modules with all their attributes, globals and closures, classes, lists and dictionaries, and what those
hold.  A call that began and ended with one state, having the same arguments but for the values in tensors, is the same
call again whenever that state is found again.
"""

from __future__ import annotations

import dis
import functools
import gc
import math
import sys
import types
from abc import ABCMeta
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import chain
from operator import attrgetter, contains, getitem, is_, itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from warnings import warn

from ..device import device
from ..dispatch.operator import Operator
from ..dtype import dtype
from ..layout import Size
from ..runtime.unchanged import Unchanged
from ..tensor import OWN_ATTRIBUTES, Tensor, all_attributes
from .guards import Guards

__all__ = ["Environment", "SideEffects"]

_PACKAGE = __name__.partition(".")[0]
_FOLDER = str(Path(__file__).parent.parent)
_STANDARD = str(Path(dis.__file__).parent)
_ONLY_COMPUTE = (
    "autograd.", "composed", "device", "dispatch.argument_aliases", "dispatch.call", "dispatch.forms",
    "dispatch.view_cache", "dtype", "fft", "functional", "layout", "linalg", "names", "nn.", "ops.", "special",
    "storage", "tensor",
)  # fmt: skip
"""The parts of the package that the program's own code may call."""
_LEFT_ALONE = frozenset({
    "DELETE_ATTR", "DELETE_GLOBAL", "DELETE_NAME", "GET_AWAITABLE", "IMPORT_FROM", "IMPORT_NAME", "IMPORT_STAR",
    "LOAD_BUILD_CLASS", "LOAD_NAME", "STORE_ATTR", "STORE_GLOBAL", "STORE_NAME",
})  # fmt: skip
"""Instructions that change what outlives a call, or read what is not looked at here."""
_BUILTINS = frozenset({
    "abs", "all", "any", "bool", "callable", "complex", "dict", "divmod", "enumerate", "filter", "float", "frozenset",
    "getattr", "hasattr", "int", "isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next",
    "object", "pow", "range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "super", "tuple", "type",
    "zip", "Ellipsis", "NotImplemented", "AssertionError", "IndexError", "KeyError", "RuntimeError", "StopIteration",
    "TypeError", "ValueError", "NotImplementedError", "Exception", "AttributeError",
})  # fmt: skip
_VALUES = frozenset({
    int, float, bool, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), slice, range, object,
    dtype, device,
})  # fmt: skip
"""Classes of what never changes."""
_METACLASSES = (type, ABCMeta)
_HOLDERS = frozenset({list, tuple, dict, set, frozenset, OrderedDict, Size})
_PLAIN_SIZE = type("_", (), {}).__basicsize__  # of an object that has attributes and nothing else
_STEPPING = frozenset({"hooked_step", "step", "watched", "zero_grad"})
"""The functions of optimizers that it may call, too: a repeated call steps again, or finds that it cannot.  A schedule
has its optimizer's step ``watched``."""
_OPTIONS = frozenset({"defaults", "param_groups", "state"})
"""What optimizers count in, and are told by."""
_ASKED = frozenset({"_version", "data_ptr", "grad", "hash", "storage", "untyped_storage"})
"""What a tensor may be asked for that another call finds otherwise, with the same arguments."""
_UNREAD = frozenset({
    "_forward_hooks_always_called", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs",
    "_is_full_backward_hook", "_load_state_dict_post_hooks", "_load_state_dict_pre_hooks",
    "_non_persistent_buffers_set", "_state_dict_hooks", "_state_dict_pre_hooks",
})  # fmt: skip
"""Attributes of modules that a call does not read, or only where there are hooks."""
_MOST = 20_000  # values of a state
_AT_ONCE = 8  # parts that words of memory tell of in the time that a look takes
_PATIENCE = 8  # times that what did not change for certain is noted


class _Code(NamedTuple):
    """What a piece of code does: whether it leaves alone what outlives a call, and the names it uses."""

    harmless: bool
    globals: frozenset[str]
    names: frozenset[str]


@functools.lru_cache(4096)
def _read(code: types.CodeType) -> _Code:
    harmless = True
    used: set[str] = set()
    names = {c for c in code.co_consts if isinstance(c, str)}  # of getattr, perhaps
    for step in dis.get_instructions(code):
        if step.opname in _LEFT_ALONE:
            harmless = False
        elif step.opname in ("STORE_DEREF", "DELETE_DEREF"):
            harmless &= step.argval in code.co_cellvars
        elif step.opname == "LOAD_GLOBAL":
            used.add(step.argval)
        elif isinstance(step.argval, str):
            names.add(step.argval)
    return _Code(harmless, frozenset(used), frozenset(names))


@functools.lru_cache(4096)
def _inside(file: str) -> bool:
    return file.startswith(_FOLDER)


@functools.lru_cache(4096)
def _standard(file: str) -> bool:
    return file.startswith("<frozen ") or (file.startswith(_STANDARD) and "site-packages" not in file)


def _makes_tuple(frame: types.FrameType) -> bool:
    """Whether this is what `collections.namedtuple` writes to make a tuple of names."""
    return frame.f_code.co_filename == "<string>" and str(frame.f_globals.get("__name__")).startswith("namedtuple_")


def _own(frame: types.FrameType | None) -> bool:
    """Whether this is code of the package, written out by it, or of the standard library on behalf of it."""
    while frame is not None and (_standard(frame.f_code.co_filename) or _makes_tuple(frame)):
        frame = frame.f_back
    if frame is None:
        return True
    file = frame.f_code.co_filename
    if _inside(file):
        return True
    return file[:1] == "<" and (file.startswith("<tape of ") or isinstance(frame.f_globals.get("op"), Operator))


def _computes(fn: Any) -> bool:
    """Whether a builtin function only computes, or changes nothing but a list, say, which a state compares."""
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, types.ModuleType):
        return owner is math or (owner.__name__ == "builtins" and fn.__name__ in _BUILTINS)
    cls = owner if isinstance(owner, type) else type(owner)
    return owner is not None and (cls in _VALUES or cls in _HOLDERS)


class SideEffects:
    """A context that looks for side effects of a call: ``codes`` is the program's own code that ran, ``harmless`` says
    that nothing happened but computing.

    Cyclic garbage is not collected meanwhile: finalizers and callbacks of collections would be taken for the call's.
    """

    def __init__(self) -> None:
        self.codes: set[types.CodeType] = set()
        self.harmless = sys.getprofile() is None
        self._collects = False

    def __enter__(self) -> SideEffects:
        if self.harmless:
            self._collects = gc.isenabled()
            gc.disable()
            sys.setprofile(self._saw)
        return self

    def __exit__(self, *exception: object) -> None:
        if self.harmless or self.codes:
            sys.setprofile(None)
        if self._collects:
            gc.enable()
        self.harmless = self.harmless and exception[0] is None and all(_read(c).harmless for c in self.codes)

    def _saw(self, frame: types.FrameType, event: str, fn: Any) -> None:
        if event == "call":
            if not _own(frame):
                self.codes.add(frame.f_code)
                return
            if _own(frame.f_back):
                return
            name = frame.f_globals.get("__name__")
            if name is not None:
                part = name.partition(".")[2]
                known = part.startswith(_ONLY_COMPUTE)
                name = frame.f_code.co_name
                if not (known or (name in _STEPPING and part.startswith("optim."))) or (
                    name in _ASKED and not part.startswith("autograd.")
                ):
                    self._noticed()
        elif event == "c_call" and (fn is warn or (not _own(frame) and not _computes(fn))):
            self._noticed()

    def _noticed(self) -> None:
        self.harmless = False
        self.codes.add(self._noticed.__code__)  # so that the end knows that it began
        sys.setprofile(None)


class _Unknown(Exception):
    """There is something that may change unseen."""


class Environment:
    """What the code that ``SideEffects`` saw may read, from a function on.

    ``tensors`` are the tensors in it, ``optimizers`` the optimizers, ``watchable`` says that it could be taken in
    whole, ``codes`` is the code.
    """

    def __init__(self, fn: Any, codes: Iterable[types.CodeType], space: dict[str, Any] | None = None) -> None:
        """``space``: names of the package that are to mean what they mean."""
        self.codes = set(codes)
        self._names = frozenset(chain.from_iterable(_read(c).names for c in self.codes))
        self._seen: dict[int, Any] = {}
        self._found: set[types.CodeType] = set()
        self.tensors: list[Tensor] = []
        self.optimizers: list[Any] = []
        self._dicts: list[dict[Any, Any]] = [] if space is None else [space]
        self._lists: list[list[Any]] = []
        self._empty: list[Any] = []
        self._sets: list[tuple[Any, frozenset[Any]]] = []
        self._members: list[tuple[Any, dict[str, Any]]] = []  # what picks attributes of a module, and all of them
        self._keyed: list[dict[Any, Any]] = []  # dictionaries that are not the attributes of an object
        self._classes: list[Any] = []
        self._spaces: list[Any] = []  # where a name is to stay what it is
        self._names_there: list[str] = []
        self._absent: list[Any] = []  # where a name is to stay unknown, which is that of a builtin function
        self._names_absent: list[str] = []
        self._cells: list[types.CellType] = []
        self._functions: list[types.FunctionType] = []
        self._objects: list[Any] = []
        try:
            self._take(fn)
        except _Unknown:
            self.watchable = False
            return
        self._options = Guards([], self.optimizers, []) if self.optimizers else None
        known = {*self._found, *chain.from_iterable(map(_nested, self._found))}
        self._sized = [*self._dicts, *self._lists, *self._classes, *[own for _, own in self._members]]
        self._sizes = [*map(len, self._sized)]
        self._was = [*self._now()]
        self._ordered = [d for d in self._dicts if type(d) is not dict]
        self._sets += [(e, frozenset()) for e in self._empty if isinstance(e, set)]
        self._sized_others = [*self._ordered, *self._lists, *[c for c in self._classes if type(c) is not dict]]
        self._sizes_others = [*map(len, self._sized_others)]
        self._others_were = [[*found] for found in self._others()]
        self._named_were = [*map(getitem, self._spaces, self._names_there)]
        # Names in classes whose dictionaries cannot be reached: (index, space, name) of each.
        apart = [(k, s) for k, s in enumerate(self._spaces) if type(s) is not dict]
        self._apart = [s for _, s in apart], [self._names_there[k] for k, _ in apart]
        self._apart_were = [self._named_were[k] for k, _ in apart]
        self._tensors_were = [*chain.from_iterable(map(_tensor_state, self.tensors))]
        self.same: Callable[[], int] = _unknown
        """Machine code that returns 1 only if all is certainly as it was; ``hold`` looks closer."""
        self._unchanged: Unchanged | None = None
        self._untouched: Unchanged | None = None  # all attributes of the tensors, their gradients among them
        self._unnamed: Unchanged | None = None  # all that can be named where a name is to stay what it is
        self._patience = _PATIENCE
        self._told_in_words = not (self.optimizers or self._sized_others or self._sets or self._apart_were)
        self.watchable = self.codes <= known and not self._hooked() and (not self._options or self._options.watchable)

    def _now(self) -> Iterator[Any]:
        """The parts of the state, of which each must stay the same object."""
        dicts = self._dicts
        return chain(
            chain.from_iterable(map(dict.values, dicts)),
            chain.from_iterable([pick(own) for pick, own in self._members]),
            chain.from_iterable(self._keyed),
            chain.from_iterable(self._lists),
            map(getitem, self._spaces, self._names_there),
            map(_content, self._cells),
            chain.from_iterable(map(_function_state, self._functions)),
            map(type, self._objects),
            chain.from_iterable(map(_tensor_state, self.tensors)),
        )

    def hold(self) -> bool:
        """Whether all is as it was."""
        if self._options is not None and not self._options.hold():
            return False
        if self._unchanged is not None and self._unchanged.holds():
            return self._names_same() and self._others_same() and (not self.tensors or self._tensors_same())
        # Before looking, lest a change come between.
        looked = (Unchanged(*self._told()), self._tensors_now(), self._names_now()) if self._patience else None
        if (
            any(self._empty)
            or [*map(len, self._sized)] != self._sizes
            or not _same(self._now(), self._was)
            or not self._names_same()
            or not self._others_same()
            or self._hooked()
        ):
            return False
        if looked is not None:
            self._unchanged, self._untouched, self._unnamed = looked
            if self._told_in_words and self._untouched is not None:
                self._together = Unchanged.together(self._unchanged, self._untouched, self._unnamed)
                self.same = self._together.holds
            self._patience -= 1
        return True

    def _names_same(self) -> bool:
        """Whether names mean what they did, if only classes and what else may be named could have changed."""
        if self._unnamed is not None and self._unnamed.holds():
            return not self._apart_were or _same(map(getitem, *self._apart), self._apart_were)
        return _same(map(getitem, self._spaces, self._names_there), self._named_were) and not any(
            map(contains, self._absent, self._names_absent)
        )

    def _names_now(self) -> Unchanged:
        """What tells that nothing was given another meaning in the dictionaries where names are looked up."""
        spaces = (s for s in (*self._spaces, *self._absent) if type(s) is dict)
        return Unchanged({id(s): s for s in spaces}.values(), [], [])

    def _others_same(self) -> bool:
        """Whether what else no word tells of is as it was."""
        if self._sized_others:
            if [*map(len, self._sized_others)] != self._sizes_others:
                return False
            if not all(map(_same, self._others(), self._others_were)):
                return False
        return not self._sets or all(s == was for s, was in self._sets)

    def _tensors_same(self) -> bool:
        """Whether the tensors are as they were, but for their gradients and what is in them."""
        if self._untouched is not None and self._untouched.holds():
            return True
        return _same(chain.from_iterable(map(_tensor_state, self.tensors)), self._tensors_were) and not self._hooked()

    def _tensors_now(self) -> Unchanged | None:
        """What tells that nothing of the tensors was touched; None if they may get hooks unseen."""
        if any(t._hooks is not None for t in self.tensors):
            return None
        return Unchanged([all_attributes(t) for t in self.tensors], [], [])

    def _told(self) -> tuple[list[dict[Any, Any]], list[Any], list[Any], list[Any], list[Any]]:
        """The dictionaries of which one word tells whether they changed, the lists and dictionaries that are to stay
        empty, the objects that are to stay of their class, the cells, and the functions."""
        dicts = [d for d in self._dicts if type(d) is dict]  # others may change their order alone
        dicts += [own for _, own in self._members] + [c for c in self._classes if type(c) is dict]
        return (
            dicts,
            [e for e in self._empty if not isinstance(e, (set, frozenset))],
            self._objects,
            self._cells,
            self._functions,
        )

    def _others(self) -> list[Iterable[Any]]:
        """The parts of the state that no word tells of, by kind, of which there are any."""
        found: list[Iterable[Any]] = []
        if self._ordered:
            found += [chain.from_iterable(map(dict.values, self._ordered)), chain.from_iterable(self._ordered)]
        if self._lists:
            found.append(chain.from_iterable(self._lists))
        return found

    @property
    def looks(self) -> int:
        """How long `hold` takes, in looks at a part."""
        return (
            len(self._named_were)
            + sum(map(len, self._others_were))
            + len(self._was) // (_AT_ONCE if Unchanged.possible else 1)
        )

    def _hooked(self) -> bool:
        return any(e.hooks or e.post_accumulate for e in filter(None, map(attrgetter("_hooks"), self.tensors)))

    def let_go(self, root: Any) -> bool:
        """Does not keep ``root`` alive any more, an object whose class somebody else looks at; False if what it leads
        to keeps it."""
        self._seen.clear()
        self._objects = [o for o in self._objects if o is not root]
        self._was = [*self._now()]
        return not any(x is root for x in self._was)

    def rates(self) -> list[Any]:
        """The options of the optimizers."""
        return self._options.rates() if self._options is not None else []

    # -- taking it in ----------------------------------------------------------------------------
    def _take(self, value: Any) -> None:
        """Takes in a value and all it leads to; raises _Unknown."""
        stack = [value]
        while stack:
            value = stack.pop()
            if type(value) in _VALUES or isinstance(value, Enum) or id(value) in self._seen:
                continue
            if len(self._seen) > _MOST:
                raise _Unknown
            self._seen[id(value)] = value
            stack += self._inside_of(value)

    def _inside_of(self, value: Any) -> Iterable[Any]:
        """Notes a value, and returns what it leads to."""
        cls = type(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if cls is dict or cls is OrderedDict:
            return self._dict(value)
        if cls is list:
            (self._lists if value else self._empty).append(value)
            return value  # type: ignore[no-any-return]
        if cls is tuple or cls is Size or (isinstance(value, tuple) and hasattr(cls, "_fields")):
            return value  # type: ignore[no-any-return]
        if cls is set or cls is frozenset:
            return self._set(value)
        if cls is types.FunctionType:
            return self._function(value)
        if cls is types.MethodType:
            return value.__self__, value.__func__
        if cls is staticmethod or cls is classmethod:
            return (value.__func__,)
        if cls is property:
            return value.fget, value.fset
        if cls is functools.partial:
            return value.func, value.args, value.keywords
        if cls is types.ModuleType:
            return self._named(vars(value)) if value is not math else ()
        if cls is types.BuiltinFunctionType:  # calls of it are seen
            return ()
        if isinstance(value, type):
            return self._class(value)
        return self._object(value)

    def _tensor(self, t: Tensor) -> Iterable[Any]:
        if not t._plain:
            raise _Unknown
        self.tensors.append(t)
        own = all_attributes(t)
        given = [name for name in own if name not in OWN_ATTRIBUTES]
        self._expect(own, given)
        return [own[name] for name in given]

    def _expect(self, space: Any, names: Iterable[str]) -> None:
        for name in names:
            self._spaces.append(space)
            self._names_there.append(name)

    def _dict(self, value: dict[Any, Any]) -> Iterable[Any]:
        if not value:
            self._empty.append(value)
            return ()
        self._dicts.append(value)
        self._keyed.append(value)
        return [*value.values(), *value]

    def _set(self, value: Any) -> Iterable[Any]:
        if not all(type(x) in _VALUES for x in value):
            raise _Unknown
        if value:
            self._sets.append((value, frozenset(value)))
        else:
            self._empty.append(value)
        return ()

    def _function(self, fn: types.FunctionType) -> Iterable[Any]:
        code = fn.__code__
        if _inside(code.co_filename) or isinstance(getattr(fn, "operator", None), Operator):
            if "__wrapped__" not in fn.__dict__:
                return ()
            return [c.cell_contents for c in fn.__closure__ or () if isinstance(c.cell_contents, types.FunctionType)]
        self._functions.append(fn)  # one that did not run may get other code and run
        inner = (code, *_nested(code))
        if self.codes.isdisjoint(inner):
            return ()
        self._found.add(code)
        cells = list(fn.__closure__ or ())
        self._cells += cells
        try:
            found = [c.cell_contents for c in cells]
        except ValueError:
            raise _Unknown from None
        found += [*(fn.__defaults__ or ()), *filter(None, [fn.__kwdefaults__])]
        space = fn.__globals__
        for name in set(chain.from_iterable(_read(c).globals for c in inner)):
            if name in space:
                self._expect(space, [name])
                found.append(space[name])
            elif name in _BUILTINS:
                self._absent.append(space)
                self._names_absent.append(name)
            else:
                raise _Unknown
        return found

    def _named(self, space: Any) -> Iterable[Any]:
        """The members of a Python module that code may name."""
        names = [name for name in self._names if name in space]
        self._expect(space, names)
        return [space[name] for name in names]

    def _class(self, cls: type) -> Iterable[Any]:
        if _given(cls) or cls in _VALUES or cls in _HOLDERS or (
            cls.__module__ == "builtins" and cls.__name__ in _BUILTINS
        ):  # fmt: skip
            return ()
        return self._bodies(cls)

    def _bodies(self, cls: type) -> list[Any]:
        """What a class and its bases define."""
        if type(cls) not in _METACLASSES:  # whose attributes the class has, too
            raise _Unknown
        found: list[Any] = []
        for base in cls.__mro__:
            space = _dictionary(base)
            if base is object or (base is tuple and hasattr(cls, "_fields")):
                continue
            if _given(base):
                names = ["forward"] if "forward" in space else []
            elif _written(base):
                names = [n for n in space if n[:2] != "__" or isinstance(space[n], types.FunctionType)]
                self._classes.append(space)
            else:
                raise _Unknown
            self._expect(space, names)
            found += [space[n] for n in names]
        return found

    def _object(self, value: Any) -> Iterable[Any]:
        """A module of a net, or an object of a class of the program's own, with its attributes."""
        cls = type(value)
        if _given(cls) and isinstance(getattr(value, "param_groups", None), list):
            return self._optimizer(value)
        module = callable(getattr(cls, "_as_compiled", None))
        own = getattr(value, "__dict__", None)
        if type(own) is not dict or cls.__basicsize__ != _PLAIN_SIZE or (_given(cls) and not module):
            raise _Unknown
        self._objects.append(value)
        self._seen[id(own)] = own
        found: list[Any] = []
        if module:
            names = [name for name in own if name not in _UNREAD or name in self._names]
            pick = itemgetter(*names)
            self._members.append((pick, own))
            found += (*pick(own), *cls._everywhere)
        else:
            self._dicts.append(own)
            found += own.values()
        if id(cls) not in self._seen:
            self._seen[id(cls)] = cls
            found += self._bodies(cls)
        return found

    def _optimizer(self, value: Any) -> Iterable[Any]:
        """One of the package's optimizers: its step is taken again at every call, with the options and counters that it
        has then, and tells whether it is the same update (``deferred/steps.py``).  Code that reads those itself could
        do anything with them."""
        if not self._names.isdisjoint(_OPTIONS):
            raise _Unknown
        self.optimizers.append(value)
        self._objects.append(value)
        for base in type(value).__mro__:
            self._expect(vars(base), [name for name in _STEPPING if name in vars(base)])
        return [t for group in value.param_groups for t in group["params"]]


def _same(now: Iterable[Any], was: list[Any]) -> bool:
    """Whether these are the same objects; so many are looked at as there were, and as there are now."""
    try:
        return all(map(is_, now, was))
    except (KeyError, ValueError):  # a name or the content of a cell was deleted
        return False


_tensor_state = attrgetter("_layout", "_storage", "_requires_grad")
_function_state = attrgetter("__code__", "__defaults__", "__kwdefaults__")
_content = attrgetter("cell_contents")


def _unknown() -> int:
    """Says nothing of whether something is as it was."""
    return 0


def _dictionary(cls: type) -> Any:
    """The dictionary of a class, which is looked at only, or what stands for it where that cannot be reached."""
    found = gc.get_referents(vars(cls))
    return found[0] if len(found) == 1 and type(found[0]) is dict else vars(cls)


def _nested(code: types.CodeType) -> list[types.CodeType]:
    """The code of functions written inside of a function."""
    found: list[types.CodeType] = []
    stack = [code]
    while stack:
        inner = [c for c in stack.pop().co_consts if isinstance(c, types.CodeType)]
        found += inner
        stack += inner
    return found


def _given(cls: type) -> bool:
    """Whether a class is one of this package."""
    return cls.__module__.partition(".")[0] in (_PACKAGE, "torch")


def _written(cls: type) -> bool:
    """Whether a class is written in Python, by its objects, which hold nothing but attributes, or are tuples."""
    return bool(cls.__flags__ & _HEAP) and (cls.__basicsize__ == _PLAIN_SIZE or issubclass(cls, tuple))


_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE
