"""Kernels that are not plain loops.

The modules are imported when they are first used (PEP 562): a process that multiplies no matrices needs no code for
products.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import names

if TYPE_CHECKING:
    from . import attend as attend
    from . import attention as attention
    from . import bags as bags
    from . import contract as contract
    from . import conv as conv
    from . import conv_problem as conv_problem
    from . import conv_weight as conv_weight
    from . import epilogue as epilogue
    from . import extern as extern
    from . import fourier as fourier
    from . import fourier_access as fourier_access
    from . import fourier_plan as fourier_plan
    from . import gemm as gemm
    from . import host as host
    from . import matrices as matrices
    from . import pool as pool
    from . import random as random
    from . import small_matrices as small_matrices
    from . import sort as sort
    from . import spectra as spectra
    from . import unpool as unpool

__getattr__ = names.submodules(__name__)
