"""A signature: what a module takes, what it returns, and its first instruction.

Written as a string, `"context: list[str], question -> answer"`, or as a class:

    class Species:
        \"\"\"Name the species of an iris.\"\"\"
        petal_length: float = Input("in centimetres")
        species: Literal["setosa", "versicolor", "virginica"] = Output()
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

from mipro.errors import SignatureError
from mipro.programs import types

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
# the closing header, what a program is called with, and the methods of a prediction
RESERVED = frozenset(
    {"completed", "lm", "candidate", "adapter", "rollout", "trace", "self"}
    | {"get", "items", "keys", "values"}
)


@dataclass(frozen=True)
class _Mark:
    """What `Input` and `Output` leave on a signature class."""

    side: str
    description: str


# they return Any, as `dataclasses.field` does, so that type checkers accept `x: float = Input()`
def Input(description: str = "") -> Any:
    """Mark an input field in a signature class, with what it holds."""
    return _Mark("input", description)


def Output(description: str = "") -> Any:
    """Mark an output field in a signature class, with what it holds."""
    return _Mark("output", description)


@dataclass(frozen=True)
class Field:
    """One field. `type` is an annotation `types.check_type` accepts."""

    name: str
    type: Any = str
    description: str = ""
    # for equality: typing holds Literal["a", "b"] and Literal["b", "a"] for equal, but their
    # prompts differ
    _spelled: str = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.match(self.name) or self.name in RESERVED:
            fault = "it is reserved"
            if self.name not in RESERVED:
                fault = "a letter is wanted, then letters, digits or _"
            raise SignatureError(f"'{self.name}' cannot name a field: {fault}")
        object.__setattr__(self, "type", types.check_type(self.type))
        object.__setattr__(self, "_spelled", types.type_name(self.type))

    def __str__(self) -> str:
        return self.name if self.type is str else f"{self.name}: {types.type_name(self.type)}"


@dataclass(frozen=True)
class Signature:
    """Input fields, output fields, and the instruction a module starts from. Immutable."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    instruction: str = ""

    def __post_init__(self) -> None:
        names = [field.name for field in self.inputs + self.outputs]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise SignatureError(f"the field '{twice[0]}' is named twice in '{self}'")
        if not self.inputs or not self.outputs:
            raise SignatureError(f"'{self}' needs a field on both sides of '->'")
        if not self.instruction.strip():
            given = ", ".join(f"`{field.name}`" for field in self.inputs)
            wanted = ", ".join(f"`{field.name}`" for field in self.outputs)
            object.__setattr__(self, "instruction", f"Given {given}, produce {wanted}.")

    @classmethod
    def of(cls, spec: str | Signature | type, instruction: str | None = None) -> Signature:
        """The signature that a string, a class or a signature spells.

        `instruction`, where given, takes the place of the spec's own. Raises `SignatureError`.
        """
        if isinstance(spec, Signature):
            inputs, outputs, text = spec.inputs, spec.outputs, spec.instruction
        elif isinstance(spec, str):
            (inputs, outputs), text = _from_string(spec), ""
        elif isinstance(spec, type):
            (inputs, outputs), text = _from_class(spec), inspect.cleandoc(spec.__doc__ or "")
        else:
            raise SignatureError(f"{spec!r} is no signature: give a string, or a class")
        return cls(inputs, outputs, text if instruction is None else instruction)

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """All fields by name, inputs first."""
        return {field.name: field for field in self.inputs + self.outputs}

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.inputs))} -> {', '.join(map(str, self.outputs))}"

    def with_first_output(self, field: Field) -> Signature:
        """The same signature with `field` before its other outputs."""
        return Signature(self.inputs, (field, *self.outputs), self.instruction)

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the output fields, all required, no others allowed."""
        properties = {}
        for field in self.outputs:
            properties[field.name] = types.json_schema(field.type)
            if field.description:
                properties[field.name]["description"] = field.description
        return {
            "type": "object",
            "properties": properties,
            "required": [field.name for field in self.outputs],
            "additionalProperties": False,
        }


def _from_string(spec: str) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    sides = _parts(spec, "->")
    if len(sides) != 2:
        raise SignatureError(f"'{spec}': one '->' is wanted between inputs and outputs")
    left, right = (
        tuple(_field(part, spec) for part in _parts(side, ",") if part.strip()) for side in sides
    )
    return left, right


def _field(part: str, spec: str) -> Field:
    name, colon, kind = part.partition(":")
    try:
        return Field(name.strip(), types.parse_type(kind) if colon else str)
    except SignatureError as error:
        raise SignatureError(f"'{spec.strip()}': {error}") from error


def _parts(text: str, mark: str) -> list[str]:
    """Split at the marks outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for i, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "[(":
            depth += 1
        elif char in "])":
            depth -= 1
        elif depth == 0 and text.startswith(mark, i):
            parts.append(text[start:i])
            start = i + len(mark)
    return [*parts, text[start:]]


def _from_class(spec: type) -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    try:
        hints = get_type_hints(spec)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise SignatureError(f"class {spec.__name__}: {error}") from error
    for name, mark in inspect.getmembers_static(spec):
        if isinstance(mark, _Mark) and name not in hints:
            raise SignatureError(
                f"class {spec.__name__}: the field '{name}' has no type: {name}: str = …"
            )
    sides: dict[str, list[Field]] = {"input": [], "output": []}
    for name, annotation in hints.items():
        mark = getattr(spec, name, None)
        if not isinstance(mark, _Mark):
            raise SignatureError(
                f"class {spec.__name__}: the field '{name}' must be set to Input(…) or Output(…)"
            )
        sides[mark.side].append(Field(name, annotation, mark.description))
    return tuple(sides["input"]), tuple(sides["output"])
