"""Checks that a kernel follows the grammar of the loop IR."""

from __future__ import annotations

from .nodes import (
    COMPARISONS,
    ELEMENTWISE,
    LEAVES,
    REDUCTIONS,
    Check,
    Combine,
    Expr,
    Init,
    Kernel,
    Loop,
    Prefetch,
    Stmt,
    Store,
    Turn,
    Update,
    expressions,
)

__all__ = ["VerifyError", "verify"]

_TYPES = frozenset(
    {
        "b1",
        "i8",
        "u8",
        "i16",
        "u16",
        "i32",
        "u32",
        "i64",
        "u64",
        "f16",
        "bf16",
        "f32",
        "f64",
        "e4m3",
        "e5m2",
        "e4m3z",
        "e5m2z",
        "e8m0",
    }
)


class VerifyError(AssertionError):
    """A kernel that breaks the grammar: a defect of the compiler."""


def verify(kernel: Kernel) -> None:
    """Raises VerifyError unless ``kernel`` is well formed: operand counts and types fit, variables and accumulators
    are known where they are read, only writable buffers are written, vector loops do not nest."""
    _Verifier(kernel).block(kernel.body, {"unit"}, {}, False)


class _Verifier:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def fail(self, what: str, e: object) -> None:
        raise VerifyError(f"{self.kernel.name or 'kernel'}: {what}: {e!r}"[:500])

    def block(self, body: tuple[Stmt, ...], scope: set[str], accs: dict[str, str], in_vector: bool) -> None:
        accs = dict(accs)
        for s in body:
            for e in expressions(s):
                self.expr(e, scope, accs, set())
            if isinstance(s, Loop):
                if s.vector and in_vector:
                    self.fail("a vector loop inside a vector loop", s.var)
                if s.var in scope:
                    self.fail("a loop variable is bound twice", s.var)
                if s.lo.type != "i64" or s.hi.type != "i64" or s.unroll < 1:
                    self.fail("bad loop bounds", s.var)
                self.block(s.body, scope | {s.var}, accs, in_vector or s.vector)
            elif isinstance(s, Init):
                if s.kind not in REDUCTIONS or s.type not in _TYPES:
                    self.fail("bad accumulator", s)
                accs[s.acc] = s.type
                if s.kind.startswith("arg"):
                    accs[s.acc + ".index"] = "i64"
            elif isinstance(s, Update):
                if accs.get(s.acc) != s.value.type:
                    self.fail("update of an unknown accumulator or with another type", s.acc)
                if s.kind.startswith("arg") != (s.index is not None):
                    self.fail("index of an update", s.acc)
                if s.running and in_vector and s.index is not None:
                    self.fail("a running position in a vector loop", s.acc)
            elif isinstance(s, (Store, Combine)):
                buffer = self.kernel.buffers[s.buffer]
                if not buffer.written or buffer.type != s.value.type or s.offset.type != "i64":
                    self.fail("bad store", s)
            elif isinstance(s, Turn):
                source, target = self.kernel.buffers[s.source], self.kernel.buffers[s.target]
                if in_vector or not target.written or source.type != target.type:
                    self.fail("bad transpose", s)
            elif isinstance(s, Prefetch):
                if s.offset.type != "i64" or not 0 <= s.buffer < len(self.kernel.buffers):
                    self.fail("bad prefetch", s)
            elif isinstance(s, Check) and s.value.type != "b1":
                self.fail("a check of something else than b1", s)

    def expr(self, e: Expr, scope: set[str], accs: dict[str, str], seen: set[int]) -> None:
        if id(e) in seen:
            return
        seen.add(id(e))
        for a in e.args:
            self.expr(a, scope, accs, seen)
        types = [a.type for a in e.args]
        if e.type not in _TYPES:
            self.fail("unknown type", e)
        if e.op in LEAVES:
            if e.args:
                self.fail("a leaf with operands", e)
            if (e.op == "var" and e.attr not in scope) or (e.op == "acc" and accs.get(str(e.attr)) != e.type):
                self.fail("not known here", e)
            if e.op == "param" and not 2 <= e.attr < self.kernel.params:
                self.fail("no such parameter", e)
            if e.op == "scalar" and self.kernel.scalars[e.attr] != e.type:
                self.fail("type of a scalar", e)
        elif e.op == "load":
            if self.kernel.buffers[e.attr].type != e.type or types not in (["i64"], ["i64", "b1"]):
                self.fail("bad load", e)
        elif e.op == "affine":
            if len(types) % 2 or any(t != "i64" for t in types):
                self.fail("bad affine index", e)
        elif e.op not in ELEMENTWISE or ELEMENTWISE[e.op] != len(types):
            self.fail("unknown operation or number of operands", e)
        elif e.op == "select":
            if types[0] != "b1" or types[1] != types[2] or types[1] != e.type:
                self.fail("types of select", e)
        elif e.op not in ("cast", "bitcast"):
            wanted = "b1" if e.op in COMPARISONS or e.op in ("isnan", "signbit") else types[0]
            if any(t != types[0] for t in types) or e.type != wanted:
                self.fail("types of operands", e)
