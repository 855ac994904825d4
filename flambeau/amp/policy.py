"""Which operators autocast runs in which precision on the CPU: PyTorch's documented lists, by our operators' names.

A class of operators is named by what happens to its floating-point arguments other than float64: "lower" brings them
to autocast's own type, "full" to float32, "widest" to the widest of them.  All other operators take what they get.
https://docs.pytorch.org/docs/stable/amp.html#cpu-op-specific-behavior
"""

from __future__ import annotations

__all__ = ["POLICIES", "policy_of"]

_LOWER = """
addbmm addmm baddbmm bmm conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d
linalg_vecdot linear matmul mm prelu scaled_dot_product_attention
"""
_FULL = """
adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d binary_cross_entropy binary_cross_entropy_with_logits cdist
cholesky cholesky_inverse cholesky_solve cosine_embedding_loss cross_entropy ctc_loss fft_fft fft_fft2 fft_fftn
fft_hfft fft_ifft fft_ifft2 fft_ifftn fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn geqrf
grid_sample grid_sampler grid_sampler_2d grid_sampler_3d hinge_embedding_loss huber_loss inverse kl_div l1_loss
linalg_cholesky linalg_cholesky_ex linalg_cond linalg_eig linalg_eigh linalg_eigvals linalg_eigvalsh
linalg_householder_product linalg_inv linalg_inv_ex linalg_lstsq linalg_matrix_rank linalg_qr linalg_solve
linalg_svd linalg_svdvals linalg_tensorinv linalg_tensorsolve lu_solve margin_ranking_loss max_pool3d mse_loss
multi_margin_loss multilabel_margin_loss nanquantile nll_loss orgqr ormqr pinverse poisson_nll_loss polar prod qr
quantile smooth_l1_loss soft_margin_loss stft svd trace triangular_solve triplet_margin_loss view_as_complex
"""
_WIDEST = "cat index_copy stack"
# These call operators of the lists where PyTorch's own do not.
_AS_GIVEN = "addmv addr bilinear dot mv vdot"

POLICIES: dict[str, str] = {
    name: policy
    for policy, names in (("lower", _LOWER), ("full", _FULL), ("widest", _WIDEST), ("given", _AS_GIVEN))
    for name in names.split()
}


def policy_of(name: str, arguments: dict[str, object]) -> str | None:
    """The class of a call of the operator ``name``; None if autocast has no say in it."""
    if name == "pad":  # reflecting and replicating have operators of their own in PyTorch
        return "full" if arguments.get("mode") in ("reflect", "replicate") else None
    return POLICIES.get(name)
