"""Settings of PyTorch's bytecode compiler, kept for programs that set them; they have no effect."""

from __future__ import annotations

cache_size_limit = 8
recompile_limit = 8
accumulated_cache_size_limit = 256
suppress_errors = False
verbose = False
dynamic_shapes = True
assume_static_by_default = True
automatic_dynamic_shapes = True
capture_scalar_outputs = False
capture_dynamic_output_shape_ops = False
inline_inbuilt_nn_modules = True
allow_unspec_int_on_nn_module = False
optimize_ddp = True
