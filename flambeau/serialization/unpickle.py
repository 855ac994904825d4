"""A reader of pickles that executes nothing from them.

The opcodes are those of Python's ``pickletools`` (protocols 0 to 5). Names are resolved by a function of the caller,
and only the callables that it vouches for are called; there is no import, and no method of an object is called
because the pickle says so, except where the caller allows it.
"""

from __future__ import annotations

import codecs
import reprlib
import struct
from collections import deque
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

__all__ = ["Globals", "Unpickler", "UnpicklingError", "short"]

short = reprlib.repr  # what a file holds may nest deeper than repr() can follow

_MARK = object()


class Globals:
    """What an unpickler may make of the names in a pickle; the caller derives from it."""

    def resolve(self, module: str, name: str) -> Any:
        """The object that a name stands for; raises UnpicklingError for a name that is not allowed."""
        raise NotImplementedError

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """The result of ``function(*args)``, a function that :meth:`resolve` gave, if it may be called."""
        raise NotImplementedError

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A new object of a class that :meth:`resolve` gave."""
        raise NotImplementedError

    def build(self, instance: Any, state: Any) -> None:
        """Give an object its state."""
        raise NotImplementedError


class Unpickler:
    """Reads one pickle from a buffer.

    Args:
        data: the buffer.
        names: what the names in it stand for.
        persistent_load: the object for a persistent id.
        encoding: how strings of Python 2 are decoded; "bytes" leaves them.
        position: where the pickle starts; afterwards where it ended.
    """

    def __init__(
        self,
        data: bytes,
        names: Globals,
        persistent_load: Callable[[Any], Any],
        encoding: str = "ASCII",
        errors: str = "strict",
        position: int = 0,
    ) -> None:
        self.data = data
        self.position = position
        self.encoding = encoding
        self.errors = errors
        self._names = names
        self._persistent_load = persistent_load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object; raises UnpicklingError for what is damaged or not allowed."""
        data, stack, handlers = self.data, self._stack, _HANDLERS
        try:
            while True:
                code = data[self.position]
                self.position += 1
                if code == _STOP:
                    if len(stack) != 1 or stack[0] is _MARK:
                        raise UnpicklingError("pickle: its end leaves more, or less, than one object")
                    return stack.pop()
                handler = handlers.get(code)
                if handler is None:
                    raise UnpicklingError(
                        f"pickle: opcode {bytes((code,))!r} at byte {self.position - 1} is not allowed, or the data is "
                        "damaged"
                    )
                handler(self)
        except (IndexError, struct.error, KeyError, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise UnpicklingError(
                f"pickle: damaged or truncated near byte {self.position} ({type(error).__name__}: {error})"
            ) from error

    # -- bytes -----------------------------------------------------------------------------------
    def _take(self, count: int) -> bytes:
        start = self.position
        end = start + count
        if count < 0 or end > len(self.data):
            raise UnpicklingError(f"pickle: {count} bytes are announced at byte {start}, {len(self.data) - start} left")
        self.position = end
        return bytes(self.data[start:end])

    def _number(self, layout: str, size: int) -> Any:
        return struct.unpack(layout, self._take(size))[0]

    def _line(self) -> bytes:
        end = self.data.index(b"\n", self.position)
        return self._take(end + 1 - self.position)[:-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise UnpicklingError("pickle: an object is missing")
        return value

    def _since_mark(self) -> list[Any]:
        """The objects above the last mark, which go with it."""
        stack = self._stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is _MARK:
                found = stack[i + 1 :]
                del stack[i:]
                return found
        raise UnpicklingError("pickle: a mark is missing")

    # -- containers ------------------------------------------------------------------------------
    def _top(self, kinds: Any, verb: str) -> Any:
        top = self._stack[-1]
        if not isinstance(top, kinds):
            raise UnpicklingError(f"pickle: cannot {verb} an object of type {type(top).__name__}")
        return top

    def _append(self) -> None:
        value = self._pop()
        self._top((list, deque), "append to").append(value)

    def _appends(self) -> None:
        values = self._since_mark()
        self._top((list, deque), "append to").extend(values)

    def _set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise UnpicklingError("pickle: a key has no value")
        target = self._top(dict, "set items of")
        for key, value in zip(items[::2], items[1::2]):
            _check_key(key)
            target[key] = value

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _add_items(self) -> None:
        elements = self._elements()
        self._top(set, "add to").update(elements)

    def _elements(self) -> list[Any]:
        values = self._since_mark()
        for value in values:
            _check_key(value)
        return values

    def _dict(self) -> None:
        items = self._since_mark()
        self._push({})
        self._set_items(items)

    # -- memo ------------------------------------------------------------------------------------
    def _put(self, index: int) -> None:
        if self._stack[-1] is _MARK:
            raise UnpicklingError("pickle: a mark cannot be remembered")
        self._memo[index] = self._stack[-1]

    # -- objects ---------------------------------------------------------------------------------
    def _global(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self._push(self._names.resolve(module, name))

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise UnpicklingError("pickle: the name of a global must be two strings")
        self._push(self._names.resolve(module, name))

    def _args(self) -> tuple[Any, ...]:
        args = self._pop()
        if not isinstance(args, tuple):
            raise UnpicklingError(f"pickle: arguments must be a tuple, not {type(args).__name__}")
        return args

    def _reduce(self) -> None:
        args, function = self._args(), self._pop()
        self._push(self._names.call(function, args))

    def _newobj(self) -> None:
        args, cls = self._args(), self._pop()
        self._push(self._names.new(cls, args, {}))

    def _newobj_ex(self) -> None:
        kwargs, args, cls = self._pop(), self._args(), self._pop()
        if type(kwargs) is not dict:
            raise UnpicklingError("pickle: keyword arguments must be a dict")
        self._push(self._names.new(cls, args, kwargs))

    def _build(self) -> None:
        state = self._pop()
        instance = self._stack[-1]
        if instance is _MARK:
            raise UnpicklingError("pickle: an object is missing")
        self._names.build(instance, state)

    # -- strings and numbers ---------------------------------------------------------------------
    def _old_string(self, raw: bytes) -> None:
        self._push(raw if self.encoding == "bytes" else raw.decode(self.encoding, self.errors))

    def _quoted_string(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
            raise UnpicklingError("pickle: a string has no quotes")
        self._old_string(codecs.escape_decode(line[1:-1])[0])  # type: ignore[attr-defined]

    def _int_line(self) -> None:
        line = self._line()
        self._push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line, 0))

    def _long(self, size: int) -> None:
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _protocol(self) -> None:
        version = self._take(1)[0]
        if version > 5:
            raise UnpicklingError(f"pickle: protocol {version} is not supported; the newest known is 5")


_DEEPEST_KEY = 50


def _check_key(key: Any, depth: int = 0) -> None:
    """Refuse keys without a hash, and deeply nested ones: hashing them would overrun the interpreter's stack."""
    if type(key).__hash__ is None:
        raise UnpicklingError(f"pickle: an object of type {type(key).__name__} cannot be a key")
    if type(key) in (tuple, frozenset):
        if depth > _DEEPEST_KEY:
            raise UnpicklingError(f"pickle: a key is nested more than {_DEEPEST_KEY} levels deep")
        for part in key:
            _check_key(part, depth + 1)


def _text(layout: str, size: int) -> Callable[[Unpickler], None]:
    return lambda u: u._push(u._take(u._number(layout, size)).decode("utf-8", "surrogatepass"))


def _bytes(layout: str, size: int, kind: Any = bytes) -> Callable[[Unpickler], None]:
    return lambda u: u._push(kind(u._take(u._number(layout, size))))


def _tuple_of(count: int) -> Callable[[Unpickler], None]:
    def handler(u: Unpickler) -> None:
        items = [u._pop() for _ in range(count)]
        u._push(tuple(reversed(items)))

    return handler


def _drop(u: Unpickler) -> None:
    u._stack.pop()


_STOP = ord(".")
_HANDLERS: dict[int, Callable[[Unpickler], None]] = {
    ord(code): handler
    for code, handler in {
        "\x80": Unpickler._protocol,
        "\x95": lambda u: u._take(8),  # a frame: only its size, which says nothing here
        "(": lambda u: u._push(_MARK),
        "0": _drop,
        "1": lambda u: u._since_mark(),
        "2": lambda u: u._push(u._stack[-1]),
        "N": lambda u: u._push(None),
        "\x88": lambda u: u._push(True),
        "\x89": lambda u: u._push(False),
        "I": Unpickler._int_line,
        "J": lambda u: u._push(u._number("<i", 4)),
        "K": lambda u: u._push(u._take(1)[0]),
        "M": lambda u: u._push(u._number("<H", 2)),
        "L": lambda u: u._push(int(u._line().rstrip(b"L"), 0)),
        "\x8a": lambda u: u._long(u._take(1)[0]),
        "\x8b": lambda u: u._long(u._number("<i", 4)),
        "F": lambda u: u._push(float(u._line())),
        "G": lambda u: u._push(u._number(">d", 8)),
        "S": Unpickler._quoted_string,
        "T": lambda u: u._old_string(u._take(u._number("<i", 4))),
        "U": lambda u: u._old_string(u._take(u._take(1)[0])),
        "V": lambda u: u._push(u._line().decode("raw-unicode-escape")),
        "X": _text("<I", 4),
        "\x8c": _text("<B", 1),
        "\x8d": _text("<Q", 8),
        "B": _bytes("<I", 4),
        "C": _bytes("<B", 1),
        "\x8e": _bytes("<Q", 8),
        "\x96": _bytes("<Q", 8, bytearray),
        "]": lambda u: u._push([]),
        "a": Unpickler._append,
        "e": Unpickler._appends,
        "l": lambda u: u._push(u._since_mark()),
        ")": lambda u: u._push(()),
        "t": lambda u: u._push(tuple(u._since_mark())),
        "\x85": _tuple_of(1),
        "\x86": _tuple_of(2),
        "\x87": _tuple_of(3),
        "}": lambda u: u._push({}),
        "d": Unpickler._dict,
        "s": Unpickler._set_item,
        "u": lambda u: u._set_items(u._since_mark()),
        "\x8f": lambda u: u._push(set()),
        "\x90": Unpickler._add_items,
        "\x91": lambda u: u._push(frozenset(u._elements())),
        "c": Unpickler._global,
        "\x93": Unpickler._stack_global,
        "R": Unpickler._reduce,
        "b": Unpickler._build,
        "\x81": Unpickler._newobj,
        "\x92": Unpickler._newobj_ex,
        "p": lambda u: u._put(int(u._line())),
        "q": lambda u: u._put(u._take(1)[0]),
        "r": lambda u: u._put(u._number("<I", 4)),
        "\x94": lambda u: u._put(len(u._memo)),
        "g": lambda u: u._push(u._memo[int(u._line())]),
        "h": lambda u: u._push(u._memo[u._take(1)[0]]),
        "j": lambda u: u._push(u._memo[u._number("<I", 4)]),
        "Q": lambda u: u._push(u._persistent_load(u._pop())),
    }.items()
}
