"""Invariants of programs and candidates, whatever the fields hold.

A candidate survives its file; what a run was given is what it recorded; no candidate of one run is
seen by another.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import strategies
from doubles import QA, CountingLM, TwoStep, asked, chat
from hypothesis import given
from hypothesis import strategies as st

import mipro
from mipro import Demo, Prompt
from mipro.programs.prompt import check_demo
from mipro.programs.signature import Signature


class Any_(mipro.Program):
    def __init__(self, signature):
        self.step = mipro.Predict(signature)

    def forward(self, **inputs):
        return self.step(**inputs)


@given(data=st.data())
def test_a_candidate_survives_its_file_to_the_byte(data):
    program = Any_(data.draw(strategies.signatures()))
    candidate = data.draw(strategies.candidates(program))
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        program.save(first, candidate)
        loaded = program.load(first).candidate
        program.save(second, loaded)
        assert first.read_bytes() == second.read_bytes()
    assert dict(loaded) == {**program.prompts(), **candidate}


@given(data=st.data())
def test_a_signature_reads_back_from_what_it_spells(data):
    signature = data.draw(strategies.signatures())
    again = Signature.of(str(signature))
    assert str(again) == str(signature)
    assert [f.type for f in again.outputs] == [f.type for f in signature.outputs]


@given(data=st.data())
def test_a_run_records_the_inputs_it_was_given_and_the_outputs_it_returned(data):
    signature = data.draw(strategies.signatures())
    inputs = {f.name: data.draw(strategies.values(f.type)) for f in signature.inputs}
    outputs = data.draw(strategies.outputs(signature))
    candidate = {"step": data.draw(strategies.prompts(signature))}
    adapter = mipro.ChatAdapter()
    reply = adapter.render(signature, Prompt("x", (Demo(outputs),)), inputs)[2].content
    program, lm = Any_(signature), CountingLM(lambda request: reply)
    prediction = program(lm=lm, candidate=candidate, **inputs)
    (call,) = prediction.trace
    assert call.inputs == inputs
    assert call.outputs == prediction
    assert call.messages == adapter.render(signature, candidate["step"], inputs)
    assert program.prompts() == {"step": Prompt(signature.instruction)}
    # a trace is a demonstration of its module, and survives the way to another process
    assert check_demo({**call.inputs, **call.outputs}, signature, "call") == {
        **inputs,
        **prediction,
    }
    assert pickle.loads(pickle.dumps(prediction.trace)) == prediction.trace


@given(candidate=strategies.candidates(TwoStep()), other=strategies.candidates(TwoStep()))
def test_prompts_are_equal_exactly_when_their_digests_are(candidate, other):
    for name in candidate.keys() & other.keys():
        one, two = candidate[name], other[name]
        same = (one.instruction, [d.values for d in one.demos]) == (
            two.instruction,
            [d.values for d in two.demos],
        )
        assert (one == two) == same == (one.digest == two.digest)


@given(questions=st.lists(strategies.texts.filter(lambda t: t.strip()), min_size=1, max_size=4))
def test_what_is_asked_is_what_the_model_sees_but_for_header_marks(questions):
    lm = CountingLM(lambda request: chat(answer=len(request.messages)))
    for question in questions:
        QA()(question=question, lm=lm)
    seen = [request.messages[-1].content.partition("\n")[2] for request in lm.seen]
    assert seen == [question.replace("[[ ##", "[ [ ##") for question in questions]
    assert [asked(request, "question") for request in lm.seen] == [text.strip() for text in seen]
