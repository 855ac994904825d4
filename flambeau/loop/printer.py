"""The loop IR as text: readable, and the same for kernels that do the same, so that it is also their key."""

from __future__ import annotations

from .nodes import Check, Combine, Expr, Init, Kernel, Loop, Prefetch, Stmt, Store, Turn, Update

__all__ = ["kernel_text"]


def kernel_text(kernel: Kernel) -> str:
    """The whole kernel.  A subexpression is printed once, before the first statement that needs it."""
    return _Printer(kernel).text()


class _Printer:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.names: dict[int, str] = {}
        self.lines: list[str] = []
        self.depth = 1

    def text(self) -> str:
        k = self.kernel
        buffers = ", ".join(f"b{i}: {'mut ' if b.written else ''}{b.type}" for i, b in enumerate(k.buffers))
        scalars = "".join(f", s{i}: {t}" for i, t in enumerate(k.scalars))
        self.lines.append(f"kernel({buffers}{scalars}; {k.params} params) for each unit:")
        self.block(k.body)
        return "\n".join(self.lines)

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def block(self, body: tuple[Stmt, ...]) -> None:
        for s in body:
            if isinstance(s, Loop):
                how = f"{' in vectors' * s.vector}, {s.unroll} at once" if s.vector or s.unroll > 1 else ""
                self.line(f"for {s.var} in {self.name(s.lo)} .. {self.name(s.hi)}{how}:")
                self.depth += 1
                self.block(s.body)
                self.depth -= 1
            elif isinstance(s, Init):
                self.line(f"{s.acc}: {s.type} = identity of {s.kind}")
            elif isinstance(s, Update):
                index = f" at {self.name(s.index)}" if s.index is not None else ""
                self.line(f"{s.acc} = {s.kind}({s.acc}, {self.name(s.value)}{index}){', running' if s.running else ''}")
            elif isinstance(s, Store):
                guard = f" where {self.name(s.guard)}" if s.guard is not None else ""
                how = ", streamed" if s.stream else ""
                self.line(f"b{s.buffer}[{self.name(s.offset)}] = {self.name(s.value)}{guard}{how}")
            elif isinstance(s, Combine):
                self.line(f"b{s.buffer}[{self.name(s.offset)}] {s.kind}= {self.name(s.value)}")
            elif isinstance(s, Turn):
                to = f"b{s.target}[{self.name(s.write)} + i*{self.name(s.write_step)} + j]"
                source = f"b{s.source}[{self.name(s.read)} + j*{self.name(s.read_step)} + i]"
                self.line(f"{to} = {source} for i < {self.name(s.rows)}, j < {self.name(s.cols)}")
            elif isinstance(s, Prefetch):
                self.line(f"prefetch b{s.buffer}[{self.name(s.offset)}]")
            elif isinstance(s, Check):
                self.line(f"check {self.name(s.value)} else error {s.code}")

    def name(self, e: Expr) -> str:
        if e.op == "const":
            return f"{e.attr!r}:{e.type}"
        if e.op == "param":
            return f"p{e.attr}"
        if e.op == "scalar":
            return f"s{e.attr}"
        if e.op in ("var", "acc"):
            return str(e.attr)
        found = self.names.get(id(e))
        if found is None:
            if e.op == "affine":
                args = [self.name(a) for a in e.args]
                terms = [i if s == "1:i64" else f"{i}*{s}" for i, s in zip(args[::2], args[1::2])]
                return "(" + (" + ".join(terms) or "0") + ")"
            if e.op == "load":
                guard = f" where {self.name(e.args[1])}" if len(e.args) > 1 else ""
                text = f"b{e.attr}[{self.name(e.args[0])}]{guard}"
            else:
                text = f"{e.op}({', '.join(self.name(a) for a in e.args)})"
            found = f"v{len(self.names)}"
            self.names[id(e)] = found
            self.line(f"{found}: {e.type} = {text}")
        return found
