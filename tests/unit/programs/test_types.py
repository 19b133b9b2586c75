"""Values of fields: read from a reply, strictly, and checked when they come as JSON."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal

import numpy as np
import pytest

from mipro.programs import types


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "  a b \n", "a b"),
        (int, "-3", -3),
        (float, "3", 3.0),
        (float, "1e-3", 0.001),
        (bool, "True", True),
        (bool, "no", False),
        (list[str], '["a", "b"]', ["a", "b"]),
        (list[float], "[1, 2.5]", [1.0, 2.5]),
        (list[str], "[]", []),
        (Literal["Yes", "No"], "yes", "Yes"),
        (Literal["Yes", "No"], '"No"', "No"),
        (Literal["Yes", "yes"], "yes", "yes"),
        (Literal["'a'", "a"], "'a'", "'a'"),
        (Literal[1, 2], "2", 2),
        (Literal[True, False], "true", True),
        (list[Literal["a", "b"]], '["B", "a"]', ["b", "a"]),
    ],
)
def test_a_reply_is_read_as_its_type(kind, text, value):
    read = types.read(kind, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (str, "  ", "empty"),
        (int, "3.0", "a whole number is wanted"),
        (int, "three", "a whole number is wanted, not 'three'"),
        (int, "true", "a whole number is wanted"),
        (int, "9" * 5000, "a whole number is wanted"),
        (float, "NaN", "a number is wanted"),
        (float, "-Infinity", "a number is wanted"),
        (float, "5 cm", "a number is wanted, not '5 cm'"),
        (bool, "maybe", "true or false is wanted"),
        (bool, "1", "true or false is wanted"),
        (list[str], "a, b", "a JSON array, each item text is wanted"),
        (list[str], '"a"', "a JSON array"),
        (list[str], "[1]", "text is wanted, not 1"),
        (list[int], "[true]", "a whole number is wanted"),
        (list[int], "[" * 100_000, "a JSON array"),
        (Literal["Yes", "No"], "Yes.", "one of Yes, No is wanted, not 'Yes.'"),
        (Literal["AB", "ab"], "Ab", "one of AB, ab is wanted"),
    ],
)
def test_a_reply_of_another_type_is_refused_saying_what_is_wanted(kind, text, said):
    with pytest.raises(ValueError, match=said) as caught:
        types.read(kind, text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("kind", "value", "plain"),
    [
        (float, np.float64(1.5), 1.5),
        (float, np.int64(2), 2.0),
        (int, np.int64(2), 2),
        (str, np.str_("a"), "a"),
        (str, Colour.RED, "red"),
        (list[int], (1, 2), [1, 2]),
    ],
)
def test_numbers_and_texts_of_other_libraries_become_plain_ones(kind, value, plain):
    for made in (types.check(kind, value), types.snapshot(value)):
        assert made == plain
    checked = types.check(kind, value)
    assert type(checked) is type(plain)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(str, 1), (str, None), (int, 1.0), (int, True), (float, True), (float, math.nan), (bool, 1)],
)
def test_a_value_of_another_type_is_refused(kind, value):
    with pytest.raises(ValueError, match="is wanted, not"):
        types.check(kind, value)


def test_a_snapshot_is_out_of_reach_of_later_changes():
    inner = ["a"]
    value = {"x": inner, "y": (1, None)}
    taken = types.snapshot(value)
    inner.append("b")
    assert taken == {"x": ["a"], "y": [1, None]}


def test_what_no_prompt_can_show_has_no_snapshot():
    with pytest.raises(ValueError, match="is wanted, not <object"):
        types.snapshot([object()])
