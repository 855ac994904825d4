"""Special functions by the names of ``scipy.special``."""

from __future__ import annotations

from ..dispatch.operator import OPERATORS as _OPERATORS
from ..dispatch.operator import namespace as _namespace

_SAME = (
    "digamma erf erfc erfinv exp2 expm1 i0 log1p log_softmax logit logsumexp polygamma round sinc softmax xlogy"
).split()  # names that PyTorch has here and in the main namespace
_OTHER = {
    "psi": "digamma",
    "gammaln": "lgamma",
    "gammainc": "igamma",
    "gammaincc": "igammac",
    "multigammaln": "mvlgamma",
}

_members = {
    **{n: _OPERATORS[n] for n in _SAME},
    **{n: o for n, o in _OPERATORS.items() if o.namespace == "torch.special"},
    **{n: _OPERATORS[own] for n, own in _OTHER.items()},
}
__getattr__, __dir__ = _namespace(globals(), _members)

__all__ = sorted(_members)
