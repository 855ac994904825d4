"""What profiles record, sum up and write."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import flambeau as torch
from flambeau.dispatch.call import around, special
from flambeau.profiler import ProfilerAction, ProfilerActivity, profile, record_function, schedule


def test_operators_and_ranges_are_recorded() -> None:
    x = torch.randn(8, 8, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True, profile_memory=True) as prof:
        with record_function("mine"):
            y = torch.mm(x, x)
            torch.nn.functional.linear(y, x).sum().backward()
        y.detach().add_(1)
    torch.mm(x, x)
    events = prof.events()
    names = [e.name for e in events]
    assert {"mine", "aten::mm", "aten::sum", "aten::linear", "aten::add_"} <= set(names)
    mine = next(e for e in events if e.name == "mine")
    product = next(e for e in events if e.name == "aten::mm")
    assert product.cpu_parent is mine and product in mine.cpu_children and product.input_shapes[:2] == [[8, 8], [8, 8]]
    assert product.flops == 2 * 8**3 and mine.cpu_time_total >= product.cpu_time_total >= 0
    assert abs(sum(e.self_cpu_time_total for e in events) - events.self_cpu_time_total) < 1e-6
    averages = prof.key_averages(group_by_input_shape=True)
    assert next(a for a in averages if a.key == "mine").count == 1
    table = averages.table(sort_by="cpu_time_total", row_limit=3)
    assert "Self CPU %" in table and "Self CPU time total" in table and "mine" in table


def test_nothing_stays_behind() -> None:
    with pytest.raises(ZeroDivisionError), profile():
        raise ZeroDivisionError
    assert not around.wrappers and not special
    with torch.autograd.profiler.profile() as legacy:
        torch.ones(2) + 1
    assert [e.name for e in legacy.function_events if e.name == "aten::add"] == ["aten::add"]
    assert "aten::add" in str(legacy)
    with record_function("nobody listens"):
        pass


def test_schedule() -> None:
    plan = schedule(wait=1, warmup=1, active=2, repeat=1, skip_first=1)
    none, warm, record, save = ProfilerAction
    assert [plan(i) for i in range(7)] == [none, none, warm, record, save, none, none]
    with pytest.raises(ValueError, match="active"):
        schedule(wait=0, warmup=0, active=0)
    ready = []
    with profile(
        schedule=schedule(wait=1, warmup=0, active=2, repeat=2), on_trace_ready=lambda p: ready.append(p.events())
    ) as prof:
        for _ in range(7):
            torch.ones(2) * 2
            prof.step()
    assert len(ready) == 2
    assert [sum(e.name == "aten::mul" for e in events) for events in ready] == [2, 2]
    assert {e.name for e in ready[0] if e.is_user_annotation} == {"ProfilerStep#1", "ProfilerStep#2"}


def test_traces_are_written(tmp_path: Path) -> None:
    with profile(
        with_stack=True, on_trace_ready=torch.profiler.tensorboard_trace_handler(str(tmp_path / "tb"))
    ) as prof:
        torch.ones(3).exp()
    prof.add_metadata_json("numbers", "[1, 2]")
    prof.export_chrome_trace(str(tmp_path / "trace.json.gz"))
    trace = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))
    found = next(e for e in trace["traceEvents"] if e["name"] == "aten::exp")
    assert found["ph"] == "X" and found["dur"] >= 0 and trace["numbers"] == [1, 2]
    prof.export_stacks(str(tmp_path / "stacks"))
    assert len(list((tmp_path / "tb").glob("*.pt.trace.json"))) == 1
    with pytest.raises(AssertionError, match="nothing yet"):
        profile().events()


def test_decorator_and_autocast_together() -> None:
    @record_function("decorated")
    def work(x):
        return x @ x

    with profile() as prof, torch.autocast("cpu"):
        assert work(torch.ones(2, 2)).dtype is torch.bfloat16
    names = {e.name for e in prof.events()}
    assert {"decorated", "aten::matmul"} <= names
