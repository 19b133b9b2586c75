"""What holds for every adapter: what it renders it can read, and what it can't read it names."""

from __future__ import annotations

import json

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from mipro import ChatAdapter, Demo, JSONAdapter, Prompt, Signature
from mipro.errors import ParseError

ADAPTERS = [ChatAdapter(), JSONAdapter()]
every_adapter = pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda a: type(a).__name__)
SIGNATURE = Signature.of("question -> answer, stars: int, verdict: Literal['good', 'bad']")
GOOD = {"answer": "Paris", "stars": 3, "verdict": "good"}


def reply(adapter, values):
    if isinstance(adapter, JSONAdapter):
        return json.dumps(values)
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in values.items())


def apart(value):
    """A value as the chat adapter may show it: it never lets data pass for a header."""
    if isinstance(value, list):
        return [apart(item) for item in value]
    return value.replace("[[ ##", "[ [ ##") if isinstance(value, str) else value


@every_adapter
@given(data=st.data())
def test_what_a_demo_shows_is_what_its_reply_would_be_read_as(adapter, data):
    signature = data.draw(strategies.signatures())
    values = data.draw(strategies.outputs(signature))
    messages = adapter.render(
        signature,
        Prompt("Go.", (Demo(values),)),
        dict.fromkeys((f.name for f in signature.inputs), "?"),
    )
    read = adapter.parse(signature, messages[2].content, "m")
    wanted = (
        values if isinstance(adapter, JSONAdapter) else {k: apart(v) for k, v in values.items()}
    )
    assert read == wanted
    assert {name: type(v) for name, v in read.items()} == {k: type(v) for k, v in wanted.items()}


@every_adapter
@given(data=st.data())
def test_no_input_can_pass_for_another_field(adapter, data):
    signature = data.draw(strategies.signatures())
    value = data.draw(strategies.texts)
    inputs = dict.fromkeys((f.name for f in signature.inputs), value)
    turn = adapter.render(signature, Prompt("Go."), inputs)[-1].content
    assert turn.count("[[ ##") == len(signature.inputs)


@every_adapter
@given(text=strategies.texts)
def test_any_reply_is_read_or_refused_with_a_typed_error(adapter, text):
    error = None
    try:
        values = adapter.parse(SIGNATURE, text, "rate")
    except ParseError as caught:
        error = caught
    if error is None:
        assert set(values) == set(GOOD)
    else:
        assert (error.module, error.reply) == ("rate", text)


def without(name):
    return {k: v for k, v in GOOD.items() if k != name}


@every_adapter
@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        (without("stars"), "stars", "missing"),
        (GOOD | {"mood": "x"}, "mood", "no such output field"),
        (GOOD | {"question": "x"}, "question", "no such output field"),
        (GOOD | {"stars": "many"}, "stars", "a whole number is wanted, not 'many'"),
        (GOOD | {"stars": 2.5}, "stars", "a whole number is wanted"),
        (GOOD | {"verdict": "meh"}, "verdict", "one of good, bad is wanted, not 'meh'"),
    ],
)
def test_a_bad_reply_is_refused_by_module_and_field_and_shown(adapter, values, field, said):
    text = reply(adapter, values)
    with pytest.raises(ParseError) as caught:
        adapter.parse(SIGNATURE, text, "rate")
    error = caught.value
    assert (error.module, error.field, error.reply) == ("rate", field, text)
    assert said in error.reason
    message = str(error)
    assert f"field '{field}' of module 'rate'" in message
    for line in text.splitlines():
        assert line in message


@every_adapter
@pytest.mark.parametrize(
    "text", ["", "   ", "I'd say Paris.", "[1, 2]", "null", "{", "[" * 100_000]
)
def test_a_reply_that_is_no_reply_at_all_names_the_module(adapter, text):
    with pytest.raises(ParseError, match="module 'rate'") as caught:
        adapter.parse(SIGNATURE, text, "rate")
    assert caught.value.field is None
    assert len(str(caught.value)) < 1000


@every_adapter
def test_a_good_reply_is_read_with_its_types(adapter):
    assert adapter.parse(SIGNATURE, reply(adapter, GOOD), "rate") == GOOD


def test_a_field_that_is_there_twice_is_refused():
    text = reply(ADAPTERS[0], GOOD) + "\n[[ ## answer ## ]]\nRome"
    with pytest.raises(
        ParseError, match="field 'answer' of module 'rate': it is in the reply twice"
    ):
        ADAPTERS[0].parse(SIGNATURE, text, "rate")


def test_a_marked_reply_may_have_words_before_and_after_it_and_text_beside_a_header():
    text = "Sure:\n  [[ ## answer ## ]] Paris\n[[ ## stars ## ]]\n3\n[[ ## verdict ## ]]\nGood\n"
    after = "[[ ## completed ## ]]\nAnything else?\n[[ ## answer ## ]]\nRome"
    assert ADAPTERS[0].parse(SIGNATURE, text + after, "rate") == GOOD
