"""The types of TorchScript, as objects: what a schema says of its arguments.

A type is known by its text; types that take no parameters exist once and are had by ``get()``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = [
    "AnyType", "AwaitType", "BoolType", "ClassType", "ComplexType", "DeviceObjType", "DictType", "EnumType",
    "FloatType", "FutureType", "InferredType", "IntType", "InterfaceType", "ListType", "NoneType", "NumberType",
    "OptionalType", "PyObjectType", "RRefType", "StreamObjType", "StringType", "SymBoolType", "SymIntType",
    "TensorType", "TupleType", "Type", "UnionType", "from_schema_text", "unify_type_list",
]  # fmt: skip


class Type:
    """A type of TorchScript: compared by its text."""

    _text = ""
    __hash__ = None  # type: ignore[assignment]  # as in PyTorch

    @property
    def annotation_str(self) -> str:
        """The type as an annotation in Python."""
        return self._text

    def str(self) -> str:
        """The type in TorchScript's own spelling."""
        return self._text

    def kind(self) -> str:
        """The name of the class of types."""
        return type(self).__name__

    def containedTypes(self) -> list[Type]:
        """The types that this one is made of."""
        return []

    def isSubtypeOf(self, arg0: Type) -> bool:
        """Whether every value of this type is one of the other."""
        if isinstance(arg0, AnyType) or self == arg0:
            return True
        if isinstance(arg0, NumberType):
            return isinstance(self, (IntType, FloatType, ComplexType))
        if isinstance(arg0, UnionType):
            mine = self._members if isinstance(self, UnionType) else [self]
            return all(any(t.isSubtypeOf(u) for u in arg0._members) for t in mine)
        if isinstance(self, TupleType) and isinstance(arg0, TupleType):
            pairs = list(zip(self._parts, arg0._parts))
            return len(self._parts) == len(arg0._parts) and all(a.isSubtypeOf(b) for a, b in pairs)
        return False

    def is_interface_type(self) -> bool:
        """Whether it is a type of method signatures."""
        return isinstance(self, InterfaceType)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and self.kind() == other.kind() and self._text == other._text

    def __repr__(self) -> str:
        return self._text

    __str__ = __repr__


class _Plain(Type):
    """A type without parameters."""

    def __new__(cls) -> Any:
        raise TypeError(f"{cls.__name__}: No constructor defined! Use {cls.__name__}.get()")

    @classmethod
    def get(cls) -> Any:
        """The type."""
        found = cls.__dict__.get("_instance")
        if found is None:
            found = cls._instance = object.__new__(cls)  # type: ignore[attr-defined]
        return found


def _plain(name: str, text: str) -> Any:
    return type(name, (_Plain,), {"_text": text, "__module__": __name__, "__doc__": f"The type {text!r}."})


AnyType: Any = _plain("AnyType", "Any")
BoolType: Any = _plain("BoolType", "bool")
ComplexType: Any = _plain("ComplexType", "complex")
DeviceObjType: Any = _plain("DeviceObjType", "Device")
FloatType: Any = _plain("FloatType", "float")
IntType: Any = _plain("IntType", "int")
NoneType: Any = _plain("NoneType", "NoneType")
NumberType: Any = _plain("NumberType", "number")
PyObjectType: Any = _plain("PyObjectType", "PyObject")
StreamObjType: Any = _plain("StreamObjType", "Stream")
StringType: Any = _plain("StringType", "str")
SymBoolType: Any = _plain("SymBoolType", "bool")
SymIntType: Any = _plain("SymIntType", "int")


class TensorType(_Plain):
    """The type of tensors; ``create_from_tensor`` also says what one tensor is like."""

    _text = "Tensor"
    _example: Any = None

    @classmethod
    def getInferred(cls) -> TensorType:
        """The type of tensors, for an argument without annotation."""
        found: TensorType = cls.get()
        return found

    @classmethod
    def create_from_tensor(cls, arg0: Any) -> TensorType:
        """The type of tensors with this shape, element type and device."""
        made: TensorType = object.__new__(cls)
        made._example = arg0
        sizes, steps = ", ".join(map(str, arg0.shape)), ", ".join(map(str, arg0.stride()))
        title = {"float32": "Float", "float64": "Double", "int64": "Long", "int32": "Int", "bool": "Bool"}
        name = title.get(arg0.dtype.name, arg0.dtype.name.capitalize())
        grad = int(arg0.requires_grad)
        made._text = f"{name}({sizes}, strides=[{steps}], requires_grad={grad}, device={arg0.device})"
        return made

    @property
    def annotation_str(self) -> str:
        """``Tensor``."""
        return "Tensor"

    def dtype(self) -> Any:
        """The element type, or None."""
        return None if self._example is None else self._example.dtype

    def device(self) -> Any:
        """The device, or None."""
        return None if self._example is None else self._example.device

    def dim(self) -> int | None:
        """The number of dimensions, or None."""
        return None if self._example is None else self._example.dim()

    def sizes(self) -> list[int] | None:
        """The shape, or None."""
        return None if self._example is None else list(self._example.shape)

    def strides(self) -> list[int] | None:
        """The strides, or None."""
        return None if self._example is None else list(self._example.stride())

    def requires_grad(self) -> bool:
        """Whether gradients are wanted: always possible where nothing is known."""
        return True if self._example is None else self._example.requires_grad

    def isSubtypeOf(self, arg0: Type) -> bool:
        """A tensor of known shape is a tensor."""
        return super().isSubtypeOf(arg0) or (isinstance(arg0, TensorType) and arg0._example is None)


class _OfOne(Type):
    """A type made of another one."""

    _head = ""

    def __init__(self, a: Type) -> None:
        self._element = a
        self._text = f"{self._head}[{a}]"

    @property
    def annotation_str(self) -> str:
        """The type as an annotation in Python."""
        return f"{self._head}[{self._element.annotation_str}]"

    def getElementType(self) -> Type:
        """The type that it is made of."""
        return self._element

    def containedTypes(self) -> list[Type]:
        """The type that it is made of."""
        return [self._element]


class ListType(_OfOne):
    """Lists of values of one type."""

    _head = "List"

    @staticmethod
    def ofInts() -> ListType:
        """Lists of integers."""
        return ListType(IntType.get())

    @staticmethod
    def ofFloats() -> ListType:
        """Lists of floats."""
        return ListType(FloatType.get())

    @staticmethod
    def ofComplexDoubles() -> ListType:
        """Lists of complex numbers."""
        return ListType(ComplexType.get())

    @staticmethod
    def ofBools() -> ListType:
        """Lists of booleans."""
        return ListType(BoolType.get())

    @staticmethod
    def ofStrings() -> ListType:
        """Lists of strings."""
        return ListType(StringType.get())

    @staticmethod
    def ofTensors() -> ListType:
        """Lists of tensors."""
        return ListType(TensorType.get())


class FutureType(_OfOne):
    """Results that are not there yet."""

    _head = "Future"


class AwaitType(_OfOne):
    """Results that are computed when they are asked for."""

    _head = "Await"


class RRefType(_OfOne):
    """References to values of other processes."""

    _head = "RRef"


class UnionType(Type):
    """Values of any of several types; of one type and None, it is an ``OptionalType``."""

    def __new__(cls, a: Any) -> Any:
        if cls is UnionType:
            members = list(a)
            rest = [t for t in members if not isinstance(t, NoneType)]
            if len(rest) == 1 and len(members) == 2:
                return OptionalType(rest[0])
        return object.__new__(cls)

    def __init__(self, a: Any) -> None:
        if "_members" in self.__dict__:
            return
        self._members: list[Type] = list(a)
        self._text = f"Union[{', '.join(map(str, self._members))}]"

    @property
    def annotation_str(self) -> str:
        """The type as an annotation in Python."""
        return f"Union[{', '.join(t.annotation_str for t in self._members)}]"

    def containedTypes(self) -> list[Type]:
        """The types."""
        return list(self._members)


class OptionalType(UnionType):
    """Values of a type, or None."""

    def __init__(self, a: Type) -> None:
        if "_members" in self.__dict__:  # made by UnionType
            return
        self._element = a
        self._members = [a, NoneType.get()]
        self._text = f"Optional[{a}]"

    @property
    def annotation_str(self) -> str:
        """The type as an annotation in Python."""
        return f"Optional[{self._element.annotation_str}]"

    def getElementType(self) -> Type:
        """The type beside None."""
        return self._element

    def containedTypes(self) -> list[Type]:
        """The type beside None."""
        return [self._element]

    @staticmethod
    def ofTensor() -> OptionalType:
        """A tensor or None."""
        return OptionalType(TensorType.get())


class TupleType(Type):
    """Tuples with a type for each place."""

    def __init__(self, a: Sequence[Type]) -> None:
        self._parts = list(a)
        self._text = f"Tuple[{', '.join(map(str, self._parts)) or '()'}]"

    @property
    def annotation_str(self) -> str:
        """The type as an annotation in Python."""
        return f"Tuple[{', '.join(t.annotation_str for t in self._parts) or '()'}]"

    def elements(self) -> list[Type]:
        """The type of each place."""
        return list(self._parts)

    containedTypes = elements


class DictType(Type):
    """Dictionaries with keys of one type and values of one type."""

    def __init__(self, key: Type, value: Type) -> None:
        self._key, self._value = key, value
        self._text = f"Dict[{key}, {value}]"

    @property
    def annotation_str(self) -> str:
        """The type as an annotation in Python."""
        return f"Dict[{self._key.annotation_str}, {self._value.annotation_str}]"

    def getKeyType(self) -> Type:
        """The type of the keys."""
        return self._key

    def getValueType(self) -> Type:
        """The type of the values."""
        return self._value

    def containedTypes(self) -> list[Type]:
        """The types of keys and values."""
        return [self._key, self._value]


class _Named(Type):
    """A type that is known by a name with dots."""

    def __init__(self, qualified_name: str) -> None:
        self._qualified = qualified_name
        self._text = qualified_name

    def name(self) -> str:
        """The last part of the name."""
        return self._qualified.rpartition(".")[2]

    def qualified_name(self) -> str:
        """The whole name."""
        return self._qualified


class ClassType(_Named):
    """Instances of a class."""

    def method_names(self) -> list[str]:
        """The names of its methods that are known: none, since classes stay Python."""
        return []


class InterfaceType(_Named):
    """Objects with certain methods."""

    def getMethodNames(self) -> list[str]:
        """The names of its methods that are known: none, since classes stay Python."""
        return []

    def getMethod(self, arg0: str) -> None:
        """The signature of a method: None."""
        return None


class VarType(_Named):
    """A variable of a schema that stands for any type."""


class EnumType(Type):
    """Members of an enumeration, whose values have one type."""

    def __init__(self, qualified_name: str, value_type: Type, enum_names_values: Sequence[Any]) -> None:
        self._qualified, self._value, self._members = qualified_name, value_type, list(enum_names_values)
        self._text = f"Enum<{qualified_name}>"

    @property
    def annotation_str(self) -> str:
        """The name of the enumeration."""
        return self._qualified


class InferredType:
    """A type that was found out, or why none was."""

    def __init__(self, arg: Type | str) -> None:
        self._type = arg if isinstance(arg, Type) else None
        self._reason = "" if isinstance(arg, Type) else arg

    def type(self) -> Type:
        """The type; raises RuntimeError if there is none."""
        if self._type is None:
            raise RuntimeError(f"no type was inferred: {self._reason}")
        return self._type

    def success(self) -> bool:
        """Whether there is a type."""
        return self._type is not None

    def reason(self) -> str:
        """Why there is no type."""
        return self._reason


_IN_SCHEMAS = {
    "Tensor": TensorType, "int": IntType, "SymInt": SymIntType, "float": FloatType, "bool": BoolType,
    "SymBool": SymBoolType, "str": StringType, "complex": ComplexType, "Scalar": NumberType, "number": NumberType,
    "Device": DeviceObjType, "Stream": StreamObjType, "Any": AnyType, "None": NoneType, "NoneType": NoneType,
    "PyObject": PyObjectType, "Generator": _plain("GeneratorType", "Generator"),
    "Storage": _plain("StorageType", "Storage"),
    **{n: _plain(n, n) for n in ("AnyClassType", "AnyEnumType", "AnyListType", "AnyTupleType", "list", "tuple")},
    # written by name, kept as integers
    "ScalarType": IntType, "Layout": IntType, "MemoryFormat": IntType, "QScheme": IntType,
}  # fmt: skip

_OF_ONE: dict[str, Any] = {"Future": FutureType, "RRef": RRefType, "Await": AwaitType}


def from_schema_text(text: str) -> Type:
    """The type that a schema spells: ``Tensor(a!)``, ``int[2]?``, ``(int, Tensor)``, ``Dict(str, int)``.

    Raises RuntimeError for a name that stands for no type.
    """
    text = text.strip()
    if text.endswith("?"):
        return OptionalType(from_schema_text(text[:-1]))
    listed = re.fullmatch(r"(.*)\[\d*\](?:\([\w!*| >-]*\))?", text)
    if listed:
        return ListType(from_schema_text(listed[1]))
    aliased = re.fullmatch(r"(\w+)\([\w!*| >-]*\)", text)
    if aliased and aliased[1] not in _OF_ONE:
        return from_schema_text(aliased[1])
    outer = re.fullmatch(r"(\w*)\((.*)\)", text)
    if outer:
        parts = [from_schema_text(p) for p in _pieces(outer[2])]
        if not outer[1]:
            return TupleType(parts)
        made = DictType if outer[1] == "Dict" else _OF_ONE.get(outer[1])
        if made is not None:
            return made(*parts)
    if text in _IN_SCHEMAS:
        return _IN_SCHEMAS[text].get()  # type: ignore[attr-defined,no-any-return]
    if re.fullmatch(r"[\w.]+", text) and "." in text:
        return ClassType(text)
    if re.fullmatch(r"[a-z]\w*", text):
        return VarType(text)
    raise RuntimeError(f"Unknown type specifier: {text!r}")


def _pieces(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    return [p for p in (*parts, text[start:]) if p.strip()]


def unify_type_list(arg0: Sequence[Type]) -> Type:
    """The one type that values of all these types have: with None among them, an optional one.

    Raises RuntimeError for an empty list and for types that have none in common.
    """
    if not isinstance(arg0, (list, tuple)) or not all(isinstance(t, Type) for t in arg0):
        raise TypeError(f"unify_type_list(): argument 'arg0' must be a list of types, got {arg0!r}")
    if not arg0:
        raise RuntimeError("Cannot get unified type from empty list")
    found = arg0[0]
    for i, other in enumerate(arg0[1:], 1):
        if other.isSubtypeOf(found):
            continue
        if found.isSubtypeOf(other):
            found = other
        elif isinstance(found, NoneType) or isinstance(other, NoneType):
            found = OptionalType(other if isinstance(found, NoneType) else found)
        else:
            raise RuntimeError(
                f"Could not unify type list since element {i} of type {other} did not match the types before it "
                f"({found})"
            )
    return found
