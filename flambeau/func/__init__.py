"""``torch.func``: transforms of functions. Gradients, products with Jacobians, batches; nested in any order."""

from __future__ import annotations

from .derivatives import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp
from .inspection import debug_unwrap, functionalize
from .modules import functional_call, replace_all_batch_norm_modules_, stack_module_state
from .patterns import rearrange
from .vmapping import vmap

__all__ = [
    "debug_unwrap", "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
    "linearize", "rearrange", "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip
