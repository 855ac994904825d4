"""Functions of tensors that layers are made of: operators by PyTorch's names, and compositions of them."""

# ruff: noqa: F401, F403
from __future__ import annotations

from ..dispatch.operator import OPERATORS, namespace
from .functions.activation import *
from .functions.attention import canonical_mask as _canonical_mask
from .functions.attention import dtype_or_none as _none_or_dtype
from .functions.attention import multi_head_attention_forward
from .functions.compat import *
from .functions.dropout import *
from .functions.loss import *
from .functions.norm import *
from .functions.pooling import *
from .functions.scaled import *
from .functions.sparse import *

_SHARED = (
    "adaptive_avg_pool1d avg_pool1d bilinear channel_shuffle conv1d conv2d conv3d conv_tbc conv_transpose1d "
    "conv_transpose2d conv_transpose3d cosine_similarity native_channel_shuffle pairwise_distance pdist pixel_shuffle "
    "pixel_unshuffle embedding_bag one_hot rms_norm hinge_embedding_loss margin_ranking_loss cosine_embedding_loss "
    "triplet_margin_loss layer_norm group_norm ctc_loss"
).split()  # names that PyTorch has here and in the main namespace, or in this one alone

_members = {
    _alias: _operator
    for _name, _operator in OPERATORS.items()
    if _operator.namespace == "torch.nn.functional" or _name in _SHARED
    for _alias in (_name, *_operator.aliases)
}
_ABOVE = {
    **dict.fromkeys(("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"), "...overrides"),
    "conv_tbc": "...native_functions",
}
__getattr__, __dir__ = namespace(globals(), _members, _ABOVE)

__all__ = sorted(
    {
        *(
            n
            for n, v in globals().items()
            if callable(v) and not n.startswith("_") and n not in ("OPERATORS", "namespace")
        ),
        *_members,
        *_ABOVE,
    }
)
