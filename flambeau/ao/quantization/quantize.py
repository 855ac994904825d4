"""Quantizing a model module by module: observers go in, the model sees data, quantized modules take the places."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from ...dtype import dtype as dtype_
from ...dtype import float16, qint8
from ...nn.modules.linear import Linear
from ...nn.modules.module import Module
from ..nn import qat
from ..nn import quantized as nnq
from ..nn.quantized import dynamic as nnqd
from .qconfig import default_dynamic_qconfig
from .stubs import DeQuantStub, QuantStub

__all__ = [
    "convert", "default_eval_fn", "get_default_dynamic_quant_module_mappings", "get_default_qat_module_mappings",
    "get_default_static_quant_module_mappings", "prepare", "prepare_qat", "propagate_qconfig_", "quantize",
    "quantize_dynamic", "quantize_qat", "swap_module",
]  # fmt: skip

_STATIC: dict[Any, Any] = {
    Linear: nnq.Linear, QuantStub: nnq.Quantize, DeQuantStub: nnq.DeQuantize, qat.Linear: nnq.Linear,
    nnq.FloatFunctional: nnq.QFunctional,
}  # fmt: skip
_DYNAMIC: dict[Any, Any] = {Linear: nnqd.Linear}
_QAT: dict[Any, Any] = {Linear: qat.Linear}


def get_default_static_quant_module_mappings() -> dict[Any, Any]:
    """Which module takes the place of which in a quantized model."""
    return dict(_STATIC)


def get_default_dynamic_quant_module_mappings() -> dict[Any, Any]:
    """Which module takes the place of which if activations are quantized at each call."""
    return dict(_DYNAMIC)


def get_default_qat_module_mappings() -> dict[Any, Any]:
    """Which module takes the place of which in training that rounds."""
    return dict(_QAT)


def propagate_qconfig_(module: Module, qconfig_dict: Any = None, prepare_custom_config_dict: Any = None) -> None:
    """Gives every module the ``qconfig`` of the one it is in, unless it has its own (None: not quantized).

    ``qconfig_dict`` has those of modules by name, by class, and of all others by "".
    """
    _propagate(module, qconfig_dict or {}, getattr(module, "qconfig", None), "")


def _propagate(module: Any, known: Mapping[Any, Any], parent: Any, prefix: str) -> None:
    own = getattr(module, "qconfig", parent)
    own = known.get(prefix, known.get(type(module), own))
    module.qconfig = own
    for name, child in module.named_children():
        _propagate(child, known, own, f"{prefix}.{name}" if prefix else name)


def _watch(module: Any) -> None:
    """Puts an observer behind a module."""
    observer = module.qconfig.activation()
    module.add_module("activation_post_process", observer)
    module.register_forward_hook(_look, prepend=True)


def _look(module: Any, inputs: Any, output: Any) -> Any:
    return module.activation_post_process(output)


def prepare(
    model: Module, inplace: bool = False, allow_list: Any = None, observer_non_leaf_module_list: Any = None,
    prepare_custom_config_dict: Any = None,
) -> Module:  # fmt: skip
    """Puts observers behind the modules that have a ``qconfig`` and can be quantized; then show the model data."""
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    wanted = set(_STATIC) if allow_list is None else set(allow_list)
    for module in list(model.modules()):
        found: Any = module
        if found.__dict__.get("qconfig") is None or isinstance(module, DeQuantStub):
            continue
        if isinstance(module, nnq.FloatFunctional):
            module.activation_post_process = found.qconfig.activation()
        elif type(module) in wanted or isinstance(module, QuantStub):
            _watch(module)
    return model


def swap_module(
    mod: Any, mapping: Mapping[Any, Any], custom_module_class_mapping: Any = None,
    use_precomputed_fake_quant: bool = False,
) -> Any:  # fmt: skip
    """The module that takes the place of one, or the module itself."""
    cls = mapping.get(type(mod))
    return mod if cls is None or getattr(mod, "qconfig", None) is None else cls.from_float(mod)


def convert(
    module: Any, mapping: Any = None, inplace: bool = False, remove_qconfig: bool = True,
    is_reference: bool = False, convert_custom_config_dict: Any = None, use_precomputed_fake_quant: bool = False,
) -> Any:  # fmt: skip
    """Replaces modules by quantized ones with the scales that their observers found."""
    module = module if inplace else copy.deepcopy(module)
    table = _STATIC if mapping is None else mapping
    module = _converted(module, table)
    if remove_qconfig:
        for part in module.modules():
            part.__dict__.pop("qconfig", None)
            if "activation_post_process" in part._modules and not isinstance(part, nnq.QFunctional):
                del part._modules["activation_post_process"]
                hooks = part._forward_hooks
                for key in [k for k, hook in hooks.items() if hook is _look]:
                    del hooks[key]
    return module


def _converted(module: Any, table: Mapping[Any, Any]) -> Any:
    for name, child in list(module.named_children()):
        if name != "activation_post_process":
            module._modules[name] = _converted(child, table)
    return swap_module(module, table)


def prepare_qat(model: Any, mapping: Any = None, inplace: bool = False) -> Any:
    """Replaces layers by ones that round their weights, and rounds activations; then train the model.

    Raises AssertionError unless the model is in training mode.
    """
    if not model.training:
        raise AssertionError("prepare_qat only works on models in training mode")
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    model = _converted(model, _QAT if mapping is None else mapping)
    return prepare(model, inplace=True, allow_list=set(_STATIC))


def quantize_dynamic(
    model: Any, qconfig_spec: Any = None, dtype: dtype_ = qint8, mapping: Any = None, inplace: bool = False
) -> Any:
    """Replaces layers by ones with int8 weights, which quantize their input at each call by its own range.

    Args:
        qconfig_spec: which layers: a set of classes or names, or a dictionary with their ``QConfig``.
        dtype: qint8, or float16 for weights in half precision.

    Raises ValueError for other types.
    """
    if dtype not in (qint8, float16):
        raise ValueError(f"Don't know how to quantize with default settings for {dtype}. Provide full qconfig please")
    table = _DYNAMIC if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    if qconfig_spec is None:
        qconfig_spec = set(table)
    if not isinstance(qconfig_spec, Mapping):
        qconfig_spec = dict.fromkeys(qconfig_spec, default_dynamic_qconfig)
    model.eval()

    def replaced(module: Any, prefix: str, parent: Any) -> Any:
        own = qconfig_spec.get(prefix, qconfig_spec.get(type(module), parent))
        for name, child in list(module.named_children()):
            module._modules[name] = replaced(child, f"{prefix}.{name}" if prefix else name, own)
        cls = table.get(type(module))
        return module if own is None or cls is None else cls.from_float(module, own, dtype)

    return replaced(model, "", qconfig_spec.get(""))


def default_eval_fn(model: Callable[..., Any], calib_data: Any) -> None:
    """Shows a model data."""
    for data, _ in calib_data:
        model(data)


def quantize(model: Any, run_fn: Callable[..., Any], run_args: Any, mapping: Any = None, inplace: bool = False) -> Any:
    """``prepare``, ``run_fn(model, *run_args)``, ``convert``."""
    model = prepare(model if inplace else copy.deepcopy(model), inplace=True)
    run_fn(model, *run_args)
    return convert(model, mapping, inplace=True)


def quantize_qat(model: Any, run_fn: Callable[..., Any], run_args: Any, inplace: bool = False) -> Any:
    """``prepare_qat``, ``run_fn(model, *run_args)``, ``convert``."""
    model = prepare_qat((model if inplace else copy.deepcopy(model)).train(), inplace=True)
    run_fn(model, *run_args)
    return convert(model.eval(), inplace=True)
