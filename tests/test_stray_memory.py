"""Calls that once reached memory that is not theirs, or never came back."""

import pytest

import flambeau as torch


@pytest.mark.parametrize("call", [
    lambda a, m: a.add_(m),
    lambda a, m: a.copy_(m),
    lambda a, m: torch.fft.rfftfreq(2, out=a, device="meta"),
])  # fmt: skip
def test_a_compiled_function_does_not_read_tensors_without_memory(call):
    a, m = torch.ones(2), torch.ones(2, device="meta")
    for run in (call, torch.compile(call)):
        with pytest.raises(RuntimeError, match="device"):
            run(a, m)
    assert a.tolist() == [1, 1]


def test_writes_without_memory_in_a_compiled_function():
    def fn():
        a = torch.ones(3, device="meta")
        a.add_(a).mul_(2)
        a[0] = 1
        return a

    assert torch.compile(fn)().device.type == "meta"


def test_dimensions_of_the_gamma_function_have_an_end():
    with pytest.raises(RuntimeError, match="mvlgamma"):
        torch.mvlgamma(torch.full((2,), 1e3), 2**64)
