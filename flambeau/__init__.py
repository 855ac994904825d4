"""flambeau: PyTorch's programming model in Python, down to machine code generated through LLVM.

``import flambeau as torch`` runs a PyTorch program unchanged.  docs/architecture.md says how it is built.
"""

from __future__ import annotations

import importlib as _importlib
import math as _math
from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import dtype as _dtypes
from . import names as _names
from . import ops as _ops
from .device import device, get_default_device, set_default_device
from .dispatch.operator import OPERATORS as _OPERATORS
from .dtype import (
    bfloat16,
    complex32,
    complex64,
    complex128,
    dtype,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    get_default_dtype,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    set_default_dtype,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from .dtype_info import finfo, iinfo
from .layout import Size
from .ops import return_types as return_types
from .ops.convert import channels_last, channels_last_3d, contiguous_format, memory_format, preserve_format
from .ops.convert import clone_function as clone
from .ops.convert import contiguous_format as legacy_contiguous_format
from .ops.create import *  # noqa: F403
from .ops.distance import norm
from .ops.einsum import *  # noqa: F403
from .ops.factors import *  # noqa: F403
from .ops.foreach import *  # noqa: F403
from .ops.from_data import *  # noqa: F403
from .ops.from_data import from_numpy
from .ops.interop import *  # noqa: F403
from .ops.join import *  # noqa: F403
from .ops.lowrank import pca_lowrank, svd_lowrank
from .ops.members import *  # noqa: F403
from .ops.new_tensors import *  # noqa: F403
from .ops.products import *  # noqa: F403
from .ops.random import *  # noqa: F403
from .ops.ranges import *  # noqa: F403
from .ops.resizing import *  # noqa: F403
from .ops.search import histogramdd
from .ops.shape import *  # noqa: F403
from .ops.storage_classes import *  # noqa: F403
from .ops.subclasses import legacy_classes as _legacy_classes
from .ops.subclasses import typename
from .ops.triangles import *  # noqa: F403
from .ops.windows import *  # noqa: F403
from .printing import set_printoptions
from .promotion import result_type as _result_type
from .tensor import Tensor

from . import autograd as autograd  # isort: skip
from .dispatch import call as _calls  # isort: skip
from .dispatch import operator as _records  # isort: skip
from .autograd.derive import automatic as _automatic  # isort: skip
from .autograd import forward_ad as _forward_ad  # isort: skip
from .autograd import function as _function  # isort: skip
from .transform import apply as _apply  # isort: skip
from .transform import custom as _custom  # isort: skip
from .autograd.mode import (  # isort: skip
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .autograd.tensor_methods import install as _install  # isort: skip
from . import random as random  # isort: skip
from .generator import Generator, default_generator  # isort: skip
from .random import get_rng_state, initial_seed, manual_seed, seed, set_rng_state  # isort: skip
from .version import __version__ as __version__  # isort: skip


_install(Tensor)
_records.derive = _automatic
_calls.transformed, _calls.transformed_inplace = _apply.call, _apply.call_inplace
_function.transformed = _custom.call

bool = _dtypes.bool_
half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
chalf, cfloat, cdouble = complex32, complex64, complex128
e, pi, inf, nan = _math.e, _math.pi, _math.inf, _math.nan
newaxis = None
globals().update(_legacy_classes())

_PRIVATE = {"_chunk_cat", "_native_batch_norm_legit", "_unsafe_masked_index", "_unsafe_masked_index_put_accumulate"}
_functions = {
    _name: _op
    for _op in _OPERATORS.values()
    if _op.namespace == "torch" and (not _op.name.startswith("_") or _op.name in _PRIVATE)
    for _name in (_op.name, *_op.aliases)
}


__getattr__, __dir__ = _records.namespace(globals(), _functions, _names.TOP)
__all__ = [  # as PyTorch's: no modules
    _name
    for _name in {**globals(), **_functions, **_names.TOP}
    if not _name.startswith("_")
    and _name != "annotations"
    and _names.TOP.get(_name) != "."
    and not isinstance(globals().get(_name), type(_math))
]
_ops.more = lambda name: _importlib.import_module("flambeau.library.namespaces").found(name)

if _TYPE_CHECKING:
    from . import compiler as compiler
    from . import fft as fft
    from . import func as func
    from . import linalg as linalg
    from . import nn as nn
    from . import optim as optim
    from . import special as special
    from . import utils as utils
    from .compiler import compile
    from .func import vmap
    from .runtime.pool import get_num_threads, set_num_threads
    from .serialization import load, save
