"""How one module is shared out: where its parameters, its inputs and its outputs lie.

Reference: Shoeybi et al. 2019 (arXiv:1909.08053) for parts of columns and rows; Korthikanti et al. 2022
(arXiv:2205.05198) for parts of sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ....nn import Embedding, Linear, Module, Parameter
from ....tensor import Tensor
from ...device_mesh import DeviceMesh
from ..api import distribute_module, distribute_tensor
from ..dtensor import DTensor
from ..placement_types import Placement, Replicate, Shard

__all__ = [
    "ColwiseParallel", "ParallelStyle", "PrepareModuleInput", "PrepareModuleInputOutput", "PrepareModuleOutput",
    "RowwiseParallel", "SequenceParallel",
]  # fmt: skip

Layouts = Placement | tuple[Placement | None, ...] | None


class ParallelStyle:
    """What ``parallelize_module`` does with a module: ``_apply(module, mesh)`` changes it in place."""

    src_data_rank: int | None = 0
    """The process whose parameters count."""

    def _apply(self, module: Module, device_mesh: DeviceMesh) -> Module:
        raise NotImplementedError(f"{type(self).__name__}: a style has to define _apply")


def _laid(value: Any, mesh: DeviceMesh, given: Placement | None, wanted: Placement | None) -> Any:
    """A value of a call as it is wanted; one that is no distributed tensor lies as ``given``."""
    if given is None or not isinstance(value, Tensor):
        return value
    spread = value if isinstance(value, DTensor) else DTensor.from_local(value, mesh, (given,), run_check=False)
    return spread if wanted is None else spread.redistribute(placements=(wanted,))


def _local(value: Any) -> Any:
    return value.to_local() if isinstance(value, DTensor) else value


def _each(layouts: Layouts) -> tuple[Placement | None, ...]:
    return (layouts,) if layouts is None or isinstance(layouts, Placement) else tuple(layouts)


def _checked(style: str, what: str, given: Sequence[Any], wanted: Sequence[Any]) -> None:
    if len(given) != len(wanted):
        raise AssertionError(f"{style}: {what} and desired_{what} should have same length, got {given} and {wanted}")


class _Shared(ParallelStyle):
    """A style that shares out the parameters of a layer."""

    _places: ClassVar[Mapping[type, Mapping[str, Placement]]]  # of a layer's parameters; others are whole

    def __init__(self, given: Placement, output: Placement, use_local_output: bool) -> None:
        self.input_layouts = (given,)
        self.output_layouts = (output,)
        self.use_local_output = use_local_output

    def _wanted(self, module: Module) -> Placement:
        """Where the input has to lie."""
        return Replicate()

    def _apply(self, module: Module, device_mesh: DeviceMesh) -> Module:
        places = next((p for kind, p in self._places.items() if isinstance(module, kind)), None)
        if places is None:
            raise NotImplementedError(
                f"{type(self).__name__} currently only support nn.Linear and nn.Embedding, got {type(module).__name__}"
            )
        wanted = self._wanted(module)

        def share(name: str, part: Module, mesh: DeviceMesh) -> None:
            for key, value in list(part._parameters.items()):
                if value is not None:
                    placement = places.get(key, Replicate())
                    spread = distribute_tensor(value.data, mesh, (placement,), src_data_rank=self.src_data_rank)
                    part.register_parameter(key, Parameter(spread, value.requires_grad))

        def before(part: Module, inputs: Any, mesh: DeviceMesh) -> Any:
            return (_laid(inputs[0], mesh, self.input_layouts[0], wanted), *inputs[1:])

        def after(part: Module, outputs: Any, mesh: DeviceMesh) -> Any:
            found = outputs.redistribute(placements=self.output_layouts)
            return _local(found) if self.use_local_output else found

        return distribute_module(module, device_mesh, share, before, after)


class ColwiseParallel(_Shared):
    """A linear layer or an embedding of which every process computes a part of the outputs.

    Args:
        input_layouts: where an ordinary input lies; whole by default.
        output_layouts: where the output is to lie; in parts of the last dimension by default.
        use_local_output: whether the output is an ordinary tensor, what this process has.
    """

    _places: ClassVar = {Linear: {"weight": Shard(0), "bias": Shard(0)}, Embedding: {"weight": Shard(1)}}

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(input_layouts or Replicate(), output_layouts or Shard(-1), use_local_output)


class RowwiseParallel(_Shared):
    """A linear layer or an embedding of which every process has a part of the inputs' weights; the outputs are added.

    Args:
        input_layouts: where an ordinary input lies; in parts of the last dimension by default.
        output_layouts: where the output is to lie; whole by default.
        use_local_output: whether the output is an ordinary tensor, what this process has.
    """

    _places: ClassVar = {Linear: {"weight": Shard(1)}, Embedding: {"weight": Shard(0)}}

    def __init__(
        self, *, input_layouts: Placement | None = None, output_layouts: Placement | None = None,
        use_local_output: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(input_layouts or Shard(-1), output_layouts or Replicate(), use_local_output)

    def _wanted(self, module: Module) -> Placement:
        return Shard(-1) if isinstance(module, Linear) else Replicate()


class SequenceParallel(_Shared):
    """A module with whole parameters (a normalization, dropout) of which every process computes a part of a sequence.

    Args:
        sequence_dim: the dimension that is in parts.
        use_local_output: whether the output is an ordinary tensor, what this process has.
    """

    _places: ClassVar = {Module: {}}

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False) -> None:
        super().__init__(Shard(sequence_dim), Shard(sequence_dim), use_local_output)
        self.sequence_sharding = (Shard(sequence_dim),)

    def _wanted(self, module: Module) -> Placement:
        return self.sequence_sharding[0]


class PrepareModuleInput(ParallelStyle):
    """A module whose inputs are moved before each call.

    Args:
        input_layouts: where each ordinary positional input lies; None for one that stays as it is.
        desired_input_layouts: where each is to lie.
        input_kwarg_layouts: the same for inputs given by name.
        desired_input_kwarg_layouts: where these are to lie.
        use_local_output: whether the module gets ordinary tensors, what this process has.
    """

    def __init__(
        self, *, input_layouts: Layouts = None, desired_input_layouts: Layouts = None,
        input_kwarg_layouts: dict[str, Placement] | None = None,
        desired_input_kwarg_layouts: dict[str, Placement] | None = None, use_local_output: bool = False,
    ) -> None:  # fmt: skip
        self.input_layouts = None if input_layouts is None else _each(input_layouts)
        self.desired_input_layouts = None if desired_input_layouts is None else _each(desired_input_layouts)
        self.input_kwarg_layouts = input_kwarg_layouts or {}
        self.desired_input_kwarg_layouts = desired_input_kwarg_layouts or {}
        self.use_local_output = use_local_output
        if self.input_layouts is not None:
            if self.desired_input_layouts is None:
                raise AssertionError("PrepareModuleInput: desired module inputs should not be None!")
            _checked("PrepareModuleInput", "input_layouts", self.input_layouts, self.desired_input_layouts)
        named, wanted = [*self.input_kwarg_layouts], [*self.desired_input_kwarg_layouts]
        _checked("PrepareModuleInput", "input_kwarg_layouts", named, wanted)

    def _apply(self, module: Module, device_mesh: DeviceMesh) -> Module:
        given, wanted = self.input_layouts, self.desired_input_layouts

        def lay(value: Any, at: Placement | None, to: Placement | None) -> Any:
            found = _laid(value, device_mesh, at, to)
            return _local(found) if self.use_local_output and at is not None else found

        def before(part: Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if given is not None and wanted is not None:
                if len(inputs) != len(given):
                    raise ValueError("module inputs and input_layouts should have same length!")
                inputs = tuple(map(lay, inputs, given, wanted))
            changed = {
                key: lay(named[key], at, self.desired_input_kwarg_layouts.get(key))
                for key, at in self.input_kwarg_layouts.items()
                if key in named
            }
            return inputs, {**named, **changed}

        module.register_forward_pre_hook(before, with_kwargs=True)
        return module


class PrepareModuleOutput(ParallelStyle):
    """A module whose outputs are moved after each call.

    Args:
        output_layouts: where each ordinary output lies; None for one that stays as it is.
        desired_output_layouts: where each is to lie.
        use_local_output: whether the outputs are ordinary tensors, what this process has.
    """

    def __init__(
        self, *, output_layouts: Layouts, desired_output_layouts: Layouts, use_local_output: bool = True
    ) -> None:
        self.output_layouts = _each(output_layouts)
        self.desired_output_layouts = _each(desired_output_layouts)
        self.use_local_output = use_local_output
        _checked("PrepareModuleOutput", "output_layouts", self.output_layouts, self.desired_output_layouts)

    def _apply(self, module: Module, device_mesh: DeviceMesh) -> Module:
        def after(part: Module, inputs: Any, outputs: Any) -> Any:
            values = outputs if isinstance(outputs, tuple) else (outputs,)
            if len(values) != len(self.output_layouts):
                raise ValueError("module outputs and output_layouts should have same length!")
            found = []
            for value, at, to in zip(values, self.output_layouts, self.desired_output_layouts):
                moved = _laid(value, device_mesh, at, to)
                found.append(_local(moved) if self.use_local_output and at is not None else moved)
            return tuple(found) if isinstance(outputs, tuple) else found[0]

        module.register_forward_hook(after)
        return module


class PrepareModuleInputOutput(ParallelStyle):
    """``PrepareModuleInput`` and ``PrepareModuleOutput`` of one module, with their arguments."""

    def __init__(
        self, *, input_layouts: Layouts = None, desired_input_layouts: Layouts = None,
        input_kwarg_layouts: dict[str, Placement] | None = None,
        desired_input_kwarg_layouts: dict[str, Placement] | None = None, use_local_input: bool = False,
        output_layouts: Layouts, desired_output_layouts: Layouts, use_local_output: bool = True,
    ) -> None:  # fmt: skip
        self.prepare_module_input = PrepareModuleInput(
            input_layouts=input_layouts, desired_input_layouts=desired_input_layouts,
            input_kwarg_layouts=input_kwarg_layouts, desired_input_kwarg_layouts=desired_input_kwarg_layouts,
            use_local_output=use_local_input,
        )  # fmt: skip
        self.prepare_module_output = PrepareModuleOutput(
            output_layouts=output_layouts, desired_output_layouts=desired_output_layouts,
            use_local_output=use_local_output,
        )  # fmt: skip

    def _apply(self, module: Module, device_mesh: DeviceMesh) -> Module:
        self.prepare_module_input._apply(module, device_mesh)
        return self.prepare_module_output._apply(module, device_mesh)
