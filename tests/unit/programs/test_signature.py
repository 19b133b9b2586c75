"""Signatures from strings and classes: what they hold, and what is refused, by name."""

from __future__ import annotations

from typing import Literal

import pytest

import mipro
from mipro import Input, Output, Signature
from mipro.errors import SignatureError
from mipro.programs.signature import RESERVED, Field


def kinds(spec):
    return {name: field.type for name, field in Signature.of(spec).fields.items()}


def test_a_string_names_inputs_outputs_and_their_types():
    signature = Signature.of("a, b: int, c: list[float] -> d: bool, e: Literal['x', 'y'], f: list")
    assert [f.name for f in signature.inputs] == ["a", "b", "c"]
    assert [f.name for f in signature.outputs] == ["d", "e", "f"]
    assert kinds(signature) == {
        "a": str,
        "b": int,
        "c": list[float],
        "d": bool,
        "e": Literal["x", "y"],
        "f": list[str],
    }


def test_what_a_signature_spells_reads_back_as_itself():
    spec = "a, b: int -> c: list[Literal['x', 'y, z']], d: bool"
    assert str(Signature.of(spec)) == spec
    assert Signature.of(str(Signature.of(spec))) == Signature.of(spec)


@pytest.mark.parametrize("value", ["a, b", "a -> b", "[x]", "it's", 'say "x"'])
def test_a_literal_value_may_hold_the_marks_of_the_notation(value):
    signature = Signature.of(f"q: Literal[{value!r}, 'other'] -> a: Literal[{value!r}]")
    assert signature.fields["a"].type == Literal[value]


def test_an_instruction_is_made_from_the_fields_unless_one_is_given():
    assert Signature.of("a, b -> c").instruction == "Given `a`, `b`, produce `c`."
    assert Signature.of("a, b -> c", "Do it.").instruction == "Do it."
    assert Signature.of("a, b -> c", "  ").instruction == "Given `a`, `b`, produce `c`."
    assert Signature.of(Signature.of("a -> c", "Old."), "New.").instruction == "New."


class Base:
    """Rate a text."""

    text: str = Input("as it was written")
    stars: Literal[1, 2, 3] = Output()


class Longer(Base):
    """Rate a text, and say why."""

    why: str = Output("in a sentence")


def test_a_class_gives_fields_descriptions_and_its_docstring():
    signature = Signature.of(Base)
    assert signature.instruction == "Rate a text."
    assert signature.inputs == (Field("text", str, "as it was written"),)
    assert signature.outputs == (Field("stars", Literal[1, 2, 3]),)


def test_a_class_inherits_the_fields_of_its_base():
    assert str(Signature.of(Longer)) == "text -> stars: Literal[1, 2, 3], why"
    assert Signature.of(Longer).instruction == "Rate a text, and say why."


def test_chain_of_thought_reasons_before_the_other_outputs():
    module = mipro.ChainOfThought("q -> a", "Think.")
    assert str(module.signature) == "q -> reasoning, a"
    assert module.prompt == mipro.Prompt("Think.")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("question", "one '->' is wanted"),
        ("a -> b -> c", "one '->' is wanted"),
        ("-> b", "a field on both sides"),
        ("a ->", "a field on both sides"),
        ("a, a -> b", "'a' is named twice"),
        ("a -> a", "'a' is named twice"),
        ("the question -> b", "'the question' cannot name a field"),
        ("1a -> b", "'1a' cannot name a field"),
        ("_a -> b", "'_a' cannot name a field"),
        ("a -> b: dict", "'dict' is no field type"),
        ("a -> b: list[list[str]]", "is no field type"),
        ("a -> b: Literal[1.5]", "is no field type"),
        ("a -> b: Literal[None]", "is no field type"),
        ("a -> b: Literal['x'", "is no field type"),
        ("a -> b: __import__('os').remove('x')", "is no field type"),
        ("a -> b: Literal[1, '1']", "spelled alike"),
        ("a -> b: Literal['']", "empty"),
        ("a -> b: Literal['x ']", "white space"),
        (7, "give a string, or a class"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(spec, said):
    with pytest.raises(SignatureError, match=said.replace("[", r"\[")):
        Signature.of(spec)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_name_that_would_hide_behind_a_method_or_a_setting_is_reserved(name):
    with pytest.raises(SignatureError, match=f"'{name}' cannot name a field: it is reserved"):
        Signature.of(f"a -> {name}")


def test_a_field_that_could_never_be_read_as_an_attribute_is_a_reserved_name():
    methods = {name for name in dir(mipro.Prediction) if not name.startswith("_")}
    assert methods <= RESERVED


class Unmarked:
    text: str
    answer: str = Output()


class Untyped:
    text: str = Input()
    answer: str = Output()
    score = Output()


class Unknown:
    text: str = Input()
    answer: NoSuchType = Output()  # noqa: F821


class Optional_:
    text: str = Input()
    answer: str | None = Output()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (Unmarked, "Unmarked: the field 'text' must be set to Input"),
        (Untyped, "Untyped: the field 'score' has no type"),
        (Unknown, "Unknown: name 'NoSuchType' is not defined"),
        (Optional_, "str | None is no field type"),
    ],
)
def test_a_class_that_makes_no_sense_is_refused_and_named(spec, said):
    with pytest.raises(SignatureError) as caught:
        Signature.of(spec)
    assert said in str(caught.value)


def test_an_annotation_of_no_type_at_all_is_refused():
    with pytest.raises(SignatureError, match="no field type"):
        Field("a", ["x", "y"])


def test_the_order_of_literal_values_tells_two_signatures_apart():
    # typing holds the two types for equal; their prompts are not
    one, other = (
        Signature.of("a -> b: Literal['x', 'y']"),
        Signature.of("a -> b: Literal['y', 'x']"),
    )
    assert one != other
    adapter = mipro.ChatAdapter()
    first, second = (adapter.render(s, mipro.Prompt("Go."), {"a": "1"}) for s in (one, other))
    assert "one of: x | y" in first[0].content
    assert "one of: y | x" in second[0].content


def test_the_json_schema_asks_for_all_outputs_and_no_others():
    assert Signature.of(Longer).json_schema() == {
        "type": "object",
        "properties": {
            "stars": {"enum": [1, 2, 3]},
            "why": {"type": "string", "description": "in a sentence"},
        },
        "required": ["stars", "why"],
        "additionalProperties": False,
    }
    numbers = Signature.of("a -> i: int, f: float, b: bool, l: list[int]").json_schema()
    assert numbers["properties"] == {
        "i": {"type": "integer"},
        "f": {"type": "number"},
        "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "integer"}},
    }
