"""What the arguments and results of an exported graph are."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = [
    "ConstantArgument", "ExportGraphSignature", "InputKind", "InputSpec", "OutputKind", "OutputSpec", "SymIntArgument",
    "TensorArgument",
]  # fmt: skip


class TensorArgument(NamedTuple):
    """A tensor, by the name of its node."""

    name: str


class SymIntArgument(NamedTuple):
    """A size, by the name of its node."""

    name: str


class ConstantArgument(NamedTuple):
    """A value that is the same at every call."""

    name: str
    value: int | float | str | bool | None


class InputKind(enum.Enum):
    """Where an argument of the graph comes from."""

    USER_INPUT, PARAMETER, BUFFER, CONSTANT_TENSOR, CUSTOM_OBJ, TOKEN = range(1, 7)


class OutputKind(enum.Enum):
    """What becomes of a result of the graph."""

    USER_OUTPUT, LOSS_OUTPUT, BUFFER_MUTATION, PARAMETER_MUTATION, GRADIENT_TO_PARAMETER = range(1, 6)
    GRADIENT_TO_USER_INPUT, USER_INPUT_MUTATION, TOKEN = range(6, 9)


Argument = TensorArgument | SymIntArgument | ConstantArgument


class InputSpec(NamedTuple):
    """An argument: ``target`` is the name of the parameter, buffer or constant."""

    kind: InputKind
    arg: Argument
    target: str | None = None
    persistent: bool | None = None

    def __str__(self) -> str:
        more = f" target='{self.target}'" if self.target is not None else ""
        more += f" persistent={self.persistent}" if self.persistent is not None else ""
        return f"{self.arg.name}: {self.kind.name}{more}"


class OutputSpec(NamedTuple):
    """A result."""

    kind: OutputKind
    arg: Argument
    target: str | None = None

    def __str__(self) -> str:
        return f"{self.arg.name}: {self.kind.name}" + (f" target='{self.target}'" if self.target is not None else "")


class ExportGraphSignature(NamedTuple):
    """The arguments and results of a graph, in order."""

    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]

    def _targets(self, kind: InputKind) -> dict[str, str]:
        return {s.arg.name: s.target for s in self.input_specs if s.kind is kind and s.target is not None}

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters."""
        return list(self._targets(InputKind.PARAMETER).values())

    @property
    def buffers(self) -> list[str]:
        """The names of the buffers."""
        return list(self._targets(InputKind.BUFFER).values())

    @property
    def non_persistent_buffers(self) -> list[str]:
        """The names of the buffers that are not in the state dictionary."""
        return [s.target for s in self.input_specs if s.persistent is False and s.target is not None]

    @property
    def lifted_tensor_constants(self) -> list[str]:
        """The names of the constants."""
        return list(self._targets(InputKind.CONSTANT_TENSOR).values())

    @property
    def user_inputs(self) -> tuple[int | float | str | bool | None, ...]:
        """The arguments of the call: names of nodes, and values that are constant."""
        found = [s.arg for s in self.input_specs if s.kind is InputKind.USER_INPUT]
        return tuple(a.value if isinstance(a, ConstantArgument) else a.name for a in found)

    @property
    def user_outputs(self) -> tuple[int | float | str | bool | None, ...]:
        """The results of the call: names of nodes, and values that are constant."""
        found = [s.arg for s in self.output_specs if s.kind is OutputKind.USER_OUTPUT]
        return tuple(a.value if isinstance(a, ConstantArgument) else a.name for a in found)

    @property
    def inputs_to_parameters(self) -> dict[str, str]:
        """The parameters by the names of their nodes."""
        return self._targets(InputKind.PARAMETER)

    @property
    def inputs_to_buffers(self) -> dict[str, str]:
        """The buffers by the names of their nodes."""
        return self._targets(InputKind.BUFFER)

    @property
    def inputs_to_lifted_tensor_constants(self) -> dict[str, str]:
        """The constants by the names of their nodes."""
        return self._targets(InputKind.CONSTANT_TENSOR)

    @property
    def buffers_to_mutate(self) -> dict[str, str]:
        """Results that replace buffers: none, since writes in place are part of the graph."""
        return {}

    def __str__(self) -> str:
        lines = ["# inputs", *map(str, self.input_specs), "", "# outputs", *map(str, self.output_specs), ""]
        return "\n".join(lines)
