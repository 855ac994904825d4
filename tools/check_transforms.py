"""Checks ``vmap``, forward mode and fake tensors of every operator in PyTorch's operator database.

    python tools/check_transforms.py [--checks NAME...] [--op REGEX] [--samples N] [--failures N] [--json FILE]
                                     [--start K --stop K]

``vmap``: the batch of three variations of each sample's floating-point tensors, against a loop over its members; once
over the first tensor and once over all.  ``jvp``: the derivative along a random direction, against PyTorch's, or where
PyTorch has none, or another one, against finite differences.  ``fake``: shapes, strides and element types of the
results of fake tensors, against those of real ones.  A case that PyTorch cannot do either (results that depend on
values) and that fails here as well does not count.  Needs PyTorch with its testing package.
"""

from __future__ import annotations

import argparse
import builtins
import faulthandler
import functools
import json
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode as TorchFakeTensorMode
from torch.testing._internal.common_methods_invocations import op_db

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import flambeau
from flambeau._subclasses import FakeTensorMode

FACTORS = (1.0, 0.9, 0.95)  # of the members of a batch: keeps domains, triangles and definiteness


class Missing(Exception):
    """The package has no counterpart."""


# -- from PyTorch to flambeau ------------------------------------------------------------------------


def find(path: str) -> Any:
    """The counterpart of ``torch.path``."""
    found: Any = flambeau
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise Missing(path)
    return found


def path_of(fn: Any) -> str:
    """The public name of a function of PyTorch, without "torch."."""
    name = getattr(fn, "__name__", "")
    spaces = {
        "": torch, "nn.functional.": torch.nn.functional, "linalg.": torch.linalg, "special.": torch.special,
        "fft.": torch.fft, "Tensor.": torch.Tensor,
    }  # fmt: skip
    for prefix, space in spaces.items():
        if name and getattr(space, name, None) is fn:
            return prefix + name
    module = getattr(fn, "__module__", "") or ""
    return f"{module.removeprefix('torch.')}.{name}" if module.startswith("torch.") else ""


@functools.cache
def counterpart(fn: Any, name: str = "") -> Any:
    """The function of flambeau that does what ``fn`` of PyTorch does; helpers of its testing package are rebuilt."""
    if isinstance(fn, functools.partial):
        return functools.partial(counterpart(fn.func), *fn.args, **fn.keywords)
    if isinstance(fn, types.FunctionType) and fn.__module__.startswith("torch.testing"):
        cells = tuple(types.CellType(_translated(c.cell_contents)) for c in fn.__closure__ or ()) or None
        space = {"__builtins__": builtins}
        made = types.FunctionType(fn.__code__, space, fn.__name__, fn.__defaults__, cells)
        made.__kwdefaults__ = fn.__kwdefaults__
        for word in _words(fn.__code__):
            if word in fn.__globals__:
                space[word] = _translated(fn.__globals__[word])
        return made
    path = name or path_of(fn)
    if not path:
        raise Missing(repr(fn))
    return find(path)


def _words(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _words(const)
    return names


def _translated(value: Any) -> Any:
    if value is torch:
        return flambeau
    if isinstance(value, types.ModuleType) and value.__name__.startswith("torch."):
        return find(value.__name__.removeprefix("torch."))
    if isinstance(value, types.FunctionType) and value.__module__.startswith("torch.testing"):
        return (lambda op, *a, **k: op(*a, **k)) if value.__name__ == "wrapper_set_seed" else counterpart(value)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return find(str(value).removeprefix("torch."))
    return value


def convert(value: Any) -> Any:
    """A value of PyTorch, nested in containers, as one of flambeau."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:
            raise Missing(str(value.layout))
        bits = value.detach()
        if value.is_conj() or value.is_neg():
            bits = bits.resolve_conj().resolve_neg()
        length = bits.untyped_storage().nbytes() // max(1, bits.itemsize)
        flat = torch.as_strided(bits, (length,), (1,), 0)
        if value.dtype is torch.bfloat16:
            made = flambeau.from_numpy(flat.view(torch.int16).numpy().copy()).view(flambeau.bfloat16)
        else:
            made = flambeau.from_numpy(flat.numpy().copy())
        return made.as_strided(bits.shape, bits.stride(), bits.storage_offset())
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return find(str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return flambeau.device(str(value))
    if isinstance(value, (torch.Generator, torch.nn.Module)):
        raise Missing(type(value).__name__)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, (list, tuple)):
        items = [convert(v) for v in value]
        return type(value)(items) if type(value) in (list, tuple) else items
    if isinstance(value, dict):
        return {k: convert(v) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(convert(value.start), convert(value.stop), convert(value.step))
    if callable(value) and hasattr(value, "__name__"):
        return counterpart(value)
    return value


# -- trees -------------------------------------------------------------------------------------------


def leaves(tree: Any, kind: type) -> list[Any]:
    """The tensors in nested containers, in order."""
    if isinstance(tree, kind):
        return [tree]
    if isinstance(tree, dict):
        return [x for v in tree.values() for x in leaves(v, kind)]
    if isinstance(tree, (list, tuple)):
        return [x for v in tree for x in leaves(v, kind)]
    return []


def refill(tree: Any, kind: type, values: Iterator[Any]) -> Any:
    """The same containers with other tensors."""
    if isinstance(tree, kind):
        return next(values)
    if isinstance(tree, dict):
        return {k: refill(v, kind, values) for k, v in tree.items()}
    if type(tree) in (list, tuple):
        return type(tree)(refill(v, kind, values) for v in tree)
    return tree


def function_of(op: Any, package: Any) -> Callable[..., Any]:
    """The operator as a function of a package."""
    if package is torch:
        return op.op  # type: ignore[no-any-return]
    own: Any = torch
    for part in op.name.split("."):
        own = getattr(own, part, None)
    return counterpart(op.op, op.name if own is op.op else "")  # type: ignore[no-any-return]


def wrapper_of(op: Any, sample: Any) -> Callable[..., Any]:
    """What the database calls an operator through, for flambeau.  For masked operators that puts zeros where every
    element is masked out, which PyTorch says by private functions: of the masks alone, so that it is asked here."""
    if not op.gradcheck_wrapper.__name__.startswith("gradcheck_wrapper_masked"):
        return counterpart(op.gradcheck_wrapper)  # type: ignore[no-any-return]
    mask, *pair = (sample.kwargs.get(word) for word in ("mask", "input_mask", "other_mask"))
    if mask is not None:
        kept = torch.masked._output_mask(op.op, sample.input, *sample.args, **sample.kwargs)
    elif pair[0] is not None and pair[1] is not None:
        kept = torch.masked._input_mask(sample.input, *sample.args, mask=pair[0] & pair[1])
    else:
        return lambda fn, *args, **kwargs: fn(*args, **kwargs)
    kept = convert(kept)

    def wrapped(fn: Any, *args: Any, **kwargs: Any) -> Any:
        found = fn(*args, **kwargs)
        return flambeau.where(kept, found, found.new_zeros([]))

    return wrapped


class Case:
    """One sample: arguments of one package, and the operator as a function of its floating-point tensors."""

    def __init__(self, op: Any, sample: Any, package: Any) -> None:
        tree = (sample.input, list(sample.args), dict(sample.kwargs))
        self.kind = package.Tensor
        self.tree = convert(tree) if package is flambeau else tree
        self.fn = function_of(op, package)
        post = sample.output_process_fn_grad
        self.post = post if package is torch else counterpart(post)
        self.wrapper = op.gradcheck_wrapper if package is torch else wrapper_of(op, sample)
        self.all = leaves(self.tree, self.kind)
        self.floating = [i for i, x in enumerate(self.all) if x.is_floating_point() or x.is_complex()]

    def call(self, chosen: tuple[int, ...], *xs: Any) -> tuple[Any, ...]:
        """The tensors in the result, where the ``chosen`` tensors are ``xs``."""
        values = [x.detach() for x in self.all]
        for i, x in zip(chosen, xs):
            values[i] = x
        first, args, kwargs = refill(self.tree, self.kind, iter(values))
        return tuple(leaves(self.post(self.wrapper(self.fn, first, *args, **kwargs)), self.kind))

    def differentiable(self, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The outputs that have derivatives."""
        return tuple(y for y in outputs if y.is_floating_point() or y.is_complex())


def array(t: Any) -> np.ndarray:
    """The values of a tensor of either package, in double precision."""
    if isinstance(t, torch.Tensor):
        t = torch.zeros(t.shape, dtype=t.dtype) if t._is_zerotensor() else t.detach().resolve_conj().resolve_neg()
        return t.to(torch.complex128 if t.is_complex() else torch.float64).numpy()
    t = t.detach()
    return t.to(flambeau.complex128 if t.is_complex() else flambeau.float64).numpy()


def close(a: Any, b: Any, rtol: float, atol: float) -> str:
    """What is wrong with tensors that should be equal, or nothing."""
    if tuple(a.shape) != tuple(b.shape):
        return f"shape {tuple(a.shape)}, expected {tuple(b.shape)}"
    x, y = array(a), array(b)
    good = np.isclose(x, y, rtol=rtol, atol=atol, equal_nan=True)
    return "" if good.all() else f"{int((~good).sum())}/{good.size} differ, by up to {np.nanmax(abs(x - y)):.3g}"


# -- the checks ----------------------------------------------------------------------------------


def check_vmap(op: Any, sample: Any) -> Iterator[str]:
    """Yields a message (empty: right) for each way to batch the sample."""
    case = Case(op, sample, flambeau)
    positions = case.floating or [i for i, x in enumerate(case.all)]
    ways = {tuple(positions[:1]), tuple(positions)}
    for chosen in sorted(w for w in ways if w):
        rows = []
        try:
            for factor in FACTORS:
                members = [case.all[i] * factor if case.floating else case.all[i] for i in chosen]
                rows.append(case.call(chosen, *members))
            expected = [flambeau.stack(list(column)) for column in zip(*rows)]
        except Exception:
            continue  # not an operator of single members, or one whose results differ in shape
        stacked = [flambeau.stack([case.all[i] * f if case.floating else case.all[i] for f in FACTORS]) for i in chosen]
        try:
            found = flambeau.vmap(functools.partial(case.call, chosen), randomness="same")(*stacked)
        except Exception as error:
            if not torch_can_vmap(op, sample, chosen):
                continue
            yield f"{type(error).__name__}: {error}"
            continue
        yield "; ".join(filter(None, (close(a, b, 1e-4, 1e-5) for a, b in zip(found, expected))))


def torch_can_vmap(op: Any, sample: Any, chosen: tuple[int, ...]) -> bool:
    """Whether PyTorch's own ``vmap`` takes the sample."""
    case = Case(op, sample, torch)
    try:
        stacked = [torch.stack([case.all[i].detach()] * len(FACTORS)) for i in chosen]
        torch.vmap(functools.partial(case.call, chosen), randomness="same")(*stacked)
    except Exception:
        return False
    return True


def check_jvp(op: Any, sample: Any, seed: int) -> Iterator[str]:
    """Yields a message (empty: right) for the derivative along a random direction."""
    ours, theirs = Case(op, sample, flambeau), Case(op, sample, torch)
    chosen = tuple(i for i in theirs.floating if theirs.all[i].requires_grad)
    if not chosen:
        return
    generator = torch.Generator().manual_seed(seed)
    xs = [theirs.all[i].detach() for i in chosen]
    directions = [torch.randn(x.shape, dtype=x.dtype, generator=generator) for x in xs]

    def run(case: Case) -> Callable[..., Any]:
        return lambda *args: case.differentiable(case.call(chosen, *args))

    try:
        value, expected = torch.func.jvp(run(theirs), tuple(xs), tuple(directions))
        tolerance = (1e-5, 1e-6)
    except Exception:
        try:
            expected = _difference(run(theirs), xs, directions)
        except Exception:
            return
        tolerance = (1e-3, 1e-4)
    if not expected or all(not e.numel() for e in expected):
        return
    try:
        plain = run(ours)(*[convert(x) for x in xs])
        value, found = flambeau.func.jvp(
            run(ours), tuple(convert(x) for x in xs), tuple(convert(d) for d in directions)
        )
    except Exception as error:
        if isinstance(error, AttributeError) and "has no attribute" in str(error):
            raise Missing(str(error)) from None
        yield f"{type(error).__name__}: {error}"
        return
    if any(close(a, b, *tolerance) for a, b in zip(found, expected)):
        expected = _difference(run(theirs), xs, directions)
        tolerance = (1e-3, 1e-4)
    wrong = [close(a, b, 1e-6, 1e-8) for a, b in zip(value, plain)]
    wrong += [close(a, b, *tolerance) for a, b in zip(found, expected)]
    yield "; ".join(filter(None, wrong))


def _difference(fn: Callable[..., Any], xs: list[Any], directions: list[Any], eps: float = 1e-6) -> list[Any]:
    above = fn(*[x + eps * d for x, d in zip(xs, directions)])
    below = fn(*[x - eps * d for x, d in zip(xs, directions)])
    return [(a - b) / (2 * eps) for a, b in zip(above, below)]


def check_fake(op: Any, sample: Any) -> Iterator[str]:
    """Yields a message (empty: right) for the results of fake tensors; none where PyTorch's depend on values too."""
    case = Case(op, sample, flambeau)
    every = tuple(range(len(case.all)))
    try:
        expected = case.call(every, *[x.detach() for x in case.all])
    except Exception:
        return
    mode = FakeTensorMode()
    try:
        with mode:
            found = case.call(every, *[mode.from_tensor(x.detach()) for x in case.all])
    except Exception as error:
        if torch_can_fake(op, sample):
            yield f"{type(error).__name__}: {error}"
        return
    pairs = [(_facts(a), _facts(b)) for a, b in zip(found, expected, strict=True)]
    yield "; ".join(f"{a}, expected {b}" for a, b in pairs if a != b)


def _facts(t: Any) -> tuple[Any, ...]:
    return type(t).__name__.replace("Fake", ""), tuple(t.shape), t.stride(), t.dtype, t.device


def torch_can_fake(op: Any, sample: Any) -> bool:
    """Whether PyTorch's own fake tensors take the sample."""
    case, mode = Case(op, sample, torch), TorchFakeTensorMode()
    try:
        with mode:
            case.call(tuple(range(len(case.all))), *[mode.from_tensor(x.detach()) for x in case.all])
    except Exception:
        return False
    return True


RANDOM = re.compile(
    r"dropout|bernoulli|multinomial|normal|rand|poisson|cauchy|exponential|geometric|uniform|rrelu|empty|new_empty|"
    r"svd_lowrank|pca_lowrank|fractional|multi_head_attention_forward|torch.ops.aten._safe|_flash|lowrank|kaiming|scaled_dot_product_attention"
)


CHECKS: dict[str, Callable[..., Iterator[str]]] = {"vmap": check_vmap, "jvp": check_jvp, "fake": check_fake}


def check(op: Any, samples: int, checks: Sequence[str] = tuple(CHECKS)) -> dict[str, Any]:
    """The outcome of the checks for an entry: counts, and the messages of failures."""
    result: dict[str, Any] = {"name": op.full_name, **{what: [0, 0] for what in CHECKS}, "failures": []}
    random = RANDOM.search(op.name) is not None
    dtype = next((d for d in (torch.float32, torch.int64, torch.bool) if d in op.supported_dtypes("cpu")), None)
    wide = torch.float64 if torch.float64 in op.supported_backward_dtypes("cpu") else None
    for what, kind in zip(CHECKS, (dtype, wide, dtype)):
        if (
            what not in checks
            or kind is None
            or (what == "jvp" and not op.supports_autograd)
            or (random and what != "fake")
        ):
            continue
        torch.manual_seed(0)
        np.random.seed(0)
        try:
            found = list(op.sample_inputs("cpu", kind, requires_grad=what == "jvp"))
        except Exception:
            continue
        step = max(1, len(found) // samples)
        for index, sample in enumerate(found[::step][:samples]):
            try:
                for message in check_jvp(op, sample, index) if what == "jvp" else CHECKS[what](op, sample):
                    result[what][1] += 1
                    if message:
                        result["failures"].append(f"{what} {index * step}: {message[:300]}")
                    else:
                        result[what][0] += 1
            except Missing as error:
                result["missing"] = str(error)[:100]
            except Exception as error:  # preparing the case failed
                result["missing"] = f"{type(error).__name__}: {error}"[:200]
    return result


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", nargs="+", choices=tuple(CHECKS), default=tuple(CHECKS))
    parser.add_argument("--op", default="", help="entries whose name matches")
    parser.add_argument("--samples", type=int, default=6, help="samples of each entry")
    parser.add_argument("--failures", type=int, default=20, help="failures shown")
    parser.add_argument("--json", help="file for the outcomes, one a line")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--stop", type=int, default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    faulthandler.enable()
    sink = open(options.json, "w") if options.json else None
    results = []
    for op in [o for o in op_db if re.search(options.op, o.full_name)][options.start : options.stop]:
        results.append(check(op, options.samples, options.checks))
        if sink:
            print(json.dumps(results[-1]), file=sink, flush=True)
    for what in options.checks:
        measured = [r for r in results if r[what][1]]
        good = [r for r in measured if r[what][0] == r[what][1]]
        cases = [sum(r[what][i] for r in measured) for i in (0, 1)]
        share = 100 * len(good) / max(1, len(measured))
        print(f"{what}: {len(good)}/{len(measured)} entries ({share:.1f} %), {cases[0]}/{cases[1]} cases")
    print("without a counterpart:", " ".join(r["name"] for r in results if "missing" in r) or "none")
    shown = [(r["name"], f) for r in results for f in r["failures"]]
    for name, failure in shown[: options.failures]:
        print(f"{name}: {failure}")


if __name__ == "__main__":
    main()
