"""A repeated forward pass whose results can be differentiated: its backward pass is a program of its own.

When such a call is watched, the derivative of its results is recorded behind it, for gradients that are not known yet,
and taken out of the program again.  From the text of both come two programs: forwards, which also gives the values that
the other one reads, and backwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..autograd.api import grad as derivative
from ..autograd.function import BackwardCFunction
from ..autograd.mode import enable_grad, state
from ..autograd.node import AccumulateGrad, Node
from ..autograd.node import number as _number
from ..autograd.operator_node import OperatorNode
from ..autograd.saved import FREED, modified
from ..autograd.view import CopySlices, edge_of
from ..deferred.deferral import Deferral, planned
from ..deferred.executed import Executed
from ..deferred.record import ARGUMENT, VIEW, WRITE, flat_below
from ..layout import Layout, dense
from ..storage import Storage
from ..tensor import Tensor, address, empty, make
from .rematerialize import Again, computed_again

__all__ = ["Backward", "BackwardProgram", "backward_program", "tape_of"]

_ARGUMENT, _SAVED, _GRADIENT, _CONSTANT = range(4)


_Way = Callable[[Sequence[Storage], Sequence[Storage], Sequence[Any]], "list[Tensor | None]"]


class BackwardProgram(NamedTuple):
    """The backward pass of a watched call.

    ``saved`` are the values that it reads, by number and layout; ``sources`` tell for each of its arguments what it is,
    and bytes from its start: ``_ARGUMENT``, slot of the forward pass; ``_SAVED``, place in ``saved``; ``_GRADIENT``, of
    which result; ``_CONSTANT``, place in ``constants``, memory that the derivative made for itself.  ``given`` are the
    layouts of the gradients of the results; ``wanted`` those of the gradients that it gives, one for each input, and
    their place among its results or None; ``plan`` makes the program when it is first asked for; ``ways`` gets the
    short way to run it, or None.
    """

    saved: list[tuple[int, Layout]]
    sources: list[tuple[int, int, int]]
    constants: list[Storage]
    given: list[Layout]
    wanted: list[tuple[Layout, int] | None]
    plan: Callable[[], Executed]
    ways: list[_Way | None]

    def placed(self, starts: Sequence[int]) -> BackwardProgram:
        """The same, if the arguments of the forward pass begin so many bytes behind the start of their storages."""
        sources = [(what, k, start + starts[k] if what == _ARGUMENT else start) for what, k, start in self.sources]
        return self._replace(sources=sources, ways=[])

    def way(self) -> _Way | None:
        """The short way from the storages of the forward pass's arguments, what was saved and the gradients of its
        results to those of the inputs, if there is one."""
        if not self.ways:
            self.ways.append(_written(self))
        return self.ways[0]

    def asked(self) -> list[tuple[int, Layout, None]]:
        """What the forward pass is asked for besides its results, unless it is one."""
        return [(value, layout, None) for value, layout in self.saved]


def tape_of(results: Sequence[Tensor]) -> tuple[set[int], set[int]] | None:
    """By identity, the leaves that results come from, and the storages of what the tape has saved on the way; None if
    there are hooks or functions of the program's own, whose Python belongs to the backward pass."""
    found: set[int] = set()
    saved: set[int] = set()
    seen: set[int] = set()
    stack: list[Any] = [t._node for t in results]
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if node._extras is not None or not _computes(node):
            return None
        if type(node) is AccumulateGrad:
            found.add(id(node.variable))
        elif isinstance(node, OperatorNode):
            kept = node._results if type(node._results) is list else [node._results]
            saved |= {id(k[1].memory) for k in kept if type(k) is tuple}
            saved |= {id(v._storage.memory) for v in node._values or () if isinstance(v, Tensor)}
        elif isinstance(node, BackwardCFunction):
            saved |= {id(t._storage.memory) for t in node._tensors_kept() if t is not None}
        stack += [to for to, _ in node.next_functions]
    return found, saved


def _computes(node: Any) -> bool:
    """Whether the backward pass of a node is the package's own, and does nothing but compute."""
    if isinstance(node, BackwardCFunction):
        return node._forward_cls._only_computes
    return isinstance(node, (AccumulateGrad, CopySlices, OperatorNode))


class _Mark(NamedTuple):
    """How long a program was."""

    words: int
    values: int
    arguments: int
    numbers: int
    live: int


def backward_program(recorder: Deferral, results: Sequence[Tensor], inputs: Sequence[Tensor]) -> BackwardProgram | None:
    """The derivative of results that are pending in the program by inputs, which is as it was afterwards; None if it
    cannot be told apart from the program."""
    mark = _Mark(len(recorder.text), recorder.count, len(recorder.arguments), len(recorder.numbers), len(recorder.live))
    before = recorder.runs, recorder.outside
    seeds = [empty(dense(t._layout.dtype, t._layout.shape)) for t in results]
    try:
        try:
            found = derivative(results, inputs, seeds, retain_graph=True, allow_unused=True)
        except RuntimeError:  # the call's own backward pass, should there be one, will say so
            return None
        if before != (recorder.runs, recorder.outside):
            return None
        ends = [None if t is None else _end(recorder, t) for t in found]
        first = _BackwardWriter(recorder, mark, seeds, {})
        first.make(ends)
        again = first.again()
        return _BackwardWriter(recorder, mark, seeds, again).make(ends)
    except _Entangled:
        return None
    finally:
        if recorder.runs == before[0]:
            recorder.cut(*mark)


class _Entangled(Exception):
    """The backward pass reads memory that is neither a gradient of a result nor the forward pass's."""


def _end(recorder: Deferral, t: Any) -> tuple[int, Layout]:
    """A gradient as a value of the program, and its layout."""
    for _ in range(2):
        pending = t._storage.memory.pending
        if pending is not None and pending.trace is recorder and pending.layout is t._layout and not t._offset:
            return pending.node, t._layout
        t = t.clone()
    raise _Entangled


class _BackwardWriter:
    """Writes the text of the backward pass, which computes some values ``again``."""

    def __init__(self, recorder: Deferral, mark: _Mark, seeds: list[Tensor], again: Again) -> None:
        self._text, self._mark, self._seeds, self._again = recorder.text, mark, seeds, again
        self._homes = {home for home, slot in recorder.homes.items() if slot < mark.arguments}
        self._arguments = recorder.arguments
        self._numbers = recorder.numbers[mark.numbers :]
        self._starts: list[int] = []
        self._layouts: list[Layout] = []
        self._slots: dict[int, int] = {}
        self._new: list[Any] = []
        self._known: dict[int, int] = {}
        self._count = 0
        self._saved: list[tuple[int, Layout]] = []
        self._sources: list[tuple[int, int, int]] = []
        self._constants: list[Storage] = []
        self._owners: list[int] = []
        self._first: dict[object, int] = {}
        self._read()

    def _read(self) -> None:
        """Where each value is made, and how it lies."""
        text, at = self._text, 0
        while at < len(text):
            what = text[at]
            if what is ARGUMENT:
                self._slots[len(self._starts)] = len(self._slots)
                self._value(at, text[at + 1])
                at += 3
            elif what is VIEW:
                layout = text[at + 2]
                self._value(at, dense(layout.dtype, layout.shape))
                at += 4
            elif what is WRITE:
                natural = self._layouts[text[at + 1]]
                if flat_below(natural, text[at + 2], text[at + 3]):
                    natural = dense(natural.dtype, (natural.numel,))
                self._value(at, natural)
                at += 5
            else:
                for layout in what.layouts:
                    self._value(at, layout)
                at += 1 + what.inputs

    def _value(self, at: int, layout: Layout) -> None:
        self._starts.append(at)
        self._layouts.append(layout)

    def make(self, ends: Sequence[tuple[int, Layout] | None]) -> BackwardProgram:
        """The backward pass that ends in these values."""
        text, at, number = self._text, self._mark.words, self._mark.values
        while at < len(text):
            what = text[at]
            if what is ARGUMENT:  # taken where it is read
                number += 1
                at += 3
            elif what is VIEW:
                self._emit(number, (VIEW, self._operand(text[at + 1]), text[at + 2], text[at + 3]))
                number += 1
                at += 4
            elif what is WRITE:
                base, by = self._operand(text[at + 1]), self._operand(text[at + 4])
                self._emit(number, (WRITE, base, text[at + 2], text[at + 3], by))
                number += 1
                at += 5
            else:
                operands = [self._operand(k) for k in text[at + 1 : at + 1 + what.inputs]]
                self._new += (what, *operands)
                for _ in what.layouts:
                    self._known[number] = self._count
                    self._count += 1
                    number += 1
                at += 1 + what.inputs
        distinct: dict[tuple[int, Layout], int] = {}
        wanted: list[tuple[Layout, int] | None] = []
        for end in ends:
            if end is None:
                wanted.append(None)
                continue
            value, layout = end
            self._operand(value)  # a gradient may be a value of the forward pass
            wanted.append((layout, distinct.setdefault((self._known[value], layout), len(distinct))))
        results = [(value, layout, None) for value, layout in distinct]
        new, owners, numbers = self._new, self._owners, self._numbers
        leaving = [k for k, (what, _, _) in enumerate(self._sources) if what in (_SAVED, _GRADIENT)]
        made: list[Executed] = []

        def plan() -> Executed:
            if not made:
                program = planned(new, results, owners, leaving=leaving)
                made.append(Executed(program, [], numbers, [None] * len(results)))
            return made[0]

        return BackwardProgram(
            self._saved, self._sources, self._constants, [t._layout for t in self._seeds], wanted, plan, []
        )

    def again(self) -> Again:
        """What the backward pass that was made had better compute again."""
        there = [number for number, slot in self._slots.items() if id(self._arguments[slot][0]) not in self._homes]
        saved = sorted({number for number, _ in self._saved})
        return computed_again(self._text, self._starts, self._layouts, saved, there)

    def _operand(self, number: int) -> int:
        found = self._known.get(number)
        return self._forward(number) if found is None else found

    def _forward(self, number: int) -> int:
        """A value of the forward pass, or memory, as an argument of this one."""
        at, layout = self._starts[number], self._layouts[number]
        what = self._text[at]
        if what is VIEW:
            base = self._operand(self._text[at + 1])
            return self._emit(number, (VIEW, base, self._text[at + 2], self._text[at + 3]))
        if number in self._again:
            recipe, operands = self._again[number]
            return self._emit(number, (recipe, *map(self._operand, operands)))
        if what is ARGUMENT:
            slot = self._slots[number]
            storage, _, offset = self._arguments[slot]
            for k, seed in enumerate(self._seeds):
                if seed._storage is storage:
                    return self._argument(number, (_GRADIENT, k, offset * layout.itemsize), layout, seed)
            if id(storage) not in self._homes:
                return self._argument(number, self._memory(storage, offset * layout.itemsize), layout, id(storage))
            if slot >= self._mark.arguments:
                raise _Entangled
        self._saved.append((number, layout))
        return self._argument(number, (_SAVED, len(self._saved) - 1, 0), layout, object())

    def _memory(self, storage: Storage, start: int) -> tuple[int, int, int]:
        """The source of an argument in this memory: one of the forward pass, or made on the way back."""
        for slot, (other, layout, offset) in enumerate(self._arguments[: self._mark.arguments]):
            if other is storage:
                return _ARGUMENT, slot, start - offset * layout.itemsize
        self._constants.append(storage)
        return _CONSTANT, len(self._constants) - 1, start

    def _argument(self, number: int, source: tuple[int, int, int], layout: Layout, memory: object) -> int:
        slot = len(self._sources)
        owner = self._first.setdefault(memory, slot)
        self._sources.append(source)
        self._owners.append(owner)
        return self._emit(number, (ARGUMENT, layout, owner))

    def _emit(self, number: int, words: tuple[Any, ...]) -> int:
        self._new += words
        self._known[number] = found = self._count
        self._count = found + 1
        return found


class Backward(Node):
    """The node of a repeated call: its backward pass is one program.

    ``inputs`` are the tensors whose gradients it gives, ``slots`` the storages of the forward pass's arguments,
    ``saved`` the storages of the values that it gave for this; ``again``, a function and its arguments, calls the
    function itself, for derivatives of higher order, and returns the results that ``grads`` belong to.
    """

    __slots__ = ("_again", "_backward", "_inputs", "_read", "_saved", "_slots", "_versions")

    def __init__(
        self,
        backward: BackwardProgram,
        inputs: Sequence[Tensor],
        slots: Sequence[Storage],
        saved: Sequence[Storage],
        outputs: tuple[Layout, ...],
        again: tuple[Any, ...] | None,
    ) -> None:
        self._backward, self._inputs, self._slots, self._again = backward, inputs, slots, again
        self._saved: Sequence[Storage] | None = saved
        self._read = [slots[k] for what, k, _ in backward.sources if what == _ARGUMENT] + list(saved)
        self._versions = [storage.version for storage in self._read]
        self._outputs = outputs
        self._extras = None
        self.next_functions = tuple([edge_of(t) for t in inputs])  # before its own number, which is to be higher
        self._sequence = _number()

    def name(self) -> str:
        """The name of the node, as PyTorch names that of a compiled function."""
        return "CompiledFunctionBackward"

    def _apply(self, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
        backward, saved = self._backward, self._saved
        if saved is None:
            raise RuntimeError(FREED)
        for storage, version in zip(self._read, self._versions):
            if storage.version != version:
                t = next((t for t in self._inputs if t._storage is storage), None)
                raise modified(t if t is not None else make(storage, backward.given[0]), None, 0, version)
        if state.grad:
            return self._recorded(grads)
        way = backward.way()
        if way is not None:
            return way(self._slots, saved, grads)
        given = [_as(g, layout) for g, layout in zip(grads, backward.given)]
        memories: list[Any] = []
        addresses = []
        for what, k, start in backward.sources:
            if what == _ARGUMENT:
                storage = self._slots[k]
            elif what == _CONSTANT:
                storage = backward.constants[k]
            elif what == _SAVED:
                storage = saved[k]
            else:
                start += address(given[k]) - given[k]._storage.ptr
                storage = given[k]._storage
            memories.append(storage)
            addresses.append(storage.ptr + start)
        ran = backward.plan()
        if state.task is None or state.task.keep_graph:
            made = ran.run(addresses, memories)
        else:  # nobody but ``memories`` holds on to what was saved for this, and to the gradients
            self._release()
            grads.clear()
            del given, saved, storage
            made = ran.run(addresses, memories, done=partial(_let_go, memories))
        sizes = ran.plan.sizes
        storages = [Storage(p, sizes.get(k, 0)) if p else Storage(0, 0) for k, p in enumerate(made)]
        return [None if want is None else make(storages[want[1]], want[0]) for want in backward.wanted]

    def _recorded(self, grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        """The gradients, on the tape: by calling the function itself."""
        if self._again is None:
            raise RuntimeError(
                'compile(mode="reduce-overhead"): a call that writes to its arguments or buffers was repeated, and '
                "cannot be differentiated twice; compile without the mode for that"
            )
        with enable_grad():
            first, *rest = self._again
            results = first(*rest)
            pairs = [(t, g) for t, g in zip(results, grads) if g is not None]
            return derivative(
                [t for t, _ in pairs], self._inputs, [g for _, g in pairs], create_graph=True, allow_unused=True
            )

    def _release(self) -> None:
        self._saved = self._again = None
        self._read, self._slots = [], []


_TEXT = """
def way(slots, saved, grads):
    {grads}, = grads
    {given}
    {made}
    status = enter({values})
    if status:
        recover(status, [{results}], [{addresses}], numbers)
    {tensors}
    return [{found}]
"""
_GIVEN = """if g{k} is None or g{k}._layout is not given{k}:
        g{k} = as_(g{k}, given{k})
    p{k} = g{k}._storage.ptr + g{k}._offset * {itemsize} if g{k}._key is not None else address(g{k})"""
_MADE = """t{k} = new(Tensor)
    t{k}._layout = t{k}._key = wanted{k}
    t{k}._storage = {storage}
    t{k}._offset = 0"""


def _written(backward: BackwardProgram) -> _Way | None:
    """The short way, written out for the arguments and results of the program."""
    ran = backward.plan()
    parts = ran.parts()
    if parts is None:
        return None
    space: dict[str, Any] = {
        "as_": _as, "address": address, "enter": parts.enter, "recover": parts.recover, "numbers": ran.numbers,
        "new": object.__new__, "Tensor": Tensor, "Storage": Storage, "constants": backward.constants,
    }  # fmt: skip
    space |= {f"given{k}": layout for k, layout in enumerate(backward.given)}
    space |= {f"m{k}": make for k, make in enumerate(parts.makers)}
    space |= {f"wanted{k}": want[0] for k, want in enumerate(backward.wanted) if want is not None}
    words = {_ARGUMENT: "slots[{}].ptr", _SAVED: "saved[{}].ptr", _GRADIENT: "p{}", _CONSTANT: "constants[{}].ptr"}
    addresses = [words[what].format(k) + (f" + {start}" if start else "") for what, k, start in backward.sources]
    results = ["0" if make is None else f"r{k}.ptr" for k, make in enumerate(parts.makers)]
    fresh = ["Storage(0, 0)" if make is None else f"r{k}" for k, make in enumerate(parts.makers)]
    values = [*results, *addresses, *(f"numbers[{k}]" for k in range(len(ran.numbers)))]
    text = _TEXT.format(
        grads=", ".join(f"g{k}" for k in range(len(backward.given))),
        given="\n    ".join(_GIVEN.format(k=k, itemsize=g.itemsize) for k, g in enumerate(backward.given)),
        made="\n    ".join(f"r{k} = m{k}()" for k, make in enumerate(parts.makers) if make is not None),
        values=", ".join(values[k] for k in parts.order),
        results=", ".join(results),
        addresses=", ".join(addresses),
        tensors="\n    ".join(
            _MADE.format(k=k, storage=fresh[want[1]]) for k, want in enumerate(backward.wanted) if want is not None
        ),
        found=", ".join("None" if want is None else f"t{k}" for k, want in enumerate(backward.wanted)),
    )
    exec(compile(text, "<backward pass of a repeated call>", "exec"), space)
    way: _Way = space.pop("way")  # which would refer to itself
    return way


def _let_go(storages: list[Any], slot: int) -> None:
    storages[slot] = None


def _as(grad: Tensor | None, layout: Layout) -> Tensor:
    """A gradient as it was assumed to lie."""
    if grad is not None and grad._layout is layout:
        return grad
    found: Any = empty(layout)
    return found.zero_() if grad is None else found.copy_(grad)  # type: ignore[no-any-return]
