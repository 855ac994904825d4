"""Random indices of all kinds mixed, read, written and differentiated, against PyTorch."""

from __future__ import annotations

import os
import random
import warnings

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

CASES = int(os.environ.get("FLAMBEAU_INDEX_CASES", "60"))
KINDS = "int slice slice full none index wide list mask matrix ellipsis tensor".split()


def _index(rng, shape):
    """A description of an index of a tensor of this shape."""
    items, d, dotted = [], 0, False
    while d < len(shape) and rng.random() < 0.85:
        kind, n = rng.choice(KINDS), shape[d]
        place = lambda n=n: rng.randint(-n, n - 1)  # noqa: E731
        if kind in ("int", "tensor", "list", "index", "wide") and n:
            sizes = {"list": [(1,), (2,)], "index": [(1,), (2,)], "wide": [(2, 1), (1, 3), (3,), ()]}.get(kind, [()])
            size = rng.choice(sizes)
            drawn = np.array([place() for _ in range(int(np.prod(size)))], np.int64).reshape(size)
            items.append((kind, drawn))
        elif kind == "slice":
            bounds = [rng.choice([None, rng.randint(-n - 1, n + 1)]) for _ in "ab"]
            items.append((kind, slice(*bounds, rng.choice([None, 1, 2, 3]))))
        elif kind == "full":
            items.append(("slice", slice(None)))
        elif kind == "mask" or (kind == "matrix" and d + 1 < len(shape)):
            size = shape[d : d + (2 if kind == "matrix" else 1)]
            items.append(
                ("mask", np.array([rng.random() < 0.5 for _ in range(int(np.prod(size)))], bool).reshape(size))
            )
            d += len(size) - 1
        elif kind == "ellipsis" and not dotted:
            items.append((kind, ...))
            dotted, d = True, len(shape) - rng.randint(0, len(shape) - d) - 1
        elif kind == "none":
            items.append((kind, None))
            d -= 1
        else:
            d -= 1
        d += 1
    return items


def _of(items, m):
    forms = {"int": int, "list": lambda v: v.tolist(), "mask": lambda v: m.from_numpy(v.copy())}
    as_tensor = lambda v: m.tensor(v.tolist())  # noqa: E731
    tensors = dict.fromkeys(("tensor", "index", "wide"), as_tensor)
    return tuple({**forms, **tensors}.get(kind, lambda v: v)(value) for kind, value in items)


def _run(m, mode, base, order, items):
    t = m.from_numpy(base.copy()).permute(order)
    index = _of(items, m)
    if mode == "read":
        found = t[index]
        return tuple(found.shape), str(found.dtype), found.tolist()
    if mode == "write":
        t[index] = 7
        return t.tolist()
    t = t.to(m.float32).detach().requires_grad_()
    found = t[index]
    (found * m.arange(found.numel()).reshape(found.shape)).sum().backward()
    return t.grad.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_indices(seed):
    rng = random.Random(seed)
    for _ in range(CASES // 6):
        shape = [rng.choice([1, 2, 3, 4, 5]) for _ in range(rng.randint(1, 4))]
        order = list(range(len(shape)))
        if rng.random() < 0.4:
            rng.shuffle(order)
        items = _index(rng, [shape[d] for d in order])
        base = np.arange(int(np.prod(shape)), dtype=rng.choice(["float32", "int64"])).reshape(shape)
        mode = rng.choice(["read", "read", "write", "gradient"])
        outcomes = []
        for m in (torch, flambeau):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    outcomes.append(_run(m, mode, base, order, items))
                except (IndexError, RuntimeError, TypeError, ValueError) as error:
                    outcomes.append(type(error).__name__)
        assert outcomes[1] == outcomes[0], (mode, shape, order, items)
