"""The values of a kernel's expressions while its text is written: scopes, constants, lanes."""

from __future__ import annotations

from ..loop.nodes import (
    COMPARISONS,
    Combine,
    Expr,
    Init,
    Kernel,
    Loop,
    Stmt,
    Store,
    Update,
    expressions,
    walk,
)  # fmt: skip
from .builder import Builder, Module, Val, lanes_of, vec_type
from .isa import ISA
from .scalar import FLOAT8, LLVM_TYPE, cast, elementwise, is_float

__all__ = ["SIZE", "Accumulator", "Scope", "Values"]

SIZE = {"b1": 1, "i8": 1, "u8": 1, "i16": 2, "u16": 2, "f16": 2, "bf16": 2, "i32": 4, "u32": 4,
         "f32": 4, "i64": 8, "u64": 8, "f64": 8, **dict.fromkeys(FLOAT8, 1)}  # fmt: skip


class Scope:
    """The values known at one nesting level."""

    def __init__(self, var: str | None) -> None:
        self.var = var
        self.values: dict[object, Val] = {}
        self.splats: dict[tuple[str, int], Val] = {}


class Accumulator:
    """Where an accumulator lives: one slot of vectors for each width that updates it.

    ``lanes`` where it was started are part of it (rows side by side); wider updates are folded together
    when it is read.  A wide maximum or minimum of floats passes over nan, and ``nans`` is nan in the lanes that met one
    and zero in others: the chain of dependent instructions is then one long, where an extreme that keeps nan takes
    three.  Of several registers two share a lane of ``nans``: one comparison finds nan in either.
    """

    def __init__(self, kind: str, type_: str, lanes: int) -> None:
        self.kind, self.type, self.lanes = kind, type_, lanes
        self.slots: dict[int, tuple[Val, Val | None]] = {}
        self.nans: dict[int, Val] = {}


class Values:
    """The frame of a kernel's body, and the values of expressions in it.

    A value lives in the scope (a nesting level of loops) where it was computed; what does not change in a loop is
    computed before it (``_hoist``).  Within a vector loop an expression is a vector if it varies over the lanes.
    """

    params: Val
    buffers: list[Val]
    scalars: list[Val]

    def __init__(self, kernel: Kernel, isa: ISA, module: Module) -> None:
        self.kernel, self.isa = kernel, isa
        self.b = Builder(module)
        self.width = _width(kernel, isa)
        self.masks = isa.masks
        self.scopes: list[Scope] = []
        self.vector_var: str | None = None
        self.lanes = 1
        self.mask: Val | None = None
        self.accumulators: dict[str, Accumulator] = {}
        self.running: set[str] = set()  # accumulators whose value differs from lane to lane of a scan
        self.dependence: dict[int, frozenset[str]] = {}
        self.allocas: list[str] = []
        self.keep: list[Expr] = []
        self.pairs: dict[int, tuple[Expr, Expr]] = {}  # loads of every second element that fill each other's gaps

    def _word(self, slot: int, type_: str) -> Val:
        return self.b.load(type_, self.b.gep("i64", Val("%block", "ptr"), Val(str(slot), "i64")), 8)

    def _param(self, index: int) -> Val:
        key = ("param", index)
        root = self.scopes[0]
        if key not in root.values:
            if len(self.scopes) > 1:
                raise AssertionError(f"parameter {index} was not hoisted")
            root.values[key] = self.b.load("i64", self.b.gep("i64", self.params, Val(str(index), "i64")), 8)
        return root.values[key]

    def _alloca(self, type_: str) -> Val:
        name = f"%slot{len(self.allocas)}"
        self.allocas.append(f"  {name} = alloca {type_}, align 64")
        return Val(name, "ptr")

    def _bind(self, var: str, index: Val) -> None:
        self.scopes[-1].values[("var", var)] = index

    def _constant(self, type_: str, code: str, value: float | int | bool) -> Val:
        if code == "bf16" or code in FLOAT8:  # their registers hold bits
            return cast(self.b, self.b.const(vec_type("float", lanes_of(type_)), value), "f32", code)
        return self.b.const(type_, value)

    def _depends(self, e: Expr) -> frozenset[str]:
        """The loop variables, accumulators and written buffers that an expression reads."""
        found = self.dependence.get(id(e))
        if found is None:
            self.keep.append(e)
            if e.op == "var":
                found = frozenset((str(e.attr),))
            elif e.op == "acc":
                found = frozenset(("acc:" + str(e.attr).removesuffix(".index"),))
            else:
                found = frozenset().union(*(self._depends(a) for a in e.args))
                if e.op == "load" and self.kernel.buffers[e.attr].written:
                    found |= {f"memory:{e.attr}"}
            self.dependence[id(e)] = found
        return found

    def _hoist(self, body: tuple[Stmt, ...], exclude: str) -> None:
        """Computes what the statements of a loop need and that does not change in it."""
        inner = {exclude} | {s.var for s in walk(body) if isinstance(s, Loop)}
        inner |= {"acc:" + s.acc for s in walk(body) if isinstance(s, (Init, Update))}
        inner |= {f"memory:{s.buffer}" for s in walk(body) if isinstance(s, (Store, Combine))}
        seen: set[int] = set()

        def look(e: Expr) -> None:
            if id(e) in seen:
                return
            seen.add(id(e))
            if e.op == "const":
                return
            if not self._depends(e) & inner:
                self._value(e)
            else:
                for a in e.args:
                    look(a)

        for s in walk(body):
            if isinstance(s, Loop):
                look(s.lo)
                look(s.hi)
            else:
                for e in expressions(s):
                    look(e)

    def _varies(self, e: Expr) -> bool:
        if self.lanes == 1:
            return False
        needs = self._depends(e)
        return self.vector_var in needs or any(
            n.startswith("acc:") and (self.accumulators[n[4:]].lanes > 1 or n[4:] in self.running) for n in needs
        )

    def _lanes(self, e: Expr) -> Val:
        """An expression with as many lanes as the loop at hand."""
        value = self._value(e)
        if lanes_of(value.type) == self.lanes:
            return value
        if e.op == "const":
            return self._constant(vec_type(value.type, self.lanes), e.type, e.attr)
        scope = self.scopes[-1]  # it is placed now, so it is good only from here on inwards
        key = (value.name, self.lanes)
        if key not in scope.splats:
            for outer in self.scopes:
                if key in outer.splats:
                    return outer.splats[key]
            scope.splats[key] = self.b.splat(value, self.lanes)
        return scope.splats[key]

    def _value(self, e: Expr) -> Val:
        """An expression: a vector if it varies over the lanes, else a scalar."""
        if e.op == "const":
            return self._constant(LLVM_TYPE[e.type], e.type, e.attr)
        if e.op == "param":
            return self._param(e.attr)
        if e.op == "scalar":
            return self.scalars[e.attr]
        if e.op == "var":
            return self._variable(str(e.attr))
        key = ("acc", e.attr) if e.op == "acc" else id(e)
        for scope in self.scopes:
            if key in scope.values:
                return scope.values[key]
        value = self._compute(e)
        self.scopes[-1].values[key] = value
        return value

    def _variable(self, name: str) -> Val:
        key = ("var", name)
        for scope in reversed(self.scopes):
            if key in scope.values:
                base = scope.values[key]
                break
        else:
            raise AssertionError(f"variable {name!r} is not in scope")
        if name != self.vector_var or self.lanes == 1:
            return base
        full = ("lanes", name)
        if full not in self.scopes[-1].values:
            for scope in self.scopes:
                if full in scope.values:
                    return scope.values[full]
            type_ = vec_type("i64", self.lanes)
            self.scopes[-1].values[full] = self.b.add(self.b.splat(base, self.lanes), self.b.iota(type_))
        return self.scopes[-1].values[full]

    def _scalar_index(self, name: str) -> Val:
        key = ("var", name)
        for scope in reversed(self.scopes):
            if key in scope.values:
                return scope.values[key]
        raise AssertionError(f"variable {name!r} is not in scope")

    def _compute(self, e: Expr) -> Val:
        if e.op == "acc":
            return self._read(str(e.attr))
        if e.op == "load":
            return self._load(e)
        if e.op == "affine":
            return self._affine(e)
        varies = self._varies(e)
        if e.op == "cast" and e.type in ("f32", "f64") and e.args[0].op in ("var", "affine") and varies:
            if self.lanes > 1 and not self.masks:
                return cast(self.b, self._place_as_float(e.args[0]), "f64", e.type)
        args = [self._lanes(a) if varies else self._value(a) for a in e.args]
        if e.op == "cast":
            return cast(self.b, args[0], e.args[0].type, e.type)
        operand = e.args[1].type if e.op == "select" else e.args[0].type
        return elementwise(self.b, e.op, operand, e.type if e.op not in COMPARISONS else "b1", args)

    def _place_as_float(self, e: Expr) -> Val:
        """A place (a loop's variable, or a sum of multiples of some) over the lanes, in float64, which has places and
        distances exactly: instruction sets without masks have no conversion of vectors of i64 either."""
        b, vector = self.b, vec_type("double", self.lanes)
        if e.op == "affine":
            total: Val | None = None
            for i, s in zip(e.args[::2], e.args[1::2]):
                term = self._place_as_float(i)
                if not (s.op == "const" and s.attr == 1):
                    term = b.fmul(term, self._place_as_float(s))
                total = term if total is None else b.fadd(total, term)
            return total if total is not None else b.const(vector, 0)
        if not self._varies(e):
            return b.splat(b.cast("sitofp", self._value(e), "double"), self.lanes)
        if e.op != "var":
            return b.cast("sitofp", self._lanes(e), vector)
        first = b.splat(b.cast("sitofp", self._scalar_index(str(e.attr)), "double"), self.lanes)
        return b.fadd(first, b.cast("sitofp", b.iota(vec_type("i64", self.lanes)), vector))

    def _affine(self, e: Expr) -> Val:
        b = self.b
        varies = self._varies(e)
        total: Val | None = None
        for i, s in zip(e.args[::2], e.args[1::2]):
            index, stride = (self._lanes(i), self._lanes(s)) if varies else (self._value(i), self._value(s))
            term = index if s.op == "const" and s.attr == 1 else b.op("mul", index, stride)
            total = term if total is None else b.add(total, term)
        return total if total is not None else b.const("i64", 0)

    def _read(self, name: str) -> Val:
        """The value of an accumulator (``Accumulators``)."""
        raise NotImplementedError

    def _load(self, e: Expr) -> Val:
        """Elements of a buffer (``Access``)."""
        raise NotImplementedError


def _width(kernel: Kernel, isa: ISA) -> int:
    """Lanes of one vector: as many as fit of the widest type that the kernel moves or folds (a number among its
    arguments is neither: it is cast once)."""
    sizes = [1]
    seen: set[int] = set()

    def look(e: Expr) -> None:
        if id(e) in seen:
            return
        seen.add(id(e))
        if e.op == "scalar":
            return
        if e.op == "load":
            sizes.append(SIZE[kernel.buffers[e.attr].type])
        elif is_float(e.type):
            sizes.append(SIZE[e.type])
        for a in e.args:
            look(a)

    for s in walk(kernel.body):
        if isinstance(s, Loop):
            continue
        if isinstance(s, Init):
            sizes.append(SIZE[s.type])
        elif isinstance(s, (Store, Combine)):
            sizes.append(SIZE[kernel.buffers[s.buffer].type])
        for e in expressions(s):
            look(e)
    return max(1, isa.vector_bits // 8 // max(sizes))
