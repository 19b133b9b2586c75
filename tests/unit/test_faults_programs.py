"""The faults of `paper.md` that concern programs, data and evaluation, each by its number."""

from __future__ import annotations

import copy
import threading

import pytest
from doubles import QA, CountingLM, EchoLM, asked, chat, echo, examples, minus_length

import mipro
from mipro import metrics
from mipro.errors import RunError
from mipro.lm.base import UnavailableError
from mipro.seeds import STREAMS, stream

EXACT = metrics.exact_match("answer")


def test_fault_02_seed_0_is_a_seed_and_each_part_draws_for_itself():
    draws = {(s, name): stream(s, name).integers(2**62) for s in (0, 9, 1) for name in STREAMS}
    assert len(set(draws.values())) == len(draws)
    before = stream(0, "minibatch").integers(2**62)
    stream(0, "bootstrap").random(1000)
    assert stream(0, "minibatch").integers(2**62) == before


def test_fault_03_exception_is_no_score():
    # under a metric that is at most 0, a failure scored as 0 would beat every answer
    def reply(request):
        return "unreadable" if asked(request, "question") == "q0" else echo(request)

    made = mipro.evaluate(QA(), examples(2), minus_length, lm=CountingLM(reply))
    failed, answered = made.outcomes
    assert failed.score == minus_length.worst < answered.score == -2.0
    assert failed.error


def test_fault_03_with_the_lm_down_nothing_returns_normally():
    lm = CountingLM(lambda request: UnavailableError("connection refused"))
    with pytest.raises(UnavailableError, match="connection refused"):
        mipro.evaluate(QA(), examples(20), EXACT, lm=lm)
    assert lm.calls == 1
    with pytest.raises(UnavailableError):
        mipro.bootstrap(QA(), examples(20), EXACT, lm=lm)
    assert lm.calls == 2


def test_fault_03_a_reply_that_never_parses_is_no_score_of_0():
    with pytest.raises(RunError, match="every one of 5 examples failed"):
        mipro.evaluate(QA(), examples(5), EXACT, lm=CountingLM(lambda request: "?"))


def test_fault_11_zero_shot_bootstraps_nothing():
    for settings in ({"sets": 1}, {"max_bootstrapped": 0, "max_labelled": 0}):
        lm = EchoLM()
        made = mipro.bootstrap(QA(), examples(20), EXACT, lm=lm, **settings)
        assert lm.calls == 0
        assert made.demo_sets == {"answer": ((),)}
        assert (made.attempted, made.passed, made.notes) == (0, 0, ())


def test_fault_12_literal_values_reach_the_prompt():
    class Labels(mipro.Program):
        def __init__(self):
            self.pick = mipro.Predict("text -> label: Literal['alpha', 'beta', 'gamma']")

        def forward(self, text):
            return self.pick(text=text)

    for adapter in (mipro.ChatAdapter(), mipro.JSONAdapter()):
        lm = CountingLM(
            lambda request: chat(label="alpha") if not request.schema else '{"label": "beta"}'
        )
        Labels()(text="x", lm=lm, adapter=adapter)
        assert "one of: alpha | beta | gamma" in lm.seen[0].messages[0].content


def test_fault_12_modules_with_the_same_fields_are_told_apart():
    class Twins(mipro.Program):
        def __init__(self):
            self.first, self.second = (mipro.Predict("question -> answer") for _ in range(2))

        def forward(self, question):
            return self.second(question=self.first(question=question).answer)

    lm = EchoLM()
    candidate = {"first": mipro.Prompt("One."), "second": mipro.Prompt("Two.")}
    made = Twins()(question="?", lm=lm, candidate=candidate)
    assert [call.module for call in made.trace] == ["first", "second"]
    assert [r.messages[0].content[-4:] for r in lm.seen] == ["One.", "Two."]


class Uncopyable(QA):
    """Holds what can be neither copied nor pickled."""

    def __init__(self, file):
        super().__init__()
        self.lock, self.file, self.lines = threading.Lock(), file, (line for line in file)

    def forward(self, question):
        with self.lock:
            return super().forward(question)

    def __copy__(self):
        raise AssertionError("a program is never copied")

    def __deepcopy__(self, memo):
        raise AssertionError("a program is never copied")


def test_fault_13_program_is_never_copied(tmp_path):
    path = tmp_path / "open.txt"
    path.write_text("line\n")
    with path.open() as file:
        program = Uncopyable(file)
        with pytest.raises(AssertionError):
            copy.deepcopy(program)
        before = dict(vars(program))
        candidate = {"answer": mipro.Prompt("Tuned.")}
        assert program(question="?", lm=EchoLM(), candidate=candidate).answer == "?"
        scored = mipro.evaluate(
            program, examples(8), EXACT, lm=EchoLM(), candidate=candidate, threads=4
        )
        assert scored.score == 1.0
        made = mipro.bootstrap(program, examples(8), EXACT, lm=EchoLM(), threads=4)
        assert made.passed == 8
        program.save(tmp_path / "c.json", candidate)
        assert program.load(tmp_path / "c.json").program is program
        assert vars(program) == before


def test_fault_14_validation_is_shuffled():
    data = examples(100)
    parts = mipro.split(data, train=0.2, val=0.8)
    assert list(parts.val) != data[20:]
    first = {e.question for e in data[:20]}
    from_the_front = sum(e.question in first for e in parts.val)
    # of the first 20 some 16 are to fall in the 80; all or none would be the unshuffled cuts
    assert 8 <= from_the_front < 20
    assert {e.question for e in parts.train}.isdisjoint(e.question for e in parts.val)
