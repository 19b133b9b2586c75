"""The types a field may have: what they are called, how values are written and read back.

str, int, float, bool, list (of one of these) and `Literal`. A type written in a signature string is
read by walking its syntax tree against this list; nothing is ever evaluated.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from types import GenericAlias
from typing import Any, Literal, get_args, get_origin

from mipro import strict
from mipro.errors import SignatureError

SCALARS: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def parse_type(text: str) -> Any:
    """Read a type as written in a signature string. Raises `SignatureError` on any other."""
    try:
        return _from_syntax(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise SignatureError(
            f"'{text.strip()}' is no field type; known are str, int, float, bool, list, list[str] "
            f"(or of another of these), and Literal['a', 'b']"
        ) from error


def _from_syntax(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in SCALARS:
        return SCALARS[node.id]
    if isinstance(node, ast.Name) and node.id == "list":
        return GenericAlias(list, (str,))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        if node.value.id == "list":
            return GenericAlias(list, (_from_syntax(node.slice),))
        if node.value.id == "Literal":
            parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return Literal[tuple(ast.literal_eval(part) for part in parts)]
    raise ValueError(ast.dump(node))


def check_type(annotation: Any) -> Any:
    """Return the type in its full form (`list` is `list[str]`), or raise `SignatureError`."""
    if annotation is list:
        return GenericAlias(list, (str,))
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and annotation in _JSON_NAMES:
        return annotation
    if origin is list and len(args) == 1 and get_origin(args[0]) is not list:
        check_type(args[0])
        return annotation
    if origin is Literal and args and all(isinstance(v, (str, int, bool)) for v in args):
        return _check_literal(annotation)
    raise SignatureError(
        f"{annotation!r} is no field type; known are str, int, float, bool, list of these, Literal"
    )


def _check_literal(annotation: Any) -> Any:
    """Every value must be one that a reply can spell, and no other value with it."""
    spelled = [str(value) for value in get_args(annotation)]
    for i, text in enumerate(spelled):
        if not text or text != text.strip() or text in spelled[:i]:
            fault = "two values are spelled alike" if text in spelled[:i] else "white space around"
            raise SignatureError(f"{type_name(annotation)}: {text!r}: {fault if text else 'empty'}")
    return annotation


def type_name(annotation: Any) -> str:
    """The type as written in a signature string; `parse_type` reads it back."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"Literal[{', '.join(repr(v) for v in args)}]"
    if origin is list:
        return f"list[{type_name(args[0])}]"
    return str(annotation.__name__)


def constraint(annotation: Any) -> str:
    """How the prompt says what a field may hold; a `Literal` names every one of its values."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "one of: " + " | ".join(str(v) for v in args)
    if origin is list:
        return f"a JSON array, each item {constraint(args[0])}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[
        annotation
    ]


def json_schema(annotation: Any) -> dict[str, Any]:
    """The JSON schema of the type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"enum": list(args)}
    if origin is list:
        return {"type": "array", "items": json_schema(args[0])}
    return {"type": _JSON_NAMES[annotation]}


def write(value: Any) -> str:
    """A value as it stands in a reply: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def snapshot(value: Any) -> Any:
    """A copy of a value in JSON's own kinds, which later changes to the value do not reach.

    Raises `ValueError` for what has no such form.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (list, tuple)):
        return [snapshot(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): snapshot(item) for key, item in value.items()}
    if isinstance(value, Real):  # numpy's numbers, say
        return int(value) if isinstance(value, Integral) else float(value)
    raise ValueError(
        f"text, a number, true or false, a list or a mapping is wanted, not {_short(value)}"
    )


def read(annotation: Any, text: str) -> Any:
    """Read a value from text, strictly. Raises `ValueError` saying what was wanted."""
    text = text.strip()
    if not text:
        raise ValueError("it is empty")
    if annotation is str:
        return text
    origin = get_origin(annotation)
    if origin is Literal:
        return _one_of(get_args(annotation), text)
    if annotation is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(f"true or false is wanted, not {_short(text)}")
        return _TRUTH[text.lower()]
    try:
        value = strict.loads(text)
    except ValueError:
        raise ValueError(f"{constraint(annotation)} is wanted, not {_short(text)}") from None
    return check(annotation, value)


def check(annotation: Any, value: Any) -> Any:
    """Check a value that came as JSON, or from Python. Raises `ValueError`."""
    origin = get_origin(annotation)
    if origin is Literal:
        return _one_of(get_args(annotation), value if isinstance(value, str) else str(value))
    if origin is list:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{constraint(annotation)} is wanted, not {_short(value)}")
        return [check(get_args(annotation)[0], item) for item in value]
    kind = {str: str, int: Integral, float: Real, bool: bool}[annotation]
    wrong = not isinstance(value, kind) or (isinstance(value, bool) and annotation is not bool)
    if wrong or (annotation is float and not _is_finite(value)):  # JSON has no NaN
        raise ValueError(f"{constraint(annotation)} is wanted, not {_short(value)}")
    return str.__str__(value) if annotation is str else annotation(value)


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _one_of(values: tuple[Any, ...], text: str) -> Any:
    """The declared value that `text` spells; quotes and case count only where they decide."""
    for plain in (text.strip(), text.strip().strip("\"'`")):
        for spelled in (str, lambda v: str(v).lower()):
            found = [v for v in values if spelled(v) == spelled(plain)]
            if len(found) == 1:
                return found[0]
    raise ValueError(f"one of {', '.join(str(v) for v in values)} is wanted, not {_short(text)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
