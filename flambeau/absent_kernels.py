"""Functions that belong to one library for accelerators: on the CPU they refuse, as PyTorch's CPU build does."""

from __future__ import annotations

from typing import Any, NoReturn

from .absent import define

__all__ = ["METHODS"]


def _refuse(name: str) -> NoReturn:
    raise NotImplementedError(
        f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: it belongs to a library for accelerators"
    )


_CONVOLUTION = "input, weight, bias, stride, padding, dilation, groups"
_TUNED = "padding, stride, dilation, groups, benchmark, deterministic"
_NORM = "input, weight, bias, running_mean, running_var, training, exponential_average_factor, epsilon"
_GATHER = "input, mean, invstd, running_mean, running_var, momentum, eps"
_POOL = "input, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False"
_RNN = "mode, hidden_size, num_layers, batch_first, dropout, train, bidirectional, batch_sizes, dropout_state"

define(
    globals(),
    _refuse,
    f"""
    batch_norm_backward_elemt(grad_out, input, mean, invstd, weight, sum_dy, sum_dy_xmu, count)
    batch_norm_backward_reduce(grad_out, input, mean, invstd, weight, input_g, weight_g, bias_g)
    batch_norm_elemt(input, weight, bias, mean, invstd, eps, *, out=None)
    batch_norm_gather_stats({_GATHER}, count)
    batch_norm_gather_stats_with_counts({_GATHER}, counts)
    batch_norm_stats(input, eps)
    cudnn_affine_grid_generator(theta, N, C, H, W)
    cudnn_batch_norm({_NORM}, *, out=None)
    cudnn_convolution(input, weight, {_TUNED}, allow_tf32, *, out=None)
    cudnn_convolution_add_relu(input, weight, z, alpha, bias, stride, padding, dilation, groups)
    cudnn_convolution_relu({_CONVOLUTION})
    cudnn_convolution_transpose(input, weight, padding, output_{_TUNED}, allow_tf32)
    cudnn_grid_sampler(input, grid)
    miopen_batch_norm({_NORM})
    miopen_convolution(input, weight, bias, {_TUNED})
    miopen_convolution_add_relu(input, weight, z, alpha, bias, stride, padding, dilation, groups)
    miopen_convolution_relu({_CONVOLUTION})
    miopen_convolution_transpose(input, weight, bias, padding, output_{_TUNED})
    miopen_ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, deterministic, zero_infinity)
    miopen_depthwise_convolution(input, weight, bias, {_TUNED})
    miopen_rnn(input, weight, weight_stride0, hx, cx, {_RNN})
    mkldnn_adaptive_avg_pool2d(input, output_size, *, out=None)
    mkldnn_linear_backward_weights(grad_output, input, weight, bias_defined)
    mkldnn_max_pool2d({_POOL})
    mkldnn_max_pool3d({_POOL})
    native_norm(input, p=2, dim=None, keepdim=False, dtype=None)
    """,
    answering={"cudnn_is_acceptable(input)": False, "is_vulkan_available()": False},
)


_INSTEAD = {
    "eig": "torch.linalg.eig", "lstsq": "torch.linalg.lstsq", "matrix_rank": "torch.linalg.matrix_rank",
    "solve": "torch.linalg.solve", "symeig": "torch.linalg.eigh", "reinforce": "torch.distributions",
}  # fmt: skip


def _removed(name: str) -> NoReturn:
    raise RuntimeError(f"{name}() was deprecated since version 1.9 and is now removed: use {_INSTEAD[name]}")


define(
    globals(),
    _removed,
    """
    eig(self, eigenvectors=False, *, e=None, v=None)
    lstsq(input, A, *, out=None)
    matrix_rank(input, tol=None, symmetric=False, *, out=None)
    solve(input, A, *, out=None)
    symeig(input, eigenvectors=False, upper=True, *, out=None)
    """,
)
METHODS: dict[str, Any] = {"__name__": "torch.Tensor"}
define(
    METHODS,
    _removed,
    """
    eig(self, eigenvectors=False)
    lstsq(self, other)
    reinforce(self, reward)
    solve(self, other)
    symeig(self, eigenvectors=False)
    """,
)
