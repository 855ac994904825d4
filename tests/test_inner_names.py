"""Names that packages take from PyTorch's inner modules, and checks of arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

import flambeau as torch
from flambeau._higher_order_ops import associative_scan
from flambeau.fx import symbolic_trace


def test_checks() -> None:
    torch._check(True)
    torch._check(torch.tensor(1) > 0)
    for check, error in (
        (torch._check, RuntimeError), (torch._check_value, ValueError), (torch._check_index, IndexError),
        (torch._check_type, TypeError),
    ):  # fmt: skip
        with pytest.raises(error, match="why"):
            check(False, lambda: "why")
    with pytest.raises(RuntimeError):
        torch._check_is_size(-1)
    with pytest.raises(AssertionError, match="no"):
        torch._assert(False, "no")
    traced = symbolic_trace(lambda x: (torch._assert(x.sum() > 0, "negative"), x)[1])
    assert torch._assert in [n.target for n in traced.graph.nodes]


@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(reverse: bool) -> None:
    x = torch.randn(3, 7)
    got = associative_scan(lambda a, b: a + b, x, 1, reverse)
    want = x.flip(1).cumsum(1).flip(1) if reverse else x.cumsum(1)
    assert torch.allclose(got, want, atol=1e-6)
    # Linear recurrences h = a h' + b, as pairs.
    a, b = torch.rand(5, 2), torch.rand(5, 2)
    _, h = associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (a, b), 0)
    state = torch.zeros(2)
    for i in range(5):
        state = a[i] * state + b[i]
        assert torch.allclose(h[i], state, atol=1e-6)
    with pytest.raises(ValueError, match="one length"):
        associative_scan(lambda p, q: p, (a, b[:2]), 0)


def test_storages_over_files(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(range(8)))
    storage = torch.UntypedStorage.from_file(str(file), shared=False, nbytes=8)
    storage[0] = 9
    assert storage.tolist() == [9, *range(1, 8)] and file.read_bytes()[0] == 0
    shared = torch.UntypedStorage.from_file(str(file), shared=True, nbytes=12)
    shared[11] = 5
    assert shared.nbytes() == 12 and file.read_bytes()[11] == 5
    with pytest.raises(RuntimeError, match="too short"):
        torch.UntypedStorage.from_file(str(file), nbytes=100)


def test_sizes_that_may_change() -> None:
    batch, length = torch.export.dims("batch", "length", min=2, max=8)
    assert (batch.__name__, length.min, length.max) == ("batch", 2, 8) and repr(batch) == "Dim('batch', min=2, max=8)"
    with pytest.raises(AssertionError, match="identifier"):
        torch.export.Dim("1x")
    with pytest.raises(AssertionError, match="inconsistent"):
        torch.export.Dim("x", min=3, max=3)


def test_marks_and_stubs() -> None:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU) | torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    assert keys.has(torch._C.DispatchKey.CPU)
    assert torch._dynamo.utils.is_compile_supported("cpu") and not torch._dynamo.utils.is_compile_supported("cuda:0")
    assert not isinstance(torch.ones(1), torch._subclasses.FakeTensor)
    assert torch.compiler.allow_in_graph(len) is len and not torch.compiler.is_exporting()
    model = torch.ao.quantization.QuantWrapper(torch.nn.ReLU())
    assert model(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]
    assert torch.functional.einsum is torch.einsum
    torch.onnx.register_custom_op_symbolic("tests::op", lambda g, x: x, 11)
    with pytest.raises(ValueError, match="domain::name"):
        torch.onnx.register_custom_op_symbolic("op", lambda g, x: x, 11)

    @torch.onnx.symbolic_helper.parse_args("v", "i", "is")
    def symbolic(g, x, n, sizes):
        return x, n, sizes

    assert symbolic(None, "x", 2.0, (1, 2)) == ("x", 2, [1, 2])
