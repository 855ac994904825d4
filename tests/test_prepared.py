"""Weights kept as kernels read them: values, and everything that makes what is kept out of date."""

from __future__ import annotations

import copy
import gc
import pickle
import threading

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn, prepared
from flambeau.nn import functional as F


@pytest.fixture(autouse=True)
def nothing_kept():
    torch.manual_seed(0)
    torch.compiler.reset()
    gc.collect()


def table(weight):
    return weight._storage.memory.__dict__.get("prepared")


def compiled(x, w, **options):
    with torch.no_grad():
        return torch.compile(lambda x, w: F.conv2d(x, w, **options))(x, w)


# Panels of rows, rows of pixels instead (few pixels), Winograd's algorithm, groups.
SHAPES = [
    ((2, 120, 9, 11), (33, 120, 3, 3), {"stride": 2, "padding": 1}),
    ((1, 70, 12, 13), (40, 70, 1, 1), {}),
    ((1, 256, 7, 7), (512, 256, 1, 1), {}),
    ((1, 64, 28, 28), (64, 64, 3, 3), {"padding": 1}),
    ((2, 128, 8, 8), (320, 128, 3, 3), {"stride": 2, "padding": 1}),  # few pixels, packed once for all weights
    ((2, 320, 4, 4), (512, 320, 3, 3), {"stride": 2, "padding": 1}),
    ((2, 96, 10, 10), (192, 48, 3, 3), {"groups": 2}),
]
# Few rows of weights are read where they are, unless the image has its channels last.
PLANES = [
    ((2, 12, 10, 10), (18, 4, 3, 3), {"groups": 3}),
    ((1, 96, 11, 11), (96, 4, 3, 3), {"groups": 24, "padding": 1}),
    ((1, 3, 22, 22), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("x_shape", "w_shape", "options"), SHAPES + PLANES)
def test_results_are_bitwise_those_of_weights_packed_in_the_call(x_shape, w_shape, options, last):
    x, w = torch.randn(x_shape), torch.randn(w_shape)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    plain = F.conv2d(x, w, **options)
    for k in range(2):  # kept in the first call, read in the second
        np.testing.assert_array_equal(compiled(x, w, **options).numpy(), plain.numpy())
        if (x_shape, w_shape, options) in PLANES:
            assert bool(table(w)) == last, k
        else:
            assert table(w) or (last and plain[0, 0].numel() > 192), k  # channels last: no Winograd, but many pixels


def test_weights_that_serve_many_pixels_are_not_kept():
    x, w = torch.randn(1, 70, 30, 30), torch.randn(40, 70, 1, 1)
    np.testing.assert_array_equal(compiled(x, w).numpy(), F.conv2d(x, w).numpy())
    assert not table(w)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_kept_serves_any_number_of_threads_and_other_images(threads):
    x, w = torch.randn(1, 64, 28, 28), torch.randn(64, 64, 3, 3)
    before = compiled(x, w, padding=1).numpy().copy()
    had = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(compiled(x, w, padding=1).numpy(), before)
        many = compiled(torch.cat([x, x]), w, padding=1)
    finally:
        torch.set_num_threads(had)
    assert len(table(w)) == 1
    np.testing.assert_allclose(many[1].numpy(), before[0], rtol=1e-5, atol=1e-4)


def writes():
    def optimizer(w):
        w.grad = torch.ones_like(w)
        torch.optim.SGD([w], lr=0.5).step()

    def load(w):
        layer = nn.Conv2d(16, 32, 3, bias=False)
        layer.weight = w
        layer.load_state_dict({"weight": torch.full_like(w, 0.25)})

    def array(w):
        w.detach().numpy()[...] = 3.0

    return {
        "in place": lambda w: w.mul_(2.0),
        "through a view": lambda w: w[3].zero_(),
        "through detach": lambda w: w.detach().add_(1.0),
        "through data": lambda w: w.data.copy_(w.data + 1),
        "data replaced": lambda w: setattr(w, "data", torch.ones_like(w)),
        "copy": lambda w: w.copy_(torch.ones_like(w)),
        "out=": lambda w: torch.mul(w, 3.0, out=w),
        "optimizer": optimizer,
        "loading": load,
        "numpy": array,
    }


@pytest.mark.parametrize("how", writes())
def test_a_write_to_the_weights_is_seen(how):
    x, w = torch.randn(1, 16, 12, 12), nn.Parameter(torch.randn(32, 16, 3, 3))
    run = torch.compile(lambda x, w: F.conv2d(x, w))
    with torch.no_grad():
        run(x, w)
        run(x, w)
        writes()[how](w)
        expected = F.conv2d(x, w).numpy()
        for _ in range(2):
            np.testing.assert_array_equal(run(x, w).numpy(), expected)


def test_an_array_over_the_weights_may_write_at_any_time():
    x, w = torch.randn(1, 16, 12, 12), torch.randn(32, 16, 3, 3)
    compiled(x, w)
    array = w.numpy()
    for value in (1.0, 2.0):
        array[...] = value
        np.testing.assert_array_equal(compiled(x, w).numpy(), F.conv2d(x, w).numpy())
    foreign = torch.from_numpy(np.ones((32, 16, 3, 3), np.float32))
    compiled(x, foreign)
    assert table(foreign) is None


def test_repeated_calls_see_a_write():
    layer = nn.Conv2d(16, 32, 3)
    run = torch.compile(layer, mode="reduce-overhead")
    x = torch.randn(1, 16, 12, 12)
    with torch.no_grad():
        for _ in range(4):
            run(x)
        layer.weight.fill_(0.5)
        np.testing.assert_array_equal(run(x).numpy(), layer(x).numpy())


def test_it_goes_with_the_storage_and_with_reset():
    before = prepared.kept_bytes()
    x, w = torch.randn(1, 16, 12, 12), torch.randn(32, 16, 3, 3)
    compiled(x, w)
    assert prepared.kept_bytes() > before
    del w
    gc.collect()
    assert prepared.kept_bytes() == before
    w = torch.randn(32, 16, 3, 3)
    compiled(x, w)
    torch.compiler.reset()
    assert prepared.kept_bytes() == before and table(w) is None


def test_nothing_is_kept_beyond_the_bound_or_in_grad_mode(monkeypatch):
    x, w = torch.randn(1, 16, 12, 12), torch.randn(32, 16, 3, 3)
    torch.compile(lambda x, w: F.conv2d(x, w))(x, w).sum().item()
    assert table(w) is None
    monkeypatch.setattr(prepared, "_limit", [0])
    np.testing.assert_array_equal(compiled(x, w).numpy(), F.conv2d(x, w).numpy())
    assert not table(w)


def test_weights_that_the_program_writes_are_not_kept():
    x, w = torch.randn(1, 16, 12, 12), torch.randn(32, 16, 3, 3)

    @torch.compile
    def step(x):
        y = F.conv2d(x, w)
        w.mul_(0.5)
        return y

    with torch.no_grad():
        for _ in range(3):
            expected = F.conv2d(x, w).numpy().copy()
            np.testing.assert_array_equal(step(x).numpy(), expected)
    assert table(w) is None


def test_copies_and_pickles_of_a_module_leave_it_behind():
    layer = nn.Conv2d(16, 32, 3)
    x = torch.randn(1, 16, 12, 12)
    run = torch.compile(lambda layer, x: layer(x))
    with torch.no_grad():
        expected = run(layer, x).numpy()
        assert table(layer.weight)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert not table(other.weight)
            other.weight.mul_(2)
            np.testing.assert_array_equal(run(other, x).numpy(), other(x).numpy())
        np.testing.assert_array_equal(run(layer, x).numpy(), expected)


def test_several_threads_use_one_constant():
    x, w = torch.randn(1, 64, 28, 28), torch.randn(64, 64, 3, 3)
    expected = F.conv2d(x, w, padding=1).numpy()
    found = []

    def work():
        for _ in range(4):
            found.append(compiled(x, w, padding=1).numpy().copy())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 16
    for y in found:
        np.testing.assert_array_equal(y, expected)


def test_arrays_that_are_gone_leave_nothing_behind():
    x = torch.ones(100)
    living = [x.numpy() for _ in range(3)]
    for _ in range(1000):
        x.numpy()
    assert len(x._storage.memory.__dict__["arrays"]) <= 8
    assert sum(r() is not None for r in x._storage.memory.__dict__["arrays"]) == len(living)
