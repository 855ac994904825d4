"""Where temporary values lie: blocks in use at one time are apart, and results make room for them until they begin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau import nn
from flambeau.deferred.deferral import plans
from flambeau.graph.arena import Lifetime, Room, assign
from flambeau.runtime import memory

BLOCK = st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 8))
ROOM = st.tuples(st.integers(0, 6000), st.integers(0, 25))


@settings(max_examples=200, deadline=None)
@given(st.lists(BLOCK, max_size=30), st.lists(ROOM, max_size=6))
def test_blocks_are_apart(blocks, rooms):
    blocks = [Lifetime(n, first, first + length) for n, first, length in blocks]
    rooms = [Room(*r) for r in rooms]
    found, total = assign(blocks, rooms)
    for k, (room, at) in enumerate(found):
        nbytes, first, last = blocks[k]
        assert at % 64 == 0
        assert at + nbytes <= (total if room < 0 else rooms[room].nbytes)
        assert room < 0 or last < rooms[room].until
        for other in range(k):
            n, other_first, other_last = blocks[other]
            if found[other][0] == room and first <= other_last and other_first <= last:
                assert at + nbytes <= found[other][1] or found[other][1] + n <= at
    assert total <= assign(blocks)[1]


def test_gaps_that_the_biggest_first_would_leave():
    mebibytes = [(3, 0, 3), (3, 3, 3), (2, 1, 4), (2, 2, 5), (6, 0, 0)]  # biggest first: 11
    blocks = [Lifetime(n << 20, first, last) for n, first, last in mebibytes]
    fullest = max(sum(n for n, first, last in mebibytes if first <= step <= last) for step in range(6))
    assert assign(blocks)[1] == fullest << 20 == 10 << 20


@settings(max_examples=100, deadline=None)
@given(st.lists(BLOCK, max_size=30))
def test_large_blocks_are_apart(blocks):
    blocks = [Lifetime(n << 10, first, first + length) for n, first, length in blocks]
    found, total = assign(blocks)
    for k, (_, at) in enumerate(found):
        nbytes, first, last = blocks[k]
        assert at + nbytes <= total
        for other in range(k):
            n, other_first, other_last = blocks[other]
            if first <= other_last and other_first <= last:
                assert at + nbytes <= found[other][1] or found[other][1] + n <= at


def test_rooms_are_used():
    blocks = [Lifetime(1000, 0, 1), Lifetime(1000, 2, 3), Lifetime(1000, 3, 4)]
    assert assign(blocks, [Room(1024, 4)]) == ([(0, 0), (0, 0), (-1, 0)], 1024)


def _model():
    torch.manual_seed(0)
    return nn.Sequential(*[m for _ in range(6) for m in (nn.Linear(128, 128), nn.GELU())], nn.Linear(128, 4))


def _train(steps, whole):
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x, y = torch.randn(256, 128), torch.randint(0, 4, (256,))

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = torch.compile(step, mode="reduce-overhead") if whole else step
    losses, peaks = [], []
    memory.empty_cache()  # what waits at hand counts in the peak
    for _ in range(steps):
        memory.reset_peak()
        before = memory.statistics().allocated
        losses.append(float(run()))
        peaks.append(memory.statistics().peak - before)
    grads = [p.grad.numpy().copy() for p in model.parameters()]
    return losses, grads, peaks


def _report():
    """Prints what the test below asks a process of its own for, which no other test has left blocks at hand."""
    peaks = _train(6, True)[2]
    print(max(peaks[1:]), max(plan.temporary for plan in plans.values()))


def test_gradients_make_room_for_activations():
    losses, grads, _ = _train(6, True)
    expected, expected_grads, _ = _train(6, False)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for a, b in zip(grads, expected_grads):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    # No call computes gradients beside those of the call before, and the activations are partly where they will be.
    # The peak is that of the process, which holds some small blocks besides.
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(here), str(here.parent)))}
    command = [sys.executable, "-c", "import test_arena; test_arena._report()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, temporary = map(int, done.stdout.split())
    assert peak < temporary + sum(g.nbytes for g in grads) * 3 // 4


def test_a_gradient_that_somebody_keeps_is_not_written_to():
    model = _model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x = torch.randn(64, 128)

    @torch.compile(mode="reduce-overhead")
    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    kept = []
    for _ in range(6):
        step(x)
        grad = model[0].weight.grad
        kept.append((grad, grad.clone()))
    for grad, copy in kept:
        assert torch.equal(grad, copy)
