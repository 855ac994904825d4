"""TorchScript's types, schemas, containers; keys of the dispatcher; FileCheck; torch.monitor."""

from __future__ import annotations

import datetime

import pytest

import flambeau

torch = pytest.importorskip("torch")


def test_schemas_read_as_pytorch_reads_them():
    count = wrong = 0
    for schema in torch._C._jit_get_all_schemas():
        text = str(schema)
        if not text.startswith("aten::") or "..." in text or "tVal" in text or ", t)" in text:
            continue
        count += 1
        try:
            read = flambeau.parse_schema(text)
        except RuntimeError:
            wrong += 1
            continue
        fields = ("name", "N", "kwarg_only", "is_out", "is_write")
        wrong += str(read) != text or any(
            [str(getattr(a, f)) for f in fields] + [str(a.type)] != [str(getattr(b, f)) for f in fields] + [str(b.type)]
            for a, b in zip(read.arguments, schema.arguments)
        )
    assert count > 3000 and wrong <= count // 100


def test_schema_objects():
    text = "aten::add.Tensor(Tensor(a!) self, Tensor other, *, Scalar alpha=1, int[2]? k=None) -> (Tensor(a!) out, int)"
    mine, theirs = flambeau.parse_schema(text), torch.parse_schema(text)
    assert str(mine) == str(theirs) and mine.is_mutable and mine.overload_name == "Tensor"
    assert mine.arguments[0].alias_info.is_write and mine.arguments[0].alias_info.before_set == {"a"}
    assert mine.returns[0].name == "out" and mine.arguments[2].default_value == 1
    older = flambeau.parse_schema("x::f(Tensor a) -> Tensor")
    newer = flambeau.parse_schema("x::f(Tensor a, int b=1) -> Tensor")
    assert newer.is_backward_compatible_with(older) and not older.is_backward_compatible_with(newer)
    read = flambeau.parse_type_comment("# type: (int, List[int]) -> Tensor")
    assert [str(a.type) for a in read.arguments] == ["int", "List[int]"]
    with pytest.raises(RuntimeError):
        flambeau.parse_schema("no schema")


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.ListType(t.IntType.get()), lambda t: t.DictType(t.StringType.get(), t.FloatType.get()),
        lambda t: t.OptionalType(t.TensorType.get()), lambda t: t.TupleType([t.IntType.get(), t.BoolType.get()]),
        lambda t: t.UnionType([t.IntType.get(), t.StringType.get()]), lambda t: t.FutureType(t.NoneType.get()),
        lambda t: t.UnionType([t.IntType.get(), t.NoneType.get()]), lambda t: t.ListType.ofTensors(),
        lambda t: t.NumberType.get(), lambda t: t.DeviceObjType.get(),
        lambda t: t.unify_type_list([t.IntType.get(), t.NoneType.get()]),
    ],
)  # fmt: skip
def test_types(make):
    mine, theirs = make(flambeau), make(torch)
    assert (str(mine), mine.kind(), mine.annotation_str) == (str(theirs), theirs.kind(), theirs.annotation_str)
    assert [str(t) for t in mine.containedTypes()] == [str(t) for t in theirs.containedTypes()]
    for other in ("IntType", "AnyType", "NumberType"):
        assert mine.isSubtypeOf(getattr(flambeau, other).get()) == theirs.isSubtypeOf(getattr(torch, other).get())
    with pytest.raises(RuntimeError):
        flambeau.unify_type_list([flambeau.IntType.get(), flambeau.FloatType.get()])


def test_dispatch_keys_and_tags():
    mine, theirs = ({k: int(v) for k, v in m.__members__.items()} for m in (flambeau.DispatchKey, torch.DispatchKey))
    assert mine == theirs
    assert {k: int(v) for k, v in flambeau.Tag.__members__.items()} == {
        k: int(v) for k, v in torch.Tag.__members__.items()
    }
    for name in ("CPU", "AutogradCPU", "SparseCPU", "Meta", "BackendSelect", "Autograd", "Dense", "QuantizedCPU"):
        a, b = (m.DispatchKeySet(getattr(m.DispatchKey, name)) for m in (flambeau, torch))
        assert (a.raw_repr(), repr(a)) == (b.raw_repr(), repr(b))
    both = [
        m.DispatchKeySet(m.DispatchKey.CPU) | m.DispatchKeySet(m.DispatchKey.AutogradCPU) for m in (flambeau, torch)
    ]
    assert repr(both[0]) == repr(both[1])
    assert both[0].highestPriorityTypeId().name == both[1].highestPriorityTypeId().name


def test_script_containers():
    d, values = flambeau.ScriptDict({"a": 1, "b": 2}), flambeau.ScriptList([1, 2, 3])
    assert repr(d) == repr(torch.ScriptDict({"a": 1, "b": 2})) and list(d) == ["a", "b"] and "a" in d
    assert list(d.items()) == [("a", 1), ("b", 2)] and isinstance(iter(d), flambeau.ScriptDictKeyIterator)
    with pytest.raises(TypeError):
        d[3] = 3
    values.extend([4])
    values.insert(0, 9)
    assert repr(values) == "[9, 1, 2, 3, 4]" and values.pop() == 4 and len(values[1:]) == 3
    with pytest.raises(TypeError):
        values.append("x")


@pytest.mark.parametrize(
    "make",
    [
        lambda c: c.check("alpha").check("gamma"), lambda c: c.check("gamma").check("beta"),
        lambda c: c.check("alpha").check_next("delta"), lambda c: c.check("alpha").check_same("gamma"),
        lambda c: c.check("alpha").check_same("beta"), lambda c: c.check_not("zeta").check("alpha"),
        lambda c: c.check("alpha").check_not("beta").check("gamma"), lambda c: c.check_count("alpha", 2, exactly=True),
        lambda c: c.check_count("alpha", 1, exactly=True), lambda c: c.check_dag("gamma").check_dag("beta"),
        lambda c: c.check_regex("g.mma"), lambda c: c.check_count("alpha", 3),
    ],
)  # fmt: skip
def test_file_check(make):
    text = "alpha beta\ngamma delta\nalpha\n"
    outcomes = []
    for cls in (flambeau.FileCheck, torch._C.FileCheck):
        try:
            make(cls()).run(text)
            outcomes.append("found")
        except RuntimeError as error:
            outcomes.append(str(error).splitlines()[0])
    assert (outcomes[0] == "found") == (outcomes[1] == "found")


def test_monitor():
    seen = []
    m = flambeau.monitor
    handle = m.register_event_handler(seen.append)
    stat = m.Stat("x", [m.Aggregation.SUM, m.Aggregation.MAX, m.Aggregation.COUNT], datetime.timedelta(hours=1), 2)
    stat.add(1)
    stat.add(3)
    assert stat.count == 0 and stat.get() == {m.SUM: 4.0, m.MAX: 3.0, m.COUNT: 2.0}
    assert seen[0].name == m.STAT_EVENT and seen[0].data == {"x.sum": 4.0, "x.max": 3.0, "x.count": 2.0}
    m.unregister_event_handler(handle)
    m.log_event(m.Event("mine", datetime.datetime(2020, 1, 1), {"a": 1}))
    assert len(seen) == 1
    with pytest.raises(TypeError):
        m.Event("mine", datetime.datetime(2020, 1, 1), {"a": [1]})


def test_streams_and_events():
    stream = flambeau.Stream(device="cpu")
    event = flambeau.Event(enable_timing=True)
    with stream:
        event.record()
    later = flambeau.Event(enable_timing=True)
    later.record(stream)
    assert event.query() and stream.query() and event.elapsed_time(later) >= 0
    with pytest.raises(RuntimeError):
        flambeau.Stream(device="cuda")
