"""Special functions by the names of ``scipy.special``."""

from __future__ import annotations

from ..operator import OPERATORS as _OPERATORS

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

for _name in _SAME:
    globals()[_name] = _OPERATORS[_name].function
for _name, _operator in _OPERATORS.items():
    if _operator.namespace == "torch.special":
        globals()[_name] = _operator.function
for _name, _own in _OTHER.items():
    globals()[_name] = _OPERATORS[_own].function
del _name, _operator, _own

__all__ = sorted(n for n, v in globals().items() if callable(v) and not n.startswith("_"))
