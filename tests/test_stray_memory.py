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
        with pytest.raises(RuntimeError, match=r"device|meta tensor"):
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


def test_scattering_beside_the_elements_of_an_input_with_gaps():
    memory = torch.arange(40.0)
    x = memory[16:30:2]
    found = torch.as_strided_scatter(x, -torch.ones(7), (7,), (2,))
    assert found.tolist() == [-1.0] * 7 and found.stride() == (2,) and found.storage_offset() == 16
    assert torch.as_strided_scatter(x, -torch.ones(3), (3,), (1,), 18).tolist() == [16, -1, -1, 22, 24, 26, 28]
    assert torch.as_strided_scatter(x, -torch.ones(3), (3,), (1,), 0).tolist() == x.tolist()
    assert memory.tolist() == list(range(40))


def test_averages_of_truth_values_are_refused():
    with pytest.raises(NotImplementedError, match=r"avg_pool2d.*torch\.bool"):
        torch.nn.functional.avg_pool2d(torch.ones(1, 4, 4, dtype=torch.bool), 2)


def test_adaptive_pooling_to_sizes_beyond_any_memory():
    x = torch.ones(3, 3, 3)
    for pool in (torch.nn.functional.adaptive_max_pool2d, torch.nn.functional.adaptive_avg_pool2d):
        with pytest.raises(RuntimeError, match=r"overflowed with sizes=\[3, 9223372036854775807"):
            pool(x, 2**63 - 1)
        with pytest.raises(MemoryError):
            pool(x, (2**40, 1))


def test_more_pieces_than_memory_holds():
    for split in (torch.tensor_split, torch.hsplit, torch.chunk):
        with pytest.raises(RuntimeError, match="not enough memory for 9223372036854775807 tensors"):
            split(torch.empty(0), 2**63 - 1)
    assert len(torch.tensor_split(torch.ones(3), 1000)) == 1000


@pytest.mark.parametrize("call", [
    lambda x: x.new_empty_strided((2, 3), (1, -1)),
    lambda x: x.new_empty_strided((2, 3), (1,)),
    lambda x: x.new_zeros(-2),
    lambda x: x.new_full((-2, 3), 1.0),
    lambda x: x.new_empty(2, -1),
])  # fmt: skip
def test_tensors_made_like_members_have_places_for_their_elements(call):
    x = torch.ones(4)
    for run in (call, torch.vmap(call), lambda x: torch.func.jvp(call, (x,), (x,))):
        with pytest.raises(RuntimeError, match=r"negative|dimensionality"):
            run(x)
    assert torch.vmap(lambda x: x.new_empty_strided((2, 3), (1, 2)))(x).stride() == (6, 1, 2)


def test_there_are_no_gamma_numbers_of_negative_shapes():
    """Nor of Dirichlet's; series that do not end were looked for."""
    nan = float("nan")
    a = torch.tensor([-2.5, 2.0, -1.0, nan, 0.0, 2.0, -1e9], dtype=torch.float64).repeat(20_000)
    x = torch.tensor([-3.5, -1.0, 2.0, 1.0, 1.0, nan, 1.0], dtype=torch.float64).repeat(20_000)
    assert torch.ops.aten._standard_gamma_grad(a, x).isnan().all()
    x, a, total = torch.tensor([[-0.5, 1.5, 0.5, 0.5, nan], [1, 1, -1, 2, 1.0], [2, 2, 2, 1, 2.0]], dtype=torch.float64)
    grad = torch.ops.aten._dirichlet_grad
    assert grad(x.repeat(20_000), a.repeat(20_000), total.repeat(20_000)).isnan().all()
