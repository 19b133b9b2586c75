"""A module's call: its inputs, what it records, and how it fails."""

from __future__ import annotations

import pickle

import pytest
from doubles import QA, CountingLM, ScriptedLM, TwoStep, chat

import mipro
from mipro import JSONAdapter, Prediction
from mipro.errors import MissingFieldError, ParseError, RunError, SignatureError
from mipro.lm.base import AuthError, Completion, ContextLengthError, Usage


class Free(mipro.Program):
    """Calls its one module with whatever `act` says."""

    def __init__(self, spec, act, **settings):
        self.step, self.act = mipro.Predict(spec, **settings), act

    def forward(self, **inputs):
        return self.act(self.step, **inputs)


def run(spec, act, lm, **inputs):
    return Free(spec, act).run(inputs, lm=lm)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "module 'step' takes a, b: 'a' is missing"),
        ({"a": "1"}, "'b' is missing"),
        ({"a": "1", "b": "2", "c": "3"}, "'c' is not among them"),
        ({"a": "1", "b": object()}, "module 'step', input 'b': text, a number"),
    ],
)
def test_wrong_inputs_are_refused_before_the_call(inputs, said):
    lm = CountingLM(lambda request: chat(c="x"))
    error = run("a, b -> c", lambda step, **given: step(**given), lm, **inputs).error
    assert isinstance(error, SignatureError)
    assert said in str(error)
    assert lm.calls == 0


def test_a_module_outside_a_run_says_how_it_is_to_be_called():
    with pytest.raises(RunError, match="outside a run"):
        mipro.Predict("a -> b")(a="1")


def test_a_module_made_in_forward_is_refused_with_the_names_there_are():
    error = run(
        "a -> b", lambda step, a: mipro.Predict("a -> c")(a=a), CountingLM(str), a="1"
    ).error
    assert isinstance(error, RunError)
    assert "'a -> c' was called, but is not found" in str(error)
    assert "the program has step" in str(error)


def test_the_record_of_a_call_has_all_of_it():
    lm = ScriptedLM({"Capital?": chat(answer="Paris")})
    prediction = QA()(question="Capital?", lm=lm)
    (call,) = prediction.trace
    assert prediction == {"answer": "Paris"}
    assert (call.module, call.inputs, call.outputs) == (
        "answer",
        {"question": "Capital?"},
        {"answer": "Paris"},
    )
    assert call.messages == lm.seen[0].messages
    assert call.reply == chat(answer="Paris")
    assert call.usage == Usage(sum(len(m.content) for m in call.messages), len(call.reply))
    assert call.seconds >= 0
    assert call.error is None
    assert prediction.trace.of("answer") == (call,)
    assert prediction.trace.of("other") == ()


def test_the_trace_keeps_a_list_as_it_was_when_it_was_passed():
    replies = iter(["one", "two"])
    lm = CountingLM(
        lambda request: (
            chat(answer="x")
            if "`answer`" in request.messages[0].content
            else chat(query=next(replies))
        )
    )
    trace = TwoStep()(question="?", lm=lm).trace
    assert [call.inputs["seen"] for call in trace] == [[], ["one"], ["one", "two"]]


def test_the_trace_keeps_an_output_the_program_goes_on_to_change():
    def act(step, a):
        prediction = step(a=a)
        prediction.b.append("late")
        return prediction

    made = run("a -> b: list[str]", act, CountingLM(lambda request: chat(b='["x"]')), a="1")
    assert made.prediction.b == ["x", "late"]
    assert made.trace.calls[0].outputs == {"b": ["x"]}


@pytest.mark.parametrize(
    "fault", [ContextLengthError("too long"), AuthError("bad key"), "no headers here"]
)
def test_an_error_on_the_way_keeps_the_trace_with_its_reason(fault):
    lm = ScriptedLM({"first": chat(b="x"), "second": fault})
    act = lambda step, a: (step(a="first"), step(a="second"))[1]  # noqa: E731
    made = run("a -> b", act, lm, a="1")
    first, second = made.trace
    assert made.prediction is None
    assert (first.outputs, first.error) == ({"b": "x"}, None)
    assert second.outputs == {}
    assert second.error == f"{type(made.error).__name__}: {made.error}"
    assert second.reply == (fault if isinstance(fault, str) else "")


def test_an_error_of_forward_itself_keeps_the_trace():
    made = run(
        "a -> b", lambda step, a: step(a=a) and 1 / 0, CountingLM(lambda r: chat(b="x")), a="1"
    )
    assert isinstance(made.error, ZeroDivisionError)
    assert len(made.trace) == 1
    with pytest.raises(ZeroDivisionError):
        Free("a -> b", lambda step, a: 1 / 0)(a="1", lm=CountingLM(str))


def test_an_error_that_forward_catches_stays_in_the_trace():
    def act(step, a):
        try:
            return step(a=a)
        except ParseError as error:
            return Prediction(b=f"no {error.field}")

    made = run("a -> b", act, CountingLM(lambda request: chat(c="x")), a="1")
    assert made.error is None
    assert made.prediction.b == "no c"
    assert "no such output field" in made.trace.calls[0].error


@pytest.mark.parametrize(
    "reply", ["[[ ## x ## ]]\nhalf a sent", "[[ ## x ## ]]\nall\n[[ ## y ## ]]\nhalf a sent", "[["]
)
def test_a_reply_cut_off_at_max_tokens_is_refused_and_says_so(reply):
    lm = CountingLM(lambda request: reply, finish_reason="length")
    error = run("a -> x, y", lambda step, a: step(a=a), lm, a="1").error
    assert isinstance(error, ParseError)
    assert "cut off at max_tokens" in str(error)
    assert "module 'step'" in str(error)


@pytest.mark.parametrize(
    ("adapter", "reply"), [(None, chat(x="1")), (JSONAdapter(), '{"x": "1"}    ')]
)
def test_a_reply_cut_off_after_its_end_is_whole(adapter, reply):
    lm = CountingLM(lambda request: reply, finish_reason="length")
    assert Free("a -> x", lambda step, a: step(a=a))(a="1", lm=lm, adapter=adapter).x == "1"


def test_settings_of_a_module_reach_the_request_and_nothing_else_does():
    lm = CountingLM(lambda request: chat(b="x"))
    program = Free("a -> b", lambda step, a: step(a=a), temperature=0.0, max_tokens=7)
    program(a="1", lm=lm, rollout=3)
    Free("a -> b", lambda step, a: step(a=a))(a="1", lm=lm)
    first, second = lm.seen
    assert (first.temperature, first.max_tokens, first.n, first.rollout) == (0.0, 7, 1, 3)
    assert (second.temperature, second.max_tokens, second.rollout) == (None, None, 0)


def test_the_json_adapter_asks_by_schema():
    lm = CountingLM(lambda request: '{"b": 4}')
    made = Free("a -> b: int", lambda step, a: step(a=a))(a="1", lm=lm, adapter=JSONAdapter())
    assert made.b == 4
    assert lm.seen[0].schema["properties"] == {"b": {"type": "integer"}}


def test_cached_replies_cost_no_tokens():
    lm = CountingLM(lambda request: chat(answer="x"), cached=True)
    trace = QA()(question="?", lm=lm).trace
    assert trace.calls[0].cached
    assert trace.usage == Usage()


def test_a_prediction_names_the_fields_it_has_and_travels():
    prediction = QA()(question="?", lm=CountingLM(lambda request: chat(answer="x")))
    for ask in (lambda: prediction.anwser, lambda: prediction["anwser"]):
        with pytest.raises(MissingFieldError) as caught:
            ask()
        assert str(caught.value) == "the prediction has no field 'anwser'; it has 'answer'"
    assert getattr(prediction, "anwser", None) is None
    assert prediction.get("anwser") is None
    again = pickle.loads(pickle.dumps(prediction))
    assert (again, again.trace) == (prediction, prediction.trace)


def test_the_wrong_kind_of_completion_is_an_error_of_the_run_not_of_the_process():
    class Silent(CountingLM):
        def __call__(self, request, /):
            return Completion(())

    assert run("a -> b", lambda step, a: step(a=a), Silent(str), a="1").error is not None
