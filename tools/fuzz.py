"""Calls everything with random arguments and looks for crashes, hangs, stray memory accesses and internal errors.

    python tools/fuzz.py [--minutes M | --cases N] [--only REGEX] [--seed N] [--json FILE] [--database] [--reference]
    python tools/fuzz.py --replay TARGET:SEED [--reference]

Every operator's record, and every public function and method beside them, is called eagerly, with a gradient, compiled,
in place, with ``out=``, under ``vmap`` and ``jvp`` and on the meta device, in worker processes in guard mode: every
storage ends at an inaccessible page and is as large as its tensor needs (see ``fuzz_cases.py``).  ``--database`` starts
half of the cases from samples of PyTorch's operator database, disturbed; ``--reference`` compares results and
exceptions with PyTorch's.  Both need PyTorch.

A finding is one of: crash (the process died), hang (no answer after ``--limit`` seconds of work, or of waiting), memory
(a block's end was overwritten, or a result reaches beyond its storage), internal (an exception that no ``raise``
statement of the package gave, or of a class that PyTorch does not use), shape (the meta device disagrees), and with
``--reference`` values, layout, accepts, refuses and exception.  Each is written once for each target and place, as a
line of JSON whose ``case`` is what ``--replay`` takes.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dis
import faulthandler
import functools
import itertools
import json
import linecache
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import fuzz_cases as cases  # noqa: E402

import flambeau  # noqa: E402
from flambeau.dispatch.operator import OPERATORS  # noqa: E402

EXPECTED = (
    RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, MemoryError, BufferError, OverflowError
)  # fmt: skip
# What Python says where a program gave a wrong argument; PyTorch's binding of arguments says the same or nearly.
BINDING = re.compile(
    r"required .*argument|unexpected keyword|positional argument|multiple values for|interpreted as an integer"
    r"|must be real number|not callable|not supported between|unsupported operand type|not iterable"
)
SCRIPT = [__file__]  # what a worker runs
WORKER_CASES = 1500  # after so many a worker is replaced: guard mode never gives addresses back
MEMORY = 12 << 30  # bytes of address space of a worker


# -- one case ----------------------------------------------------------------------------------------


def _tensors(tree: Any, kind: type) -> list[Any]:
    found: list[Any] = []
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, kind):
            found.append(item)
        elif isinstance(item, (list, tuple)):
            stack.extend(reversed(item))
        elif isinstance(item, dict):
            stack.extend(item.values())
    return found


def _out(m: types.ModuleType, seed: int) -> Any:
    """Something for ``out=``, mostly empty."""
    dtype = (m.float32, m.float32, m.int64, m.float64, m.complex64)[seed % 5]
    shape = ((0,), (0,), (0,), (2, 3), (3,))[seed // 5 % 5]
    return m.empty(shape, dtype=dtype)


def perform(case: cases.Case, function: Callable[..., Any], inplace: str | None, m: types.ModuleType) -> Any:
    """Makes the call as its mode says, in the library ``m``."""
    device = "meta" if case.mode == "meta" else "cpu"
    args, kwargs = cases.build(case.args, m, device), cases.build(case.kwargs, m, device)
    call = functools.partial(function, *args, **kwargs)
    if case.mode == "grad":
        inputs = [t for t in _tensors((args, kwargs), m.Tensor) if t.is_floating_point() or t.is_complex()]
        for t in inputs:
            t.requires_grad_()
        found = call()
        roots = [t for t in _tensors(found, m.Tensor) if t.requires_grad]
        if roots and inputs:
            m.autograd.backward(roots, [m.ones_like(t) for t in roots])
        return found, [t.grad for t in inputs]
    if case.mode == "compile" and m is flambeau:
        return m.compile(call)()
    if case.mode == "inplace" and args and isinstance(args[0], m.Tensor):
        return getattr(args[0], str(inplace))(*args[1:], **kwargs), args[0]
    if case.mode == "out":
        return function(*args, **{**kwargs, "out": _out(m, case.seed)})
    paths = [path for path, leaf in cases.leaves((args, kwargs)) if isinstance(leaf, m.Tensor)]
    given = [_at((args, kwargs), path) for path in paths]

    def rebuilt(*tensors: Any) -> Any:
        tree: Any = (args, kwargs)
        for path, t in zip(paths, tensors):
            tree = cases.put(tree, path, t)
        return function(*tree[0], **tree[1])

    if case.mode == "vmap" and given:
        dims = tuple(0 if t.ndim else None for t in given)
        return m.func.vmap(rebuilt, in_dims=dims, randomness="different")(*given)
    if case.mode == "jvp" and given and all(t.is_floating_point() for t in given):
        return m.func.jvp(rebuilt, tuple(given), tuple(m.ones_like(t) for t in given))
    return call()


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def look(found: Any) -> str | None:
    """Reads all of a result; what is wrong with its memory."""
    for t in _tensors(found, flambeau.Tensor):
        if t.layout is not flambeau.strided or t.device.type != "cpu":
            continue
        t = t.detach()
        if 0 not in t.shape:
            last = t.storage_offset() + sum((n - 1) * max(s, 0) for n, s in zip(t.shape, t.stride()))
            held = t.untyped_storage().nbytes() // t.element_size()
            if last >= held or t.storage_offset() < 0:
                return f"a result of {tuple(t.shape)}, strides {t.stride()} lies beyond its {held} elements"
        if t.numel() < 1 << 20:
            t.clone()
    return None


def place_of(error: BaseException) -> tuple[str, bool]:
    """(file:line of the innermost frame, whether a ``raise`` statement is what raised there)."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    if tb is None:
        return "nowhere", True
    code = tb.tb_frame.f_code
    opcode = next((i.opname for i in dis.get_instructions(code) if i.offset == tb.tb_lasti), "")
    name = code.co_filename.removeprefix(str(ROOT) + "/")
    return f"{name}:{tb.tb_lineno}", opcode in ("RAISE_VARARGS", "RERAISE")


def _line(where: str) -> str:
    name, number = where.rsplit(":", 1)
    return "" if where == "nowhere" else linecache.getline(str(ROOT / name), int(number))


def judge(error: BaseException) -> tuple[str, str] | None:
    """(kind, place) of a finding, or None where an exception is one that a user should see."""
    where, raised = place_of(error)
    text = str(error)
    if isinstance(error, MemoryError):
        return None
    if isinstance(error, AssertionError) and "beyond the end of a block" in text:
        return "memory", where
    if isinstance(error, AssertionError) and text and "raise AssertionError" in _line(where):
        return None  # PyTorch raises some of them itself
    if not isinstance(error, EXPECTED):
        return "internal", where
    if re.search(r"LLVM|IR (parsing|verif)|internal error", text):
        return "internal", where
    outside = not where.startswith(("flambeau/", "tools/", "<"))  # "<": a form written out for its operator
    if outside or not raised:
        if isinstance(error, TypeError) and BINDING.search(text) and not outside:
            return None
        return "internal", where
    return None


Finding = dict[str, Any]


class Runner:
    """Runs cases in this process."""

    def __init__(self, database: bool, reference: bool) -> None:
        self.targets = cases.targets(flambeau, OPERATORS)
        self.torch: Any = None
        self.samples: Callable[[str], list[Any]] | None = None
        if database or reference:
            import fuzz_torch  # only where PyTorch is there

            self.samples = fuzz_torch.samples if database else None
            self.torch = fuzz_torch if reference else None
        self.stray: list[str] = []
        sys.unraisablehook = lambda args: self.stray.append(f"{type(args.exc_value).__name__}: {args.exc_value}")

    def case(self, name: str, seed: int) -> cases.Case:
        return cases.make(self.targets[name], seed, self.samples)

    def run(self, case: cases.Case) -> tuple[str, Finding | None]:
        """(what came of it, the finding if there is one)."""
        target = self.targets[case.target]
        about = {"case": f"{case.target}:{case.seed}", "mode": case.mode}
        flambeau.manual_seed(case.seed)
        found = error = None
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                found = perform(case, target.function, target.inplace, flambeau)
                problem = look(found)
                if problem:
                    return "finding", {**about, "kind": "memory", "place": case.target, "text": problem}
            except Exception as caught:
                error = caught
            if self.stray:
                stray, self.stray[:] = list(self.stray), []
                return "finding", {**about, "kind": "memory", "place": case.target, "text": "; ".join(stray)[:500]}
            if error is not None:
                judged = judge(error)
                if judged:
                    text = f"{type(error).__name__}: {error}"[:500]
                    return "finding", {**about, "kind": judged[0], "place": judged[1], "text": text}
            difference = None
            if case.mode == "meta":
                difference = self._against_real(case, target, found, error)
            elif self.torch is not None and not isinstance(error, MemoryError):
                difference = self.torch.compare(case, perform, found, error)
        if difference:
            return "finding", {**about, "kind": difference[0], "place": case.target, "text": difference[1][:500]}
        return ("ok" if error is None else type(error).__name__), None

    def _against_real(self, case: cases.Case, target: cases.Target, found: Any, error: Any) -> tuple[str, str] | None:
        """What the meta device says that real memory does not.  Results that depend on values are excused."""
        if isinstance(error, (NotImplementedError, MemoryError)) or "meta" in str(error):
            return None
        real = cases.Case(case.target, case.seed, "eager", case.args, case.kwargs)
        try:
            wanted = perform(real, target.function, target.inplace, flambeau)
        except Exception as other:
            judged = judge(other)
            if judged:
                return judged[0], f"{type(other).__name__}: {other}"
            return None  # values may be what is wrong
        if error is not None:
            return "shape", f"real memory works, meta: {type(error).__name__}: {error}"
        ours, theirs = (
            [
                (str(t.dtype), tuple(t.shape), t.stride() if t.layout is flambeau.strided else t.layout)
                for t in _tensors(x, flambeau.Tensor)
            ]
            for x in (found, wanted)
        )
        return None if ours == theirs else ("shape", f"meta {ours}, real {theirs}")


# -- worker and parent -------------------------------------------------------------------------------


def work(args: argparse.Namespace) -> None:
    """A worker: reads "TARGET SEED" lines, answers with a line of JSON for each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a callee prints is no answer
    runner = Runner(args.database, args.reference)
    answers.write(json.dumps(sorted(runner.targets)) + "\n")
    answers.flush()
    for line in sys.stdin:
        name, seed = line.split()
        try:
            outcome, finding = runner.run(runner.case(name, int(seed)))
        except Exception as error:  # of the tool itself
            text = "".join(traceback.format_exception(error))[-600:]
            outcome, finding = "tool", {"case": f"{name}:{seed}", "kind": "tool", "place": name, "text": text}
        answers.write(json.dumps([outcome, finding]) + "\n")
        answers.flush()


class Worker:
    """A worker process and what it last said on its error output."""

    def __init__(self, args: argparse.Namespace) -> None:
        options = [o for o in ("--database", "--reference") if getattr(args, o[2:])]
        self.log = tempfile.TemporaryFile()
        environment = {
            **os.environ, "FLAMBEAU_GUARD": "1", "OMP_NUM_THREADS": "1", "FLAMBEAU_NUM_THREADS": str(args.threads),
            "PYTHONFAULTHANDLER": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, *SCRIPT, "--worker", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, env=environment, bufsize=0,
        )  # fmt: skip
        self.buffer = b""
        self.done = 0

    def ask(self, line: str | None, limit: int) -> Any:
        """The answer; "crash" or "hang" if there is none."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            if line is not None:
                self.process.stdin.write(line.encode())
        # Not time: a busy machine gives it little, and both processes may have been stopped for a while.
        blocked, before = 0, self._used()[0]
        while b"\n" not in self.buffer:
            ready = select.select([self.process.stdout], [], [], 1.0)[0]
            if not ready:
                used, state = self._used()
                blocked = blocked + 1 if state in "SD" else 0
                if blocked > limit or used - before > limit:
                    return "hang"
                continue
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                return "crash"
            self.buffer += data
        answer, self.buffer = self.buffer.split(b"\n", 1)
        self.done += 1
        return json.loads(answer)

    def _used(self) -> tuple[float, str]:
        """(seconds of processor time that it has had, its state)."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0, "S"
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0]

    def last_words(self) -> str:
        """The end of its error output, where the fault handler writes."""
        self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, self.log.tell() - 3000))
        return self.log.read().decode(errors="replace")

    def stop(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            if pipe is not None:
                pipe.close()


def _start(args: argparse.Namespace) -> tuple[Worker, list[str]]:
    worker = Worker(args)
    names = worker.ask(None, 300)
    if isinstance(names, str):
        raise SystemExit(f"a worker did not start ({names}):\n{worker.last_words()}")
    return worker, names


def _order(names: list[str], seed: int) -> Iterator[tuple[str, int]]:
    for round_ in itertools.count(seed):
        for name in names:
            yield name, round_


def fuzz(args: argparse.Namespace) -> int:
    """Runs cases until time or number is up; the number of findings."""
    worker, names = _start(args)
    names = [n for n in names if re.search(args.only, n)]
    if not names:
        raise SystemExit(f"no target matches {args.only!r}")
    outcomes: collections.Counter[str] = collections.Counter()
    known: dict[tuple[str, str, str], Finding] = {}
    start = last = time.monotonic()
    number = 0
    with open(args.json, "a") if args.json else contextlib.nullcontext() as file:
        for name, seed in _order(names, args.seed):
            now = time.monotonic()
            if (args.cases and number >= args.cases) or (args.minutes and now - start > 60 * args.minutes):
                break
            if now - last > 10:
                last = now
                print(f"\r{(now - start) / 60:6.1f} min  {number} cases  {len(known)} findings  {name}:{seed}        ",
                      end="", file=sys.stderr, flush=True)  # fmt: skip
            number += 1
            answer = worker.ask(f"{name} {seed}\n", args.limit)
            if isinstance(answer, str):
                if answer == "hang":
                    with contextlib.suppress(ProcessLookupError):
                        worker.process.send_signal(6)  # the fault handler then tells where
                        time.sleep(0.5)
                place = re.findall(r'File "([^"]*flambeau/[^"]*)", line (\d+)', worker.last_words())
                where = f"{place[0][0].rsplit('flambeau/', 1)[1]}:{place[0][1]}" if place else name
                text = f"{worker.process.poll()}; " + worker.last_words()[-800:]
                answer = [answer, {"case": f"{name}:{seed}", "kind": answer, "place": where, "text": text}]
                worker.stop()
                worker = _start(args)[0]
            elif worker.done > WORKER_CASES:
                worker.stop()
                worker = _start(args)[0]
            outcome, finding = answer
            outcomes[outcome] += 1
            if finding is not None:
                key = (finding["kind"], finding["place"], name)
                if key in known:
                    known[key]["times"] += 1
                    continue
                known[key] = {**finding, "times": 1}
                if file is not None:
                    file.write(json.dumps(finding) + "\n")
                    file.flush()
                else:
                    print(json.dumps(finding), flush=True)
    worker.stop()
    kinds = collections.Counter(kind for kind, _, _ in known)
    minutes, used = (time.monotonic() - start) / 60, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = (used.ru_utime + used.ru_stime) / 60
    print(f"\n{number} cases of {len(names)} targets in {minutes:.1f} min, {worked:.1f} min of work; "
          f"outcomes {dict(outcomes.most_common())}; findings {dict(kinds)}", file=sys.stderr)  # fmt: skip
    return len(known)


def replay(args: argparse.Namespace) -> None:
    """Runs one case in this process and shows everything about it."""
    name, seed = args.replay.rsplit(":", 1)
    runner = Runner(args.database, args.reference)
    case = runner.case(name, int(seed))
    print(case)
    target = runner.targets[name]
    try:
        print(perform(case, target.function, target.inplace, flambeau))
    except Exception:
        traceback.print_exc()
    print(runner.run(case))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--only", default="", help="regular expression of targets' names")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--json", help="file that findings are appended to")
    parser.add_argument("--limit", type=int, default=60, help="seconds that a case may work, or wait")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--database", action="store_true")
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--replay", metavar="TARGET:SEED")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    faulthandler.enable()
    if args.worker:
        work(args)
    elif args.replay:
        replay(args)
    else:
        if not args.minutes and not args.cases:
            args.cases = 2000
        sys.exit(1 if fuzz(args) else 0)


if __name__ == "__main__":
    main()
