"""Random calls for ``fuzz.py``: what is called, with which tensors, numbers and options.

A *case* is determined by the name of its target and a seed.  Its arguments are trees of plain values in which a
``Spec`` describes a tensor, so that they can be built for any library, printed, and changed at random.
"""

from __future__ import annotations

import inspect
import random
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

FLOATS = ("float32", "float64", "bfloat16", "float16")
DTYPES = (*FLOATS, "complex64", "complex128", "int64", "int32", "int16", "int8", "uint8", "bool")
LIKELY = ("float32", "float32", "float32", "float64", "int64", "bool", "bfloat16", "complex64")
EXTENTS = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 17, 33)
NUMBERS = (0, 1, -1, 2, -2, 3, 5, 0.5, -0.5, 1e-3, True, False)
ODD_NUMBERS = (
    2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64, 10**30, 1e30, -1e300, 5e-324, float("inf"), -float("inf"),
    float("nan"), 1j, None, "x", (), (1, 2), 1000, -1000, 100,
)  # fmt: skip
SPECIAL = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 5e-324, 1e-40, 1e-310, 3e38, -3e38, 1e308, 0.5, -1.0)
ODD_INDICES = (-1, -2, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63), 10**6, -(10**6), 64, 100)
# How often a whole computation is repeated: as many times as asked for, here as in PyTorch, so that huge numbers would
# only take their time.
REPETITIONS = {"niter": (0, 1, 2, 3, 10, -1, None, 0.5, "x")}
MODES = "eager eager eager eager eager grad grad grad compile inplace out vmap jvp meta".split()

# What changes the process, talks to the world, runs for ever by design, or takes code rather than data.
DENIED = frozenset(
    """
    save load compile fork wait manual_seed seed set_num_threads set_num_interop_threads set_default_dtype to_file
    set_default_device set_default_tensor_type set_printoptions set_rng_state set_grad_enabled
    use_deterministic_algorithms set_deterministic_debug_mode set_float32_matmul_precision set_flush_denormal
    set_warn_always from_file frombuffer from_dlpack initial_seed get_rng_state classproperty import_ir_module
    import_ir_module_from_buffer vmap cond while_loop set_anomaly_enabled share_memory_ map_ map2_ apply_
    register_hook register_post_accumulate_grad_hook data_ptr untyped_storage storage typed_storage set_
    is_grad_enabled autocast_increment_nesting autocast_decrement_nesting set_autocast_enabled
    set_autocast_cpu_enabled set_autocast_dtype set_autocast_cpu_dtype set_autocast_cache_enabled
    set_autocast_gpu_dtype set_autocast_ipu_dtype set_autocast_xla_dtype clear_autocast_cache fork_rng __reduce__
    __reduce_ex__ __setstate__ __init_subclass__ __subclasshook__ __class__ __new__ __init__ __array__ __dlpack__
    __torch_function__ has_torch_function has_torch_function_unary has_torch_function_variadic handle_torch_function
    boolean_dispatch assert_int_or_pair namespace grad_fn requires_grad_ retain_grad backward install_as_torch
    set_vital read_vitals export __getattribute__ __getattr__ __setattr__ __delattr__ __del__ __dir__ __format__
    __sizeof__ __repr__ __str__ __getstate__ as_subclass tensors typename thread_safe_generator resize_as_sparse_
    sparse_resize_ sparse_resize_and_clear_ to_dense _make_subclass _make_wrapper_subclass _reduce_ex_internal
    module_load get_device_module prepare_multiprocessing_environment
    """.split()
)


@dataclass(frozen=True)
class Spec:
    """A tensor: type, shape, strides and offset over a storage of just so many elements, and how it is filled."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    fill: tuple[Any, ...]  # ("random", seed, span) or ("index", seed, bound), then the odd values sprinkled over it
    array: Any = field(default=None, compare=False, repr=False)  # values given: the storage's, in its order

    @property
    def elements(self) -> int:
        """Of the storage: it ends with the last element that the tensor reaches."""
        if 0 in self.shape:
            return self.offset
        return self.offset + 1 + sum((n - 1) * s for n, s in zip(self.shape, self.strides))

    def values(self) -> np.ndarray:
        """The storage's elements; those of bfloat16 as float32."""
        kind = {"bfloat16": "float32"}.get(self.dtype, self.dtype)
        if self.array is not None:
            return np.array(self.array, copy=True)
        how, seed, span, *odd = self.fill
        draw = np.random.default_rng(seed)
        n = self.elements
        if how == "index":
            found = draw.integers(0, max(1, span), n)
        elif kind == "bool":
            found = draw.random(n) < 0.5
        elif kind.startswith(("int", "uint")):
            found = draw.integers(0 if kind[0] == "u" else -span, span + 1, n)
        else:
            found = draw.standard_normal(n) * span
            if kind.startswith("complex"):
                found = found + 1j * draw.standard_normal(n)
        with np.errstate(all="ignore"):
            found = found.astype(kind)
            for place, value in odd:
                if n:
                    number = complex(value, 1) if kind.startswith("complex") else value
                    if kind.startswith(("int", "uint")):
                        number = np.asarray(int(value) if value == value and abs(value) < 2**63 else 7).astype(kind)
                    found[int(place * n)] = number
        return found

    def build(self, m: types.ModuleType, device: str = "cpu") -> Any:
        """The tensor, in the library ``m``."""
        dtype = getattr(m, self.dtype)
        if device == "meta":
            return m.empty(self.elements, dtype=dtype, device="meta").as_strided(self.shape, self.strides, self.offset)
        # A copy lies in the library's own memory, whose end is guarded.
        base = m.from_numpy(self.values()).to(dtype).clone()
        return base.as_strided(self.shape, self.strides, self.offset)


def dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in row-major order."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def lay(rng: random.Random, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """(strides, offset) of some layout of a shape: permuted, with gaps, expanded, overlapping, or plain."""
    kind = rng.choice(("plain", "plain", "plain", "permuted", "gaps", "expanded", "overlapping", "offset"))
    strides, offset = dense(shape), 0
    if kind == "permuted":
        order = list(range(len(shape)))
        rng.shuffle(order)
        inner = dense(tuple(shape[d] for d in order))
        strides = tuple(inner[order.index(d)] for d in range(len(shape)))
    elif kind == "gaps":
        strides = dense(tuple(n + rng.choice((0, 0, 1, 3)) for n in shape))
        step = rng.choice((1, 2, 3))
        strides = tuple(s * step for s in strides)
    elif kind == "expanded":
        strides = tuple(0 if rng.random() < 0.5 else s for s in strides)
    elif kind == "overlapping":
        strides = tuple(rng.choice((0, 1, 1, 2, 3, s)) for s in strides)
    if kind in ("offset", "gaps"):
        offset = rng.choice((0, 1, 3, 16))
    return strides, offset


class Maker:
    """Draws the arguments of one case."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rank = rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5))
        self.shape = tuple(rng.choice(EXTENTS) for _ in range(self.rank))
        if rng.random() < 0.1:
            self.shape = tuple(min(n, 3) for n in self.shape)
        self.dtype = rng.choice(LIKELY)
        self.square = rng.random() < 0.25

    def tensor(self, name: str = "") -> Spec:
        """A tensor for a parameter of this name."""
        rng, shape = self.rng, self.shape
        turn = rng.random()
        if turn < 0.15:
            shape = tuple(1 if rng.random() < 0.5 else n for n in shape)[rng.randint(0, len(shape)) :]
        elif turn < 0.3:
            shape = tuple(rng.choice(EXTENTS) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 5))))
        elif turn < 0.4 and len(shape) > 1:
            shape = (*shape[:-2], shape[-1], shape[-2])
        if self.square and len(shape) > 1:
            shape = (*shape[:-1], shape[-2])
        dtype = self.dtype if rng.random() < 0.85 else rng.choice(DTYPES)
        index = any(part in name for part in ("index", "indices", "ind", "target", "repeats", "offsets", "lengths"))
        if index and rng.random() < 0.85:
            dtype = rng.choice(("int64", "int64", "int64", "int32"))
        if any(part in name for part in ("mask", "condition", "where")) and rng.random() < 0.8:
            dtype = "bool"
        bound = max(self.shape, default=1)
        fill: tuple[Any, ...] = ("random", rng.getrandbits(32), rng.choice((1, 1, 1, 3, 100)))
        if dtype.startswith("int") and (index or rng.random() < 0.5):
            fill = ("index", rng.getrandbits(32), bound)
        if rng.random() < 0.25:
            pool = ODD_INDICES if fill[0] == "index" else SPECIAL
            fill += tuple((rng.random(), rng.choice(pool)) for _ in range(rng.randint(1, 4)))
        strides, offset = lay(rng, shape)
        return Spec(dtype, shape, strides, offset, fill)

    def number(self) -> Any:
        """A number, rarely an odd one."""
        return self.rng.choice(ODD_NUMBERS if self.rng.random() < 0.1 else NUMBERS)

    def integer(self, name: str) -> Any:
        """An integer for a parameter of this name."""
        rng = self.rng
        if rng.random() < 0.05:
            return rng.choice(ODD_NUMBERS)
        if "dim" in name or "axis" in name:
            return rng.randint(-self.rank - (rng.random() < 0.1), max(self.rank - (rng.random() < 0.9), 0))
        return rng.choice((0, 1, 1, 2, 2, 3, 4, -1, 5, 8))

    def integers(self, name: str) -> Any:
        """A tuple of integers."""
        rng = self.rng
        if name in ("size", "shape", "sizes") and rng.random() < 0.5:
            return self.shape
        if "dim" in name and rng.random() < 0.7:
            count = rng.randint(0, self.rank)
            return tuple(rng.sample(range(-self.rank, 0), count)) if self.rank else ()
        return tuple(self.integer(name) for _ in range(rng.choice((0, 1, 2, 2, 2, 3, 4))))

    def of(self, name: str, annotation: str, words: tuple[str, ...]) -> Any:
        """A value for a parameter; ``words`` are texts that the function knows."""
        rng, text = self.rng, annotation
        if name in REPETITIONS:
            return rng.choice(REPETITIONS[name])
        if rng.random() < 0.01:
            return rng.choice(ODD_NUMBERS)
        if text == "Tensors" or "Sequence[Tensor" in text or name in ("tensors", "operands"):
            return [self.tensor(name) for _ in range(rng.choice((0, 1, 2, 2, 3)))]
        if text.startswith("Operand") or text in ("Tensor | float", "Number"):
            return self.tensor(name) if rng.random() < 0.6 else self.number()
        if "Tensor" in text:
            return None if "None" in text and rng.random() < 0.4 else self.tensor(name)
        if text in ("Scalar", "Factor", "Scalar | None"):
            return self.number()
        if "generator" in name or "Generator" in text:
            return None
        if "dtype" in name or "dtype" in text:
            return Name(rng.choice(DTYPES)) if rng.random() < 0.8 else None
        if name == "device":
            return rng.choice((None, "cpu", "meta"))
        if name == "layout":
            return Name("strided")
        if name == "memory_format":
            return Name(rng.choice(("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")))
        if text.startswith("bool"):
            return rng.random() < 0.5
        if text.startswith("str"):
            return rng.choice(words) if words and rng.random() < 0.95 else "x"
        if "None" in text and rng.random() < 0.3:
            return None
        if "str" in text and words and rng.random() < 0.3:
            return rng.choice(words)
        many = any(part in text for part in ("Sequence", "tuple", "Size", "Map", "list"))
        if many and not (text.startswith("int") and rng.random() < 0.5):
            return self.integers(name)
        if text.startswith("int"):
            return self.integer(name)
        if text.startswith("float"):
            return rng.choice((0.0, 0.1, 0.5, 1.0, 2.0, -1.0, 1e-5)) if rng.random() < 0.95 else self.number()
        # Nothing is known: what its name suggests, or anything.
        if name in ("input", "self", "other", "weight", "bias", "target", "index", "source", "tensor", "mask"):
            return self.tensor(name)
        kind = rng.choice(("tensor", "tensor", "number", "integer", "integers", "none", "word"))
        if kind == "word":
            return rng.choice(words) if words else None
        return {
            "tensor": lambda: self.tensor(name), "number": self.number, "integer": lambda: self.integer(name),
            "integers": lambda: self.integers(name), "none": lambda: None,
        }[kind]()  # fmt: skip


@dataclass(frozen=True)
class Name:
    """A member of the library: an element type, a memory format."""

    name: str


def build(tree: Any, m: types.ModuleType, device: str = "cpu") -> Any:
    """The arguments for the library ``m``."""
    if isinstance(tree, Spec):
        return tree.build(m, device)
    if isinstance(tree, Name):
        return getattr(m, tree.name)
    if isinstance(tree, (list, tuple)):
        return type(tree)(build(item, m, device) for item in tree)
    if isinstance(tree, dict):
        return {key: build(item, m, device) for key, item in tree.items()}
    return tree


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, value) of all leaves of a tree of lists, tuples and dicts."""
    if isinstance(tree, (list, tuple)):
        for i, item in enumerate(tree):
            yield from leaves(item, (*path, i))
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, tree


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with another leaf."""
    if not path:
        return value
    if isinstance(tree, dict):
        return {**tree, path[0]: put(tree[path[0]], path[1:], value)}
    items = list(tree)
    items[path[0]] = put(items[path[0]], path[1:], value)
    return items if isinstance(tree, list) else tuple(items)


def mutate(rng: random.Random, spec: Spec) -> Spec:
    """The tensor with something else about it."""
    kind = rng.choice(("layout", "layout", "layout", "values", "values", "extent", "rank", "dtype"))
    shape = list(spec.shape)
    if kind == "values":
        values = spec.values()
        pool = SPECIAL if values.dtype.kind in "fc" else ODD_INDICES
        with np.errstate(all="ignore"):
            for _ in range(rng.randint(1, 3) if values.size else 0):
                odd = np.asarray(rng.choice(pool)).astype(values.dtype)
                values[rng.randrange(values.size)] = odd
        return replace(spec, array=values)
    if kind == "dtype":
        dtype = rng.choice(DTYPES)
        with np.errstate(all="ignore"):
            values = spec.values()
            if values.dtype.kind == "c" and not dtype.startswith("complex"):
                values = values.real
            return replace(spec, dtype=dtype, array=values.astype({"bfloat16": "float32"}.get(dtype, dtype)))
    if kind == "extent" and shape:
        shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 5, shape[0] + 1))
    elif kind == "rank":
        if shape and rng.random() < 0.5:
            del shape[rng.randrange(len(shape))]
        else:
            shape.insert(rng.randint(0, len(shape)), rng.choice((1, 1, 2, 0)))
    strides, offset = lay(rng, tuple(shape))
    changed = replace(spec, shape=tuple(shape), strides=strides, offset=offset, array=None)
    values = spec.values()
    return replace(changed, array=np.resize(values, changed.elements) if values.size else None)


def disturb(rng: random.Random, args: Any) -> Any:
    """The arguments with up to three things changed."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        found = [item for item in leaves(args) if not isinstance(item[1], Name)]
        if not found:
            break
        path, value = rng.choice(found)
        if isinstance(value, Spec):
            args = put(args, path, mutate(rng, value) if rng.random() < 0.97 else None)
        elif isinstance(value, bool):
            args = put(args, path, not value)
        elif isinstance(value, (int, float)):
            pool = ODD_NUMBERS if rng.random() < 0.3 else NUMBERS
            args = put(args, path, rng.choice((value + 1, value - 1, -value, rng.choice(pool), rng.choice(pool))))
    return args


@dataclass(frozen=True)
class Target:
    """Something to call: its public function, and what is known of its parameters."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[inspect.Parameter, ...]
    words: tuple[str, ...] = ()
    inplace: str | None = None


def _words(function: Any) -> tuple[str, ...]:
    """Texts in the code of a function that may be options."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    constants = [] if code is None else [*code.co_consts, *inspect.unwrap(function).__code__.co_names]
    flat = [x for c in constants for x in (c if isinstance(c, (tuple, frozenset)) else (c,))]
    return tuple(sorted({x for x in flat if isinstance(x, str) and x.isidentifier() and len(x) < 16}))


def targets(m: types.ModuleType, operators: dict[str, Any]) -> dict[str, Target]:
    """Every operator of the package, and every public function and method beside them, by name."""
    found: dict[str, Target] = {}

    def add(name: str, function: Any, body: Any) -> None:
        try:
            parameters = tuple(inspect.signature(body).parameters.values())
        except (TypeError, ValueError):
            return
        known = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
        last = name.rsplit(".", 1)[-1]
        inplace = f"{last}_" if hasattr(m.Tensor, f"{last}_") else None
        found[name] = Target(name, function, tuple(known), _words(body), inplace)

    for name, op in operators.items():
        if op.namespace or hasattr(m.Tensor, name):  # the others get arguments that have been checked
            add(name, op.function, op.body)
    spaces = {
        "torch": m, "nn.functional": m.nn.functional, "linalg": m.linalg, "fft": m.fft, "special": m.special,
        "Tensor": m.Tensor, "signal.windows": m.signal.windows,
    }  # fmt: skip
    for space, home in spaces.items():
        for name in dir(home):
            function = getattr(home, name, None)
            dunder = name.startswith("__") and space == "Tensor"
            if name in DENIED or not callable(function) or isinstance(function, type):
                continue
            if (name.startswith("_") and not dunder) or any(t.function is function for t in found.values()):
                continue
            add(f"{space}.{name}", function, operators[name].body if name in operators else function)
    return {name: t for name, t in found.items() if name.rsplit(".", 1)[-1] not in DENIED}


@dataclass(frozen=True)
class Case:
    """A call: ``mode`` is the way in which it is made."""

    target: str
    seed: int
    mode: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def make(target: Target, seed: int, samples: Callable[[str], list[tuple[Any, Any]]] | None = None) -> Case:
    """The case of a target with this seed.  ``samples`` gives sensible arguments of a function by its name, which are
    used, disturbed, by half of the cases."""
    rng = random.Random(f"{target.name}:{seed}")
    mode = rng.choice(MODES)
    if mode == "inplace" and target.inplace is None:
        mode = "eager"
    known = samples(target.name) if samples is not None and rng.random() < 0.7 else []
    if known:
        args, kwargs = disturb(rng, rng.choice(known))
        if target.name.startswith("Tensor.") and not isinstance(args[0], Spec):
            args = [Maker(rng).tensor(), *args[1:]]
        return Case(target.name, seed, mode, tuple(args), dict(kwargs))
    maker = Maker(rng)
    args, kwargs = [], {}
    if target.name.startswith("Tensor."):
        args.append(maker.tensor())
    for p in target.parameters[len(args) :]:
        annotation = p.annotation if isinstance(p.annotation, str) else getattr(p.annotation, "__name__", "")
        if p.annotation is inspect.Parameter.empty:
            annotation = ""
        if p.kind is p.VAR_POSITIONAL:
            args.extend(maker.of(p.name, annotation, target.words) for _ in range(rng.randint(0, 3)))
        elif p.default is not p.empty and rng.random() < 0.5:
            if p.kind is not p.KEYWORD_ONLY and rng.random() < 0.5:
                break
        elif p.kind is p.KEYWORD_ONLY or (kwargs and p.default is not p.empty):
            kwargs[p.name] = maker.of(p.name, annotation, target.words)
        elif len(args) == target.parameters.index(p):
            args.append(maker.of(p.name, annotation, target.words))
        else:
            kwargs[p.name] = maker.of(p.name, annotation, target.words)
    return Case(target.name, seed, mode, tuple(args), kwargs)
