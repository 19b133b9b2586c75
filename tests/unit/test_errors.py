"""The error tree: one root, nothing lost on the way from another process."""

from __future__ import annotations

import inspect
import pickle

import pytest

from mipro import errors
from mipro.errors import MiproError, MissingFieldError, ParseError
from mipro.lm import base
from mipro.seeds import sequence

KINDS = [
    kind
    for module in (errors, base)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, MiproError) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_travels_with_its_message(kind):
    arguments = ("m", "f", "it is missing", "reply") if kind is ParseError else ("what is wrong",)
    error = kind(*arguments)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert "'what" not in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_drawn_in_the_tree(kind):
    drawn = f"{errors.__doc__}{base.__doc__}"
    assert kind.__name__ in drawn or kind is MissingFieldError


def test_a_long_reply_is_shown_cut_and_an_empty_one_as_such():
    long = ParseError("m", None, "unreadable", "word " * 1000)
    assert len(str(long)) < 800
    assert "(5000 characters)" in str(long)
    assert long.reply == "word " * 1000
    assert str(ParseError("m", "f", "missing", " \n")).endswith("(empty)")


@pytest.mark.parametrize(
    ("seed", "name", "said"),
    [
        (-1, "split", "seed=-1: a whole number from 0 up"),
        (True, "split", "seed=True"),
        (1.0, "split", "seed=1.0"),
        (0, "spilt", "no stream of randomness is called 'spilt'"),
    ],
)
def test_a_seed_or_stream_that_is_none_is_refused(seed, name, said):
    with pytest.raises(errors.ConfigError, match=said):
        sequence(seed, name)
